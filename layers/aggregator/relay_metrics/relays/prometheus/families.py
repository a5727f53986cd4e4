"""Puts the samples of an exposition together into families.

It leaves out, and counts, what data points cannot represent truthfully: histograms whose counts
fall or contradict each other, or that have no end; buckets without a bound; all but the last sample
of one series and timestamp; families without a table in GreptimeDB, or with the table of another
family; and families with the name of a metric that every relay has for its own run, which they
would overwrite.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, groupby, pairwise
from operator import le
from typing import NamedTuple

from relay_metrics import catalogue
from relay_metrics.families import (
    Columns,
    Family,
    FamilyType,
    Layout,
    Writing,
    pairs,
    text_of,
    unescaped,
)
from relay_metrics.naming import table
from relay_metrics.relays.prometheus.exposition import TIMES_MS, TYPES, Column, Exposition
from relay_metrics.relays.prometheus.lines import number
from relay_metrics.snapshot import Scope

MAX_PARTS = 2048
"""The most buckets or quantiles of a series, which cannot be split between snapshots."""

_OF_THE_RUN = frozenset(
    metric.name for scope in (Scope.RUN, Scope.FAILURE) for metric in catalogue.rows(scope)
)

_OF_A_WYOLET_RELAY = frozenset(
    {
        "relay_admission_seconds",
        "relay_emit_queue_depth",
        "relay_inflight_requests",
        "relay_overhead_seconds",
        "relay_post_flight_seconds",
        "relay_provider_keys_down",
        "relay_records_lost",
        "relay_request_seconds",
        "relay_requests",
    }
)
"""Without the `_total` that the families of counters have in the text format."""
_OF_ITS_PROCESS = ("go_", "process_")
"""The prefixes of families of the process, from the client library."""

_MOST_FORMS, _MOST_EVEN = 16, 4096
"""How many forms of histograms are cached, and of how many buckets; a form holds its label sets."""

_EARLIEST_CREATED_S = 10**9
_LATEST_CREATED_S = 86400
"""Seconds after the time of the run, as clocks differ."""

_Key = tuple[str, int]
"""Identifies a sample: the label set as text, with ordered labels, and the timestamp."""
_Start = Callable[[str, int], int]

# A label set with `label` in it. Groups: the text before the label, its value, the text after it.
_QUOTED = r'"(?:[^"\\\n]++|\\.)*+"'
_SPLIT = (
    rf'^((?:[^"\n]*+{_QUOTED}(?:={_QUOTED})?+,)*?)LABEL="((?:[^"\\\n]++|\\.)*+)"(?:,(.*+))?$'
    "|^(.*+)$"
)


def assemble(exposition: Exposition, time_ms: int) -> tuple[Family, ...]:
    """All families, by the names of their samples.

    A counter, a histogram and a summary start at their `_created`, or else, for a Wyolet relay,
    when the process started.

    Args:
        exposition: its samples are removed; left-out samples are counted in it.
        time_ms: the time of samples without a timestamp, epoch milliseconds.
    """
    return tuple(_Assembly(exposition, time_ms).families())


class _Assembly:
    def __init__(self, exposition: Exposition, time_ms: int) -> None:
        self._exposition = exposition
        self._time_ms = time_ms
        self._left_out = exposition.left_out
        columns = exposition.columns
        stems = {exposition.family_of(name).removesuffix("_total") for name in columns}
        own = stems & _OF_A_WYOLET_RELAY
        self._process_start = _only_ms(columns.get("process_start_time_seconds")) if own else 0
        self._tables: set[str] = set()
        self._unrepeated: set[tuple[str, ...]] = set()
        self._forms: _Forms = {}

    def families(self) -> Iterator[Family]:
        _recognise_summaries(self._exposition)
        names: dict[str, list[str]] = {}
        for name in self._exposition.columns:
            names.setdefault(self._exposition.family_of(name), []).append(name)
        for family, of_family in names.items():
            columns = {name: self._exposition.columns.pop(name) for name in of_family}
            helps = self._exposition.helps
            for name, series in self._of(family, columns):
                if len(series) and self._has_table(name, series):
                    help_text = helps.get(name) or helps.get(family, "")
                    yield Family(name, series.type, help_text, series)

    def _of(self, family: str, columns: dict[str, Column]) -> Iterator[tuple[str, Columns]]:
        kind = self._exposition.types.get(family)
        stem = family.removesuffix("_total") if kind == "counter" else family
        created = None
        if kind in ("counter", "histogram", "summary") and len(columns) > 1:
            created = self._created(columns, f"{stem}_created")
        start = self._start(family, created)
        if kind == "histogram":
            parts = [columns.pop(f"{family}_{part}", None) for part in ("bucket", "sum", "count")]
            yield family, _Histograms(self._exposition, start, self._forms).columns(*parts)
        elif kind == "summary":
            names = (family, f"{family}_sum", f"{family}_count")
            parts = [columns.pop(name, None) for name in names]
            yield family, _Summaries(self._exposition, start).columns(*parts)
        for name, column in columns.items():
            counts = kind == "counter" and name != f"{stem}_created"
            type = FamilyType.COUNTER if counts else FamilyType.GAUGE
            yield name, self._values(type, column, start if counts else None)

    def _created(self, columns: dict[str, Column], name: str) -> Column | None:
        """Take the samples that can be the creation times of a family's series; None if none is."""
        created = columns.get(name)
        if created is None:
            return None
        latest = self._time_ms / 1000 + _LATEST_CREATED_S
        times = [_EARLIEST_CREATED_S <= value <= latest for value in created.values]
        if not any(times):
            return None
        if all(times):
            return columns.pop(name)
        columns[name] = created.only([not one for one in times])
        return created.only(times)

    def _start(self, family: str, created: Column | None) -> _Start | None:
        """A function that gives the start of a series; 0 (unknown) if it is after the sample."""
        stem = family.removesuffix("_total")
        own = stem in _OF_A_WYOLET_RELAY or family.startswith(_OF_ITS_PROCESS)
        otherwise = self._process_start if own else 0
        if created is None and not otherwise:
            return None
        known: dict[str, int] = {}
        if created is not None:
            key = _key_of(created.names)
            known = {key(text): int(value * 1000) for text, value, _ in created.samples()}
            if not _is_plain(created.names):
                known |= {_ordered(text): ms for text, ms in known.items()}

        def start(labels: str, time_ms: int) -> int:
            ms = known.get(labels) or (known and known.get(_ordered(labels))) or otherwise
            return ms if ms <= (time_ms or self._time_ms) else 0

        return start

    def _values(self, type: FamilyType, column: Column, start: _Start | None) -> Columns:
        dropped = self._repeated(column)
        if dropped:
            self._left_out["duplicate_sample"] += len(dropped)
            column = column.only([at not in dropped for at in range(len(column))])
        text, values, times = column.text, column.values, column.times
        starts = None
        if start is not None:
            sets = (one for chunk in text for one in chunk.split("\n"))
            starts = array("q", map(start, sets, times or bytes(len(values))))
        return Columns(
            type,
            text,
            values,
            times=times if times and any(times) else None,
            starts=starts if starts and any(starts) else None,
        )

    def _repeated(self, column: Column) -> set[int]:
        """The positions of samples that are replaced by a later one of the same series and time."""
        plain = _is_plain(column.names)
        if plain and column.times is None:
            # similar families share the same text
            text = tuple(column.text)
            if text in self._unrepeated:
                return set()
            seen: set[int] = set()
            for chunk in text:
                seen.update(map(hash, chunk.split("\n")))
            if len(seen) == len(column):
                self._unrepeated.add(text)
                return set()
        key = str if plain else _ordered
        times = column.times or bytes(len(column))
        identities = zip(map(key, column.label_sets), times, strict=True)
        latest = {identity: at for at, identity in enumerate(identities)}
        dropped = set(range(len(column)))
        dropped.difference_update(latest.values())
        return dropped

    def _has_table(self, name: str, series: Columns) -> bool:
        """Whether a family has tables of its own in GreptimeDB. Otherwise it is counted."""
        if table(name) in _OF_THE_RUN:
            reason = "reserved_name"
        else:
            tables = _tables(name, series)
            if not all(tables):
                reason = "no_table"
            elif self._tables.isdisjoint(tables):
                self._tables |= tables
                return True
            else:
                reason = "same_table"
        self._left_out[reason] += len(series)
        return False


