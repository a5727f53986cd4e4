"""The queries over days of docs/queries.md give the simulated relay's own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from local.greptimedb import GreptimeDB
from local.relay import ClaudeRelay, Key, living_relay
from local.sql import Database
from tests.backfilling import Backfiller
from tests.collecting import Clock
from tests.queries import blocks

DAY_S = 86_400
NOW = 1_794_139_200.0
"""2026-11-08T12:00:00Z."""
SQL = {where.partition(": ")[2].partition(".")[0]: text for where, text in blocks("sql")
       if where.startswith("docs/queries.md")}  # fmt: skip


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[ClaudeRelay, Database]]:
    """Delivered twice by a back-fill, so that both months have every day."""
    clock = Clock(NOW - 19 * DAY_S)
    with (
        GreptimeDB() as database,
        living_relay(clock=clock, now=NOW, days=52) as relay,
        Backfiller(relay, OTEL_EXPORT_URL=database.url) as filler,
    ):
        for now in (NOW - 19 * DAY_S, NOW):
            clock.now = now
            report = filler.run({"models": True, "scans": 100}, seconds=600)
            assert (report["next"], report["relays"][0]["error"]) == (None, None)
        yield relay, Database(database.url, "public", None)


def ask(database: Database, number: int) -> list[dict[str, Any]]:
    return database.query(SQL[f"{number}"].replace("now()", "TIMESTAMP '2026-11-08 12:00:00'"))


def keys_on(relay: ClaudeRelay, day: str) -> list[Key]:
    """The keys that a day was delivered of: one was deleted between the two back-fills."""
    return list(relay.by_id.values()) if day <= "2026-10-19" else relay.keys


def cost(relay: ClaudeRelay, *days: str) -> float:
    return sum(key.usage_in(day).rated_usd for day in days for key in keys_on(relay, day))


def month(name: str, last: int) -> list[str]:
    return [f"{name}-{day:02}" for day in range(1, last + 1)]


def test_spend_by_day(filled: tuple[ClaudeRelay, Database]) -> None:
    relay, database = filled
    rows = ask(database, 11)
    assert len(rows) == 30
    days = [*(f"2026-10-{day:02}" for day in range(9, 32)), *month("2026-11", 7)]
    assert [row["usd"] for row in rows] == pytest.approx([cost(relay, day) for day in days])


def test_spend_by_model_and_day(filled: tuple[ClaudeRelay, Database]) -> None:
    relay, database = filled
    rows = ask(database, 12)
    for model in ("gpt-5", "claude-opus-4-20250514"):
        delivered = sum(row["usd"] for row in rows if row["model"] == model)
        days = [*(f"2026-10-{day:02}" for day in range(9, 32)), *month("2026-11", 7)]
        own = sum(
            key.models_in(day)[model].real_usd
            for day in days
            for key in keys_on(relay, day)
            if model in key.models_in(day)
        )
        assert delivered == pytest.approx(own)


def test_where_the_month_ends(filled: tuple[ClaudeRelay, Database]) -> None:
    relay, database = filled
    (row,) = ask(database, 13)
    so_far = cost(relay, *month("2026-11", 7))
    assert row["usd_so_far"] == pytest.approx(so_far)
    assert row["usd_at_the_end"] == pytest.approx(so_far / 7 * 30)


def test_this_month_against_the_last(filled: tuple[ClaudeRelay, Database]) -> None:
    relay, database = filled
    (row,) = ask(database, 14)
    assert row["to_day"] == 7
    assert row["this_month"] == pytest.approx(cost(relay, *month("2026-11", 7)))
    assert row["last_month"] == pytest.approx(cost(relay, *month("2026-10", 7)))


def test_a_closed_month(filled: tuple[ClaudeRelay, Database]) -> None:
    relay, database = filled
    rows = ask(database, 15)
    october = month("2026-10", 31)
    by_cost: dict[str, float] = {}
    for row in rows:
        by_cost[row["cost"]] = by_cost.get(row["cost"], 0) + row["usd"]
    real = sum(key.usage_in(day).real_usd for day in october for key in keys_on(relay, day))
    everyone = sum(relay.usage_of_all(day).real_usd for day in october)
    assert by_cost["rated"] == pytest.approx(cost(relay, *october))
    assert by_cost["real"] == pytest.approx(real)
    assert by_cost["list"] == pytest.approx(everyone, rel=1e-3)
    assert [row["days"] for row in rows if row["cost"] == "list"] == [31]


def test_a_month_that_lacks_a_day_is_not_compared(filled: tuple[ClaudeRelay, Database]) -> None:
    _, database = filled
    delete = (
        "DELETE FROM relay_day_all_keys_requests WHERE greptime_timestamp >= '2026-10-03'"
        " AND greptime_timestamp < '2026-10-04'"
    )
    answer = requests.post(database.url, data={"sql": delete}, timeout=10)
    assert answer.json()["output"] == [{"affectedrows": 1}]
    assert ask(database, 14) == []
