"""The families of a Prometheus endpoint, under their own names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from relay_metrics.convert.parts import Part, encoded, table
from relay_metrics.convert.points import GAUGE, RUNNING, SUM, Points, ResourcePoints
from relay_metrics.snapshot import Family, FamilyType, Series, Snapshot

RESERVED = frozenset(("job", "instance", "le", "quantile", "greptime_value", "greptime_timestamp"))
"""Labels that a destination sets itself, from a resource or for its own columns."""
_RESERVED_PREFIX = "__"
"""Of further such labels: GreptimeDB's `__tsid` and `__table_id`, and all in Prometheus."""


SERIES_AT_ONCE = 2_000
"""Of a part, and of a histogram within one request."""


def convert(snapshot: Snapshot) -> Iterator[Part]:
    """The data points of each series.

    A counter is a monotonic cumulative Sum; a histogram a Histogram with the same bounds; a summary
    is a Gauge with `quantile`, and `NAME_sum` and `NAME_count` as cumulative Sums that are not
    monotonic, which keep their names in GreptimeDB; the rest are Gauges.

    A label that would stand for an attribute of the endpoint, or is reserved, gets `exported_` in
    front, as in a scrape of Prometheus' own; but `le` is in its place where a gauge is the bucket
    of a histogram without a type.
    """
    reserved = {_tag(name) for name in snapshot.resource} | RESERVED
    of_any, of_bucket = _Attributes(reserved), _Attributes(reserved - {"le"})
    for families in _batches(snapshot.families):
        points = Points(snapshot.resource, snapshot.time_ms)
        of_endpoint = points.of()
        for family in families:
            add = _ADD[family.type]
            is_bucket = family.type is FamilyType.GAUGE and family.name.endswith("_bucket")
            attributes = of_bucket if is_bucket else of_any
            for series in family.series:
                add(of_endpoint, family, series, attributes.of(series.labels))
        things = sum(len(family.series) for family in families)
        if part := encoded(points.data(), things=things):
            yield part


def _batches(families: Iterable[Family]) -> Iterator[list[Family]]:
    """Families of `SERIES_AT_ONCE` series together, a longer one in several slices.

    A histogram that fits into a batch is not divided, and two that come to one table are in two.
    """
    batch: list[Family] = []
    histograms: set[str] = set()
    held = 0
    for family in families:
        for start in range(0, len(family.series), SERIES_AT_ONCE):
            some = family._replace(series=family.series[start : start + SERIES_AT_ONCE])
            name = table(family.name) if family.type is FamilyType.HISTOGRAM else None
            if held + len(some.series) > SERIES_AT_ONCE or name in histograms:
                yield batch
                batch, histograms, held = [], set(), 0
            batch.append(some)
            held += len(some.series)
            if name is not None:
                histograms.add(name)
    if batch:
        yield batch


def _add_value(
    kind: str, points: ResourcePoints, family: Family, series: Series, attributes: Mapping[str, str]
) -> None:
    if series.value is not None:
        points.number(kind, family.name, series.value, attributes, **_common(family, series))


def _add_counter(
    points: ResourcePoints, family: Family, series: Series, attributes: Mapping[str, str]
) -> None:
    _add_value(RUNNING, points, family, series, attributes)


def _add_gauge(
    points: ResourcePoints, family: Family, series: Series, attributes: Mapping[str, str]
) -> None:
    _add_value(GAUGE, points, family, series, attributes)


def _add_histogram(
    points: ResourcePoints, family: Family, series: Series, attributes: Mapping[str, str]
) -> None:
    cumulative = [0, *(int(count) for _, count in series.buckets)]
    points.histogram(
        family.name,
        attributes,
        bounds=[bound for bound, _ in series.buckets if bound < math.inf],
        counts=[upper - lower for lower, upper in pairwise(cumulative)],
        sum=series.sum,
        **_common(family, series),
    )


def _add_summary(
    points: ResourcePoints, family: Family, series: Series, attributes: Mapping[str, str]
) -> None:
    common = _common(family, series)
    for quantile, value in series.quantiles:
        points.number(GAUGE, family.name, value, {**attributes, "quantile": quantile}, **common)
    if series.sum is not None:
        points.number(SUM, f"{family.name}_sum", series.sum, attributes, **common)
    if series.count is not None:
        points.number(SUM, f"{family.name}_count", series.count, attributes, **common)


_Add = Callable[[ResourcePoints, Family, Series, Mapping[str, str]], None]
_ADD: Mapping[FamilyType, _Add] = {
    FamilyType.COUNTER: _add_counter,
    FamilyType.GAUGE: _add_gauge,
    FamilyType.HISTOGRAM: _add_histogram,
    FamilyType.SUMMARY: _add_summary,
}


def _common(family: Family, series: Series) -> dict[str, Any]:
    return {
        "description": family.help,
        "time_ms": series.time_ms,
        "start_ms": series.start_ms,
    }


class _Attributes:
    """Labels as attributes. Series of one family have the same names, so each set is seen once."""

    def __init__(self, reserved: Collection[str]) -> None:
        self._reserved = reserved
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}

    def of(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        scraped = tuple(labels)
        names = self._names.get(scraped)
        if names is None:
            names = self._names[scraped] = renamed(scraped, self._reserved)
        if names == scraped:
            return labels
        return dict(zip(names, labels.values(), strict=True))


def renamed(labels: tuple[str, ...], reserved: Collection[str]) -> tuple[str, ...]:
    """Label names without those that are reserved, each still another tag than the others.

    Beside `reserved`, every name that begins with two underscores is.

    Example:
        >>> renamed(("job", "exported_job", "path"), {"job"})
        ('exported_exported_job', 'exported_job', 'path')
    """
    taken = set(reserved)
    kept = set()
    for name in labels:
        if _tag(name) not in taken and not _tag(name).startswith(_RESERVED_PREFIX):
            taken.add(_tag(name))
            kept.add(name)
    names = []
    for label in labels:
        name = label
        if name not in kept:
            name = f"exported_{name}"
            while _tag(name) in taken:
                name = f"exported_{name}"
            taken.add(_tag(name))
        names.append(name)
    return tuple(names)


def _tag(name: str) -> str:
    """A name as GreptimeDB and Prometheus write it: `relay.name` and `relay_name` are one."""
    return re.sub("[^a-zA-Z0-9]", "_", name)
