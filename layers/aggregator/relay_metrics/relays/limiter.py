"""How many requests may be under way at once over all relays, and each relay's share of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from relay_metrics.deadline import Deadline
from relay_metrics.errors import TimedOut


class Limiter:
    """Equal shares of the relays that are still asked: one that hangs holds up its own alone.

    A relay that is done leaves its share to the others.

    Args:
        most: requests under way at once, over all relays.
        relays: their names.
    """

    def __init__(self, most: int, relays: Iterable[str]) -> None:
        self._most = most
        self._under_way = dict.fromkeys(relays, 0)
        self._asked = set(self._under_way)
        self._changed = threading.Condition()

    @contextmanager
    def request(self, relay: str, deadline: Deadline) -> Iterator[None]:
        """While a request of a relay is under way, which begins when its turn has come.

        Raises:
            TimedOut: it did not come before the deadline.
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
        """A relay is done."""
        with self._changed:
            self._asked.discard(relay)
            self._changed.notify_all()

    def _has_turn(self, relay: str) -> bool:
        share = max(self._most // max(len(self._asked), 1), 1)
        return self._under_way[relay] < share and sum(self._under_way.values()) < self._most
