"""Telling the day before live: once when it is over, once more before the relay's noon."""

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
"""After midnight: what was under way is counted then."""
_AGAIN_S, _NOON_S = 39_600, 43_200
_ONE_BY_ONE = 200
"""Keys that a run asks for one by one, where the relay may have made up a price."""


class Told(NamedTuple):
    """The day that was told last, and on which second of the next one."""

    day: date
    at_s: float


class DayBefore:
    """The day before a run.

    Attributes:
        readings: its figures; none where it is not their turn.
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
        """Whether it has to be told: by an environment that has not, or once more."""
        told = self._kept.days_told.get(self._place)
        if told is None or told.day != self._day:
            return self._at_s > _OVER_S
        return told.at_s < _AGAIN_S <= self._at_s < _NOON_S

    def rounds(self, may_scan: Callable[[int], bool]) -> Iterator[Round]:
        """Its requests.

        Args:
            may_scan: takes so many scans of those that the run has left; False where it has not.
        """
        days = self._days
        yield from days.ask_used()
        if days.today is None:
            if days.whole:  # an older relay has no past
                self.taken()
            return
        if days.today <= self._day:
            return  # its clock is behind ours
        if self._day in days.used:
            if not may_scan(days.scans_since(self._day)):
                return
            yield from days.ask_list()
            yield from days.ask_since(self._day)
            if not days.keys_told:
                return
            yield from days.ask_models(self._day, all_keys=False, most=_ONE_BY_ONE)
        if self._day in days.over:
            self.readings = days.readings(self._day, models=False)
        else:
            self.taken()

    def taken(self) -> None:
        """Note that it is told."""
        self._kept.days_told[self._place] = Told(self._day, self._at_s)
