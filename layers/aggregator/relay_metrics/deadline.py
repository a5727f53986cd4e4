"""How long something may still take, and how the time of an invocation is divided."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from typing import NamedTuple, TypeVar

K = TypeVar("K")
T = TypeVar("T")

_GRACE_S = 0.2


class Deadline(NamedTuple):
    """A time of the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The time so many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """The seconds until it, 0 when it has passed."""
        return max(0.0, self.at - time.monotonic())

    def or_after(self, seconds: float) -> Deadline:
        """The earlier of this time and the one so many seconds from now."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    def earlier(self, seconds: float) -> Deadline:
        """The time so many seconds before this one."""
        return Deadline(self.at - seconds)


class Times(NamedTuple):
    """How the time of an invocation is divided, so that what was fetched can still be spooled.

    Attributes:
        fetch: when the asking ends.
        push: when the pushing ends.
        spool: when the spooling ends, with just enough left to say what was lost.
    """

    fetch: Deadline
    push: Deadline
    spool: Deadline

    @classmethod
    def of(cls, seconds: float, push_timeout_s: float) -> Times:
        """The times of an invocation that has so many seconds left."""
        to_spool = min(max(1.0, 0.2 * seconds), 10.0)
        to_push = min(push_timeout_s, 0.3 * seconds)
        push = Deadline.after(seconds - to_spool)
        spool = Deadline.after(seconds - max(0.3, 0.1 * to_spool))
        return cls(push.earlier(to_push), push, spool)


def ended(futures: Mapping[K, Future[T]], deadline: Deadline) -> dict[K, T]:
    """What those gave that came to an end before the deadline.

    Each ends there by itself, unless it hangs where no time-out reaches.
    """
    wait(futures.values(), timeout=deadline.left + _GRACE_S)
    return {key: future.result() for key, future in futures.items() if future.done()}
