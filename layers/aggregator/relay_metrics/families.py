"""The families of a Prometheus endpoint, in columns. An object for each sample would be too large.

Label sets are kept as text, in the form of an exposition, one on each line. This takes little
memory, and a label set that was seen before need not be parsed again.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import accumulate
from typing import Any, NamedTuple, overload

from relay_metrics.naming import is_plain

_VALUE = r'"((?:[^"\\\n]++|\\["\\n])++)"'
_NAME = r'(?:([a-zA-Z_][a-zA-Z0-9_]*+)|"((?:[^"\\\n]++|\\["\\n])*+)")'
_LABEL = re.compile(rf"{_NAME}={_VALUE}(?:,|$)")
_ANY = r'"(?:[^"\\\n]++|\\["\\n])++"'
_LABELS = re.compile(
    rf'(?:(?:[a-zA-Z_][a-zA-Z0-9_]*+|"(?:[^"\\\n]++|\\["\\n])*+")={_ANY}'
    r'(?:,(?=[a-zA-Z_"])|(?=\n|\Z)))*+(?:\n|\Z)'
)
_ESCAPE = re.compile(r'\\(["\\n])')
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_CHUNK = 1024
_NO_LAYOUT: tuple[None] = (None,)
_ONE = (1,)


class FamilyType(StrEnum):
    """The types of families that are treated differently. Others become one of these."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


Labels = tuple[tuple[str, str], ...]
Layout = tuple[float, ...] | tuple[str, ...] | None
"""What the figures of a series stand for. For a histogram, its finite bounds, ascending, or None if
only count and sum are known; for a summary, its quantiles as scraped; for other types None."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a family.

    Attributes:
        labels: as scraped.
        value: for a counter, a gauge, an unknown or an info.
        buckets: for a histogram: (upper bound, cumulative count), ascending, `inf` last; empty if
            only count and sum are known.
        quantiles: for a summary: (quantile, value), the quantile as scraped.
        sum, count: for a histogram or a summary; None if it has none.
        time_ms: the timestamp in the exposition, epoch milliseconds; None if there is none.
        start_ms: when it started to count, epoch milliseconds; None if unknown.
    """

    labels: Mapping[str, str]
    value: float | None = None
    buckets: tuple[tuple[float, float], ...] = ()
    quantiles: tuple[tuple[str, float], ...] = ()
    sum: float | None = None
    count: float | None = None
    time_ms: int | None = None
    start_ms: int | None = None


class Batch(NamedTuple):
    """Some series of a family, in columns.

    Attributes:
        text: their label sets, one on each line; families with equal label sets share the object.
        values: the figures of all of them, one after the other.
        layouts, widths: for each series, what its figures stand for, and how many they are.
        times, starts: as in `Columns`.
    """

    text: str
    values: array[float]
    layouts: Sequence[Layout]
    widths: Sequence[int]
    times: array[int] | None
    starts: array[int] | None

    @property
    def series(self) -> int:
        """The number of series."""
        return len(self.widths)

    @property
    def labels(self) -> list[str]:
        """The label set of each series, as text."""
        return self.text.split("\n")

    @property
    def figures(self) -> Iterator[array[float]]:
        """The figures of each series."""
        at = 0
        for wide in self.widths:
            yield self.values[at : at + wide]
            at += wide