def _tables(name: str, series: Columns) -> set[str]:
    own = table(name, monotonic=series.type is FamilyType.COUNTER)
    if not own or series.type in (FamilyType.COUNTER, FamilyType.GAUGE):
        return {own}
    if series.type is FamilyType.HISTOGRAM:
        return {f"{own}_bucket", f"{own}_sum", f"{own}_count"}
    tables: set[str] = set()
    for *quantiles, total, count in (one for some in series.batches() for one in some.figures):
        known = (bool(quantiles), not math.isnan(total), not math.isnan(count))
        tables.update(compress((own, f"{own}_sum", f"{own}_count"), known))
    return tables


def _only_ms(column: Column | None) -> int:
    """The value of a single sample, a time in seconds, as epoch milliseconds; else 0."""
    if column is None or len(column) != 1:
        return 0
    ms = column.values[0] * 1000
    return int(ms) if TIMES_MS.start <= ms < TIMES_MS.stop else 0


# -- the identity of series


def _is_plain(names: Iterable[Sequence[str]]) -> bool:
    """Whether label sets with these names are equal only if their texts are equal."""
    names = list(names)
    return len({frozenset(one) for one in names}) == len(names)


def _ordered(text: str) -> str:
    """A label set as text, with its labels sorted."""
    return text_of(sorted(pairs(text)))


