"""Days of a claude-relay that are over, as a back-fill delivers them: the relay's own figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import pytest

from local.http_server import Fault, Request, Response
from local.relay import ClaudeRelay, Key, living_relay, many_keys
from local.relay.demo import ADMIN
from relay_metrics.relays import kinds
from tests.backfilling import Backfiller, Row, rows_of
from tests.collecting import NOON, Clock


def own_rows(relay: ClaudeRelay, first: str, last: str, *, models: bool = False) -> set[Row]:
    """What the relay itself knows of the days from one to another, as rows."""
    found: set[Row] = set()

    def add(name: str, day: str, value: float, **labels: str) -> None:
        noon = date.fromisoformat(day).toordinal() - date(1970, 1, 1).toordinal()
        at_s = noon * 86_400 + 43_200 - relay.utc_offset_hours * 3600
        found.add(Row.of(f"relay_day_{name}", round(at_s * 1000), value, labels))

    day = date.fromisoformat(first)
    while day <= date.fromisoformat(last):
        name = day.isoformat()
        total = relay.usage_of_all(name)
        add("all_keys_requests", name, total.requests)
        add("all_keys_tokens", name, total.all_tokens)
        add("all_keys_input_tokens", name, total.input_tokens)
        add("all_keys_output_tokens", name, total.output_tokens)
        add("all_keys_cache_create_tokens", name, total.cache_create_tokens)
        add("all_keys_cache_read_tokens", name, total.cache_read_tokens)
        add("all_keys_list_cost_usd", name, total.real_usd)
        for key in relay.keys:
            if name not in key.usage:
                continue
            usage = key.usage_in(name)
            add("requests", name, usage.requests, relay_key_id=key.id)
            add("tokens", name, usage.all_tokens, relay_key_id=key.id)
            add("cost_usd", name, usage.rated_usd, relay_key_id=key.id)
            for model, one in key.models_in(name).items() if models else ():
                of = {"relay_key_id": key.id, "model": model}
                add("model_requests", name, one.requests, **of)
                add("model_input_tokens", name, one.input_tokens, **of)
                add("model_output_tokens", name, one.output_tokens, **of)
                add("model_cache_create_tokens", name, one.cache_create_tokens, **of)
                add("model_cache_read_tokens", name, one.cache_read_tokens, **of)
                add("model_cost_usd", name, one.real_usd, **of)
                add("model_rated_cost_usd", name, one.rated_usd, **of)
        for account in relay.accounts:
            if name in account.usage:
                used = account.usage[name]
                group = account.platform.split("-")[0]
                of = {"relay_account_id": account.id, "platform": group}
                add("account_requests", name, used.requests, **of)
                add("account_cost_usd", name, used.real_usd, **of)
        day += timedelta(days=1)
    return found


def assert_same(delivered: set[Row], own: set[Row]) -> None:
    """Equal rows; list costs of the relay at large are not rounded to micro-dollars by model."""
    assert {row.identity for row in delivered} == {row.identity for row in own}
    values = {row.identity: row.value for row in own}
    for row in delivered:
        assert row.value == pytest.approx(values[row.identity], abs=1e-3), row


@pytest.fixture(scope="module")
def lived() -> Iterator[ClaudeRelay]:
    with living_relay(clock=Clock()) as relay:
        yield relay
    assert relay.server.errors == []


@pytest.fixture
def relay(lived: ClaudeRelay) -> ClaudeRelay:
    lived.known_empty.clear()
    lived.scans = 0
    lived.calls.clear()
    lived.fault = lambda _: None
    return lived


@pytest.fixture
def filler(relay: ClaudeRelay) -> Iterator[Backfiller]:
    with Backfiller(relay) as running:
        yield running


def test_thirty_two_days_are_the_relays_own(filler: Backfiller, relay: ClaudeRelay) -> None:
    report = filler.run({"from": "2026-01-01"})

    (delivered,) = report["relays"]
    assert (delivered["up"], delivered["error"], report["next"]) == (True, None, None)
    assert (delivered["from"], delivered["to"]) == ("2026-10-20", "2026-11-20")
    rows = rows_of(filler.pushed)
    assert_same(rows, own_rows(relay, "2026-10-20", "2026-11-20"))
    (destination,) = report["destinations"]
    assert destination["pushed"] == delivered["samples"] == len(rows)
    assert destination["spooled"] == 0
    assert {row.name for row in rows} & {"relay_up", "relay_scrape_samples"} == set()
    # the relay's clock, and the keys' days in one; every day has use
    assert relay.scans == 3 + 1


def test_models_by_day_are_the_relays_own(filler: Backfiller, relay: ClaudeRelay) -> None:
    report = filler.run({"from": "2026-11-12", "to": "2026-11-14", "models": True})

    rows = rows_of(filler.pushed)
    assert_same(rows, own_rows(relay, "2026-11-12", "2026-11-14", models=True))
    assert relay.scans == 3 + 1
    assert report["next"] is None


def test_without_dates_the_thirty_two_days_before_today(filler: Backfiller) -> None:
    (delivered,) = filler.run({})["relays"]
    assert (delivered["from"], delivered["to"]) == ("2026-10-20", "2026-11-20")
    (delivered,) = filler.run({"to": "2026-11-10"})["relays"]
    assert (delivered["from"], delivered["to"]) == ("2026-10-20", "2026-11-10")


def test_a_key_that_costs_nothing_is_delivered_as_such(
    filler: Backfiller, relay: ClaudeRelay
) -> None:
    """The relay makes up a price for it, on some days one of whole micro-dollars."""
    free = relay.key("open-source")
    filler.run({"from": "2026-11-10", "to": "2026-11-13"})

    costs = [row for row in rows_of(filler.pushed) if row.name == "relay_day_cost_usd"]
    of_free = [row.value for row in costs if dict(row.labels)["relay_key_id"] == free.id]
    assert of_free
    assert set(of_free) == {0.0}
    assert any(path.endswith(f"{free.id}/model-stats") for path in relay.calls)


def test_a_made_up_price_without_a_stored_one_is_left_out(
    filler: Backfiller, relay: ClaudeRelay
) -> None:
    free = relay.key("open-source")
    relay.fault = lambda request: (
        Fault(rewrite=lambda _: Response(500)) if request.path.endswith("model-stats") else None
    )
    report = filler.run({"from": "2026-11-10", "to": "2026-11-12"})

    costs = [row for row in rows_of(filler.pushed) if row.name == "relay_day_cost_usd"]
    assert costs
    assert free.id not in {dict(row.labels)["relay_key_id"] for row in costs}
    assert "model-stats" in report["relays"][0]["error"]
    first = min(day for day in free.totals if "2026-11-10" <= day <= "2026-11-12" and len(day) > 9)
    assert report["next"] == {
        "action": "backfill",
        "from": first,
        "to": "2026-11-12",
        "relays": ["main"],
    }


@pytest.mark.parametrize("offset", [-11.0, -3.5, 5.75, 13.0])
def test_days_of_relays_east_and_west(offset: float) -> None:
    """Over a month's end; a model's day is asked for by noon, which is that day everywhere."""
    clock = Clock(NOON - 20 * 86_400)
    with (
        living_relay(clock=clock, days=4, utc_offset_hours=offset) as relay,
        Backfiller(relay) as filler,
    ):
        filler.run({"models": True, "scans": 200})
        today = date.fromisoformat(relay.day())
        first, last = (today - timedelta(days=back) for back in (4, 1))
        assert (first.month, last.month) == (10, 10) or today.day > 1
        rows = rows_of(filler.pushed)
        assert_same(rows, own_rows(relay, first.isoformat(), last.isoformat(), models=True))


def test_days_without_use_are_left_out_or_refused() -> None:
    clock = Clock()
    with ClaudeRelay([Key("k")], admin=ADMIN, clock=clock) as relay, Backfiller(relay) as filler:
        (key,) = relay.keys
        for back in (9, 8, 4):
            relay.use(key, "gpt-5", output_tokens=1000, at=NOON - back * 86_400)
        relay.use(key, "gpt-5", output_tokens=10)

        report = filler.run({"from": "2026-11-01"})
        (delivered,) = report["relays"]
        # 13th and 17th are used, six days between and after are not: 3 + 1 + 4 * 6
        assert "take 28 scans" in delivered["error"]
        assert '"scans": 28' in delivered["error"]
        assert (relay.scans, filler.pushed, report["next"]) == (0, [], None)

        report = filler.run({"from": "2026-11-01", "scans": 28})
        (delivered,) = report["relays"]
        assert (delivered["error"], delivered["from"], delivered["to"]) == (
            None,
            "2026-11-12",
            "2026-11-20",
        )
        assert relay.scans <= 28
        rows = rows_of(filler.pushed)
        assert_same(rows, own_rows(relay, "2026-11-12", "2026-11-20"))

        relay.scans = 0
        report = filler.run({"from": "2026-11-14", "to": "2026-11-15"})
        assert (relay.scans, report["relays"][0]["error"]) == (0, None)
        requests = [row.value for row in rows_of(filler.pushed) if row.name.endswith("requests")]
        assert requests == [0, 0]


def test_a_relay_that_was_never_used_is_done_at_once() -> None:
    with ClaudeRelay([Key("k")], admin=ADMIN, clock=Clock()) as relay, Backfiller(relay) as filler:
        report = filler.run({})
        (delivered,) = report["relays"]
        assert (delivered["error"], delivered["from"], delivered["samples"], report["next"]) == (
            None,
            None,
            0,
            None,
        )
        assert relay.scans == 0


def test_a_dry_run_walks_nothing_and_says_what_it_would(
    filler: Backfiller, relay: ClaudeRelay
) -> None:
    event = {"from": "2026-11-01", "to": "2026-11-05", "models": True}
    report = filler.run({**event, "dry_run": True})
    (plan,) = report["relays"]
    assert (relay.scans, filler.pushed, report["next"]) == (0, [], None)
    assert (plan["from"], plan["to"], plan["scans"]) == ("2026-11-01", "2026-11-05", 4)
    assert plan["requests"]["admin/api-keys-usage-trend"] == 1
    asked = filler.run(event)
    assert 0 < asked["relays"][0]["samples"] <= plan["samples"]


def test_it_stops_in_time_and_goes_on(filler: Backfiller, relay: ClaudeRelay) -> None:
    """Each request takes a while: one invocation cannot be enough for twelve days with models."""
    rows: set[Row] = set()
    event: Mapping[str, Any] | None = {"from": "2026-11-03", "to": "2026-11-14", "models": True}
    calls = 0
    relay.server.latency_s = 0.2
    try:
        while event is not None and calls < 50:
            report = filler.run(event, seconds=5)
            rows |= rows_of(filler.pushed)
            event = report["next"]
            assert event is None or event["models"] is True
            calls += 1
    finally:
        relay.server.latency_s = 0.0
    assert calls > 1
    assert_same(rows, own_rows(relay, "2026-11-03", "2026-11-14", models=True))


def test_what_a_destination_does_not_take_is_where_next_begins(
    filler: Backfiller, relay: ClaudeRelay
) -> None:
    filler.refuse_after = 2
    report = filler.run({"from": "2026-11-08", "to": "2026-11-14"})
    (delivered,) = report["relays"]
    assert (delivered["from"], delivered["to"]) == ("2026-11-08", "2026-11-09")
    (destination,) = report["destinations"]
    assert destination["spooled"] == 0
    assert "are missing" in destination["error"]
    assert report["next"]["from"] == "2026-11-10"

    filler.refuse_after = None
    first = rows_of(filler.pushed)
    assert filler.run(report["next"])["next"] is None
    rows = first | rows_of(filler.pushed)
    assert_same(rows, own_rows(relay, "2026-11-08", "2026-11-14"))


def test_a_relay_that_does_not_answer_is_to_be_gone_on_with(
    filler: Backfiller, relay: ClaudeRelay
) -> None:
    relay.fault = lambda request: (
        Fault(rewrite=lambda _: Response(502))
        if request.path.endswith("api-keys-usage-trend")
        else None
    )
    report = filler.run({"from": "2026-11-08", "to": "2026-11-14"})
    (delivered,) = report["relays"]
    assert "api-keys-usage-trend" in delivered["error"]
    assert report["next"]["from"] == "2026-11-08"


def test_a_relay_that_is_down_is_to_be_asked_the_same_again(
    filler: Backfiller, relay: ClaudeRelay
) -> None:
    relay.fault = lambda _: Fault(status=502)
    report = filler.run({"scans": 40})
    assert report["relays"][0]["up"] is False
    assert report["next"] == {"action": "backfill", "relays": ["main"], "scans": 40}


def test_keys_that_make_an_answer_too_large_leave_fewer_days() -> None:
    clock = Clock()
    with (
        ClaudeRelay(many_keys(300), admin=ADMIN, clock=clock) as relay,
        Backfiller(relay, RELAY_MAX_RESPONSE_BYTES="150000") as filler,
    ):
        for back in range(8, -1, -1):
            for key in relay.keys:
                relay.use(key, "gpt-5", output_tokens=100, at=NOON - back * 86_400)
        report = filler.run({"from": "2026-11-13"})
        (delivered,) = report["relays"]
        assert (delivered["from"], delivered["to"]) == ("2026-11-19", "2026-11-20")
        assert "the days before 2026-11-19 are left out" in delivered["error"]
        assert "RELAY_MAX_RESPONSE_BYTES" in delivered["error"]
        assert report["next"] is None


def test_a_relay_without_a_login_declines(relay: ClaudeRelay) -> None:
    with Backfiller(relay, secret={"api_ids": [relay.keys[0].id]}) as filler:
        report = filler.run({})
        assert "administrator's login" in report["relays"][0]["error"]
        assert report["next"] is None


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"from": "yesterday"}, "from in the event must be a date like 2026-10-01"),
        ({"from": 20261001}, "from in the event must be a date like 2026-10-01"),
        ({"from": "20261001"}, "from in the event must be a date like 2026-10-01"),
        ({"to": "2026-02-30"}, "to in the event must be a date like 2026-10-01"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "from in the event must not be later than to"),
        ({"scans": True}, "scans in the event must be a whole number from 0 to 1000000"),
        ({"scans": "9"}, "scans in the event must be a whole number from 0 to 1000000"),
        ({"models": "yes"}, "models in the event must be true or false"),
        ({"dry_run": 1}, "dry_run in the event must be true or false"),
        ({"relays": ["other"]}, "relays in the event names 'other', which is not configured"),
    ],
)
def test_a_wrong_event_is_refused(filler: Backfiller, event: Any, message: str) -> None:
    assert filler.refusal(event) == message


def test_it_needs_a_destination_that_keeps_the_last_write(relay: ClaudeRelay) -> None:
    with Backfiller(relay, overwrites=False) as filler:
        assert "keeps the last write" in filler.refusal({})


def answered(path: str, body: object) -> Callable[[Request], Fault | None]:
    """A fault that has another body answered to one path."""
    return lambda request: (
        Fault(body=json.dumps(body).encode()) if request.path.endswith(path) else None
    )


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/admin/api-keys", {"success": True, "data": {}}, "answered without a list of keys"),
        ("/admin/api-keys", {"success": True, "data": {"items": []}}, "without how many there are"),
        ("/admin/usage-trend", {"success": True, "data": []}, "does not have past days"),
        ("/admin/dashboard", {"success": False, "error": "no"}, "admin/dashboard"),
    ],
)
def test_what_it_cannot_do_without_ends_it(
    relay: ClaudeRelay, path: str, body: object, error: str
) -> None:
    relay.fault = answered(path, body)
    with Backfiller(relay) as filler:
        report = filler.run({"from": "2026-11-12", "to": "2026-11-12"})
    assert filler.pushed == []
    assert error in report["relays"][0]["error"]


def test_a_relay_with_an_odd_clock_has_the_configured_one(
    filler: Backfiller, relay: ClaudeRelay
) -> None:
    relay.fault = answered("/admin/dashboard", {"success": True, "data": {"systemTimezone": 99}})
    filler.run({"from": "2026-11-12", "to": "2026-11-13"})
    assert_same(rows_of(filler.pushed), own_rows(relay, "2026-11-12", "2026-11-13"))


def test_models_that_are_no_list_are_gone_on_with(filler: Backfiller, relay: ClaudeRelay) -> None:
    relay.fault = answered("/model-stats", {"success": True, "data": {}})
    event = {"from": "2026-11-12", "to": "2026-11-12", "models": True, "scans": 100}
    report = filler.run(event)
    assert "answered without a list of models" in report["relays"][0]["error"]
    assert report["next"] == {"action": "backfill", **event, "relays": ["main"]}


def test_models_without_a_name_are_counted(filler: Backfiller, relay: ClaudeRelay) -> None:
    relay.fault = answered("/model-stats", {"success": True, "data": [5, {"requests": 1}]})
    filler.run({"from": "2026-11-12", "to": "2026-11-12", "models": True})
    assert "relay_day_cost_usd" in {row.name for row in rows_of(filler.pushed)}
    assert "relay_day_model_requests" not in {row.name for row in rows_of(filler.pushed)}


def test_a_fault_of_ours_is_that_relay_s_alone(
    filler: Backfiller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(kinds, "past", broken)
    (delivered,) = filler.run({})["relays"]
    assert (
        delivered["error"]
        == "relay main: a fault of relay-metrics (ZeroDivisionError), see the log"
    )


def test_a_kind_without_a_past_declines(
    filler: Backfiller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "past", lambda _: None)
    report = filler.run({})
    assert "does not have past days" in report["relays"][0]["error"]
    assert report["next"] is None


def test_a_kind_that_has_no_module_of_its_past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.KINDS, "other", "relay_metrics.convert")
    assert kinds.past("other") is None


def odd_days(request: Request) -> Fault | None:
    """Rows that are no days, figures that are none or 0, and one that was not sent."""

    def rewrite(response: Response) -> Response:
        body = json.loads(response.body)
        rows = body["data"]
        for row in rows:
            for one in row.get("apiKeys", {}).values():
                one["tokens"] = str(one["tokens"])
                del one["requests"]
                one["cost"] = 0
        body["data"] = [None, {"date": "never"}, {"date": 7}, *rows]
        return Response.of_json(body)

    trend = request.path.endswith("api-keys-usage-trend")
    return Fault(rewrite=rewrite) if trend else None


def test_odd_answers_leave_out_what_they_must(filler: Backfiller, relay: ClaudeRelay) -> None:
    relay.fault = odd_days
    filler.run({"from": "2026-11-12", "to": "2026-11-12"})
    names = {row.name for row in rows_of(filler.pushed)}
    assert "relay_day_tokens" in names
    assert "relay_day_requests" not in names
    of_keys = [row for row in rows_of(filler.pushed) if row.name == "relay_day_cost_usd"]
    assert {row.value for row in of_keys if dict(row.labels).get("relay_key_id")} == {0}
