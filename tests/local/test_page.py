"""What the demo's page is found: the latest runs, as the store has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from local.greptimedb import GreptimeDB
from local.page import History, history
from local.sql import Database, SqlError

BEGIN_MS = 1_760_000_000_000
KEY = {"relay_name": "relay", "relay_key_id": "1", "relay_key_name": "one"}
RELAY = {"relay_name": "relay", "relay_kind": "claude-relay"}


@pytest.fixture
def greptimedb() -> Iterator[GreptimeDB]:
    with GreptimeDB() as greptimedb:
        yield greptimedb


@pytest.fixture
def page(greptimedb: GreptimeDB) -> History:
    return History(Database(greptimedb.url), "demo", BEGIN_MS)


def put(
    db: GreptimeDB,
    run: int,
    metric: str,
    value: float,
    labels: Mapping[str, str] = RELAY,
    environment: str = "demo",
) -> None:
    """A row of a metric, as of a run."""
    columns = {**labels, "deployment_environment": environment}
    typed = ", ".join(f"{name} VARCHAR" for name in columns)
    db.sql(
        f"CREATE TABLE IF NOT EXISTS {metric}"
        f" (greptime_timestamp TIMESTAMP_MS, greptime_value DOUBLE, {typed});"
        f" INSERT INTO {metric} (greptime_timestamp, greptime_value, {', '.join(columns)})"
        f" VALUES (make_timestamp_ms({BEGIN_MS + 60_000 * run}), {value},"
        f" {', '.join(repr(text) for text in columns.values())})"
    )


def figures(page: History) -> dict[str, Any]:
    page.read()
    return page.figures()


def test_before_the_first_run_there_is_nothing_and_no_fault(page: History) -> None:
    found = figures(page)
    assert (found["times"], found["keys"], found["models"], found["relays"]) == ([], [], [], [])


def test_runs_come_one_by_one_and_a_renamed_key_stays_one(
    page: History, greptimedb: GreptimeDB
) -> None:
    for run, name in enumerate(("one", "another")):
        put(greptimedb, run, "relay_up", 1)
        put(greptimedb, run, "relay_daily_cost_usd", run + 0.5, {**KEY, "relay_key_name": name})
        page.read()
    found = page.figures()
    assert found["times"] == [BEGIN_MS / 1000, BEGIN_MS / 1000 + 60]
    [key] = found["keys"]
    assert (key["name"], key["today"], key["spent"]) == ("another", 1.5, [0.5, 1.5])
    assert key["limit"] is None


def test_what_another_environment_delivers_is_not_shown(
    page: History, greptimedb: GreptimeDB
) -> None:
    put(greptimedb, 0, "relay_up", 1, environment="production")
    assert figures(page)["times"] == []


def test_tokens_a_minute_are_those_of_ten_minutes_and_a_reset_is_a_gap(
    page: History, greptimedb: GreptimeDB
) -> None:
    for run, total in ((0, 10), (1, 15), (11, 115), (22, 3)):
        put(greptimedb, run, "relay_up", 1)
        put(greptimedb, run, "relay_input_tokens_total", total, KEY)
    assert figures(page)["tokens"]["input"] == [None, 5, 10, None]


def test_overhead_is_that_of_the_requests_of_ten_minutes(
    page: History, greptimedb: GreptimeDB
) -> None:
    for run, counts in (
        (0, (10, 10, 10)),
        (1, (10, 20, 20)),
        (11, (20, 30, 30)),
        (22, (20, 30, 30)),
    ):
        put(greptimedb, run, "relay_up", 1)
        for le, count in zip(("0.005", "0.01", "inf"), counts, strict=True):
            put(greptimedb, run, "relay_overhead_seconds_bucket", count, {**RELAY, "le": le})
    first, second, third, idle = figures(page)["overhead"]["p50"]
    assert (first, idle) == (None, None)
    assert (second, third) == (pytest.approx(0.0075), pytest.approx(0.0025))


def test_models_are_summed_over_keys_whose_turns_come_one_by_one(
    page: History, greptimedb: GreptimeDB
) -> None:
    def use(run: int, key: str, cost: float) -> list[dict[str, Any]]:
        put(greptimedb, run, "relay_up", 1)
        labels = {**KEY, "relay_key_id": key, "model": "m"}
        put(greptimedb, run, "relay_model_cost_usd", cost, labels)
        models: list[dict[str, Any]] = figures(page)["models"]
        return models

    nothing = {"tokens": None, "requests": None, "rate": [None]}
    assert use(0, "1", 2) == [{"name": "m", "cost": 2, **nothing}]
    assert use(1, "2", 3)[0]["cost"] == 5
    assert use(2, "1", 2.5)[0]["cost"] == 5.5
    last = use(62, "1", 4)[0]
    assert last["cost"] == 4
    # 1.5 USD in the hour since its turn before
    assert last["rate"] == [None, None, 15, pytest.approx(1.5)]


def test_a_relay_is_shown_with_its_errors(page: History, greptimedb: GreptimeDB) -> None:
    put(greptimedb, 0, "relay_up", 0)
    put(greptimedb, 0, "relay_scrape_errors", 2, {**RELAY, "endpoint": "user-stats"})
    put(greptimedb, 0, "relay_scrape_errors", 1, {**RELAY, "endpoint": "health"})
    [relay] = figures(page)["relays"]
    assert (relay["up"], relay["errors"], relay["samples"]) == (0, 3, None)


def test_runs_are_kept_for_a_day_and_thinned_where_they_are_densest(
    page: History, greptimedb: GreptimeDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "RUNS", 4)
    for run in (0, 60, 120, 121, 122, 180, 1500):
        put(greptimedb, run, "relay_up", 1)
        put(greptimedb, run, "relay_daily_cost_usd", run, KEY)
        page.read()
    found = page.figures()
    kept = [round((time - BEGIN_MS / 1000) / 60) for time in found["times"]]
    assert kept == [120, 180, 1500]
    assert found["keys"][0]["spent"] == kept


RESETS = 1_760_025_600
"""Midnight at UTC+8, where it is 16:53 on 9 October at the beginning."""


def day(db: GreptimeDB, date: int, usd: float, key: str = "1") -> None:
    """A day of October as a back-fill delivers it: at noon of the relay's own day."""
    noon_ms = 1000 * (RESETS - 86_400 * (10 - date) + 43_200)
    db.sql(
        "CREATE TABLE IF NOT EXISTS relay_day_cost_usd (greptime_timestamp TIMESTAMP_MS,"
        " greptime_value DOUBLE, relay_name VARCHAR, relay_key_id VARCHAR);"
        " INSERT INTO relay_day_cost_usd"
        f" VALUES (make_timestamp_ms({noon_ms}), {usd}, 'relay', '{key}')"
    )


