"""A simulated Claude Relay Service over HTTP."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from local.http_server import FaultHook, HttpServer, Request, Response
from local.relay import public_api
from local.relay.state import CURRENT_RELEASE, Key, RelayState
from local.relay.wire import iso

Answer = Callable[[RelayState, Request], Response]

PUBLIC: Mapping[tuple[str, str], Answer] = {
    ("POST", "/apiStats/api/get-key-id"): public_api.get_key_id,
    ("POST", "/apiStats/api/user-stats"): public_api.user_stats,
    ("POST", "/apiStats/api/user-model-stats"): public_api.user_model_stats,
    ("POST", "/apiStats/api/batch-stats"): public_api.batch_stats,
    ("POST", "/apiStats/api/batch-model-stats"): public_api.batch_model_stats,
    ("GET", "/health"): public_api.health,
    ("GET", "/metrics"): public_api.metrics,
}
ENDPOINTS_SINCE = {
    "/apiStats/api/batch-stats": "1.1.126",
    "/apiStats/api/batch-model-stats": "1.1.126",
}


class ClaudeRelay(RelayState):
    """Serves a RelayState on loopback from the moment it is made until it is closed.

    Args:
        keys: what it knows at the start.
        utc_offset_hours: where its day rolls.
        release: which release to be.
        latency_s: the least time of every answer.
        port: 0 takes a free one.
        tls: a server-side context, for https.
        seed: of `tick`.
        clock: epoch seconds.

    Attributes:
        server: for `fault`, `bytes_out`, `requests`, `errors`.
        url: what a RELAY_BASE_URL is.
    """

    def __init__(
        self,
        keys: Iterable[Key] = (),
        *,
        utc_offset_hours: float = 8,
        release: str = CURRENT_RELEASE,
        latency_s: float = 0.0,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        seed: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            keys, utc_offset_hours=utc_offset_hours, release=release, seed=seed, clock=clock
        )
        self.server = HttpServer(self._answer, port=port, latency_s=latency_s, tls=tls)
        self.url = self.server.url

    @property
    def fault(self) -> FaultHook | None:
        """The server's hook."""
        return self.server.fault

    @fault.setter
    def fault(self, hook: FaultHook | None) -> None:
        self.server.fault = hook

    def close(self) -> None:
        """Stop serving."""
        self.server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, request: Request) -> Response:
        with self.lock:
            self.calls[request.path] += 1
            answer = self._route(request)
            try:
                return answer(self, request)
            except public_api.RefusedError as refused:
                return refused.response

    def _route(self, request: Request) -> Answer:
        known = self.since(ENDPOINTS_SINCE.get(request.path, "0"))
        if not known or request.path in self.missing:
            return _not_found
        return PUBLIC.get((request.method, request.path), _not_found)


def _not_found(relay: RelayState, request: Request) -> Response:
    body = {
        "error": "Not Found",
        "message": f"Route {request.path} not found",
        "timestamp": iso(relay.clock()),
    }
    return Response.of_json(body, 404)