@dataclass(frozen=True, slots=True)
class Columns(Sequence[Series]):
    """The series of a family: a sequence of `Series`; the converter reads the columns directly.

    Attributes:
        type: of the family.
        text: the label sets, in chunks of lines; see `text_of`.
        values: the figures of all series, one after the other, NaN for missing ones. A counter or
            a gauge has one figure; a histogram has its cumulative counts, the total last, and its
            sum; a summary has the values of its quantiles, its sum and its count.
        layouts: the distinct layouts, empty if each series has one figure.
        layout: for each series, the index of its layout.
        times: the timestamp of each series, epoch milliseconds, 0 if it has none; None if no series
            has one.
        starts: when each series started to count, in the same form.
        counted: the number of series.
    """

    type: FamilyType
    text: Sequence[str]
    values: array[float]
    layouts: Sequence[Layout] = ()
    layout: array[int] | None = None
    times: array[int] | None = None
    starts: array[int] | None = None
    counted: int = field(default=-1)

    def __post_init__(self) -> None:
        count = len(self.values) if self.layout is None else len(self.layout)
        object.__setattr__(self, "counted", count)

    @classmethod
    def of(cls, type: FamilyType, series: Iterable[Series]) -> Columns:
        """The columns of some series."""
        writing = Writing(type)
        for one in series:
            values, layout = _figures(type, one)
            labels = text_of(one.labels.items())
            writing.add(labels, values, layout, one.time_ms or 0, one.start_ms or 0)
        return writing.columns()

    def __len__(self) -> int:
        return self.counted

    @property
    def label_sets(self) -> Iterator[str]:
        """The label set of each series, as text."""
        for chunk in self.text:
            yield from chunk.split("\n")

    @property
    def points(self) -> int:
        """The number of data points; each quantile of a summary, its sum and its count are one."""
        if self.type is not FamilyType.SUMMARY:
            return len(self)
        return sum(not math.isnan(value) for value in self.values)

    def batches(self, most: int = _CHUNK) -> Iterator[Batch]:
        """The series, at most `most` in a batch."""
        of_layout = [_width(self.type, layout) for layout in self.layouts]
        first = at = 0
        for text, count in self._texts(most):
            stop = first + count
            if self.layout is None:
                layouts: Sequence[Layout] = _NO_LAYOUT * count
                widths = _ONE * count
            else:
                of_some = self.layout[first:stop]
                layouts = tuple(map(self.layouts.__getitem__, of_some))
                widths = tuple(map(of_layout.__getitem__, of_some))
            end = at + sum(widths)
            yield Batch(
                text,
                self.values[at:end],
                layouts,
                widths,
                None if self.times is None else self.times[first:stop],
                None if self.starts is None else self.starts[first:stop],
            )
            first, at = stop, end

    def _texts(self, most: int) -> Iterator[tuple[str, int]]:
        """The label sets of each batch and their number. Whole chunks are joined while they fit."""
        some: list[str] = []
        count = 0
        for chunk in self.text:
            size = chunk.count("\n") + 1
            if some and count + size > most:
                yield "\n".join(some), count
                some, count = [], 0
            if size <= most:
                some.append(chunk)
                count += size
            else:
                rows = chunk.split("\n")
                for start in range(0, size, most):
                    yield "\n".join(rows[start : start + most]), min(most, size - start)
        if some:
            yield "\n".join(some), count

    def __iter__(self) -> Iterator[Series]:
        for batch in self.batches():
            nothing = array("q", bytes(8 * batch.series))
            of_each = (batch.labels, batch.figures, batch.layouts)
            rows = zip(*of_each, batch.times or nothing, batch.starts or nothing, strict=True)
            for labels, figures, layout, time_ms, start_ms in rows:
                series = _series(self.type, dict(pairs(labels)), figures, layout)
                yield replace(series, time_ms=time_ms or None, start_ms=start_ms or None)

    @overload
    def __getitem__(self, at: int) -> Series: ...
    @overload
    def __getitem__(self, at: slice) -> Columns: ...
    def __getitem__(self, at: int | slice) -> Series | Columns:
        if isinstance(at, int):
            return list(self)[at]
        start, stop, _ = at.indices(len(self))
        if (start, stop) == (0, len(self)):
            return self
        stop = max(start, stop)
        if self.layout is None:
            offsets: Sequence[int] = range(len(self) + 1)
        else:
            of_layout = [_width(self.type, layout) for layout in self.layouts]
            offsets = [0, *accumulate(map(of_layout.__getitem__, self.layout))]
        return Columns(
            self.type,
            tuple(_sliced(self.text, start, stop)),
            self.values[offsets[start] : offsets[stop]],
            self.layouts,
            None if self.layout is None else self.layout[start:stop],
            None if self.times is None else self.times[start:stop],
            None if self.starts is None else self.starts[start:stop],
        )

    def dump(self) -> dict[str, Any]:
        """The columns as JSON values; unset columns are left out, and NaN is a missing figure."""
        written: dict[str, Any] = {"labels": list(self.text), "values": self.values.tolist()}
        if self.layout is not None:
            written["layouts"] = list(self.layouts)
            written["layout"] = self.layout.tolist()
        for name in ("times", "starts"):
            column = getattr(self, name)
            if column is not None:
                written[name] = column.tolist()
        return written

    @classmethod
    def load(cls, type: FamilyType, written: Mapping[str, Any]) -> Columns:
        """Read columns that `dump` wrote.

        Raises:
            ValueError, KeyError, TypeError, OverflowError: they are damaged.
        """
        text = written["labels"]
        if not isinstance(text, list) or not all(map(_is_labels, text)):
            raise TypeError
        layouts = tuple(_layout(type, one) for one in written.get("layouts", ()))
        numbers = (FamilyType.COUNTER, FamilyType.GAUGE)
        read = cls(
            type,
            tuple(text),
            array("d", written["values"]),
            layouts,
            None if type in numbers else array("L", written["layout"]),
            array("q", written["times"]) if "times" in written else None,
            array("q", written["starts"]) if "starts" in written else None,
        )
        columns = [list(read.label_sets), read.times, read.starts]
        if any(one is not None and len(one) != len(read) for one in columns):
            raise ValueError
        of_layout = [_width(type, one) for one in layouts]
        if read.layout is not None and sum(map(of_layout.__getitem__, read.layout)) != len(
            read.values
        ):
            raise ValueError
        times = [*(read.times or ()), *(read.starts or ())]
        if times and min(times) < 0:
            raise ValueError
        if type in numbers and any(map(math.isnan, read.values)):
            raise ValueError
        return read


class Family(NamedTuple):
    """A metric of an exposition. `name` is the name of its samples, as scraped.

    Untyped, info and state-set families are gauges; so is each part of a gauge histogram.
    """

    name: str
    type: FamilyType
    help: str
    series: Columns

    @classmethod
    def of(cls, name: str, type: FamilyType, text: str, series: Iterable[Series]) -> Family:
        """A family of some series, with `text` as its `help`."""
        return cls(name, type, text, Columns.of(type, series))


