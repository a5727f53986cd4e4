"""The calendar of a claude-relay: UTC plus a fixed offset, without daylight saving time."""

from __future__ import annotations

from typing import NamedTuple

DAY_S = 86_400


class Calendar(NamedTuple):
    """The relay's days begin at its midnight, and weeks at a day and hour that each key has.

    Attributes:
        now_s: the time of the run, epoch seconds.
        offset_s: the seconds by which the relay's clock is ahead of UTC.
    """

    now_s: float
    offset_s: float

    @classmethod
    def at(cls, time_ms: int, offset_hours: float) -> Calendar:
        """The calendar at a time in epoch milliseconds."""
        return cls(time_ms / 1000, offset_hours * 3600)

    @property
    def next_day_s(self) -> float:
        """When the next day begins, epoch seconds."""
        return (self.day + 1) * DAY_S - self.offset_s

    def next_week_s(self, day: int, hour: int) -> float:
        """When the next week of a key begins, epoch seconds.

        Args:
            day: the day on which its week begins, 1 for Monday to 7 for Sunday.
            hour: the hour at which its week begins, 0 to 23.
        """
        today = (self.day + 3) % 7 + 1  # 1970 began on a Thursday
        begins = (self.day + (day - today) % 7) * DAY_S + hour * 3600
        if begins <= self.now_s + self.offset_s:
            begins += 7 * DAY_S
        return begins - self.offset_s

    @property
    def day(self) -> int:
        """The current day of the relay, as the number of days since 1970-01-01."""
        return int((self.now_s + self.offset_s) // DAY_S)