def _key_of(names: Iterable[Sequence[str]]) -> Callable[[str], str]:
    return str if _is_plain(names) else _ordered


# -- histograms and summaries


class _Parts:
    """The samples of one histogram or summary."""

    __slots__ = ("at", "count", "labels", "sum", "values")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.at: list[str] = []
        self.values: list[float] = []
        self.sum = math.nan
        self.count = math.nan


class _Compound:
    """Puts series together from their parts, which have the same labels except `label`."""

    label: str
    type: FamilyType

    def __init__(self, exposition: Exposition, start: _Start | None) -> None:
        self._left_out = exposition.left_out
        self._most = exposition.bounds.compounds
        self._start = start
        self._found: dict[_Key, _Parts] = {}

    def columns(self, points: Column | None, sums: Column | None, counts: Column | None) -> Columns:
        """The series of the samples."""
        names = {
            tuple(name for name in one if name != self.label)
            for column in (points, sums, counts)
            if column is not None
            for one in column.names
        }
        key = _key_of(names)
        if points is not None:
            self._take_points(points, key)
        for column, part in ((sums, "sum"), (counts, "count")):
            if column is None:
                continue
            for text, value, time_ms in column.samples():
                parts = self._parts(key(text), time_ms)
                if not math.isnan(getattr(parts, part)):
                    self._left_out["duplicate_sample"] += 1
                setattr(parts, part, value)
        writing = Writing(self.type)
        for (labels, time_ms), parts in self._found.items():
            if len(parts.at) > MAX_PARTS:
                self._left_out["too_large"] += 1
                continue
            figures = self._figures(parts)
            if figures is not None:
                start_ms = 0 if self._start is None else self._start(labels, time_ms)
                writing.add(labels, *figures, time_ms, start_ms)
        self._found.clear()
        return writing.columns()

    def _take_points(self, column: Column, key: Callable[[str], str]) -> None:
        times = column.times or bytes(len(column))
        at = 0
        for chunk in column.text:
            label_sets, of_label = self._parted(chunk)
            start = 0
            stamps = times[at : at + len(of_label)]
            for (labels, time_ms), run in groupby(zip(label_sets, stamps, strict=True)):
                stop = start + sum(1 for _ in run)
                parts = self._parts(key(labels), time_ms)
                parts.at += of_label[start:stop]
                parts.values += column.values[at + start : at + stop]
                start = stop
            at += start

    def _parted(self, chunk: str) -> tuple[Sequence[str], Sequence[str]]:
        """The label sets without `label`, and the values of `label`."""
        parted = self._without_label(chunk)
        if parted is None:
            split = re.compile(_SPLIT.replace("LABEL", self.label), re.MULTILINE)
            found = [
                (
                    f"{before}{behind}" if behind else before[:-1] if before else without,
                    unescaped(value),
                )
                for before, value, behind, without in split.findall(chunk)
            ]
            label_sets, of_label = zip(*found, strict=True)
            return label_sets, of_label
        return parted

    def _without_label(self, chunk: str) -> tuple[list[str], list[str]] | None:
        """The same for label sets in which `label` is the last one; None if it is not."""
        equals = f',{self.label}="'
        # a quote that ends a value is followed by a comma or a line break
        if "\\" in chunk or f"{equals}," in chunk or f"{equals}\n" in chunk:
            return None
        parts = f"{chunk}\n".replace('"\n', equals).split(equals)
        label_sets, values = parts[:-1:2], parts[1::2]
        count = chunk.count("\n") + 1
        if len(parts) != 2 * count + 1 or any('"' in one for one in set(values)):
            return None
        return label_sets, values

    def _parts(self, labels: str, time_ms: int) -> _Parts:
        parts = self._found.get((labels, time_ms))
        if parts is None:
            parts = _Parts(labels)
            if len(self._found) < self._most:
                self._found[labels, time_ms] = parts
            else:
                self._left_out["too_many_samples"] += 1
        return parts

    def _latest(self, parts: _Parts) -> dict[str, float]:
        latest = dict(zip(parts.at, parts.values, strict=True))
        if len(latest) < len(parts.at):
            self._left_out["duplicate_sample"] += len(parts.at) - len(latest)
        return latest

    def _figures(self, parts: _Parts) -> tuple[list[float], Layout] | None:
        """The figures of a series and their layout; None if the series is left out."""
        raise NotImplementedError


