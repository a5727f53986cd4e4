"""The families of an exposition: its samples, put together by what they belong to.

What no data point could tell truthfully is left out and counted: a histogram that does not end,
that falls, that says two things of its count; a second sample of one series and one instant. So is
what has the name of a metric that every relay has of its own run, and would overwrite it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from relay_metrics import catalogue
from relay_metrics.relays.prometheus.exposition import TIMES_MS, TYPES, Exposition, Sample, number
from relay_metrics.snapshot import INT64, Family, FamilyType, Scope, Series

MAX_SERIES_BYTES = 65536
"""Of a series as JSON: the smallest thing that a snapshot can be split into."""

_OF_THE_RUN = frozenset(
    metric.name for scope in (Scope.RUN, Scope.FAILURE) for metric in catalogue.rows(scope)
)

_Labels = frozenset[tuple[str, str]]
_Identity = tuple[_Labels, int | None]
_Start = Callable[[_Identity], int | None]


def assemble(exposition: Exposition, time_ms: int) -> tuple[Family, ...]:
    """All families, by the names of their samples.

    A counter, a histogram and a summary start at their `_created`, else with the process.

    Args:
        exposition: is emptied of its samples; what is left out is counted in it.
        time_ms: the instant of the samples that have none of their own, epoch milliseconds.
    """
    return tuple(_Assembly(exposition, time_ms).families())


@dataclass(slots=True)
class _Parts:
    """What the samples of one histogram or summary say; `points` by the bound or quantile."""

    labels: Mapping[str, str]
    points: dict[str, float] = field(default_factory=dict)
    sum: float | None = None
    count: float | None = None


class _Assembly:
    def __init__(self, exposition: Exposition, time_ms: int) -> None:
        self._exposition = exposition
        self._time_ms = time_ms
        self._left_out = exposition.left_out
        self._process_start = _start_ms(exposition.samples.get("process_start_time_seconds", ()))

    def families(self) -> Iterator[Family]:
        _tell_summaries(self._exposition)
        names: dict[str, list[str]] = {}
        for name in self._exposition.samples:
            names.setdefault(self._exposition.family_of(name), []).append(name)
        for family, of_family in names.items():
            samples = {name: self._exposition.samples.pop(name) for name in of_family}
            help_text = self._exposition.helps.get(family, "")
            for name, type, series in self._of(family, samples):
                fitting = tuple(self._fitting(series))
                if fitting and _table(name) in _OF_THE_RUN:
                    self._left_out["reserved_name"] += len(fitting)
                elif fitting:
                    yield Family(name, type, help_text, fitting)

    def _of(
        self, family: str, samples: dict[str, list[Sample]]
    ) -> Iterator[tuple[str, FamilyType, Iterable[Series]]]:
        kind = self._exposition.types.get(family)
        stem = family.removesuffix("_total") if kind == "counter" else family
        if kind == "counter":
            start = self._start(samples.pop(f"{stem}_created", ()))
            for name, of_name in samples.items():
                yield name, FamilyType.COUNTER, self._values(of_name, start)
        elif kind == "histogram":
            start = self._start(samples.pop(f"{stem}_created", ()))
            parts = self._parts(samples, family, f"{family}_bucket", "le")
            yield family, FamilyType.HISTOGRAM, self._histograms(parts, start)
        elif kind == "summary":
            start = self._start(samples.pop(f"{stem}_created", ()))
            parts = self._parts(samples, family, family, "quantile")
            yield family, FamilyType.SUMMARY, self._summaries(parts, start)
        elif kind == "gaugehistogram":
            self._left_out["gauge_histogram"] += sum(map(len, samples.values()))
        else:
            for name, of_name in samples.items():
                yield name, FamilyType.GAUGE, self._values(of_name, lambda _: None)

    def _start(self, created: Sequence[Sample]) -> _Start:
        """When a series starts: unknown where that would be later than its sample."""
        known = {frozenset(one.labels.items()): _start_ms([one]) for one in created}

        def start(identity: _Identity) -> int | None:
            labels, time_ms = identity
            ms = known.get(labels, self._process_start)
            latest = self._time_ms if time_ms is None else time_ms
            return ms if ms is not None and ms <= latest else None

        return start

    def _values(self, samples: Iterable[Sample], start: _Start) -> Iterator[Series]:
        seen = set()
        for sample in samples:
            identity = frozenset(sample.labels.items()), sample.time_ms
            if identity in seen:
                self._left_out["duplicate_sample"] += 1
                continue
            seen.add(identity)
            yield Series(
                sample.labels, sample.value, time_ms=sample.time_ms, start_ms=start(identity)
            )

    def _parts(
        self, samples: Mapping[str, Sequence[Sample]], family: str, points: str, label: str
    ) -> dict[_Identity, _Parts]:
        """Histograms or summaries, by what tells them apart: all labels but `label`."""
        found: dict[_Identity, _Parts] = {}

        def of(labels: Mapping[str, str], time_ms: int | None) -> _Parts:
            identity = frozenset(labels.items()), time_ms
            if identity not in found:
                found[identity] = _Parts(labels)
            return found[identity]

        for sample in samples.get(points, ()):
            labels = dict(sample.labels)
            at = labels.pop(label, "")
            parts = of(labels, sample.time_ms)
            if at in parts.points:
                self._left_out["duplicate_sample"] += 1
            else:
                parts.points[at] = sample.value
        for sample in samples.get(f"{family}_sum", ()):
            parts = of(sample.labels, sample.time_ms)
            if parts.sum is not None:
                self._left_out["duplicate_sample"] += 1
            else:
                parts.sum = sample.value
        for sample in samples.get(f"{family}_count", ()):
            parts = of(sample.labels, sample.time_ms)
            if parts.count is not None:
                self._left_out["duplicate_sample"] += 1
            else:
                parts.count = sample.value
        return found

    def _histograms(self, found: Mapping[_Identity, _Parts], start: _Start) -> Iterator[Series]:
        for identity, parts in found.items():
            try:
                buckets = sorted((number(bound), count) for bound, count in parts.points.items())
            except ValueError:
                self._left_out["inconsistent_histogram"] += 1
                continue
            if not buckets or buckets[-1][0] != math.inf or parts.count is None:
                self._left_out["incomplete_histogram"] += 1
            elif not _is_consistent(buckets, parts.count):
                self._left_out["inconsistent_histogram"] += 1
            else:
                yield Series(
                    parts.labels,
                    buckets=tuple((bound, int(count)) for bound, count in buckets),
                    sum=parts.sum,
                    count=int(parts.count),
                    time_ms=identity[1],
                    start_ms=start(identity),
                )

    def _summaries(self, found: Mapping[_Identity, _Parts], start: _Start) -> Iterator[Series]:
        for identity, parts in found.items():
            if "" in parts.points:
                del parts.points[""]
                self._left_out["incomplete_summary"] += 1
            if parts.points or parts.sum is not None or parts.count is not None:
                yield Series(
                    parts.labels,
                    quantiles=tuple(parts.points.items()),
                    sum=parts.sum,
                    count=parts.count,
                    time_ms=identity[1],
                    start_ms=start(identity),
                )

    def _fitting(self, all_series: Iterable[Series]) -> Iterator[Series]:
        for series in all_series:
            if _fits(series):
                yield series
            else:
                self._left_out["too_large"] += 1


def _tell_summaries(exposition: Exposition) -> None:
    """Know summaries without a type by their form: quantiles, and a count beside them.

    VictoriaMetrics' library for Go, and so its own software, writes no types unless it is told to.
    """
    samples, types = exposition.samples, exposition.types
    for name, of_name in samples.items():
        count = f"{name}_count"
        if (
            count in samples
            and not {types.get(name), types.get(count)} & set(TYPES)
            and all("quantile" in one.labels for one in of_name)
        ):
            types[name] = "summary"


def _is_consistent(buckets: Sequence[tuple[float, float]], count: float) -> bool:
    """Whether bounds rise, and whole counts do not fall and end at the count."""
    bounds = [bound for bound, _ in buckets]
    counts = [0.0, *(cumulative for _, cumulative in buckets)]
    return (
        bounds[0] > -math.inf
        and all(lower < upper for lower, upper in pairwise(bounds))
        and all(lower <= upper for lower, upper in pairwise(counts))
        and all(one.is_integer() for one in counts)
        and counts[-1] == count < INT64.stop
    )


def _table(name: str) -> str:
    """A name as GreptimeDB by default joins its parts: `relay:up` and `relay_up` are one."""
    return "_".join(re.findall("[a-zA-Z0-9]+", name))


def _start_ms(samples: Sequence[Sample]) -> int | None:
    """The instant that a single sample's value is, in seconds, as epoch milliseconds."""
    if len(samples) != 1:
        return None
    ms = samples[0].value * 1000
    return int(ms) if TIMES_MS.start <= ms < TIMES_MS.stop else None


def _fits(series: Series) -> bool:
    said = (series.labels, series.buckets, series.quantiles)
    labels = sum(map(len, series.labels)) + sum(map(len, series.labels.values()))
    quantiles = sum(len(quantile) for quantile, _ in series.quantiles)
    # JSON writes a character as six at most, and a pair of numbers as fewer than 50
    at_most = 6 * (labels + quantiles) + 50 * (len(series.buckets) + len(series.quantiles))
    return (
        at_most <= MAX_SERIES_BYTES
        or len(json.dumps(said, ensure_ascii=False).encode()) <= MAX_SERIES_BYTES
    )
