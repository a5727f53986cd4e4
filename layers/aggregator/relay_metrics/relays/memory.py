"""Limits the memory that the answers of relays take at once. It is reserved before parsing."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any

from relay_metrics.deadline import Deadline
from relay_metrics.errors import ExchangeError

_OF_THE_FUNCTION = 0.45
"""The part of the function's memory for answers; Python and the delivery need the rest."""
_OF_ONE_RELAY = 0.55
"""The part of that which one of several relays may take."""
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""The values of these constants in glibc's malloc.h."""
SMALL = 4 << 20
"""Answers up to this many bytes are not counted; a page of a hundred keys is smaller."""
_ELEMENT = 70
"""The most bytes of memory for each comma, colon and bracket of JSON. Measured with lists, objects,
short texts and short keys, which take the most memory for their length."""


def json_size(body: bytes | bytearray) -> int:
    """The most bytes that parsing a JSON text can take, estimated without parsing it."""
    # Python stores all characters of a text as wide as the widest one, and while the text is
    # parsed it exists twice.
    wide = 2 if body.isascii() else 8 if any(map(body.count, _FOUR_BYTES)) else 4
    return wide * len(body) + _ELEMENT * sum(map(body.count, (b",", b":", b"[", b"{")))


_FOUR_BYTES = tuple(bytes([first]) for first in range(0xF0, 0xF8))


@cache
def _return_freed_memory() -> None:
    """Make glibc return large freed blocks to the system and use one arena for all threads.

    By default each thread has an arena that keeps freed memory: eight threads that have read
    8 MiB each keep 140 MB, and the next run needs its memory in addition to that.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:  # only glibc has it
        mallopt(_M_MMAP_THRESHOLD, 1 << 17)
        mallopt(_M_ARENA_MAX, 1)


class Memory:
    """The memory for the answers of one run. One of several relays cannot reserve all of it.

    A relay can have only one large answer at a time, so that its answers never wait for each
    other's memory.

    Args:
        function_mb: the memory of the function, MiB.
        relays: how many relays are scraped.

    Attributes:
        share: the bytes that the answers of one relay may take.
    """

    def __init__(self, function_mb: int, relays: int) -> None:
        _return_freed_memory()
        self._left = int(function_mb * (1 << 20) * _OF_THE_FUNCTION)
        self.share = int(self._left * _OF_ONE_RELAY) if relays > 1 else self._left
        # The id of a room, not the room itself: a reference would keep it from being collected.
        self._rooms: dict[str, int] = {}
        self._waiting: set[int] = set()
        self._changed = threading.Condition()

    def room(self, relay: str) -> Room:
        """A room for one answer of a relay; it is empty at first."""
        return Room(self, relay)

    def take(self, room: Room, size: int, deadline: Deadline) -> None:
        """See `Room.take`."""

        def free() -> bool:
            return self._rooms.get(room.relay, id(room)) == id(room) and size <= self._left

        def settled() -> bool:
            # if all that hold memory wait for more, one has to give up, or all wait in vain
            return free() or self._waiting.issuperset(self._rooms.values())

        with self._changed:
            enough = room.size + size <= self.share
            self._waiting.add(id(room))
            waited = enough and self._changed.wait_for(settled, deadline.left)
            self._waiting.discard(id(room))
            if not waited or not free():
                message = "reading the answer would take more memory than there is for one relay"
                raise ExchangeError("memory", message)
            self._rooms[room.relay] = id(room)
            self._left -= size
            room.size += size

    def give_back(self, room: Room) -> None:
        """See `Room.give_back`."""
        with self._changed:
            if self._rooms.get(room.relay) == id(room):
                del self._rooms[room.relay]
                self._left += room.size
                room.size = 0
                self._changed.notify_all()


class Room:
    """The memory reserved for one answer, until it is given back or the room is collected.

    Attributes:
        size: the bytes reserved; 0 for an answer that is too small to be counted.
    """

    def __init__(self, memory: Memory, relay: str) -> None:
        self.relay = relay
        self.size = 0
        self._memory = memory

    def take(self, size: int, deadline: Deadline) -> None:
        """Reserve more bytes; waits until they are free.

        Raises:
            ExchangeError: it is more than the relay's share, or was not free before the deadline.
        """
        if self.size or size > SMALL:
            self._memory.take(self, size, deadline)

    def give_back(self) -> None:
        """Give back all reserved bytes."""
        self._memory.give_back(self)

    __del__ = give_back


class Parsed(dict[str, Any]):
    """A parsed JSON object that holds its room for as long as it exists."""

    room: Room