class Writing:
    """Builds columns, one series at a time."""

    def __init__(self, type: FamilyType) -> None:
        self._type = type
        self._labels: list[str] = []
        self._values = array("d")
        self._layouts: dict[Layout, int] = {}
        self._layout = array("L")
        self._times = array("q")
        self._starts = array("q")

    def add(
        self, labels: str, values: Iterable[float], layout: Layout, time_ms: int, start_ms: int
    ) -> None:
        """Add a series, with its labels as text and the rest in the form of `Columns`."""
        self._labels.append(labels)
        self._values.extend(values)
        self._layout.append(self._layouts.setdefault(layout, len(self._layouts)))
        self._times.append(time_ms)
        self._starts.append(start_ms)

    def columns(self) -> Columns:
        """The columns of all series that were added."""
        single = self._type in (FamilyType.COUNTER, FamilyType.GAUGE)
        return Columns(
            self._type,
            chunks(self._labels),
            self._values,
            () if single else tuple(self._layouts),
            None if single else self._layout,
            self._times if any(self._times) else None,
            self._starts if any(self._starts) else None,
        )


def _sliced(text: Sequence[str], start: int, stop: int) -> Iterator[str]:
    """The lines from `start` to before `stop`. Chunks stay whole, except at the two ends."""
    first = 0
    for chunk in text:
        last = first + chunk.count("\n") + 1
        if start <= first and last <= stop:
            yield chunk
        elif first < stop and start < last:
            yield "\n".join(chunk.split("\n")[max(start - first, 0) : stop - first])
        first = last


def chunks(labels: Sequence[str]) -> tuple[str, ...]:
    """Label sets in the chunks of a column."""
    return tuple("\n".join(labels[at : at + _CHUNK]) for at in range(0, len(labels), _CHUNK))


def _width(type: FamilyType, layout: Layout) -> int:
    """The number of figures of a series with this layout."""
    if type is FamilyType.HISTOGRAM:
        return 2 if layout is None else len(layout) + 2
    return 1 if type is not FamilyType.SUMMARY else len(layout or ()) + 2


def text_of(labels: Iterable[tuple[str, str]]) -> str:
    r"""A label set as text, as in an exposition, without spaces and without empty values.

    >>> text_of([("path", "C:\\dir"), ("http.method", "GET"), ("empty", "")])
    'path="C:\\\\dir","http.method"="GET"'
    """
    return ",".join(
        [
            f"{name if is_plain(name) else _quoted(name)}={_quoted(value)}"
            for name, value in labels
            if value
        ]
    )


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPED)}"'


def pairs(text: str) -> Labels:
    """Parse a label set that `text_of` wrote."""
    return tuple(
        (name or unescaped(quoted), unescaped(value))
        for name, quoted, value in _LABEL.findall(text)
    )


def unescaped(text: str) -> str:
    r"""Unescape a quoted text of an exposition; its escapes are `\"`, `\\` and `\n`."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], text)


def _is_labels(text: object) -> bool:
    if not isinstance(text, str):
        return False
    at = 0
    while at < len(text):
        found = _LABELS.match(text, at)
        if found is None or found.end() == at:
            return False
        at = found.end()
    return True


def _figures(type: FamilyType, series: Series) -> tuple[list[float], Layout]:
    total = math.nan if series.sum is None else series.sum
    count = math.nan if series.count is None else series.count
    if type is FamilyType.HISTOGRAM:
        if not series.buckets:
            return [count, total], None
        bounds = tuple(bound for bound, _ in series.buckets[:-1])
        return [*(count for _, count in series.buckets), total], bounds
    if type is FamilyType.SUMMARY:
        quantiles = tuple(quantile for quantile, _ in series.quantiles)
        return [*(value for _, value in series.quantiles), total, count], quantiles
    return [math.nan if series.value is None else series.value], None


def _series(
    type: FamilyType, labels: Mapping[str, str], figures: Sequence[float], layout: Layout
) -> Series:
    if type is FamilyType.HISTOGRAM:
        *cumulative, total = figures
        ends = () if layout is None else (*layout, math.inf)
        buckets = tuple(zip(ends, cumulative, strict=True)) if ends else ()
        return Series(labels, buckets=buckets, sum=_maybe(total), count=cumulative[-1])
    if type is FamilyType.SUMMARY:
        *values, total, count = figures
        quantiles = tuple(zip(map(str, layout or ()), values, strict=True))
        return Series(labels, quantiles=quantiles, sum=_maybe(total), count=_maybe(count))
    return Series(labels, figures[0])


def _maybe(value: float) -> float | None:
    return None if math.isnan(value) else value


def _layout(type: FamilyType, written: Any) -> Layout:
    if written is None and type is FamilyType.HISTOGRAM:
        return None
    kind = float if type is FamilyType.HISTOGRAM else str
    if not isinstance(written, list) or not all(isinstance(one, kind) for one in written):
        raise TypeError
    return tuple(written)
