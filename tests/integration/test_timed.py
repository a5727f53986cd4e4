"""Figures with a time of their own: to whom they go, in which parts, what is said of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.http_server import Fault
from relay_metrics.deadline import Deadline
from relay_metrics.deliver.report import DestinationReport
from relay_metrics.deliver.timed import TimedOutcome, push_timed
from relay_metrics.errors import PushError, Refused
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.scrape import timed_snapshot
from relay_metrics.snapshot import Reading, Scope, Scrape, Snapshot
from tests.collecting import Provider
from tests.integration.receiver import Receiver

MINUTE_MS = 60_000
FIRST_MS = 1_780_000_000_000 // MINUTE_MS * MINUTE_MS
FIELD = "limits.dailyCostLimit"


class Place:
    """A default destination and another one, and what is delivered to them.

    Args:
        overwrites: whether the other one keeps the last write.
    """

    def __init__(self, default: Receiver, other: Receiver, *, overwrites: bool) -> None:
        secret = {
            "relay_api_id": "x",
            "greptime_username": "writer",
            "greptime_password": "default-password",
            "destinations": [
                {"name": "other", "url": other.url, "username": "writer",
                 "password": "other-password", "overwrites": overwrites}
            ],
        }  # fmt: skip
        variables = {
            "RELAY_BASE_URL": "http://relay.test",
            "RELAY_NAME": "main",
            "OTEL_EXPORT_URL": default.url,
            "OTEL_TIMEOUT_MS": "20000",
            "SECRET_ID": "relay-metrics",
            "OTEL_RESOURCE_ATTRIBUTES": "team=a",
        }
        self.runtime = Runtime(variables, Provider(secret))
        self.invocation = Invocation(self.runtime)

    def snapshot(self, minutes: int) -> Snapshot:
        """A figure a minute, the latest first, as relays may answer."""
        readings = [
            Reading(
                Scope.KEY,
                {FIELD: at},
                resource={"relay.key.id": "k"},
                time_ms=FIRST_MS + at * MINUTE_MS,
            )
            for at in reversed(range(minutes))
        ]
        (relay,) = self.invocation.settings.relays
        return timed_snapshot(relay, FIRST_MS + 10**9, readings)

    def delivered(
        self, minutes: int, run: Snapshot | None = None, **failed: PushError
    ) -> dict[str, TimedOutcome]:
        with ThreadPoolExecutor() as pool:
            delivered = push_timed(
                self.snapshot(minutes),
                self.invocation.settings.destinations,
                self.runtime,
                self.invocation,
                Deadline.after(60),
                pool,
                failed,
                run,
            )
        return {one.destination: one for one in delivered}


@pytest.fixture
def default() -> Iterator[Receiver]:
    receiver = Receiver("writer", "default-password")
    yield receiver
    receiver.close()


@pytest.fixture
def other() -> Iterator[Receiver]:
    receiver = Receiver("writer", "other-password")
    yield receiver
    receiver.close()


def test_each_figure_has_its_own_time_and_nothing_but_its_identity(
    default: Receiver, other: Receiver
) -> None:
    place = Place(default, other, overwrites=True)
    assert {name: one.outcome.pushed for name, one in place.delivered(3).items()} == {
        "default": 3,
        "other": 3,
    }
    assert default.points.keys() == other.points.keys()
    identity = {"relay.name": "main", "relay.kind": "claude-relay", "relay.key.id": "k"}
    series = "relay_daily_cost_limit_usd", frozenset(identity.items())
    assert default.points.keys() == {
        (series, (FIRST_MS + at * MINUTE_MS) * 10**6) for at in range(3)
    }


def test_delivered_again_they_are_the_same_rows(default: Receiver, other: Receiver) -> None:
    place = Place(default, other, overwrites=True)
    place.delivered(5)
    once = dict(default.points)
    place.delivered(5)
    assert default.points == once


def test_one_that_does_not_keep_the_last_write_is_sent_none(
    default: Receiver, other: Receiver
) -> None:
    delivered = Place(default, other, overwrites=False).delivered(3)
    assert delivered.keys() == {"default"}
    assert other.requests == []


def test_many_go_in_parts_the_oldest_first(default: Receiver, other: Receiver) -> None:
    delivered = Place(default, other, overwrites=False).delivered(4500)
    assert delivered["default"].outcome.pushed == 4500
    assert len(default.requests) == 3
    instants = [instant for _, instant in default.points]
    assert instants == sorted(instants)


def test_each_part_repeats_the_run_s_relay_up_which_a_back_fill_has_not(
    default: Receiver, other: Receiver
) -> None:
    place = Place(default, other, overwrites=False)
    assert place.delivered(2500)["default"].outcome.pushed == 2500
    assert not any("relay_up" in sent for sent in default.sent())
    default.requests.clear()
    (relay,) = place.invocation.settings.relays
    run = Snapshot(relay.kind, relay.name, FIRST_MS, relay.resource, Scrape(True, 0.5))
    assert place.delivered(2500, run)["default"].outcome.pushed == 2500
    assert [sent.count("relay_up") for sent in default.sent()] == [1, 1]
    assert [series for series, _ in default.points if series[0] == "relay_up"] == [
        ("relay_up", frozenset(relay.resource.items()))
    ]


def test_the_report_says_from_when_to_when_figures_are_missing(
    default: Receiver, other: Receiver
) -> None:
    place = Place(default, other, overwrites=True)
    other.fault = lambda _: Fault(status=404) if len(other.requests) > 1 else None
    delivered = place.delivered(4500)
    assert delivered["default"].missing is None
    assert delivered["other"].missing == (FIRST_MS + 2000 * MINUTE_MS, FIRST_MS + 4499 * MINUTE_MS)
    assert len(other.requests) == 2  # nothing later is tried where a part was not taken
    report = DestinationReport("other")
    report.count_timed(delivered["other"])
    assert report.report() | {"error": ""} == {
        "name": "other", "pushed": 2000, "spooled": 0, "rejected": 0,
        "dead_lettered": 0, "write_cost": None, "error": "",
    }  # fmt: skip
    missing = "from 2026-05-30T05:46+00:00 to 2026-05-31T23:25+00:00 are missing"
    assert report.errors == [
        f"destination other: answered 404; figures of relay main {missing}",
    ]


def test_one_that_took_nothing_of_the_run_is_not_tried(default: Receiver, other: Receiver) -> None:
    delivered = Place(default, other, overwrites=True).delivered(
        3, other=Refused("other", "answered 404")
    )
    assert delivered["other"].missing == (FIRST_MS, FIRST_MS + 2 * MINUTE_MS)
    assert delivered["other"].outcome.pushed == 0
    assert other.requests == []
    assert delivered["default"].missing is None
