"""Groups data points by resource and metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from relay_metrics import catalogue
from relay_metrics.snapshot import NO_ATTRIBUTES, Number, in_64_bits

GAUGE, RUNNING = "gauge", "running sum"

SCOPE = "relay_metrics"
"""The name of the instrumentation scope."""
_NANOS = 1_000_000
"""Nanoseconds in a millisecond."""

_CUMULATIVE = AggregationTemporality.CUMULATIVE


class ResourcePoints:
    """The data points of one resource.

    Attributes:
        metrics: their metrics, in the order of the first points.
    """

    def __init__(self, time_ms: int) -> None:
        self.metrics: list[Metric] = []
        self._time_ms = time_ms
        self._points: dict[tuple[str, str], list[Any]] = {}

    def _of(self, kind: str, name: str, unit: str, description: str) -> list[Any]:
        points = self._points.get((name, kind))
        if points is None:
            points = self._points[name, kind] = []
            self.metrics.append(Metric(name, description, unit, _data(kind, points)))
        return points

    def add(
        self,
        metric: catalogue.Metric,
        value: Number,
        attributes: Mapping[str, str] = NO_ATTRIBUTES,
        start_ms: int | None = None,
        time_ms: int | None = None,
    ) -> None:
        """Add a point of a metric of the catalogue, by default with the snapshot's time."""
        if metric.running and start_ms is not None and start_ms > self._time_ms:
            start_ms = None
        self.number(
            RUNNING if metric.running else GAUGE,
            metric.name,
            value,
            attributes,
            unit=metric.unit,
            description=metric.description,
            time_ms=time_ms,
            start_ms=start_ms if metric.running else None,
        )

    def number(
        self,
        kind: str,
        name: str,
        value: Number,
        attributes: Mapping[str, str],
        *,
        unit: str = "",
        description: str = "",
        time_ms: int | None = None,
        start_ms: int | None = None,
    ) -> None:
        """Add a point of any metric. `kind` is `GAUGE`, or `RUNNING` for a monotonic Sum."""
        self._of(kind, name, unit, description).append(
            NumberDataPoint(
                attributes,
                0 if start_ms is None else start_ms * _NANOS,
                (self._time_ms if time_ms is None else time_ms) * _NANOS,
                in_64_bits(value),
            )
        )


class Points:
    """The data points of one snapshot.

    Points of equal resources are grouped in any order of `add`, because the SDK's encoder keeps
    only the last of two equal `ResourceMetrics`.

    Args:
        resource: the attributes that every series has.
        time_ms: the timestamp of points that have none of their own, epoch milliseconds.
    """

    def __init__(self, resource: Mapping[str, str], time_ms: int) -> None:
        self._resource = resource
        self._time_ms = time_ms
        self._resources: dict[tuple[tuple[str, str], ...], ResourcePoints] = {}

    def of(self, resource: Mapping[str, str] = NO_ATTRIBUTES) -> ResourcePoints:
        """The points of the resource that has these attributes in addition to the snapshot's."""
        attributes = {**self._resource, **resource}
        key = tuple(sorted(item for item in attributes.items() if item[1]))
        points = self._resources.get(key)
        if points is None:
            points = self._resources[key] = ResourcePoints(self._time_ms)
        return points

    def data(self) -> MetricsData:
        """All points that were added, without resources that have none."""
        scope = InstrumentationScope(SCOPE)
        return MetricsData(
            [
                ResourceMetrics(Resource(dict(attributes)), [ScopeMetrics(scope, metrics, "")], "")
                for attributes, points in self._resources.items()
                if (metrics := points.metrics)
            ]
        )


def _data(kind: str, points: list[Any]) -> Gauge | Sum:
    if kind == GAUGE:
        return Gauge(points)
    return Sum(points, _CUMULATIVE, is_monotonic=True)
