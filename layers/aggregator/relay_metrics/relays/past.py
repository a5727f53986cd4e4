"""The types of a back-fill: what is asked for, the plan, and the figures of each past day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple, Protocol

from relay_metrics.snapshot import Reading


class Wanted(NamedTuple):
    """What a back-fill is asked to deliver.

    Attributes:
        first, last: the days, both inclusive, in the relay's own calendar; None if the event does
            not give them.
        models: whether a key's models are included for each day.
        scans: the most requests that make the relay scan its database.
        dry_run: whether only the plan is wanted; then no request may scan the database.
    """

    first: date | None
    last: date | None
    models: bool
    scans: int
    dry_run: bool = False


@dataclass
class Plan:
    """What a back-fill of one relay will do.

    Attributes:
        days: the days that will be delivered, ascending.
        last: the last day that was asked for, in the relay's calendar.
        requests: the number of requests to the relay, by endpoint.
        scans: how many of them scan its database.
        points: the most data points that will be delivered.
        remark: a sentence on what cannot be delivered; None if everything can.
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
        readings: each has its `time_ms`; their only resource attribute is `relay.key.id`.
        whole: whether all requests for this day succeeded.
    """

    day: date
    readings: tuple[Reading, ...]
    whole: bool = True


class Past(Protocol):
    """The past of one relay."""

    @property
    def plan(self) -> Plan:
        """What the back-fill will do."""

    def pieces(self) -> Iterator[Piece]:
        """The days of the plan, in their order, until the time is over.

        The requests for a day are sent when the iterator comes to it. Failures are counted.
        """


DAYS_BEFORE = 31
"""How many days are delivered if the event has no `from`."""


def requests_of(counts: Mapping[str, int]) -> dict[str, int]:
    """The endpoints with at least one request."""
    return {endpoint: count for endpoint, count in counts.items() if count}
