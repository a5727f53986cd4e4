"""What the documentation says that a run costs the relay is what it costs it."""

from __future__ import annotations

from collections.abc import Iterable

from scripts.measure_calls import BEGIN, END, FILE, measure, table


def without_bytes(lines: Iterable[str]) -> list[str]:
    return [line.rstrip("|\n ").rpartition("|")[0] for line in lines]


def test_the_documented_calls_are_those_of_a_run() -> None:
    _, _, rest = FILE.read_text("utf-8").partition(BEGIN)
    documented, _, _ = rest.partition(END)
    measured = [line for line in table((1, 100)) if "shard" not in line]
    assert len(measured) == 6
    lines = documented.strip().splitlines(keepends=True)
    assert without_bytes(lines[: len(measured)]) == without_bytes(measured)


def test_shards_share_the_calls_of_single_keys() -> None:
    (whole,) = measure(100, by_login=True)
    shards = measure(100, by_login=True, shards=4)
    assert sum(shard.stats for shard in shards) == whole.stats
    assert all(shard.scans <= 10 for shard in shards)
