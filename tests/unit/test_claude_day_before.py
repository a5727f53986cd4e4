"""The day before is delivered live, and a back-fill delivers the same of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from local.http_server import Fault, Response
from local.relay import ClaudeRelay, Key, living_relay
from local.relay.demo import ADMIN
from tests.backfilling import Backfiller, Row, rows_of
from tests.collecting import NOON, Clock
from tests.unit.test_claude_days import assert_same, own_rows

DAY_S = 86_400


@pytest.fixture
def abroad(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever looks lives in Berlin, whose clocks go back on 25 October 2026."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def days_in(rows: set[Row]) -> set[Row]:
    return {row for row in rows if row.name.startswith("relay_day_")}


@pytest.mark.usefixtures("abroad")
@pytest.mark.parametrize("offset", [8.0, -3.5])
def test_forty_days_delivered_live_are_the_relays_own_and_the_back_fills(offset: float) -> None:
    """Over a month's end, a renamed, a disabled, a deleted, an expired and a free key."""
    begins = (NOON + offset * 3600) // DAY_S * DAY_S - offset * 3600 - 40 * DAY_S
    clock = Clock(begins)
    live: set[Row] = set()
    with (
        living_relay(clock=clock, now=NOON, utc_offset_hours=offset) as relay,
        Backfiller(relay, RELAY_UTC_OFFSET_HOURS=f"{offset}") as collector,
    ):
        for day in range(1, 41):
            clock.now = begins + day * DAY_S + 660
            report = collector.act({})
            assert report["relays"][0]["error"] is None
            delivered = days_in(rows_of(collector.pushed))
            before = relay.day(clock.now - DAY_S)
            assert_same(delivered, own_rows(relay, before, before))
            live |= delivered

        collector.run({"scans": 100})
        again = rows_of(collector.pushed)
        first = (date.fromisoformat(relay.day()) - timedelta(days=32)).isoformat()
        noon = min(row.at_ms for row in again)
        assert_same(again, own_rows(relay, first, relay.day(clock.now - DAY_S)))

        gone = relay.key("prototype").id

    kept = {row for row in live if row.at_ms >= noon}
    of_deleted = {row for row in kept if ("relay_key_id", gone) in row.labels}
    assert of_deleted, "a back-fill has nothing of a deleted key, so its live rows stay"
    assert kept - of_deleted == again


def delivered(collector: Backfiller) -> set[Row]:
    collector.act({})
    return days_in(rows_of(collector.pushed))


def test_it_is_delivered_after_midnight_and_again_before_noon() -> None:
    midnight = NOON + 4 * 3600
    clock = Clock(midnight - 60)
    with living_relay(clock=clock, now=NOON, days=4) as relay, Backfiller(relay) as collector:
        own = own_rows(relay, "2026-11-20", "2026-11-20")
        assert_same(delivered(collector), own)  # this environment has not delivered it yet
        assert not delivered(collector)
        clock.now = midnight + 600
        assert not delivered(collector)
        clock.now = midnight + 601
        own = own_rows(relay, "2026-11-21", "2026-11-21")
        assert_same(delivered(collector), own)
        for hour in (1, 6, 10.9):
            clock.now = midnight + hour * 3600
            assert not delivered(collector)
        clock.now = midnight + 11.2 * 3600
        assert_same(delivered(collector), own)
        for hour in (11.3, 12, 18, 23.9):
            clock.now = midnight + hour * 3600
            assert not delivered(collector)

        with Backfiller(relay) as other:
            assert_same(delivered(other), own)


def test_what_was_not_taken_is_delivered_again() -> None:
    clock = Clock(NOON)
    with living_relay(clock=clock, days=3) as relay, Backfiller(relay) as collector:
        collector.act({})
        clock.now = NOON + 5 * 3600
        collector.refuse_after = 0
        collector.loses({})
        collector.refuse_after = None
        assert_same(delivered(collector), own_rows(relay, "2026-11-21", "2026-11-21"))
        assert not delivered(collector)


def test_a_request_that_fails_is_made_again_by_the_next_run() -> None:
    with living_relay(clock=Clock(), days=3) as relay, Backfiller(relay) as collector:
        relay.fault = lambda request: (
            Fault(rewrite=lambda _: Response(500))
            if request.path.endswith("api-keys-usage-trend")
            else None
        )
        assert not delivered(collector)
        relay.fault = lambda _: None
        assert_same(delivered(collector), own_rows(relay, "2026-11-20", "2026-11-20"))


def test_a_price_that_the_relay_may_have_made_up_is_left_out_and_counted() -> None:
    clock = Clock(NOON - 12 * DAY_S)
    counted: set[str] = set()
    with living_relay(clock=clock, now=NOON, days=30) as relay, Backfiller(relay) as collector:
        relay.fault = lambda request: (
            Fault(rewrite=lambda _: Response(500)) if request.path.endswith("model-stats") else None
        )
        # on some days the relay's price for a free key is one that it could have stored
        for _ in range(12):
            clock.now += DAY_S
            collector.act({})
            rows = rows_of(collector.pushed)
            counted |= {row.name for row in rows if ("error_type", "made_up") in row.labels}
    assert counted == {"relay_scrape_errors"}


def test_an_older_relay_and_one_without_a_past_are_asked_once() -> None:
    with ClaudeRelay([Key("k")], admin=ADMIN, clock=Clock()) as relay, Backfiller(relay) as one:
        assert not delivered(one)
        assert not delivered(one)
        assert relay.calls["/admin/usage-trend"] == 1
        relay.missing.add("/admin/usage-trend")
        with Backfiller(relay) as other:
            assert not delivered(other)
            assert not delivered(other)
        assert relay.calls["/admin/usage-trend"] == 2


def test_it_keeps_to_the_scans_that_are_left() -> None:
    """Nobody has used the relay today, so that a look walks four times more."""
    with ClaudeRelay([Key("k")], admin=ADMIN, clock=Clock()) as relay:
        relay.use(relay.keys[0], "gpt-5", output_tokens=5000, at=NOON - DAY_S)
        for scans, rows in (("9", 0), ("10", 10)):
            relay.scans = 0
            with Backfiller(relay, RELAY_SCANS_PER_RUN=scans) as collector:
                assert len(delivered(collector)) == rows
            assert relay.scans <= int(scans)


def test_shards_deliver_a_key_each_and_the_first_the_rest() -> None:
    with living_relay(clock=Clock(), days=3) as relay, Backfiller(relay) as collector:
        rows = []
        for shard in ("1/3", "2/3", "3/3"):
            collector.act({"shard": shard})
            rows.append(days_in(rows_of(collector.pushed)))
        assert_same(set().union(*rows), own_rows(relay, "2026-11-20", "2026-11-20"))
        assert sum(map(len, rows)) == len(set().union(*rows))
