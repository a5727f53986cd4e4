"""Whose turn it is, told by the clock alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TypeVar

T = TypeVar("T")


def in_turn(items: Sequence[T], count: int, scheduled_s: float) -> list[T]:
    """The items whose turn it is in a run: at most `count`, one after the other by the minute.

    In a round every item has its turn once, in order. Each round begins at another item, so that
    a schedule of any interval, which sees only some of the minutes, comes to all of them.

    Args:
        items: in an order that is the same in each run.
        scheduled_s: the instant that the run was scheduled for, epoch seconds.
    """
    if count >= len(items):
        return list(items)
    first = int(scheduled_s // 60) * count
    chosen: dict[int, None] = {}
    for turn in range(first, first + max(count, 0)):
        number, place = divmod(turn, len(items))
        begin = int.from_bytes(sha256(str(number).encode()).digest()[:8], "big")
        chosen[(begin + place) % len(items)] = None
    return [items[place] for place in chosen]


def shuffled(names: Iterable[str], scheduled_s: float) -> list[str]:
    """Names in an order that is another one each minute, and the same for all who ask in it.

    Args:
        scheduled_s: as `in_turn` has it.
    """
    minute = int(scheduled_s // 60)
    return sorted(names, key=lambda name: sha256(f"{minute} {name}".encode()).digest())