class _Form(NamedTuple):
    """The form of a family whose histograms all have the same buckets, one after the other.

    Attributes:
        label_sets: the label sets of the histograms.
        bounds: the bounds, finite and ascending.
    """

    label_sets: Sequence[str]
    bounds: tuple[float, ...]


_Forms = dict[tuple[tuple[str, ...], ...], _Form | None]


class _Histograms(_Compound):
    label = "le"
    type = FamilyType.HISTOGRAM

    def __init__(self, exposition: Exposition, start: _Start | None, forms: _Forms) -> None:
        super().__init__(exposition, start)
        self._forms = forms
        self._ascending: dict[tuple[str, ...], tuple[float, ...] | None] = {}

    def columns(self, points: Column | None, sums: Column | None, counts: Column | None) -> Columns:
        """The series of the samples; all at once if each has the same parts."""
        if points is not None and sums is not None and counts is not None:
            columns = self._at_once(points, sums, counts)
            if columns is not None:
                return columns
        return super().columns(points, sums, counts)

    def _at_once(self, points: Column, sums: Column, counts: Column) -> Columns | None:
        """The series; None if their parts differ, or one is not consistent."""
        if any(column.times is not None or not len(column) for column in (points, sums, counts)):
            return None
        if len(points) > _MOST_EVEN:
            return None
        # similar families share the same text
        text = (tuple(points.text), tuple(sums.text), tuple(counts.text))
        if text not in self._forms:
            if len(self._forms) > _MOST_FORMS:
                self._forms.clear()
            self._forms[text] = self._form(points, sums, counts)
        form = self._forms[text]
        if form is None:
            return None
        count = len(counts)
        width = len(form.bounds) + 1
        buckets = [points.values[at::width] for at in range(width)]
        if not (
            min(buckets[0]) >= 0
            and all(all(map(le, lower, upper)) for lower, upper in pairwise(buckets))
            and buckets[-1] == counts.values
            and max(buckets[-1]) < 2**63
            and all(map(float.is_integer, points.values))
        ):
            return None
        values = array("d", bytes(8 * count * (width + 1)))
        for at, column in enumerate([*buckets, sums.values]):
            values[at :: width + 1] = column
        starts = None
        if self._start is not None:
            sets = (one for chunk in form.label_sets for one in chunk.split("\n"))
            starts = array("q", (self._start(labels, 0) for labels in sets))
        return Columns(
            self.type,
            form.label_sets,
            values,
            layouts=(form.bounds,),
            layout=array("L", [0]) * count,
            starts=starts if starts and any(starts) else None,
        )

    def _form(self, points: Column, sums: Column, counts: Column) -> _Form | None:
        count = len(counts)
        width = len(points) // count
        texts: list[str] = []
        at: list[str] = []
        for chunk in points.text:
            label_sets, of_label = self._parted(chunk)
            texts += label_sets
            at += of_label
        firsts = texts[:: width or 1]
        if (
            len(sums) != count
            or count > self._most
            or width not in range(1, MAX_PARTS)
            or at != at[:width] * count
            or texts != [one for one in firsts for _ in range(width)]
            or any(list(column.label_sets) != firsts for column in (sums, counts))
            or len(set(firsts)) != count
            or not _is_plain(counts.names)
        ):
            return None
        bounds = self._bounds(tuple(at[:width]))
        if not bounds or bounds[-1] != math.inf:
            return None
        return _Form(tuple(counts.text), bounds[:-1])

    def _figures(self, parts: _Parts) -> tuple[list[float], Layout] | None:
        bounds = self._bounds(tuple(parts.at))
        counts = parts.values
        if bounds is None:
            buckets = sorted(self._buckets(parts))
            bounds = _rising(bound for bound, _ in buckets)
            counts = [count for _, count in buckets]
        if bounds is None:
            self._left_out["inconsistent_histogram"] += 1
            return None
        layout = bounds or None
        if bounds[-1:] == (math.inf,):
            layout = bounds[:-1]
        elif math.isnan(parts.count):
            self._left_out["incomplete_histogram"] += 1
            return None
        else:
            counts = [*counts, parts.count]
        if not _is_consistent(counts, parts.count):
            self._left_out["inconsistent_histogram"] += 1
            return None
        return [*counts, parts.sum], layout

    def _buckets(self, parts: _Parts) -> set[tuple[float, float]]:
        """The bounds and counts that say something, each once."""
        buckets = set()
        for at, count in self._latest(parts).items():
            try:
                bound = number(at)
            except ValueError:
                bound = math.nan
            if math.isnan(bound):
                self._left_out["incomplete_histogram"] += 1
            else:
                buckets.add((bound, count))
        return buckets - {(-math.inf, 0.0)}

    def _bounds(self, texts: tuple[str, ...]) -> tuple[float, ...] | None:
        """Bounds as numbers; None if they do not ascend in the given order."""
        if texts not in self._ascending:
            if len(self._ascending) > MAX_PARTS:
                self._ascending.clear()
            try:
                self._ascending[texts] = _rising(map(number, texts))
            except ValueError:
                self._ascending[texts] = None
        return self._ascending[texts]


