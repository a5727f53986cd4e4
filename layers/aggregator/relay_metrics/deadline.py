"""Deadlines, and how the time of an invocation is divided."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from typing import NamedTuple, TypeVar

K = TypeVar("K")
T = TypeVar("T")

_GRACE_S = 0.2


class Deadline(NamedTuple):
    """A point in time on the monotonic clock, in seconds."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """A deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """The seconds until the deadline; 0 after it has passed."""
        return max(0.0, self.at - time.monotonic())

    def or_after(self, seconds: float) -> Deadline:
        """This deadline, or the one `seconds` from now if that is earlier."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    def earlier(self, seconds: float) -> Deadline:
        """The deadline `seconds` before this one."""
        return Deadline(self.at - seconds)


class Times(NamedTuple):
    """How the time of an invocation is divided, so that fetched data can always be spooled.

    Attributes:
        fetch: when requests to relays end.
        push: when pushes to destinations end.
        spool: when writes to the spool end. The time after it is for reporting what was lost.
    """

    fetch: Deadline
    push: Deadline
    spool: Deadline

    @classmethod
    def of(cls, seconds: float, push_timeout_s: float) -> Times:
        """The times of an invocation that has `seconds` left."""
        to_spool = min(max(1.0, 0.2 * seconds), 10.0)
        to_push = min(push_timeout_s, 0.3 * seconds)
        push = Deadline.after(seconds - to_spool)
        spool = Deadline.after(seconds - max(0.3, 0.1 * to_spool))
        return cls(push.earlier(to_push), push, spool)


def ended(futures: Mapping[K, Future[T]], deadline: Deadline) -> dict[K, T]:
    """The results of the futures that ended before the deadline, by key.

    Each future ends by itself then, unless it hangs in a call that has no time-out.
    """
    wait(futures.values(), timeout=deadline.left + _GRACE_S)
    return {key: future.result() for key, future in futures.items() if future.done()}
