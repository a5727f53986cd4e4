"""Computes how long the spool takes to empty once a destination works again.

    python -m scripts.spool_drain                       write the table of docs/failures.md
    python -m scripts.spool_drain MINUTES KEYS SECONDS  one line, for an outage of so many minutes,
                                                        so many keys, and so many seconds a push

Computed from the redriver's own delay rule and its settings in the template: how many run at
once, and how many messages each is given.
"""

from __future__ import annotations

import heapq
import math
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from relay_metrics.deliver.spool import MAX_MESSAGE_BYTES
from relay_metrics.redrive import LONGEST_DELAY_S, delay_s

ROOT: Final = Path(__file__).parents[1]
FILE: Final = ROOT / "docs" / "failures.md"
BEGIN, END = "<!-- computed -->\n", "<!-- /computed -->\n"

MESSAGE_BYTES_A_KEY: Final = 300
"""The most bytes of a message for each run and key; a test measures it."""

OUTAGES: Final = ((60, 100, 0.5), (24 * 60, 1000, 5), (14 * 24 * 60, 1000, 5))
"""Minutes, keys and seconds a push of the table. To read a message of 1,000 keys and to make its
request takes 0.5 s of a whole processor, of which the template's 256 MB have a seventh."""


class Redrivers(NamedTuple):
    """The template's settings of the redriver: concurrent invocations, and messages for each."""

    at_once: int
    messages: int

    @classmethod
    def of_template(cls) -> Redrivers:
        """The settings of the deployed stack."""
        text = (ROOT / "template.yaml").read_text("utf-8")
        found = re.search(
            r"\n  RedriverFunction:\n.*?BatchSize: (\d+)\n.*?MaximumConcurrency: (\d+)",
            text,
            re.DOTALL,
        )
        if found is None:
            raise ValueError("template.yaml does not say what the redriver is given")
        messages, at_once = map(int, found.groups())
        return cls(at_once, messages)


@dataclass(frozen=True)
class Drained:
    """An outage, and how long the spool took to empty.

    Attributes:
        messages: in the spool at its end.
        seconds: from its end until the spool is empty.
    """

    minutes: int
    keys: int
    push_s: float
    messages: int
    seconds: float


def drained(minutes: int, keys: int, push_s: float) -> Drained:
    """Run through the time after an outage.

    Args:
        minutes: the length of the outage; in each minute a run spools its snapshot.
        keys: of the relay.
        push_s: for each message: reading it, making the request, and the database's answer.
    """
    redrivers = Redrivers.of_template()
    parts = max(1, math.ceil(keys * MESSAGE_BYTES_A_KEY / MAX_MESSAGE_BYTES))
    rng = random.Random(1)  # noqa: S311 - the same numbers each time, which guard nothing
    visible = [
        _comes_back_s(60 * (minutes - minute), rng)
        for minute in range(minutes)
        for _ in range(parts)
    ]
    heapq.heapify(visible)
    waiting = len(visible)
    free = [0.0] * redrivers.at_once
    while visible:
        now = max(heapq.heappop(free), visible[0])
        batch = 0
        while visible and batch < redrivers.messages and visible[0] <= now:
            heapq.heappop(visible)
            batch += 1
        heapq.heappush(free, now + batch * push_s)
    return Drained(minutes, keys, push_s, waiting, max(free))


def _comes_back_s(age_s: float, rng: random.Random) -> float:
    """Seconds until a message of this age is received next; it was retried by the rule so far."""
    passed, count = 0.0, 0
    while passed < age_s:
        count += 1
        wait = delay_s(count, rng.uniform(-1, 1))
        if wait >= 0.8 * LONGEST_DELAY_S:
            # from here on the delay is constant, and each moment within it is equally likely
            return rng.uniform(0, wait)
        passed += wait
    return passed - age_s


def table() -> str:
    """The rows of the table, in Markdown."""
    rows = [
        f"| {_duration(60 * one.minutes)} | {one.keys:,} | {one.push_s} s | {one.messages:,} |"
        f" {_duration(one.seconds)} |\n"
        for one in (drained(*outage) for outage in OUTAGES)
    ]
    head = "| outage | keys | a push | messages | empty after |\n|---|---:|---:|---:|---|\n"
    return f"\n{head}{''.join(rows)}\n"


def _duration(seconds: float) -> str:
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"


def main(arguments: list[str]) -> None:
    """Write the table, or print a line."""
    if arguments:
        minutes, keys, push_s = arguments
        one = drained(int(minutes), int(keys), float(push_s))
        after = _duration(one.seconds)
        sys.stdout.write(f"{one.messages:,} messages, empty {after} after the outage\n")
        return
    text = FILE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, behind = rest.partition(END)
    FILE.write_text(before + BEGIN + table() + END + behind, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
