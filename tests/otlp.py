"""OTLP metrics as text: sorted, a line a data point, fit to be read and compared.

What the text does not say, and why; nothing else of a request is left out:

- the values of the metrics in `UNSTABLE`;
- descriptions: those of the catalogue are in tests/unit/test_catalogue.py, those of an exposition
  in tests/unit/test_exposition.py;
- the scope's name, which is asserted to be the same everywhere;
- schema URLs, flags, exemplars, min and max, which are asserted not to be set;
- whether a resource is given once or in several places;
- the order of resources, metrics, points and attributes, which has no meaning in OTLP.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from relay_metrics.convert import convert
from relay_metrics.snapshot import Snapshot

UNSTABLE = frozenset({"relay_scrape_duration_seconds"})
"""The metrics whose values differ from run to run: `?` stands for them."""


def request_of(snapshot: Snapshot) -> ExportMetricsServiceRequest:
    """A snapshot's parts as the one request that they are together."""
    return ExportMetricsServiceRequest.FromString(b"".join(one.data for one in convert(snapshot)))


def as_text(requests: Iterable[ExportMetricsServiceRequest]) -> str:
    """Everything that the requests say, but what is named above.

    A resource, its attributes below it; then its metrics, KIND NAME UNIT; then the points of each,
    ATTRIBUTES VALUE and, where they have one, their start, and their time. A whole number is one
    that was sent as such; a float has a point.
    """
    resources: dict[str, list[str]] = {}
    for resource in (one for request in requests for one in request.resource_metrics):
        head, metrics = _resource(resource)
        resources.setdefault(head, []).extend(metrics)
    return "\n".join(
        "\n".join([head, *sorted(metrics, key=lambda text: text.split(" ")[1:]), ""])
        for head, metrics in sorted(resources.items())
    )


def points(requests: Iterable[ExportMetricsServiceRequest]) -> list[str]:
    """Each data point with its resource and metric, a line each, in whichever request it is."""
    found = []
    for resource in (one for request in requests for one in request.resource_metrics):
        attributes = _labels(attributes_of(resource.resource.attributes))
        for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
            head, *lines = _metric(metric)
            found += [f"{attributes}{head}{line}" for line in lines]
    return sorted(found)


def attributes_of(encoded: Iterable[Any]) -> dict[str, str]:
    """Encoded attributes, all of which are text."""
    found: dict[str, str] = {}
    for attribute in encoded:
        assert attribute.value.WhichOneof("value") == "string_value"
        assert attribute.key not in found
        found[attribute.key] = attribute.value.string_value
    return found


def _resource(resource: Any) -> tuple[str, list[str]]:
    assert not resource.schema_url
    lines = ["resource"]
    attributes = attributes_of(resource.resource.attributes)
    lines += [f"  {name} = {_text(value)}" for name, value in sorted(attributes.items())]
    (scope,) = resource.scope_metrics
    assert not scope.schema_url
    assert scope.scope.name == "relay_metrics"
    assert scope.metrics
    metrics = ["\n".join(_metric(metric)) for metric in scope.metrics]
    return "\n".join(lines), metrics


def _metric(metric: Any) -> Iterator[str]:
    sort = metric.WhichOneof("data")
    data = getattr(metric, sort)
    kind = sort
    if sort in ("sum", "histogram"):
        assert data.aggregation_temporality == 2  # cumulative
    if sort == "sum":
        kind = "counter" if data.is_monotonic else "sum"
    yield f"{kind} {metric.name} {metric.unit}".rstrip()
    yield from sorted(f"  {_point(metric.name, point)}" for point in data.data_points)


def _point(metric: str, point: Any) -> str:
    assert not point.flags
    assert not point.exemplars
    labels = _labels(attributes_of(point.attributes))
    start = f" from {_instant(point.start_time_unix_nano)}" if point.start_time_unix_nano else ""
    value = "?" if metric in UNSTABLE else _value(point)
    return f"{labels}{value}{start} at {_instant(point.time_unix_nano)}"


def _value(point: Any) -> str:
    if not hasattr(point, "bucket_counts"):
        sort = point.WhichOneof("value")
        return repr(getattr(point, sort))
    assert not point.HasField("min")
    assert not point.HasField("max")
    bounds = [repr(bound) for bound in point.explicit_bounds] + ["inf"]
    buckets = [f"{at}:{n}" for at, n in zip(bounds, point.bucket_counts, strict=True)]
    total = f" sum {point.sum!r}" if point.HasField("sum") else ""
    return f"{' '.join(buckets)} count {point.count}{total}"


def _labels(attributes: Mapping[str, str]) -> str:
    pairs = [f"{name}={_text(value)}" for name, value in sorted(attributes.items())]
    return f"{{{', '.join(pairs)}}} " if pairs else ""


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _instant(nanoseconds: int) -> str:
    milliseconds, rest = divmod(nanoseconds, 10**6)
    assert rest == 0
    at = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"
