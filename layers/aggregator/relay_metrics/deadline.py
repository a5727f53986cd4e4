"""How long something may still take."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant of the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The instant so many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """The seconds until it, 0 when it has passed."""
        return max(0.0, self.at - time.monotonic())

    def or_after(self, seconds: float) -> Deadline:
        """The earlier of this instant and the one so many seconds from now."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    def earlier(self, seconds: float) -> Deadline:
        """The instant so many seconds before this one."""
        return Deadline(self.at - seconds)
