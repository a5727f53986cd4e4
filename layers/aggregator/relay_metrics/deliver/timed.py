"""Delivering figures with a time of their own: told again they replace, and they are not spooled.

What a destination did not take is asked again by a later run, or by a back-fill.
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
from relay_metrics.errors import Impossible, PushError, Unavailable
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.settings import Destination
from relay_metrics.snapshot import Snapshot

NO_FAILURES: Mapping[str, PushError] = MappingProxyType({})
_READINGS = 2000
"""Pushed at once: all minutes of a day, of every model and key, are not encoded as a whole."""


@dataclass
class Told:
    """What became of the figures at one destination.

    Attributes:
        destination: its name.
        relay: whose figures they are.
        outcome: the points that it took or rejected, and why it did not take the rest.
        missing: the times of the first and the last figure that it did not take, epoch
            milliseconds; None where it took all.
    """

    destination: str
    relay: str
    outcome: Outcome = field(default_factory=Outcome)
    missing: tuple[int, int] | None = None

    @property
    def later(self) -> bool:
        """Whether something was not taken that can be, once the destination is well."""
        return any(not isinstance(one.error, Impossible) for one in self.outcome.left)

    @property
    def error(self) -> str | None:
        """A sentence that says from when to when figures are missing; None where none are."""
        if self.missing is None:
            return None
        first, last = (
            datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="minutes")
            for at in self.missing
        )
        what = f"figures of relay {self.relay} from {first} to {last}"
        return f"{self.outcome.error}; {what} are missing"


def tell(
    snapshot: Snapshot,
    destinations: Iterable[Destination],
    runtime: Runtime,
    invocation: Invocation,
    deadline: Deadline,
    pool: Executor,
    failed: Mapping[str, PushError] = NO_FAILURES,
) -> list[Told]:
    """Push figures with a time of their own, the oldest first, a bounded part at a time.

    A destination that cannot take a part at present is not sent the later ones. One that does not
    keep the last write is sent nothing.

    Args:
        snapshot: of readings that have a time each.
        pool: runs the pushes, so that one that hangs holds up nobody.
        failed: why destinations, by name, took nothing of this run: they are not tried again.
    """
    keepers = {one.name: one for one in destinations if one.overwrites}
    told = {name: Told(name, snapshot.relay) for name in keepers}
    times = sorted(
        (reading.time_ms or snapshot.time_ms, at) for at, reading in enumerate(snapshot.readings)
    )
    for name in told.keys() & failed.keys() if times else ():
        untried = Outcome(left=[Left(Piece(snapshot), failed[name], snapshot.samples)])
        told[name] = Told(name, snapshot.relay, untried, (times[0][0], times[-1][0]))
    for start in range(0, len(times), _READINGS):
        chosen = [snapshot.readings[at] for _, at in times[start : start + _READINGS]]
        taking = [one for name, one in keepers.items() if not told[name].later]
        if not taking:
            break
        piece = Piece(replace(snapshot, readings=chosen))
        late = {
            one.name: Outcome.failed(piece, Unavailable(one.name, "no end within the time"))
            for one in taking
        }
        # now that it is encoded, which takes no time of a push
        ends = deadline.or_after(runtime.environment.push_timeout_s)
        pushes = {
            one.name: pool.submit(deliver, piece, one, runtime, invocation, ends) for one in taking
        }
        for name, outcome in (late | ended(pushes, deadline)).items():
            told[name].outcome.add(outcome)
            if outcome.error is not None:
                first_ms, _ = told[name].missing or times[start]
                ends_at = -1 if told[name].later else start + len(chosen) - 1
                told[name].missing = first_ms, times[ends_at][0]
    return list(told.values())
