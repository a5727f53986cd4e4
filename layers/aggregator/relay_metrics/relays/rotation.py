"""Chooses which items a run asks for, from the time alone, so that no state has to be kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TypeVar

T = TypeVar("T")


def in_turn(items: Sequence[T], count: int, scheduled_s: float) -> list[T]:
    """The items of a run: at most `count`, the next ones each minute.

    A round covers every item once, in order. Each round begins at another item, so that a schedule
    that runs in only some of the minutes still covers all items.

    Args:
        items: in the same order in each run.
        scheduled_s: the scheduled time of the run, epoch seconds.
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
    """Names in an order that changes each minute and is the same for all runs of one minute.

    Args:
        scheduled_s: the scheduled time of the run, epoch seconds.
    """
    minute = int(scheduled_s // 60)
    return sorted(names, key=lambda name: sha256(f"{minute} {name}".encode()).digest())
