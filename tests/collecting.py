"""The collector with a stopped clock, a secret in place of Secrets Manager, and a destination."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from local.closing import Closing
from local.http_server import HttpServer, Request, Response
from local.relay.demo import ADMIN
from relay_metrics.entry.actions import act
from relay_metrics.relays.values import instant_ms
from relay_metrics.runtime import Runtime

NOON = 1_795_262_400.0
"""2026-11-21T12:00:00Z, a Saturday; 20:00 at a relay of UTC+8."""
LOGIN = {"admin_username": ADMIN[0], "admin_password": ADMIN[1]}


PATIENT = {"SECRET_ID": "relay-metrics", "RELAY_TIMEOUT_MS": "60000", "OTEL_TIMEOUT_MS": "60000"}
"""Variables of a collector for which a busy machine is no fault: a test of a time-out sets it."""


class Clock:
    """A clock that a test moves, in epoch seconds."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Provider:
    """A secret in place of Secrets Manager, and what it is when it is read anew."""

    def __init__(self, secret: object, renewed: object = None) -> None:
        self._text = json.dumps(secret)
        self._renewed = self._text if renewed is None else json.dumps(renewed)

    def get(self, name: str, max_age: int, *, force_fetch: bool) -> str:
        return self._renewed if force_fetch else self._text


class Taker(Closing):
    """A destination that takes what it is pushed.

    Attributes:
        pushed: what it took since a test looked last.
        refuse_after: how many requests it takes before it answers 404, and is not asked again;
            None for all.
    """

    def __init__(self) -> None:
        self.pushed: list[ExportMetricsServiceRequest] = []
        self.refuse_after: int | None = None
        self.server = HttpServer(self._take)

    def _take(self, request: Request) -> Response:
        if self.refuse_after is not None and len(self.pushed) >= self.refuse_after:
            return Response(404)
        body = gzip.decompress(request.body)
        self.pushed.append(ExportMetricsServiceRequest.FromString(body))
        return Response(200, b"", "application/x-protobuf")

    def close(self) -> None:
        """Stop it; it must have had no fault of its own."""
        self.server.close()
        assert not self.server.errors, self.server.errors


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
        destination: the default one, which can be made to misbehave.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        secret: object,
        renewed_secret: object,
    ) -> None:
        self._now_ms = 0
        self._taker = Taker()
        self.destination = self._taker.server
        self._variables = {
            **PATIENT,
            "OTEL_EXPORT_URL": self.destination.url,
            **environment,
        }
        self._provider = Provider(secret, renewed_secret)
        self._runtime: Runtime | None = None

    @property
    def pushed(self) -> list[ExportMetricsServiceRequest]:
        """What the destination accepted since the last run that ended well."""
        return self._taker.pushed

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
        pushed, self._taker.pushed = self._taker.pushed, []
        return Run(report, pushed)

    def close(self) -> None:
        """Stop the destination."""
        self._taker.close()
