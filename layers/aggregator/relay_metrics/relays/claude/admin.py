"""An administrator's session at a claude-relay. Its token is kept, and renewed after a 401."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field, replace
from typing import Any

from relay_metrics.errors import RelayError, Unauthorised
from relay_metrics.observability import hide
from relay_metrics.relays.claude.settings import Login, access
from relay_metrics.relays.client import RelayClient

LOGIN = "web/auth/login"


class Sessions:
    """The tokens of sessions, kept for the life of the execution environment.

    A token is valid for 24 hours after its last request. Each login creates a new session.
    """

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], str] = {}

    def token(self, base_url: str, username: str) -> str | None:
        """The token of an administrator; None if there is none."""
        return self._tokens.get((base_url, username))

    def keep(self, base_url: str, username: str, token: str) -> None:
        """Keep the token of an administrator."""
        self._tokens[base_url, username] = token


@dataclass(frozen=True, eq=False)
class _Session:
    token: str = field(repr=False)
    renewable: bool


class Administrator:
    """The administrator of one relay in one run.

    If the relay no longer knows the session, it logs in again, once for all concurrent requests.

    Attributes:
        accepted: whether the relay answered any of its requests with success.
    """

    def __init__(self, client: RelayClient, sessions: Sessions, login: Login) -> None:
        self.accepted = False
        self._client = client
        self._sessions = sessions
        self._login = login
        self._lock = threading.Lock()
        self._session = _Session("", renewable=False)

    def enter(self) -> None:
        """Use the session of an earlier run, or log in.

        Raises:
            RelayError: the login failed.
        """
        kept = self._sessions.token(self._base_url, self._login.username)
        self._session = _Session(self._log_in() if kept is None else kept, renewable=True)

    def ask(self, path: str, *, endpoint: str | None = None) -> dict[str, Any]:
        """The answer to a GET under `/admin/`.

        Raises:
            RelayError: as `RelayClient.ask_json`.
        """
        used = self._session
        try:
            answer = self._ask(path, endpoint, used)
        except Unauthorised:
            with self._lock:
                if self._session is used:
                    if not used.renewable:
                        raise
                    # Set before the login: if it fails, the other requests must not try it again.
                    self._session = replace(used, renewable=False)
                    self._session = _Session(self._log_in(), renewable=False)
            answer = self._ask(path, endpoint, self._session)
        self.accepted = True
        return answer

    def ask_if_there(self, path: str, *, endpoint: str | None = None) -> dict[str, Any] | None:
        """The answer as `ask` gives it; None if the relay does not have the endpoint (404)."""
        try:
            return self.ask(path, endpoint=endpoint)
        except RelayError as error:
            if error.status == 404:
                return None
            raise

    @property
    def _base_url(self) -> str:
        return self._client.relay.base_url

    def _ask(self, path: str, endpoint: str | None, session: _Session) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {session.token}"}
        return self._client.ask_json("GET", path, endpoint=endpoint, headers=headers)

    def _log_in(self) -> str:
        """The token of a new session. If the login is refused, the secret is read again."""
        try:
            token = self._token_of(self._login)
        except Unauthorised:
            fresh = access(self._client.renewed()).login
            if fresh is None:
                raise
            self._login = fresh
            token = self._token_of(fresh)
        self._sessions.keep(self._base_url, self._login.username, token)
        return token

    def _token_of(self, login: Login) -> str:
        answer = self._client.ask_json(
            "POST",
            f"/{LOGIN}",
            endpoint=LOGIN,
            body={"username": login.username, "password": login.password},
        )
        token = answer.get("token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]{8,4096}", token):
            raise self._client.invalid(LOGIN, "incomplete", "answered without a token")
        hide([token])
        return token
