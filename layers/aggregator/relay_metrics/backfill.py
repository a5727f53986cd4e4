"""The back-fill: delivers a relay's past days, the oldest first, until the time is over.

Nothing is spooled. Days that a destination did not accept, and days for which there was no time,
are covered by `next`, the event to go on with. Delivering a day again changes nothing.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from relay_metrics.collect import before_filled_in
from relay_metrics.deadline import Times
from relay_metrics.deliver.report import DestinationReport
from relay_metrics.deliver.timed import push_timed
from relay_metrics.entry.event import BACKFILL, Event
from relay_metrics.errors import Declined, RelayError, SettingsError
from relay_metrics.observability import count, logger, redact
from relay_metrics.relays import kinds
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.past import Plan, Wanted
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.scrape import threads, timed_snapshot, visit_all
from relay_metrics.settings import Relay

_PUSHES_AT_ONCE = 32
_REQUEST_S = 60.0
"""The time-out of one request: thirty days of a thousand keys take a relay some seconds."""


class Order(NamedTuple):
    """The fields of the event that are a back-fill's own.

    Attributes:
        first: the first day; None if the event has no `from`.
        last: the last day; None if the event has no `to`.
        models: whether a key's models by day are included.
        scans: as in the event; None means `RELAY_SCANS_PER_RUN`.
        dry_run: whether the relay is only asked what a back-fill would take.
    """

    first: date | None
    last: date | None
    models: bool
    scans: int | None
    dry_run: bool

    @classmethod
    def of(cls, event: object) -> Order:
        """Parse the fields of an event.

        Raises:
            SettingsError: a field has a wrong value.
        """
        given: Mapping[str, Any] = event if isinstance(event, dict) else {}
        first, last = _date(given, "from"), _date(given, "to")
        if first is not None and last is not None and first > last:
            raise SettingsError("from in the event must not be later than to")
        scans = given.get("scans")
        if scans is not None and (
            isinstance(scans, bool) or not isinstance(scans, int) or not 0 <= scans <= 1_000_000
        ):
            raise SettingsError("scans in the event must be a whole number from 0 to 1000000")
        return cls(first, last, _flag(given, "models"), scans, _flag(given, "dry_run"))


def _date(given: Mapping[str, Any], name: str) -> date | None:
    value = given.get(name)
    if value in (None, ""):
        return None
    # `fromisoformat` accepts other forms as well, which are not part of the contract.
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value, re.ASCII):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise SettingsError(f"{name} in the event must be a date like 2026-10-01")


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise SettingsError(f"{name} in the event must be true or false")


@dataclass
class _Visit:
    """How the back-fill of one relay went.

    Attributes:
        plan: None if none could be made.
        delivered: the first and the last day that were delivered.
        samples: the data points delivered; in a dry run the most that would be.
        unfinished: whether the relay needs a further call.
        goes_on: the day to go on with; None if nothing is left.
        ends: the last day that was asked for, if it is known.
    """

    relay: Relay
    plan: Plan | None = None
    delivered: tuple[date, date] | None = None
    samples: int = 0
    error: str | None = None
    up: bool = False
    unfinished: bool = False
    goes_on: date | None = None
    ends: date | None = None
    duration_s: float = 0.0

    def report(self, *, dry_run: bool) -> dict[str, Any]:
        """The relay's object in the report, as JSON values."""
        days = self.delivered
        if dry_run and self.plan is not None and self.plan.days:
            days = self.plan.days[0], self.plan.days[-1]
        report = {
            "name": self.relay.name,
            "kind": self.relay.kind,
            "up": self.up,
            "error": None if self.error is None else redact(self.error),
            "samples": self.samples,
            "duration_ms": round(self.duration_s * 1000),
            "from": None if days is None else days[0].isoformat(),
            "to": None if days is None else days[1].isoformat(),
        }
        if dry_run and self.plan is not None:
            report |= {"requests": self.plan.requests, "scans": self.plan.scans}
        return report


def backfill(runtime: Runtime, event: Event, given: object, seconds: float) -> dict[str, Any]:
    """Deliver the past days of the relays that an event chooses.

    Args:
        event: the typed event, which chooses the relays.
        given: the same event as received, with the back-fill's own fields.
        seconds: the time that the invocation has left.

    Returns:
        The report of a collect, in which `spooled` is 0; each relay also has `from` and `to`, the
        days that were delivered; and `next` is the event to go on with, or None when done. A dry
        run delivers nothing: `samples` is the most that would be delivered, and each relay also
        has `requests` by endpoint and `scans`, how often they scan its database.

    Raises:
        SecretError, SettingsError: there are no valid settings, or no destination that keeps the
            last write.
    """
    order = Order.of(given)
    invocation = Invocation(runtime)
    if invocation.settings.unfilled:
        nothing = {"from": None, "to": None}
        report = before_filled_in(invocation.settings)
        report["relays"] = [relay | nothing for relay in report["relays"]]
        return {**report, "next": None}
    destinations = invocation.settings.destinations
    if not any(one.overwrites for one in destinations):
        raise SettingsError(
            "a back-fill needs a destination that keeps the last write: the default one, or one "
            "with overwrites: true"
        )
    times = Times.of(seconds, runtime.environment.push_timeout_s)
    bounds = runtime.environment._replace(
        relay_timeout_s=max(runtime.environment.relay_timeout_s, _REQUEST_S)
    )
    reports = {one.name: DestinationReport(one.name) for one in destinations}
    work = _Work(runtime, invocation, order, times, reports)
    with threads(_PUSHES_AT_ONCE, "push") as pushes:
        visits = visit_all(
            runtime,
            invocation,
            event,
            times.fetch,
            lambda client: work.visit(client, pushes),
            environment=bounds,
        )
    report = {
        "relays": [visit.report(dry_run=order.dry_run) for visit in visits],
        "destinations": [one.report() for one in reports.values()],
        "next": None if order.dry_run else _next(order, visits),
    }
    _log(report)
    count("PointsRejected", sum(one.rejected for one in reports.values()))
    return report


