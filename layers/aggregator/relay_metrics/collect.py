"""A run: ask the relays, push what each says, spool what cannot be pushed, and report."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import dataclass, field
from typing import Any

from relay_metrics.deadline import Deadline
from relay_metrics.delivery import deliver, encode
from relay_metrics.errors import Impossible, NotDelivered, SpoolError, Unavailable
from relay_metrics.events import Event
from relay_metrics.observability import count, logger, redact
from relay_metrics.push import Encoded, Outcome
from relay_metrics.settings import Destination
from relay_metrics.snapshot import Snapshot
from relay_metrics.spool import Message
from relay_metrics.visit import Visit, threads, visit_all
from relay_metrics.warm import Invocation, Warm

_PUSHES_AT_ONCE = 32


@dataclass(frozen=True)
class Times:
    """How the time of an invocation is dealt out, so that what was fetched can still be spooled.

    Attributes:
        fetch: when the asking ends.
        push: when the pushing ends.
    """

    fetch: Deadline
    push: Deadline

    @classmethod
    def of(cls, seconds: float, push_timeout_s: float) -> Times:
        """The times of an invocation that has so many seconds left."""
        to_spool = min(max(1.0, 0.2 * seconds), 10.0)
        to_push = min(push_timeout_s, 0.3 * seconds)
        push = Deadline.after(seconds - to_spool)
        return cls(push.earlier(to_push), push)


@dataclass
class Tally:
    """What became of the data points that were for one destination.

    Attributes:
        lost: sentences on what could be neither pushed nor spooled.
    """

    pushed: int = 0
    spooled: int = 0
    rejected: int = 0
    errors: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def error(self) -> str | None:
        """A sentence; None where all went well."""
        distinct = list(dict.fromkeys(self.errors))
        if not distinct:
            return None
        more = f" (and {len(distinct) - 1} more)" if len(distinct) > 1 else ""
        return redact(distinct[0] + more)


def collect(warm: Warm, event: Event, seconds: float) -> dict[str, Any]:
    """Ask the relays that an event is for and deliver what they say.

    Args:
        seconds: what the invocation has left.

    Returns:
        The report: `{relays: [{name, kind, up, error, samples, duration_ms}],
        destinations: [{name, pushed, spooled, rejected, error}]}`; the counts are of data points.

    Raises:
        SecretError, SettingsError: there is nothing to go by.
        NotDelivered: a snapshot could be neither pushed nor spooled.
    """
    times = Times.of(seconds, warm.environment.push_timeout_s)
    invocation = Invocation(warm)
    destinations = invocation.settings.destinations
    tallies = {destination.name: Tally() for destination in destinations}
    samples: dict[str, int] = {}
    lock = threading.Lock()

    with threads(_PUSHES_AT_ONCE, "push") as pushes:

        def push_and_spool(visit: Visit) -> None:
            encoded = encode(visit.snapshot)
            points = encoded.points if isinstance(encoded, Encoded) else visit.snapshot.samples
            samples[visit.relay.name] = points
            started = [
                pushes.submit(deliver, encoded, destination, warm, invocation, times.push)
                for destination in destinations
            ]
            # a push ends at the deadline by itself, unless it hangs where no time-out reaches
            wait(started, timeout=times.push.left + 0.2)
            for destination, future in zip(destinations, started, strict=True):
                if future.done():
                    outcome = future.result()
                else:
                    outcome = Outcome(error=Unavailable(destination.name, "no end within the time"))
                part = _settle(warm, visit.snapshot, destination, points, outcome)
                with lock:
                    _add(tallies[destination.name], part)

        visits = visit_all(warm, invocation, event, times.fetch, push_and_spool)

    report = {
        "relays": [visit.report(samples[visit.relay.name]) for visit in visits],
        "destinations": [
            {
                "name": name,
                "pushed": tally.pushed,
                "spooled": tally.spooled,
                "rejected": tally.rejected,
                "error": tally.error,
            }
            for name, tally in tallies.items()
        ],
    }
    _log(report)
    count("RelaysDown", sum(not visit.up and visit.snapshot.scrape is not None for visit in visits))
    count("PointsRejected", sum(tally.rejected for tally in tallies.values()))
    if lost := [sentence for tally in tallies.values() for sentence in tally.lost]:
        raise NotDelivered(redact("; ".join(lost)))
    return report


def _settle(
    warm: Warm, snapshot: Snapshot, destination: Destination, points: int, outcome: Outcome
) -> Tally:
    """Keep a snapshot that was not pushed, and count what became of its points."""
    if outcome.error is None:
        tally = Tally(pushed=outcome.pushed, rejected=outcome.rejected)
        if outcome.rejected:
            said = f"{outcome.rejected} data points were rejected ({outcome.remark or 'no reason'})"
            tally.errors.append(f"destination {destination.name}: {said}")
        return tally
    reason = str(outcome.error)
    message = Message(destination.name, snapshot)
    try:
        if warm.spool is None:
            raise SpoolError("SPOOL_QUEUE_URL is not set, so there is no spool")
        if isinstance(outcome.error, Impossible):
            warm.spool.bury(message, reason)
            return Tally(rejected=points, errors=[f"{reason}; it is in the dead-letter queue"])
        warm.spool.put(message)
        return Tally(spooled=points, errors=[reason])
    except SpoolError as error:
        lost = (
            f"{points} data points of relay {snapshot.relay} are lost: {reason}; and {error}. "
            "The next run brings new ones"
        )
        return Tally(errors=[f"{reason}; {error}"], lost=[lost])


def _add(tally: Tally, part: Tally) -> None:
    tally.pushed += part.pushed
    tally.spooled += part.spooled
    tally.rejected += part.rejected
    tally.errors += part.errors
    tally.lost += part.lost


def _log(report: Mapping[str, list[dict[str, Any]]]) -> None:
    """One line a relay and a destination."""
    for relay in report["relays"]:
        level = logger.info if relay["error"] is None else logger.warning
        level("relay", extra={"relay": relay})
    for destination in report["destinations"]:
        level = logger.info if destination["error"] is None else logger.warning
        level("destination", extra={"destination": destination})
