"""What became of the data points of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from relay_metrics.deliver.push import Outcome
from relay_metrics.deliver.timed import Told
from relay_metrics.errors import Impossible
from relay_metrics.observability import redact


@dataclass
class DestinationReport:
    """What became of those that were for one destination.

    Attributes:
        name: of the destination.
        errors: sentences on what failed.
        lost: sentences on what could be neither pushed nor spooled.
    """

    name: str
    pushed: int = 0
    spooled: int = 0
    rejected: int = 0
    errors: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """Its place in the report."""
        return {
            "name": self.name,
            "pushed": self.pushed,
            "spooled": self.spooled,
            "rejected": self.rejected,
            "error": first_of(self.errors),
        }

    def count(self, relay: str, points: int, outcome: Outcome, unkept: str | None) -> None:
        """Count the points of one relay.

        Args:
            points: all that there were.
            outcome: of their push.
            unkept: why the queue did not take those of a failed push; None where it did.
        """
        if outcome.error is None:
            self._count_taken(outcome)
            return
        reason = str(outcome.error)
        if unkept is not None:
            self.errors.append(f"{reason}; {unkept}")
            self.lost.append(f"{points} data points of relay {relay} are lost: {reason}; {unkept}")
        elif isinstance(outcome.error, Impossible):
            self.rejected += points
            self.errors.append(f"{reason}; they are in the dead-letter queue")
        else:
            self.spooled += points
            self.errors.append(reason)

    def count_told(self, told: Told) -> None:
        """Count the points of one relay that have a time of their own."""
        self._count_taken(told.outcome)
        if told.error is not None:
            self.errors.append(told.error)

    def _count_taken(self, outcome: Outcome) -> None:
        self.pushed += outcome.pushed
        self.rejected += outcome.rejected
        if outcome.rejected:
            said = f"{outcome.rejected} data points were rejected"
            self.errors.append(f"destination {self.name}: {said} ({outcome.remark or 'no reason'})")


def first_of(sentences: Iterable[str]) -> str | None:
    """The first of several sentences, and how many others there are; None where there is none."""
    distinct = list(dict.fromkeys(sentences))
    if not distinct:
        return None
    return redact(distinct[0]) + (f" (and {len(distinct) - 1} more)" if distinct[1:] else "")