class _Work:
    """The state of one invocation, shared by the threads of its relays."""

    def __init__(
        self,
        runtime: Runtime,
        invocation: Invocation,
        order: Order,
        times: Times,
        reports: Mapping[str, DestinationReport],
    ) -> None:
        self._runtime = runtime
        self._invocation = invocation
        self._order = order
        self._times = times
        self._reports = reports
        self._lock = threading.Lock()

    def visit(self, client: RelayClient, pushes: Executor) -> _Visit:
        """Deliver the days of one relay."""
        visit = _Visit(client.relay, unfinished=True, goes_on=self._order.first)
        began = time.monotonic()
        try:
            self._deliver(client, visit, pushes)
        except Declined as error:
            visit.unfinished, visit.error = False, str(error)
        except RelayError as error:
            client.failed(error)
        except Exception as fault:  # noqa: BLE001 - a fault of ours must not cost the other relays
            logger.exception("a fault while back-filling", extra={"relay": client.relay.name})
            visit.error = (
                f"relay {client.relay.name}: a fault of relay-metrics "
                f"({type(fault).__name__}), see the log"
            )
        remark = None if visit.plan is None else visit.plan.remark
        visit.error = visit.error or client.error or remark
        visit.duration_s = time.monotonic() - began
        return visit

    def _deliver(self, client: RelayClient, visit: _Visit, pushes: Executor) -> None:
        order, name = self._order, client.relay.name
        if client.relay.wrong is not None:
            raise Declined(name, str(client.relay.wrong))
        kind = kinds.past(client.relay.kind)
        if kind is None:
            raise Declined(name, "a relay of this kind does not have past days")
        scans = client.environment.scans_per_run if order.scans is None else order.scans
        wanted = Wanted(order.first, order.last, order.models, scans, order.dry_run)
        past = kind.past(client, self._runtime.state(client.relay.kind), wanted)
        if past is None:
            return
        visit.plan, visit.up = past.plan, True
        visit.ends = past.plan.last
        if order.dry_run:
            visit.samples, visit.unfinished = past.plan.points, False
            return
        left, failed = list(past.plan.days), None
        self._goes_on(visit, left, failed)
        for piece in past.pieces():
            if not self._push(client, piece.readings, visit, pushes):
                break
            visit.delivered = visit.delivered[0] if visit.delivered else piece.day, piece.day
            left = [day for day in left if day > piece.day]
            if not piece.whole and failed is None:
                failed = piece.day
            self._goes_on(visit, left, failed)

    @staticmethod
    def _goes_on(visit: _Visit, left: list[date], failed: date | None) -> None:
        """Set the day to go on with: the first day that failed in part, or else that is left."""
        visit.goes_on = failed or (left[0] if left else None)
        visit.unfinished = visit.goes_on is not None

    def _push(
        self, client: RelayClient, readings: Iterable[Any], visit: _Visit, pushes: Executor
    ) -> bool:
        """Push figures. Returns whether every destination that keeps the last write took them."""
        snapshot = timed_snapshot(client.relay, client.time_ms, tuple(readings))
        outcomes = push_timed(
            snapshot,
            self._invocation.settings.destinations,
            self._runtime,
            self._invocation,
            self._times.push,
            pushes,
        )
        with self._lock:
            visit.samples += snapshot.samples
            for one in outcomes:
                self._reports[one.destination].count_timed(one)
        return all(one.missing is None for one in outcomes)


def _next(order: Order, visits: Iterable[_Visit]) -> dict[str, Any] | None:
    """The event to go on with; None if every relay is done or would decline again."""
    left = [visit for visit in visits if visit.unfinished]
    if not left:
        return None
    following: dict[str, Any] = {"action": BACKFILL}
    firsts = [visit.goes_on for visit in left]
    first = order.first if None in firsts else min(day for day in firsts if day is not None)
    if first is not None:
        following["from"] = first.isoformat()
    ends = [visit.ends for visit in left if visit.ends is not None]
    last = order.last or (max(ends) if len(ends) == len(left) else None)
    if last is not None:
        following["to"] = last.isoformat()
    following["relays"] = [visit.relay.name for visit in left]
    if order.models:
        following["models"] = True
    if order.scans is not None:
        following["scans"] = order.scans
    return following


def _log(report: Mapping[str, Any]) -> None:
    """One line for each relay and each destination."""
    for what in ("relay", "destination"):
        for one in report[f"{what}s"]:
            level = logger.info if one["error"] is None else logger.warning
            level(f"back-fill: {what}", extra={what: one})
