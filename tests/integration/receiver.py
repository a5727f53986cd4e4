"""An OTLP receiver that keeps what it is sent: the last write for the same series and instant."""

from __future__ import annotations

import gzip
import math
from base64 import b64encode
from collections import Counter
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from local.http_server import FaultHook, HttpServer, Request, Response

Series = tuple[str, frozenset[tuple[str, str]]]
"""A metric's name, and all attributes, those of the resource among them."""

PROTOBUF = "application/x-protobuf"


class Receiver:
    """A destination that answers in milliseconds, where GreptimeDB first makes fifty tables.

    Args:
        username, password: the only credential that is accepted.
        more: for the server, `tls` say.

    Attributes:
        points: data points as they were encoded, by series and instant (epoch nanoseconds).
        requests: all that came, those that met a fault included.
        fault: asked for every request.
    """

    def __init__(self, username: str, password: str, **more: Any) -> None:
        token = b64encode(f"{username}:{password}".encode()).decode()
        self.authorization = f"Basic {token}"
        self.username = username
        self.points: dict[tuple[Series, int], Any] = {}
        self.requests: list[Request] = []
        self.fault: FaultHook | None = None
        self.server = HttpServer(self._take, **more)
        self.server.fault = self._receive
        self.url = self.server.url + "/otlp"

    def close(self) -> None:
        """Stop the server."""
        self.server.close()
        assert self.server.errors == []

    def sent(self) -> list[str]:
        """Every request's body, as text."""
        return [gzip.decompress(one.body).decode("latin-1") for one in self.requests]

    def of(self, **attributes: str) -> dict[str, list[float]]:
        """The values of the series that have all these attributes, by metric; NaN of histograms."""
        wanted = {(name.replace("_", "."), text) for name, text in attributes.items()}
        found: dict[str, list[float]] = {}
        for ((metric, series), _), written in self.points.items():
            if wanted <= series:
                found.setdefault(metric, []).append(number(written))
        return found

    def names(self, attribute: str, **attributes: str) -> Counter[str]:
        """How many points there are of each text of an attribute, among those series."""
        wanted = {(name.replace("_", "."), text) for name, text in attributes.items()}
        return Counter(
            text
            for ((_, series), _) in self.points
            if wanted <= series
            for name, text in series
            if name == attribute
        )

    def _receive(self, request: Request) -> Any:
        self.requests.append(request)
        return self.fault(request) if self.fault else None

    def _take(self, request: Request) -> Response:
        if request.headers.get("authorization") != self.authorization:
            error = f"Username and password does not match, username: {self.username}"
            return Response.of_json({"code": 7002, "error": error}, 401)
        message = ExportMetricsServiceRequest.FromString(gzip.decompress(request.body))
        for resource in message.resource_metrics:
            shared = _texts(resource.resource.attributes)
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, str(metric.WhichOneof("data")))
                    for point in data.data_points:
                        series = (
                            metric.name,
                            frozenset({**shared, **_texts(point.attributes)}.items()),
                        )
                        key = series, point.time_unix_nano
                        self.points[key] = point
        return Response(200, ExportMetricsServiceResponse().SerializeToString(), PROTOBUF)


def _texts(attributes: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in attributes}


def number(point: Any) -> float:
    """A data point's value; NaN of a histogram's."""
    if not isinstance(point, NumberDataPoint):
        return math.nan
    return point.as_double if point.WhichOneof("value") == "as_double" else float(point.as_int)
