"""The collector with a stopped clock, a secret in place of Secrets Manager, and a destination."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from local.closing import Closing
from local.http_server import HttpServer, Request, Response
from relay_metrics.entry.actions import act
from relay_metrics.relays.values import instant_ms
from relay_metrics.runtime import Runtime


class Run(NamedTuple):
    """The report of a run, or the answer to what else was asked for, and what was pushed."""

    report: Mapping[str, Any]
    pushed: list[ExportMetricsServiceRequest]


class Collector(Closing):
    """Collects as the function does, run after run in one execution environment.

    Args:
        environment: its variables; the destination and the secret's id are there already.
        secret: what Secrets Manager holds.
        renewed_secret: what it holds when it is read anew, where that differs.

    Attributes:
        destination: the default one, to be told to misbehave.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        secret: object,
        renewed_secret: object,
    ) -> None:
        self._now_ms = 0
        self._pushed: list[ExportMetricsServiceRequest] = []
        self.destination = HttpServer(self._take)
        self._variables = {
            "SECRET_ID": "relay-metrics",
            "OTEL_EXPORT_URL": self.destination.url,
            # but where a time-out is the subject, a busy machine is not
            "RELAY_TIMEOUT_MS": "60000",
            "OTEL_TIMEOUT_MS": "60000",
            **environment,
        }
        self._provider = _Provider(json.dumps(secret), json.dumps(renewed_secret))
        self._runtime: Runtime | None = None

    def run(self, instant: str, event: Mapping[str, Any] | None = None) -> Run:
        """A run that is scheduled for an instant, and takes place at it."""
        if self._runtime is None:
            self._runtime = Runtime(
                self._variables, self._provider, clock=lambda: self._now_ms * 10**6
            )
        now_ms = instant_ms(instant)
        assert now_ms is not None
        self._now_ms = now_ms
        report = act(self._runtime, {"time": instant, **(event or {})}, seconds=60)
        pushed, self._pushed = self._pushed, []
        return Run(report, pushed)

    def _take(self, request: Request) -> Response:
        body = gzip.decompress(request.body)
        self._pushed.append(ExportMetricsServiceRequest.FromString(body))
        return Response(200, b"", "application/x-protobuf")

    def close(self) -> None:
        """Stop the destination, which must have had no fault of its own."""
        self.destination.close()
        assert not self.destination.errors, self.destination.errors


class _Provider(NamedTuple):
    secret: str
    renewed: str

    def get(self, name: str, max_age: int, *, force_fetch: bool) -> str:
        return self.renewed if force_fetch else self.secret
