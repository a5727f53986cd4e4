"""How much memory the answers of relays may take at once, before they are read and parsed."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any

from relay_metrics.deadline import Deadline
from relay_metrics.errors import ExchangeError

_OF_THE_FUNCTION = 0.45
"""What the answers may take of the function's memory; the rest is Python and what is delivered."""
_OF_ONE_RELAY = 0.55
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""Of malloc.h."""
SMALL = 4 << 20
"""The bytes up to which an answer is not counted: a page of a hundred keys takes less."""
_ELEMENT = 70
"""The bytes that an element of JSON takes at most, by its comma, colon or bracket: measured with
lists, objects, short texts and short keys, which take most for their length."""


def json_size(body: bytes | bytearray) -> int:
    """The bytes that parsing JSON takes at most, told without parsing it."""
    # a text is as wide as the widest of its characters, and exists twice while it is parsed
    wide = 2 if body.isascii() else 8 if any(map(body.count, _FOUR_BYTES)) else 4
    return wide * len(body) + _ELEMENT * sum(map(body.count, (b",", b":", b"[", b"{")))


_FOUR_BYTES = tuple(bytes([first]) for first in range(0xF0, 0xF8))


@cache
def _return_freed_memory() -> None:
    """Have large blocks given back to the system when they are freed, and others used again.

    By itself glibc keeps what it has seen freed once, an arena a thread: eight threads that have
    read 8 MiB each keep 140 MB, and the thread of the next run reads its million samples beside
    what that of the run before has freed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:  # of glibc alone
        mallopt(_M_MMAP_THRESHOLD, 1 << 17)
        mallopt(_M_ARENA_MAX, 1)


class Memory:
    """What is left for the answers of one run: one relay never takes it all.

    Large answers of one relay go one after the other, so that none waits for room that another
    one of them has.

    Args:
        function_mb: the memory of the function, MiB.
        relays: how many are asked.

    Attributes:
        share: the bytes that the answers of one relay may take.
    """

    def __init__(self, function_mb: int, relays: int) -> None:
        _return_freed_memory()
        self._left = int(function_mb * (1 << 20) * _OF_THE_FUNCTION)
        self.share = int(self._left * _OF_ONE_RELAY) if relays > 1 else self._left
        # by its id: what refers to a room keeps it from being forgotten
        self._rooms: dict[str, int] = {}
        self._changed = threading.Condition()

    def room(self, relay: str) -> Room:
        """Room for one answer of a relay, of which nothing is taken yet."""
        return Room(self, relay)

    def take(self, room: Room, size: int, deadline: Deadline) -> None:
        """As `Room.take`."""

        def free() -> bool:
            return self._rooms.get(room.relay, id(room)) == id(room) and size <= self._left

        with self._changed:
            enough = room.size + size <= self.share
            if not enough or not self._changed.wait_for(free, deadline.left):
                message = "reading the answer would take more memory than there is for one relay"
                raise ExchangeError("memory", message)
            self._rooms[room.relay] = id(room)
            self._left -= size
            room.size += size

    def give_back(self, room: Room) -> None:
        """As `Room.give_back`."""
        with self._changed:
            if self._rooms.get(room.relay) == id(room):
                del self._rooms[room.relay]
                self._left += room.size
                room.size = 0
                self._changed.notify_all()


class Room:
    """The memory that one answer has, until it is given back or forgotten.

    Attributes:
        size: its bytes; 0 for an answer that is too small to be counted.
    """

    def __init__(self, memory: Memory, relay: str) -> None:
        self.relay = relay
        self.size = 0
        self._memory = memory

    def take(self, size: int, deadline: Deadline) -> None:
        """Take some more, or wait for it.

        Raises:
            ExchangeError: there never is so much, or not before the deadline.
        """
        if self.size or size > SMALL:
            self._memory.take(self, size, deadline)

    def give_back(self) -> None:
        """Give back all of it."""
        self._memory.give_back(self)

    __del__ = give_back


class Parsed(dict[str, Any]):
    """A JSON object that has its room for as long as it lives."""

    room: Room
