"""Figures with a time of their own: to whom they go, in which parts, what is said of the rest."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.http_server import Fault, Request
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
INCOMPATIBLE = b"OTLP metric input have incompatible existing tables"


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

    def snapshot(self, minutes: int, *more: str) -> Snapshot:
        """A figure a minute, the latest first, as relays may answer.

        Args:
            more: the fields of more figures.
        """
        readings = [
            Reading(
                Scope.KEY,
                dict.fromkeys((FIELD, *more), at),
                resource={"relay.key.id": "k"},
                time_ms=FIRST_MS + at * MINUTE_MS,
            )
            for at in reversed(range(minutes))
        ]
        (relay,) = self.invocation.settings.relays
        return timed_snapshot(relay, FIRST_MS + 10**9, readings)

    def delivered(
        self, minutes: int, *more: str, run: Snapshot | None = None, **failed: PushError
    ) -> dict[str, TimedOutcome]:
        with ThreadPoolExecutor() as pool:
            delivered = push_timed(
                self.snapshot(minutes, *more),
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


@pytest.mark.parametrize("of_a_run", [True, False], ids=["run", "back-fill"])
def test_a_foreign_table_never_comes_alone_and_costs_a_run_only_its_own_figures(
    default: Receiver, other: Receiver, *, of_a_run: bool
) -> None:
    place = Place(default, other, overwrites=False)
    foreign = b"relay_daily_cost_limit_usd"

    def refuse(request: Request) -> Fault | None:
        names = set(re.findall(rb"relay_\w+", gzip.decompress(request.body)))
        assert names - {foreign}, "it would be written in the older way"
        return Fault(status=500, body=INCOMPATIBLE) if foreign in names else None

    default.fault = refuse
    (relay,) = place.invocation.settings.relays
    run = Snapshot(relay.kind, relay.name, FIRST_MS, relay.resource, Scrape(True, 0.5))
    more = ("limits.weeklyOpusCostLimit", "limits.totalCostLimit")
    delivered = place.delivered(3, *more, run=run if of_a_run else None)["default"]
    assert delivered.outcome.pushed == (6 if of_a_run else 0)
    assert sum(one.points for one in delivered.outcome.left) == (3 if of_a_run else 9)
    assert "incompatible existing tables" in str(delivered.error)
    ups = {series for series, _ in default.points if series[0] == "relay_up"}
    assert ups == ({("relay_up", frozenset(relay.resource.items()))} if of_a_run else set())


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
