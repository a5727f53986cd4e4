"""Writes the families of a Prometheus endpoint, from their columns, in OTLP's wire format.

It creates no objects of the SDK or of protobuf, which would take most of a run's time and memory
for a large exposition. A test compares the result with that of the SDK's encoder.

The messages and the numbers of their fields are those of `opentelemetry/proto/metrics/v1`.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, groupby, pairwise, repeat
from operator import sub
from typing import Any

from relay_metrics.convert.parts import Part
from relay_metrics.convert.points import SCOPE
from relay_metrics.errors import EncodingError
from relay_metrics.families import Batch, Family, FamilyType, Layout, pairs
from relay_metrics.naming import RESERVED, RESERVED_PREFIX, table, tag
from relay_metrics.snapshot import Snapshot

SERIES_AT_ONCE = 4096
_PART_BYTES = 1 << 17
_MOST_KNOWN = 16384
_MOST_TEXT = 2 << 20
_MOST_AT_ONCE = 1 << 19
_LONG = 1024
"""Texts of this many characters and more are not cached."""
_NANOS = 1_000_000

_NAME, _DESCRIPTION = b"\x0a", b"\x12"
_GAUGE, _SUM, _HISTOGRAM = b"\x2a", b"\x3a", b"\x4a"
_CUMULATIVE, _MONOTONIC = b"\x10\x02", b"\x18\x01"
_POINT = b"\x0a"
_START, _TIME, _VALUE = b"\x11", b"\x19", b"\x21"
_COUNT, _TOTAL, _BUCKETS, _BOUNDS = b"\x21", b"\x29", b"\x32", b"\x3a"
_OF_NUMBER, _OF_HISTOGRAM = b"\x3a", b"\x4a"
"""The field of the attributes, for the two kinds of data point."""


def convert(snapshot: Snapshot) -> Iterator[Part]:
    """The data points of each series, in their order.

    A counter becomes a monotonic cumulative Sum; a histogram becomes a Histogram with the same
    bounds; a summary becomes a Gauge with `quantile`, and cumulative Sums `NAME_sum` and
    `NAME_count` that are not monotonic, so that they keep their names in GreptimeDB; all others
    become Gauges.

    A label that has the name of a resource attribute, or a reserved name, gets the prefix
    `exported_`, as in a scrape by Prometheus. The exception is `le` on a gauge that is the bucket
    of a histogram without a type, or of a gauge histogram.

    Raises:
        EncodingError: a text is not Unicode, or a timestamp or a count does not fit into OTLP.
    """
    try:
        yield from _parts(snapshot)
    except (UnicodeError, struct.error, OverflowError) as error:
        raise EncodingError(f"cannot be encoded ({type(error).__name__})") from None


def _parts(snapshot: Snapshot) -> Iterator[Part]:
    writing = _Writing(snapshot.resource)
    points = _Points(snapshot)
    for family in snapshot.families:
        tables = {table(family.name)} if family.type is FamilyType.HISTOGRAM else set()
        for batch in family.series.batches(SERIES_AT_ONCE):
            if writing.full or not writing.histograms.isdisjoint(tables):
                yield writing.part()
            for metric, count in points.metrics(family, batch):
                writing.add(metric, count)
            writing.things += batch.series
            writing.histograms |= tables
    if writing.things:
        yield writing.part()


class _Writing:
    """A part while it is written."""

    def __init__(self, resource: Mapping[str, str]) -> None:
        attributes = sorted(item for item in resource.items() if item[1])
        self._resource = _field(b"\x0a", b"".join(_attribute(b"\x0a", *one) for one in attributes))
        self._scope = _field(b"\x0a", _field(_NAME, SCOPE.encode()))
        self._start()

    def _start(self) -> None:
        self._metrics: list[bytes] = []
        self._size = 0
        self._points = 0
        self.things = 0
        self.histograms: set[str] = set()

    @property
    def full(self) -> bool:
        return self._size >= _PART_BYTES

    def add(self, metric: bytes, points: int) -> None:
        self._metrics.append(_field(b"\x12", metric))
        self._size += len(metric)
        self._points += points

    def part(self) -> Part:
        """End this part and return it; the next one begins."""
        of_scope = _field(b"\x12", self._scope + b"".join(self._metrics))
        data = _field(b"\x0a", self._resource + of_scope) if self._metrics else b""
        part = Part(data, self._points, self.things, frozenset(self.histograms))
        self._start()
        return part


class _Points:
    """Writes data points, with a cache of encoded label sets."""

    def __init__(self, snapshot: Snapshot) -> None:
        reserved = {tag(name) for name in snapshot.resource} | RESERVED
        self._time_ms = snapshot.time_ms
        self._of_any = _Attributes(_OF_NUMBER, reserved)
        self._of_bucket = _Attributes(_OF_NUMBER, reserved - {"le"})
        self._of_histogram = _Attributes(_OF_HISTOGRAM, reserved)

    def metrics(self, family: Family, batch: Batch) -> Iterator[tuple[bytes, int]]:
        """The metrics for some series of a family, each with its number of points."""
        name = family.name
        if family.type is FamilyType.HISTOGRAM:
            points = self._histograms(batch)
            yield self._metric(family, name, _HISTOGRAM, points, _CUMULATIVE), batch.series
        elif family.type is FamilyType.SUMMARY:
            yield from self._summaries(family, batch)
        else:
            counter = family.type is FamilyType.COUNTER
            bucket = not counter and name.endswith("_bucket")
            # gauges have no start time
            batch = batch if counter else batch._replace(starts=None)
            points = self._numbers(batch, self._of_bucket if bucket else self._of_any)
            more = _CUMULATIVE + _MONOTONIC if counter else b""
            kind = _SUM if counter else _GAUGE
            yield self._metric(family, name, kind, points, more), batch.series

    @staticmethod
    def _metric(family: Family, name: str, kind: bytes, points: bytes, more: bytes) -> bytes:
        described = _field(_DESCRIPTION, family.help.encode()) if family.help else b""
        named = _field(_NAME, name.encode()) if name else b""
        return named + described + _field(kind, points + more)

    def _head(self, time_ms: int = 0, start_ms: int = 0) -> bytes:
        """The times at the start of a data point."""
        time = struct.pack("<Q", (time_ms or self._time_ms) * _NANOS)
        start = _START + struct.pack("<Q", start_ms * _NANOS) if start_ms else b""
        return start + _TIME + time

    def _heads(self, batch: Batch) -> Iterator[bytes]:
        count = batch.series
        if batch.times is None and batch.starts is None:
            return repeat(self._head(), count)
        return map(self._head, batch.times or repeat(0, count), batch.starts or repeat(0, count))

    def _numbers(self, batch: Batch, attributes: _Attributes) -> bytes:
        """The data points of counters or gauges."""
        if batch.times is None and batch.starts is None:
            before = attributes.before(batch.text, self._head())
        else:
            before = list(map(_point, self._heads(batch), attributes.of_each(batch.text)))
        return b"".join(chain.from_iterable(zip(before, _eights(batch.values), strict=True)))

    def _summaries(self, family: Family, batch: Batch) -> Iterator[tuple[bytes, int]]:
        quantiles: list[bytes] = []
        sums: list[bytes] = []
        counts: list[bytes] = []
        of_gauges = self._heads(batch._replace(starts=None))
        of_each = (batch.labels, batch.figures, batch.layouts)
        rows = zip(*of_each, self._heads(batch), of_gauges, strict=True)
        for labels, figures, layout, head, of_gauge in rows:
            of_series = self._of_any.of(labels)
            *values, total, count = _eights(figures)
            for quantile, value in zip(layout or (), values, strict=True):
                of_quantile = _attribute(_OF_NUMBER, "quantile", str(quantile))
                quantiles.append(_point(of_gauge, of_series + of_quantile) + value)
            for value, figure, some in ((total, figures[-2], sums), (count, figures[-1], counts)):
                if figure == figure:  # noqa: PLR0124 - NaN stands for none
                    some.append(_point(head, of_series) + value)
        for suffix, kind, some in (
            ("", _GAUGE, quantiles),
            ("_sum", _SUM, sums),
            ("_count", _SUM, counts),
        ):
            if some:
                more = _CUMULATIVE if kind is _SUM else b""
                yield (
                    self._metric(family, family.name + suffix, kind, b"".join(some), more),
                    len(some),
                )

    def _histograms(self, batch: Batch) -> bytes:
        heads = list(self._heads(batch))
        attributes = self._of_histogram.of_each(batch.text)
        sums = (batch.values[end - 1] for end in accumulate(batch.widths))
        written = []
        first = at = 0
        for (layout, _), run in groupby(zip(batch.layouts, map(math.isnan, sums), strict=True)):
            stop = first + len(list(run))
            end = at + batch.widths[first] * (stop - first)
            of_run = (batch.values[at:end], heads[first:stop], attributes[first:stop])
            written.append(_of_bounds(layout, *of_run))
            first, at = stop, end
        return b"".join(written)


def _of_bounds(
    layout: Layout, values: array[float], heads: Sequence[bytes], attributes: Sequence[bytes]
) -> bytes:
    """The data points of histograms with the same bounds; all of them have a sum, or none has."""
    width = len(values) // len(heads)
    cumulative = [array("Q", map(int, values[at::width])) for at in range(width - 1)]
    sums = values[width - 1 :: width]
    fields: list[Iterable[bytes]] = [repeat(_COUNT), _eights(cumulative[-1])]
    size = 9
    if not math.isnan(sums[0]):
        fields += [repeat(_TOTAL), _eights(sums)]
        size += 9
    if layout is not None:
        alone = array("Q", bytes(8 * len(heads) * len(cumulative)))
        alone[:: len(cumulative)] = cumulative[0]
        for at, (lower, upper) in enumerate(pairwise(cumulative), 1):
            alone[at :: len(cumulative)] = array("Q", map(sub, upper, lower))
        before = _BUCKETS + _length(8 * len(cumulative))
        fields += [repeat(before), _eights(alone, len(cumulative))]
        size += len(before) + 8 * len(cumulative)
    if layout:
        bounds = _field(_BOUNDS, struct.pack(f"<{len(layout)}d", *layout))
        fields.append(repeat(bounds))
        size += len(bounds)
    lengths = [
        _POINT + _length(size + len(head) + len(of_one))
        for head, of_one in zip(heads, attributes, strict=True)
    ]
    rows = zip(lengths, heads, *fields, attributes, strict=False)  # `repeat` has no end
    return b"".join(chain.from_iterable(rows))


class _Values(dict[str, bytes]):
    """The encoded attributes of one label, by value."""

    def __init__(self, field: bytes, name: str, most: int) -> None:
        super().__init__()
        self._field = field
        self._name = name
        self._most = most
        self._before: dict[int, bytes] = {}

    def __missing__(self, value: str) -> bytes:
        text = value.encode()
        size = len(text)
        before = self._before.get(size)
        if before is None:
            of_this_size = _attribute(self._field, self._name, "x" * size)
            before = self._before[size] = of_this_size[: len(of_this_size) - size]
        written = before + text
        if len(self) < self._most and size < _LONG:
            self[value] = written
        return written


class _Attributes:
    """Encodes label sets as attributes. Label names that many series share are parsed once."""

    def __init__(self, field: bytes, reserved: Collection[str]) -> None:
        self._field = field
        self._reserved = reserved
        self._layouts: dict[tuple[str, ...], list[_Values]] = {}
        self._known: dict[str, bytes] = {}
        self._head = b""
        self._size = 0
        self._points: dict[str, list[bytes]] = {}

    def before(self, text: str, head: bytes) -> list[bytes]:
        """The data point of each label set, up to its value."""
        if head != self._head or self._size > _MOST_TEXT:
            self._head = head
            self._size = 0
            self._points = {}
        # similar families share the same text
        points = self._points.get(text)
        if points is None:
            points = self._points[text] = _points(head, self.of_each(text))
            self._size += len(text)
        return points

    def of_each(self, text: str) -> list[bytes]:
        """The attributes of each label set of a text, one on each line."""
        labels = text.split("\n")
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        found = list(map(self._known.get, labels))
        if None in found:
            written = self._alike(text) or list(map(self.of, labels))
            self._known.update(
                (one, of_one)
                for one, of_one in zip(labels, written, strict=True)
                if len(one) < _LONG
            )
            return written
        return found  # type: ignore[return-value]  # there is no None in it

    def of(self, text: str) -> bytes:
        """The attributes of one label set."""
        return self._known.get(text) or self._written(text)

    def _alike(self, text: str) -> list[bytes]:
        """The attributes of all label sets at once; empty if their label names or order differ."""
        width = text.partition("\n")[0].count('"') // 2
        # to take them apart takes some times their length
        if not width or "\\" in text or len(text) > _MOST_AT_ONCE:
            return []
        parts = text.split('"')
        count = len(parts) // 2 // width
        first, *others = parts[: 2 * width : 2]
        between = [first, *others] + [f"\n{first}", *others] * (count - 1) + [""]
        layout = self._layout((first, *others, "")) if parts[::2] == between else None
        if layout is None:
            return []
        values = parts[1::2]
        columns = [map(of.__getitem__, values[at::width]) for at, of in enumerate(layout)]
        return list(map(b"".join, zip(*columns, strict=True)))

    def _layout(self, between: tuple[str, ...]) -> list[_Values] | None:
        """The encoders for label sets with these texts between their values, one for each label.

        None if a name is in quotes.
        """
        layout = self._layouts.get(between)
        if layout is None:
            # a name in quotes is among the values instead
            if any(one in ("", "=", ",=", ",") for one in between[:-1]):
                return None
            if len(self._layouts) > _MOST_KNOWN:
                self._layouts.clear()
            names = renamed([one.removeprefix(",")[:-1] for one in between[:-1]], self._reserved)
            most = _MOST_KNOWN // (len(names) or 1)
            layout = self._layouts[between] = [_Values(self._field, name, most) for name in names]
        return layout

    def _written(self, text: str) -> bytes:
        escaped = "\\" in text
        plain = text
        if escaped:
            if "\0" in text or "\1" in text:
                return self._one_by_one(text)
            plain = text.replace("\\\\", "\0").replace('\\"', "\1").replace("\\n", "\n")
        parts = plain.split('"')
        layout = self._layout(tuple(parts[::2]))
        if layout is None:
            return self._one_by_one(text)
        values = parts[1::2]
        if escaped:
            values = [value.replace("\0", "\\").replace("\1", '"') for value in values]
        return b"".join([of[value] for of, value in zip(layout, values, strict=True)])

    def _one_by_one(self, text: str) -> bytes:
        labels = pairs(text)
        names = renamed([name for name, _ in labels], self._reserved)
        values = (value for _, value in labels)
        return b"".join(map(_attribute, repeat(self._field), names, values))


def renamed(labels: Sequence[str], reserved: Collection[str]) -> tuple[str, ...]:
    """Label names, with a prefix for reserved ones, so that each is stored as a tag of its own.

    Names that begin with two underscores, and empty ones, are reserved as well. A label gets the
    same name whatever the order of the labels.

    Example:
        >>> renamed(("job", "exported_job", "path"), {"job"})
        ('exported_exported_job', 'exported_job', 'path')
    """
    taken = set(reserved)
    names = {}
    for label in sorted(labels):
        of_label = tag(label)
        if of_label and of_label not in taken and not of_label.startswith(RESERVED_PREFIX):
            taken.add(of_label)
            names[label] = label
    for label in sorted(set(labels) - names.keys()):
        name = f"exported_{label}"
        while tag(name) in taken:
            name = f"exported_{name}"
        taken.add(tag(name))
        names[label] = name
    return tuple([names[label] for label in labels])


def _field(tag: bytes, content: bytes) -> bytes:
    """A length-delimited field: a text, a message, or packed numbers."""
    return tag + _length(len(content)) + content


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes((size,))
    if size < 0x4000:
        return bytes((size & 0x7F | 0x80, size >> 7))
    written = bytearray()
    while size >= 0x80:
        written.append(size & 0x7F | 0x80)
        size >>= 7
    written.append(size)
    return bytes(written)


_LENGTHS = tuple(map(_length, range(1024)))


def _attribute(field: bytes, name: str, value: str) -> bytes:
    """A `KeyValue` with a text as its value."""
    key = name.encode()
    text = _field(b"\x0a", value.encode())
    return _field(field, (_field(b"\x0a", key) if key else b"") + _field(b"\x12", text))


def _point(head: bytes, attributes: bytes) -> bytes:
    """A `NumberDataPoint` as the field of its metric, without the eight bytes of its value."""
    size = len(head) + len(attributes) + 9
    length = _LENGTHS[size] if size < len(_LENGTHS) else _length(size)
    return b"".join((_POINT, length, head, attributes, _VALUE))


def _points(head: bytes, attributes: Sequence[bytes]) -> list[bytes]:
    """`_point` for each of the attributes."""
    before = {
        size: _POINT + _length(len(head) + size + 9) + head for size in set(map(len, attributes))
    }
    return [before[len(of_one)] + of_one + _VALUE for of_one in attributes]


def _eights(values: array[Any], count: int = 1) -> list[bytes]:
    """Numbers as eight bytes each, in groups of `count` numbers."""
    if sys.byteorder == "big":
        values = array(values.typecode, values)
        values.byteswap()
    raw, size = values.tobytes(), 8 * count
    return [raw[at : at + size] for at in range(0, len(raw), size)]
