"""What a relay tells of its past: asked for by a back-fill, a day at a time, the oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple, Protocol

from relay_metrics.snapshot import Reading


class Wanted(NamedTuple):
    """What a back-fill is to tell.

    Attributes:
        first, last: days, both inclusive, by the relay's own calendar; None where the event leaves
            it to the relay's kind.
        models: whether a key's models are told by day as well.
        scans: requests that make the relay walk its database, at most.
        dry_run: only the plan is asked for, so that nothing may be asked that walks.
    """

    first: date | None
    last: date | None
    models: bool
    scans: int
    dry_run: bool = False


@dataclass
class Plan:
    """What a back-fill of one relay takes.

    Attributes:
        days: what will be told, ascending.
        last: of what was wanted, by the relay's calendar.
        requests: what will be asked of the relay, by endpoint.
        scans: how many walks of its database those are.
        points: how many data points will be told, at most.
        remark: a sentence on what cannot be told; None where all can.
    """

    days: list[date]
    last: date
    requests: dict[str, int] = field(default_factory=dict)
    scans: int = 0
    points: int = 0
    remark: str | None = None


class Piece(NamedTuple):
    """The figures of one day.

    Attributes:
        readings: each with its `time_ms`; of their resource only `relay.key.id` is set.
        whole: whether the relay answered everything that it was asked.
    """

    day: date
    readings: tuple[Reading, ...]
    whole: bool = True


class Past(Protocol):
    """The past of one relay."""

    @property
    def plan(self) -> Plan:
        """What is going to be asked and told."""

    def pieces(self) -> Iterator[Piece]:
        """The days of the plan, in their order, as far as the time goes.

        What each takes is asked for when its turn comes. A request that fails is counted.
        """


DAYS_BEFORE = 31
"""How many days before the last one are told where the event names no first one."""


def requests_of(counts: Mapping[str, int]) -> dict[str, int]:
    """Those that are asked at all."""
    return {endpoint: count for endpoint, count in counts.items() if count}
