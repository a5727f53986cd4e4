"""Limits the concurrent requests over all relays, with an equal share for each relay."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from relay_metrics.deadline import Deadline
from relay_metrics.errors import TimedOut


class Limiter:
    """Gives each relay an equal share of the concurrent requests.

    A relay that hangs so only delays its own requests. When a relay is done, the others get its
    share.

    Args:
        most: the concurrent requests allowed over all relays.
        relays: the names of the relays.
    """

    def __init__(self, most: int, relays: Iterable[str]) -> None:
        self._most = most
        self._under_way = dict.fromkeys(relays, 0)
        self._asked = set(self._under_way)
        self._changed = threading.Condition()

    @contextmanager
    def request(self, relay: str, deadline: Deadline) -> Iterator[None]:
        """Wait until the relay may send a request; the request is counted within the `with`.

        Raises:
            TimedOut: the deadline passed first.
        """
        with self._changed:
            seconds = deadline.left
            if not self._changed.wait_for(lambda: self._has_turn(relay), seconds):
                raise TimedOut(seconds)
            self._under_way[relay] += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way[relay] -= 1
                self._changed.notify_all()

    def leave(self, relay: str) -> None:
        """Release the share of a relay that is done."""
        with self._changed:
            self._asked.discard(relay)
            self._changed.notify_all()

    def _has_turn(self, relay: str) -> bool:
        share = max(self._most // max(len(self._asked), 1), 1)
        return self._under_way[relay] < share and sum(self._under_way.values()) < self._most
