"""From an OTLP request to the rows of GreptimeDB's tables. Pure: nothing is stored here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain, repeat
from typing import Final, Literal, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ScopeMetrics,
    SummaryDataPoint,
)

from local.greptimedb.naming import (
    BY_DEFAULT,
    STRATEGIES,
    Strategy,
    legacy_name,
    number_text,
    table_name,
    tag_name,
)

PROMOTED_BY_DEFAULT: Final = frozenset(
    {
        "cloud.availability_zone",
        "cloud.region",
        "container.name",
        "deployment.environment",
        "deployment.environment.name",
        "k8s.cluster.name",
        "k8s.container.name",
        "k8s.cronjob.name",
        "k8s.daemonset.name",
        "k8s.deployment.name",
        "k8s.job.name",
        "k8s.namespace.name",
        "k8s.pod.name",
        "k8s.replicaset.name",
        "k8s.statefulset.name",
        "service.instance.id",
        "service.name",
        "service.namespace",
        "service.version",
    }
)

_PREFIX: Final = "x-greptime-otlp-metric-"
_ALSO_STORED_AS: Final = {"service.name": "job", "service.instance.id": "instance"}

Tags = dict[str, str]
Series = tuple[tuple[str, str], ...]
"""A series of a table: its tags, sorted by name. A tag that it lacks is NULL there."""

Rows = dict[tuple[Series, int], float | None]
"""The values of a table by series and time (in the unit of `Tables.precision`)."""


@dataclass(slots=True)
class Tables:
    """What one request writes.

    Attributes:
        precision: of every time in `rows`; nanoseconds only in the older way.
        rows: the rows of each table by its name. A table may have none; it is not made then.
    """

    precision: Literal["ms", "ns"]
    rows: dict[str, Rows] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Options:
    """What a request's headers and the tables that exist already make of it.

    Attributes:
        promote: resource attributes to store beside the default ones.
        promote_all: all are stored but those of `ignore`.
        ignore: resource attributes that are not stored although all are promoted.
        promote_scope: whether a scope's attributes, name, version and schema URL are stored.
        strategy: how names are made.
        legacy: GreptimeDB's older way: names in lower case with `.` and `-` replaced, every
            attribute (of resource, scope and point) a tag, nanoseconds.
    """

    promote: frozenset[str] = frozenset()
    promote_all: bool = False
    ignore: frozenset[str] = frozenset()
    promote_scope: bool = False
    strategy: Strategy = BY_DEFAULT
    legacy: bool = False

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """What a request's headers, in lower case, make of it.

        Raises:
            ValueError: the strategy is not one of the four.
        """

        def listed(name: str) -> frozenset[str]:
            return frozenset(key.strip() for key in headers.get(_PREFIX + name, "").split(";"))

        strategy = headers.get(_PREFIX + "translation-strategy", "UnderscoreEscapingWithSuffixes")
        if strategy not in STRATEGIES:
            raise ValueError(f"Invalid OTLP metric translation strategy: {strategy}")
        return cls(
            promote=listed("promote-resource-attrs"),
            promote_all=headers.get(_PREFIX + "promote-all-resource-attrs") == "true",
            ignore=listed("ignore-resource-attrs"),
            promote_scope=headers.get(_PREFIX + "promote-scope-attrs") == "true",
            strategy=STRATEGIES[strategy],
        )


def metric_names(request: ExportMetricsServiceRequest) -> set[str]:
    """The names of a request's metrics as they were sent."""
    return {
        metric.name
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def tables_of(request: ExportMetricsServiceRequest, options: Options) -> Tables:
    """The rows that GreptimeDB makes of a request.

    Of points with the same tags and time the last one in the request stays. Temporality, start
    times, exemplars, min, max and exponential histograms are dropped.

    Raises:
        ValueError: a name comes to no table.
    """
    tables = Tables("ns" if options.legacy else "ms")
    for resource in request.resource_metrics:
        resource_tags = _resource_tags(resource.resource.attributes, options)
        for scope in resource.scope_metrics:
            tags = resource_tags | _scope_tags(scope, options)
            for metric in scope.metrics:
                _add_metric(tables, metric, tags, options)
    if "" in tables.rows:
        raise ValueError("Invalid table name: it is empty")
    return tables


def _resource_tags(attributes: Iterable[KeyValue], options: Options) -> Tags:
    if options.legacy:
        return _tags(attributes, legacy_name)
    attributes = list(attributes)
    promoted = PROMOTED_BY_DEFAULT | options.promote
    kept = [
        item
        for item in attributes
        if (item.key not in options.ignore if options.promote_all else item.key in promoted)
    ]
    tags = _tags(kept, lambda key: tag_name(key, options.strategy))
    also = (item for item in attributes if item.key in _ALSO_STORED_AS)
    return tags | _tags(also, lambda key: _ALSO_STORED_AS[key])


def _scope_tags(scope: ScopeMetrics, options: Options) -> Tags:
    if options.legacy:
        return _tags(scope.scope.attributes, legacy_name)
    if not options.promote_scope:
        return {}
    named = {
        "otel.scope.name": scope.scope.name,
        "otel.scope.version": scope.scope.version,
        "otel.scope.schema_url": scope.schema_url,
    }
    own = _tags(scope.scope.attributes, lambda key: tag_name(key, options.strategy))
    return own | {tag_name(key, options.strategy): text for key, text in named.items()}


def _tags(attributes: Iterable[KeyValue], name: Callable[[str], str]) -> Tags:
    """Strings and numbers as text; booleans, bytes, lists, maps and nothing are left out."""
    tags = {}
    for item in attributes:
        value = item.value
        match value.WhichOneof("value"):
            case "string_value":
                tags[name(item.key)] = value.string_value
            case "int_value":
                tags[name(item.key)] = str(value.int_value)
            case "double_value":
                tags[name(item.key)] = number_text(value.double_value)
    return tags


def _add_metric(tables: Tables, metric: Metric, tags: Tags, options: Options) -> None:
    data = metric.WhichOneof("data")
    if data is None:
        return
    name = (
        legacy_name(metric.name)
        if options.legacy
        else table_name(
            metric.name,
            metric.unit,
            metric.sum.is_monotonic,
            data,
            options.strategy,
        )
    )
    nanoseconds = 1 if options.legacy else 1_000_000

    def point_name(key: str) -> str:
        return legacy_name(key) if options.legacy else tag_name(key, options.strategy)

    def located(
        point: NumberDataPoint | HistogramDataPoint | SummaryDataPoint,
    ) -> tuple[Tags, int]:
        point_tags = tags | _tags(point.attributes, point_name)
        return point_tags, _signed(point.time_unix_nano) // nanoseconds

    match data:
        case "gauge" | "sum":
            points = metric.gauge.data_points if data == "gauge" else metric.sum.data_points
            rows = tables.rows.setdefault(name, {})
            for point in points:
                point_tags, time = located(point)
                rows[_series(point_tags), time] = _number(point)
        case "histogram":
            # GreptimeDB (to 1.2) makes these three anew for each metric and puts them in place of
            # what the request had under the same names. That is the loss that a sender must avoid.
            buckets, sums, counts = _histogram_rows(metric.histogram.data_points, located)
            tables.rows[f"{name}_bucket"] = buckets
            tables.rows[f"{name}_sum"] = sums
            tables.rows[f"{name}_count"] = counts
        case "summary":
            _add_summary(tables, name, metric.summary.data_points, located)


_Located = Callable[[HistogramDataPoint | SummaryDataPoint], tuple[Tags, int]]


def _histogram_rows(
    points: Iterable[HistogramDataPoint], located: _Located
) -> tuple[Rows, Rows, Rows]:
    buckets: Rows = {}
    sums: Rows = {}
    counts: Rows = {}
    for point in points:
        tags, time = located(point)
        for count, bound in zip(accumulate(point.bucket_counts), _bounds(point), strict=False):
            buckets[_series(tags | bound), time] = float(count)
        if point.HasField("sum"):
            sums[_series(tags), time] = point.sum
        counts[_series(tags), time] = float(point.count)
    return buckets, sums, counts


def _bounds(point: HistogramDataPoint) -> Iterator[Tags]:
    """The `le` tag of each bucket; none for buckets past the one after the last bound."""
    finite = ({"le": number_text(bound)} for bound in point.explicit_bounds)
    return chain(finite, [{"le": "inf"}], repeat({}))


def _add_summary(
    tables: Tables, name: str, points: Iterable[SummaryDataPoint], located: _Located
) -> None:
    quantiles = tables.rows.setdefault(name, {})
    sums = tables.rows.setdefault(f"{name}_sum", {})
    counts = tables.rows.setdefault(f"{name}_count", {})
    for point in points:
        tags, time = located(point)
        for item in point.quantile_values:
            quantile = {"quantile": number_text(item.quantile)}
            quantiles[_series(tags | quantile), time] = item.value
        sums[_series(tags), time] = point.sum
        counts[_series(tags), time] = float(point.count)


def _series(tags: Tags) -> Series:
    return tuple(sorted(tags.items()))


def _number(point: NumberDataPoint) -> float | None:
    match point.WhichOneof("value"):
        case "as_double":
            return point.as_double
        case "as_int":
            return float(point.as_int)
        case _:
            return None


def _signed(nanoseconds: int) -> int:
    """OTLP's unsigned time as the signed one that GreptimeDB reads it as."""
    return nanoseconds - (1 << 64) if nanoseconds >= 1 << 63 else nanoseconds