def test_days_are_those_of_the_relays_own_calendar(
    page: History, greptimedb: GreptimeDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(greptimedb, 0, "relay_up", 1)
    put(greptimedb, 0, "relay_daily_cost_usd", 2, KEY)
    put(greptimedb, 0, "relay_monthly_cost_usd", 30, KEY)
    put(greptimedb, 0, "relay_key_day_reset_timestamp_seconds", RESETS, KEY)
    monkeypatch.setattr(history, "_days_since", lambda: datetime(2025, 9, 1, tzinfo=UTC))
    day(greptimedb, 8, 5)
    day(greptimedb, 8, 1, key="2")
    found = figures(page)["days"]
    assert found["dates"][-1] == "2025-10-09"
    assert len(found["dates"]) == history.DAYS
    assert [(key["name"], key["values"][-3:]) for key in found["keys"]] == [
        ("one", [None, 5, 2]),
        ("deleted key 2", [None, 1, None]),
    ]
    assert found["month"] == {
        "so_far": 30,
        "projected": None,
        "before": None,
        "ends": "2025-10-31",
    }


def test_a_store_that_does_not_answer_is_an_error(greptimedb: GreptimeDB, page: History) -> None:
    greptimedb.close()
    with pytest.raises(SqlError):
        page.read()


def test_a_wyolet_relays_usage_is_by_model_and_hour_and_by_the_names_of_keys(
    page: History, greptimedb: GreptimeDB
) -> None:
    wyolet = {"relay_name": "w", "relay_kind": "wyolet-relay"}
    key = {**wyolet, "relay_key_id": "1"}
    put(greptimedb, 0, "relay_up", 1, wyolet)
    put(greptimedb, 0, "relay_key_info", 1, {**key, "relay_key_name": "former", "team": "x"})
    put(greptimedb, 0, "relay_up", 1, {**RELAY, "relay_name": "other"})
    for run, usd in ((-2, 0.5), (-90, 2.0), (-25 * 60, 100.0)):
        put(greptimedb, run, "relay_usage_by_model_cost_usd", usd, {**wyolet, "model": "m"})
        put(greptimedb, run, "relay_usage_by_key_cost_usd", usd, key)
        put(greptimedb, run, "relay_usage_by_key_requests", 2, key)
    put(greptimedb, 1, "relay_key_info", 1, {**key, "relay_key_name": "one", "team": "x"})
    put(greptimedb, 1, "relay_up", 1, wyolet)
    usage = figures(page)["usage"]
    assert len(usage["hours"]) == 24
    assert usage["hours"][-1] == BEGIN_MS // 3_600_000 * 3600
    [model] = usage["models"]
    assert [value for value in model["values"] if value is not None] == [2.0, 0.5]
    assert usage["usd"] == 2.5
    assert usage["keys"] == [{"name": "one", "team": "x", "usd": 2.5, "requests": 4}]
