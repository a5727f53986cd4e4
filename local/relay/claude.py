"""A simulated Claude Relay Service over HTTP."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable, Iterable, Mapping

from local.http_server import HttpServer, Request, Response, Served
from local.relay import admin_api, history_api, public_api
from local.relay.account_rows import PLATFORMS
from local.relay.model import Account, Key
from local.relay.state import CURRENT_RELEASE, RelayState
from local.relay.wire import error, iso

Answer = Callable[[RelayState, Request], Response]

PUBLIC: Mapping[tuple[str, str], Answer] = {
    ("POST", "/apiStats/api/get-key-id"): public_api.get_key_id,
    ("POST", "/apiStats/api/user-stats"): public_api.user_stats,
    ("POST", "/apiStats/api/user-model-stats"): public_api.user_model_stats,
    ("POST", "/apiStats/api/batch-stats"): public_api.batch_stats,
    ("GET", "/health"): public_api.health,
}
SESSION_MS = 86_400_000
LOGIN = "/web/auth/login"
ADMIN: Mapping[tuple[str, str], Answer] = {
    ("GET", "/admin/api-keys"): admin_api.api_keys,
    ("GET", "/admin/usage-stats"): admin_api.usage_stats,
    ("GET", "/admin/usage-costs"): admin_api.usage_costs,
    ("GET", "/admin/dashboard"): admin_api.dashboard,
    ("GET", "/admin/concurrency"): admin_api.concurrency,
    ("GET", "/admin/temp-unavailable"): admin_api.temp_unavailable,
    **{("GET", f"/admin/{platform}-accounts"): admin_api.accounts for platform in PLATFORMS},
    ("GET", "/admin/api-keys-usage-trend"): history_api.api_keys_usage_trend,
    ("GET", "/admin/usage-trend"): history_api.usage_trend,
    ("GET", "/admin/account-usage-trend"): history_api.account_usage_trend,
}
ENDPOINTS_SINCE = {"/apiStats/api/batch-stats": "1.1.126"}


class ClaudeRelay(Served, RelayState):
    """Serves a RelayState on loopback from the moment it is made until it is closed.

    Args:
        keys: what it knows at the start.
        admin: the administrator's name and password; None lets nobody log in.
        accounts: the upstream accounts that it uses.
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
        sessions: the tokens of those logged in; clear it, and the next admin request is a 401.
    """

    def __init__(  # noqa: PLR0913 - what a test or a benchmark wants to set
        self,
        keys: Iterable[Key] = (),
        *,
        admin: tuple[str, str] | None = None,
        accounts: Iterable[Account] = (),
        utc_offset_hours: float = 8,
        release: str = CURRENT_RELEASE,
        latency_s: float = 0.0,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        seed: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            keys,
            accounts=accounts,
            utc_offset_hours=utc_offset_hours,
            release=release,
            seed=seed,
            clock=clock,
        )
        self.admin = admin
        self.sessions: set[str] = set()
        self.server = HttpServer(self._answer, port=port, latency_s=latency_s, tls=tls)
        self.url = self.server.url

    def _answer(self, request: Request) -> Response:
        with self.lock:
            self.catch_up()
            self.calls[request.path] += 1
            known = self.since(ENDPOINTS_SINCE.get(request.path, "0"))
            if not known or request.path in self.missing:
                return _not_found(self, request)
            route = (request.method, request.path)
            if route == ("POST", LOGIN):
                return self._login(request)
            admin = ADMIN.get(route)
            if request.method == "GET" and history_api.MODEL_STATS.fullmatch(request.path):
                admin = history_api.key_model_stats
            if admin is not None:
                return self._refusal(request) or admin(self, request)
            try:
                return PUBLIC.get(route, _not_found)(self, request)
            except public_api.RefusedError as refused:
                return refused.response

    def _login(self, request: Request) -> Response:
        body = public_api.body_of(request)
        given = (body.get("username"), body.get("password"))
        if not all(given):
            return error(400, "Missing credentials", "Username and password are required")
        if given != self.admin:
            return error(401, "Invalid credentials", "Invalid username or password")
        # Repeatable, and of the length that the relay's own have.
        token = hashlib.sha256(f"{self.seed}:{self.calls[LOGIN]}".encode()).hexdigest()
        self.sessions.add(token)
        answer = {"success": True, "token": token, "expiresIn": SESSION_MS, "username": given[0]}
        return Response.of_json(answer)

    def _refusal(self, request: Request) -> Response | None:
        """What an admin request without a session is answered; None where it has one."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token:
            return error(401, "Missing admin token", "Please provide an admin token")
        if not 32 <= len(token) <= 512:
            return error(401, "Invalid admin token format", "Admin token format is invalid")
        if token not in self.sessions:
            return error(401, "Invalid admin token", "Invalid or expired admin session")
        return None


def _not_found(relay: RelayState, request: Request) -> Response:
    body = {
        "error": "Not Found",
        "message": f"Route {request.path} not found",
        "timestamp": iso(relay.clock()),
    }
    return Response.of_json(body, 404)
