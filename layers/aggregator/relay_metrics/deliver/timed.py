"""Delivers figures that have timestamps of their own: sums of minutes and days that are over.

Sending them again replaces them, so they are not spooled: a later run or a back-fill fetches
again what a destination did not accept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType

from relay_metrics.deadline import Deadline, ended
from relay_metrics.deliver.delivery import Left, Outcome, deliver
from relay_metrics.deliver.pieces import Piece
from relay_metrics.errors import Impossible, Incompatible, PushError, Unavailable
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.settings import Destination
from relay_metrics.snapshot import Scrape, Snapshot

NO_FAILURES: Mapping[str, PushError] = MappingProxyType({})
_READINGS = 2000
"""How many readings are pushed at once. It bounds the memory: a day has one reading for each
minute, model and key."""


@dataclass
class TimedOutcome:
    """How the delivery to one destination ended.

    Attributes:
        destination: its name.
        relay: the name of the relay that the figures come from.
        outcome: how many points it accepted or rejected, and why it did not accept the rest.
        missing: the timestamps of the first and the last figure that it did not accept, epoch
            milliseconds; None if it accepted all.
    """

    destination: str
    relay: str
    outcome: Outcome = field(default_factory=Outcome)
    missing: tuple[int, int] | None = None

    @property
    def later(self) -> bool:
        """Whether a piece failed temporarily, so that the destination may accept it later."""
        return any(not isinstance(one.error, Impossible) for one in self.outcome.left)

    @property
    def error(self) -> str | None:
        """A sentence with the period of which figures are missing; None if none are."""
        if self.missing is None:
            return None
        first, last = (
            datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="minutes")
            for at in self.missing
        )
        what = f"figures of relay {self.relay} from {first} to {last}"
        return f"{self.outcome.error}; {what} are missing"


def push_timed(
    snapshot: Snapshot,
    destinations: Iterable[Destination],
    runtime: Runtime,
    invocation: Invocation,
    deadline: Deadline,
    pool: Executor,
    failed: Mapping[str, PushError] = NO_FAILURES,
    run: Snapshot | None = None,
) -> list[TimedOutcome]:
    """Push figures with timestamps of their own, the oldest first, a bounded part at a time.

    After a temporary failure a destination gets no later parts. A destination that does not keep
    the last write of a series and timestamp gets nothing.

    Args:
        snapshot: its readings have `time_ms`.
        pool: runs the pushes, so that one that hangs does not block the others.
        failed: errors of destinations, by name, that accepted nothing of this run and are not
            tried again.
        run: the snapshot of the same run, for its `relay_up`; None for a back-fill, which has none.
    """
    keepers = {one.name: one for one in destinations if one.overwrites}
    found = {name: TimedOutcome(name, snapshot.relay) for name in keepers}
    carried = None
    if run is not None and run.scrape is not None:
        carried = run.scrape.to_carry(run.resource)
    times = sorted(
        (reading.time_ms or snapshot.time_ms, at) for at, reading in enumerate(snapshot.readings)
    )
    for name in found.keys() & failed.keys() if times else ():
        untried = Outcome(left=[Left(Piece(snapshot), failed[name], snapshot.samples)])
        found[name] = TimedOutcome(name, snapshot.relay, untried, (times[0][0], times[-1][0]))
    for start in range(0, len(times), _READINGS):
        chosen = [snapshot.readings[at] for _, at in times[start : start + _READINGS]]
        taking = [one for name, one in keepers.items() if not found[name].later]
        if not taking:
            break
        piece = Piece(replace(snapshot, readings=chosen))
        late = {
            one.name: Outcome.failed(piece, Unavailable(one.name, "no end within the time"))
            for one in taking
        }
        # The time of the pushes begins here, after the encoding.
        ends = deadline.or_after(runtime.environment.push_timeout_s)
        pushes = {
            one.name: pool.submit(_deliver, piece, carried, one, runtime, invocation, ends)
            for one in taking
        }
        for name, outcome in (late | ended(pushes, deadline)).items():
            found[name].outcome.add(outcome)
            if outcome.error is not None:
                first_ms, _ = found[name].missing or times[start]
                ends_at = -1 if found[name].later else start + len(chosen) - 1
                found[name].missing = first_ms, times[ends_at][0]
    return list(found.values())


def _deliver(
    piece: Piece,
    carried: Scrape | None,
    destination: Destination,
    runtime: Runtime,
    invocation: Invocation,
    deadline: Deadline,
) -> Outcome:
    """Push a piece; what is refused for incompatible tables is split with a repeated `relay_up`.

    Without it, a part could name only tables that GreptimeDB would damage. It does not come first,
    as its own table can be the incompatible one, which must not cost the figures.
    """
    outcome = deliver(piece, destination, runtime, invocation, deadline)
    left, outcome.left = outcome.left, []
    for one in left:
        if carried is None or not isinstance(one.error, Incompatible):
            outcome.left.append(one)
        else:
            again = Piece(replace(one.piece.snapshot, scrape=carried))
            outcome.add(deliver(again, destination, runtime, invocation, deadline))
    return outcome