class _Summaries(_Compound):
    label = "quantile"
    type = FamilyType.SUMMARY

    def _figures(self, parts: _Parts) -> tuple[list[float], Layout] | None:
        latest = self._latest(parts)
        if latest.pop("", None) is not None:
            self._left_out["incomplete_summary"] += 1
        if not latest and math.isnan(parts.sum) and math.isnan(parts.count):
            return None
        return [*latest.values(), parts.sum, parts.count], tuple(latest)


def _rising(bounds: Iterable[float]) -> tuple[float, ...] | None:
    """The bounds of buckets; None if they do not ascend, or one is not valid."""
    bounds = tuple(bounds)
    rise = all(lower < upper for lower, upper in pairwise(bounds))
    known = not any(map(math.isnan, bounds)) and bounds[:1] != (-math.inf,)
    return bounds if rise and known else None


def _is_consistent(counts: Sequence[float], count: float) -> bool:
    """Whether the counts are whole, never fall, and end at `count` if that is known."""
    return (
        counts[0] >= 0
        and counts == sorted(counts)
        and (math.isnan(count) or counts[-1] == count)
        and counts[-1] < 2**63
        and all(map(float.is_integer, counts))
    )


def _recognise_summaries(exposition: Exposition) -> None:
    """Set the type of summaries without one, which are recognised by `quantile` and a count.

    VictoriaMetrics' library for Go, and so its own software, writes no types by default.
    """
    columns, types = exposition.columns, exposition.types
    for name, column in columns.items():
        count = f"{name}_count"
        if (
            count in columns
            and not {types.get(name), types.get(count)} & set(TYPES)
            and all("quantile" in one for one in column.names)
        ):
            types[name] = "summary"
