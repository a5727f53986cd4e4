"""The report of a run: how many data points were pushed, spooled, rejected or lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay_metrics.deliver.delivery import Left, Outcome
from relay_metrics.deliver.timed import TimedOutcome
from relay_metrics.errors import Impossible
from relay_metrics.observability import redact


@dataclass
class DestinationReport:
    """The counts of data points for one destination.

    Attributes:
        name: of the destination.
        write_cost: the cost of the writes as it reports it; None if it does not.
        errors: a sentence for each failure.
        lost: a sentence for each piece that could be neither pushed nor spooled.
    """

    name: str
    pushed: int = 0
    spooled: int = 0
    rejected: int = 0
    dead_lettered: int = 0
    write_cost: float | None = None
    errors: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """The destination's object in the report, as JSON values."""
        return {
            "name": self.name,
            "pushed": self.pushed,
            "spooled": self.spooled,
            "rejected": self.rejected,
            "dead_lettered": self.dead_lettered,
            "write_cost": self.write_cost,
            "error": first_of(self.errors),
        }

    def count(self, relay: str, outcome: Outcome, unkept: Sequence[str | None]) -> None:
        """Count the points of one relay.

        Args:
            outcome: of their push.
            unkept: for each piece of `outcome.left`, why the queue did not accept it; None if it
                did.
        """
        self._count_taken(outcome)
        for left, why in zip(outcome.left, unkept, strict=True):
            self._count_left(relay, left, why)

    def _count_left(self, relay: str, left: Left, unkept: str | None) -> None:
        reason = str(left.error)
        if unkept is not None:
            self.errors.append(f"{reason}; {unkept}")
            lost = f"{left.points} data points of relay {relay} are lost"
            self.lost.append(f"{lost}: {reason}; {unkept}")
        elif isinstance(left.error, Impossible):
            self.dead_lettered += left.points
            self.errors.append(f"{reason}; they are in the dead-letter queue")
        else:
            self.spooled += left.points
            self.errors.append(reason)

    def count_timed(self, timed: TimedOutcome) -> None:
        """Count the points of one relay that have timestamps of their own."""
        self._count_taken(timed.outcome)
        if timed.error is not None:
            self.errors.append(timed.error)

    def _count_taken(self, outcome: Outcome) -> None:
        self.pushed += outcome.pushed
        self.rejected += outcome.rejected
        if outcome.write_cost is not None:
            self.write_cost = (self.write_cost or 0) + outcome.write_cost
        if outcome.rejected:
            said = f"{outcome.rejected} data points were rejected"
            self.errors.append(f"destination {self.name}: {said} ({outcome.remark or 'no reason'})")


def first_of(sentences: Iterable[str]) -> str | None:
    """The first of several sentences, and how many others there are; None if there is none."""
    distinct = list(dict.fromkeys(sentences))
    if not distinct:
        return None
    return redact(distinct[0]) + (f" (and {len(distinct) - 1} more)" if distinct[1:] else "")
