"""Delivers the day before in the scheduled runs: once it is over, and again before noon.

Days, midnight and noon are those of the relay's own calendar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import NamedTuple

from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.days import Days, Round
from relay_metrics.relays.claude.records import State
from relay_metrics.relays.client import RelayClient
from relay_metrics.snapshot import Reading

_DAY_S = 86_400
_OVER_S = 600
"""Seconds after midnight until requests that were running then are counted."""
_AGAIN_S, _NOON_S = 39_600, 43_200
_ONE_BY_ONE = 200
"""For how many keys a run requests the models, because their cost may be an estimate."""


class Delivered(NamedTuple):
    """The day that was last delivered, and at which second of the next day."""

    day: date
    at_s: float


class DayBefore:
    """The day before a run.

    Attributes:
        readings: its figures; empty if they could not be fetched in this run.
    """

    def __init__(self, client: RelayClient, kept: State, administrator: Administrator) -> None:
        self.readings: list[Reading] = []
        self._client = client
        self._kept = kept
        base_url = client.relay.base_url
        offset_hours = kept.utc_offset_hours.get(base_url, client.environment.utc_offset_hours)
        day, self._at_s = divmod(client.time_ms / 1000 + offset_hours * 3600, _DAY_S)
        self._day = date(1970, 1, 1) + timedelta(days=day - 1)
        self._days = Days(client, administrator, offset_hours)
        self._place = base_url, client.shard.index, client.shard.count

    @property
    def due(self) -> bool:
        """Whether the day has to be delivered, for the first time or again before noon."""
        last = self._kept.days_delivered.get(self._place)
        if last is None or last.day != self._day:
            return self._at_s > _OVER_S
        return last.at_s < _AGAIN_S <= self._at_s < _NOON_S

    def rounds(self, may_scan: Callable[[int], bool]) -> Iterator[Round]:
        """Its requests.

        Args:
            may_scan: reserves a number of the scans that the run has left; returns False if it has
                fewer.
        """
        days = self._days
        yield from days.ask_used()
        if days.today is None:
            if days.whole:  # no failure: the relay is too old to have past days
                self.taken()
            return
        if days.today <= self._day:
            return  # the relay's clock is behind ours
        if self._day in days.used:
            if not may_scan(days.scans_since(self._day)):
                return
            yield from days.ask_list()
            yield from days.ask_since(self._day)
            if not days.keys_answered:
                return
            yield from days.ask_models(self._day, all_keys=False, most=_ONE_BY_ONE)
        if self._day in days.over:
            self.readings = days.readings(self._day, models=False)
        else:
            self.taken()

    def taken(self) -> None:
        """Remember that the day was delivered."""
        self._kept.days_delivered[self._place] = Delivered(self._day, self._at_s)
