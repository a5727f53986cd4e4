"""The values of one metric, by series and by run."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from local.sql import Row

Identity = tuple[str, ...]
"""What a key, an account, a key's use of a model or a relay has for itself, also after it was
renamed."""

_IDENTIFY: Final = (
    *("relay_name", "relay_key_id", "platform", "relay_account_id", "model"),
    *("source", "le"),
)


class Series(Mapping[Identity, Mapping[int, float]]):
    """Values by identity and by time, epoch milliseconds."""

    def __init__(self) -> None:
        self._values: dict[Identity, dict[int, float]] = {}
        self._labels: dict[Identity, Row] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Take in rows of the metric's table."""
        for row in sorted(rows, key=lambda row: int(row["greptime_timestamp"])):
            identity = tuple(row[name] for name in _IDENTIFY if row.get(name) is not None)
            self._values.setdefault(identity, {})[row["greptime_timestamp"]] = row["greptime_value"]
            self._labels[identity] = row

    def at(self, identity: Identity, time_ms: int) -> float | None:
        """The value of a run."""
        return self._values.get(identity, {}).get(time_ms)

    def lately(self, identity: Identity, now_ms: int, within_ms: int) -> float | None:
        """The latest value, if it is not too old."""
        values = self._values.get(identity)
        latest = max(values) if values else None
        return None if latest is None or latest <= now_ms - within_ms else self[identity][latest]

    def label(self, identity: Identity, name: str) -> str | None:
        """A label, as it was last."""
        text = self._labels.get(identity, {}).get(name)
        return None if text is None else str(text)

    def grown(self, identity: Identity, since_ms: int) -> tuple[float, float] | None:
        """The growth since a time, and the seconds that it took; None if unknown."""
        times = sorted(time for time in self._values.get(identity, {}) if time >= since_ms)
        if len(times) < 2:
            return None
        values = [self[identity][time] for time in times]
        # a value that started over at 0 has grown by its new value
        grown = sum(
            after - before if after >= before else after for before, after in pairwise(values)
        )
        return grown, (times[-1] - times[0]) / 1000

    def forget(self, times: Iterable[int], gone_ms: int) -> None:
        """Forget runs, and series without a value, before a time."""
        forgotten = set(times)
        for identity, values in list(self._values.items()):
            if max(values) < gone_ms:
                del self._values[identity], self._labels[identity]
            else:
                for time in forgotten & values.keys():
                    # the latest stays: what is asked for in turn is not in each run
                    if time != max(values):
                        del values[time]

    def __getitem__(self, identity: Identity) -> Mapping[int, float]:
        return self._values[identity]

    def __iter__(self) -> Iterator[Identity]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def rates(values: Mapping[int, float], runs: Sequence[int], window_ms: int) -> list[float | None]:
    """How fast something grew over a window before each run, a second.

    Over less where it is not there for so long yet; None before its second value, and where it
    started over.
    """
    times = sorted(values)
    found: list[float | None] = []
    for run in runs:
        latest = bisect_right(times, run) - 1
        before = max(0, bisect_right(times, run - window_ms) - 1)
        if latest <= before:
            found.append(None)
            continue
        grown = values[times[latest]] - values[times[before]]
        seconds = (times[latest] - times[before]) / 1000
        found.append(grown / seconds if grown >= 0 else None)
    return found
