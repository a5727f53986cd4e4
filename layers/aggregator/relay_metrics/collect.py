"""A run: scrapes the relays, pushes their snapshots, spools what cannot be pushed, and reports."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from relay_metrics.deadline import Times, ended
from relay_metrics.deliver.delivery import Left, Outcome, deliver
from relay_metrics.deliver.pieces import Beginning, Piece
from relay_metrics.deliver.report import DestinationReport, first_of
from relay_metrics.deliver.spool import Message
from relay_metrics.deliver.timed import push_timed
from relay_metrics.entry.event import Event
from relay_metrics.errors import Impossible, NotDelivered, SpoolError, Unavailable
from relay_metrics.observability import count, logger
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.scrape import ScrapeResult, scrape_all, threads, unasked
from relay_metrics.settings import Settings
from relay_metrics.snapshot import Snapshot

_AT_ONCE = 32
_NO_END = "no end within the time"


def collect(runtime: Runtime, event: Event, seconds: float) -> dict[str, Any]:
    """Scrape the relays that an event chooses and deliver their snapshots.

    Args:
        seconds: the time that the invocation has left.

    Returns:
        The report: `{relays: [{name, kind, up, error, samples, duration_ms}],
        destinations: [{name, pushed, spooled, rejected, dead_lettered, write_cost, error}]}`. The
        counts are data points; `write_cost` is None if the destination does not report it. A
        relay's samples include points with timestamps of their own; if a destination did not
        accept these, its error says which period is missing.

    Raises:
        SecretError, SettingsError: there are no valid settings.
        NotDelivered: a snapshot could be neither pushed nor spooled.
    """
    times = Times.of(seconds, runtime.environment.push_timeout_s)
    invocation = Invocation(runtime)
    if invocation.settings.unfilled:
        return before_filled_in(invocation.settings)
    destinations = invocation.settings.destinations
    reports = {
        destination.name: DestinationReport(destination.name) for destination in destinations
    }
    samples: dict[str, int] = {}
    beginnings: dict[str, Beginning] = {}
    lock = threading.Lock()

    with ExitStack() as pools:
        spools, timed_pushes = (
            pools.enter_context(threads(_AT_ONCE, name)) for name in ("spool", "timed")
        )
        # Each destination has threads of its own, so that one that hangs does not block the others.
        pushes = {name: pools.enter_context(threads(_AT_ONCE, "push")) for name in reports}

        def begin(part: Snapshot) -> None:
            beginnings.setdefault(part.relay, Beginning()).add(part)

        def push_and_spool(result: ScrapeResult) -> None:
            piece = Piece(result.snapshot, beginning=beginnings.pop(result.relay.name, None))
            samples[result.relay.name] = piece.points + result.timed.samples
            push_ends = times.push.or_after(runtime.environment.push_timeout_s)
            outcomes = {name: Outcome.failed(piece, Unavailable(name, _NO_END)) for name in reports}
            outcomes |= ended(
                {
                    one.name: pushes[one.name].submit(
                        deliver, piece, one, runtime, invocation, push_ends
                    )
                    for one in destinations
                },
                times.push,
            )
            left = {
                (name, number): one
                for name, outcome in outcomes.items()
                for number, one in enumerate(outcome.left)
            }
            unkept = dict.fromkeys(left, "SQS gave no answer within the time") | ended(
                {key: spools.submit(_keep, runtime, key[0], one) for key, one in left.items()},
                times.spool,
            )
            failed = {
                name: outcome.error
                for name, outcome in outcomes.items()
                if not outcome.pushed
                and outcome.error is not None
                and not isinstance(outcome.error, Impossible)
            }
            timed = push_timed(
                result.timed,
                destinations,
                runtime,
                invocation,
                times.push,
                timed_pushes,
                failed,
                result.snapshot,
            )
            if not any(one.later for one in timed):
                result.taken()
            with lock:
                for name, outcome in outcomes.items():
                    of_name = [unkept[name, number] for number in range(len(outcome.left))]
                    reports[name].count(result.relay.name, outcome, of_name)
                for one in timed:
                    reports[one.destination].count_timed(one)

        results = scrape_all(runtime, invocation, event, times.fetch, push_and_spool, ready=begin)

    report = {
        "relays": [result.report(samples[result.relay.name]) for result in results],
        "destinations": [report_of.report() for report_of in reports.values()],
    }
    _log(report)
    count("RelaysDown", sum(not result.up for result in results))
    count(
        "PointsRejected",
        sum(report_of.rejected + report_of.dead_lettered for report_of in reports.values()),
    )
    if lost := [sentence for report_of in reports.values() for sentence in report_of.lost]:
        raise NotDelivered(f"{first_of(lost)}. The next run brings new ones")
    return report


def before_filled_in(settings: Settings) -> dict[str, Any]:
    """The report of a run before the secret is filled in, which does nothing."""
    destinations = [
        DestinationReport(one.name, errors=[f"destination {one.name}: {settings.unfilled[0]}"])
        for one in settings.destinations
    ]
    return {
        "relays": unasked(settings),
        "destinations": [one.report() for one in destinations],
    }


def _keep(runtime: Runtime, destination: str, left: Left) -> str | None:
    """Spool a piece, or put it into the dead-letter queue if it can never be pushed.

    Returns None, or why that failed.
    """
    try:
        if runtime.spool is None:
            return "SPOOL_QUEUE_URL is not set, so there is no spool"
        message = Message(destination, left.piece)
        if isinstance(left.error, Impossible):
            runtime.spool.bury(message, str(left.error))
        else:
            runtime.spool.put(message)
    except SpoolError as failure:
        return str(failure)
    except Exception as fault:  # noqa: BLE001 - a fault of ours must not cost the other relays
        logger.exception("a fault while spooling", extra={"destination": destination})
        return f"a fault of relay-metrics while spooling ({type(fault).__name__}), see the log"
    return None


def _log(report: Mapping[str, list[dict[str, Any]]]) -> None:
    """One line for each relay and each destination."""
    for relay in report["relays"]:
        level = logger.info if relay["error"] is None else logger.warning
        level("relay", extra={"relay": relay})
    for destination in report["destinations"]:
        level = logger.info if destination["error"] is None else logger.warning
        level("destination", extra={"destination": destination})
