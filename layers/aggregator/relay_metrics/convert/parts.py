"""Parts of a request: put together, their bytes are one `ExportMetricsServiceRequest`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics.export import MetricsData

from relay_metrics.errors import EncodingError


class Part(NamedTuple):
    """Some of a snapshot's data points.

    Attributes:
        data: an `ExportMetricsServiceRequest`, serialised, not compressed. Protobuf reads several
            concatenated ones as one.
        points: how many data points it has, without a repeated `relay_up`.
        things: how many of the snapshot's things (`len`) it is made of.
        histograms: the tables of its histograms in GreptimeDB. GreptimeDB keeps only the last
            histogram of a table in a request, so two parts that share a table go into two requests.
    """

    data: bytes
    points: int
    things: int
    histograms: frozenset[str] = frozenset()


def encoded(metrics: MetricsData, *, things: int, carried: int = 0) -> Part | None:
    """Encode metrics with the SDK's encoder; None if there are no points and no things.

    Args:
        things: how many of the snapshot's things they are made of.
        carried: how many of the points are not counted.

    Raises:
        EncodingError: the encoder refused them, or did not encode exactly their points.
    """
    given = sum(
        len(metric.data.data_points)
        for resource in metrics.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )
    if not given and not things:
        return None
    try:
        request = encode_metrics(metrics)
        data = request.SerializeToString()
    # the encoder wraps any error into a bare Exception
    except Exception as error:  # noqa: BLE001
        raise EncodingError(f"cannot be encoded ({type(error).__name__})") from None
    kinds = ((metric, metric.WhichOneof("data")) for metric in _metrics(request))
    points = sum(len(getattr(metric, kind).data_points) for metric, kind in kinds if kind)
    if points != given:
        raise EncodingError(f"{given} points were given and {points} encoded")
    return Part(data, points - carried, things)


def _metrics(request: ExportMetricsServiceRequest) -> Iterator[Any]:
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics
