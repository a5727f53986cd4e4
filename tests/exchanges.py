"""Recorded exchanges, served again by a real server on loopback."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from local.closing import Closing
from local.http_server import HttpServer, Request, Response
from tests import RECORDINGS


@dataclass
class Exchange:
    """A request that is expected, its answer, and how often it came.

    Attributes:
        headers: those that the request must have among its own, names in lower case.
        auth: whether it must have an Authorization header; it must have none where this is False.
    """

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]
    auth: bool
    response: Response
    asked: int = 0

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Exchange:
        """An exchange in the form of the recordings, or one that begins with a recording.

        `recording` names a file by its path under tests/recordings; what `request` and `response`
        then say takes the place of what was recorded, `set` puts values into the recorded body by
        their path (`data.individual.0.name`), and `remove` is a list of such paths.
        """
        known = {"recording", "request", "response", "set", "remove"}
        assert written.keys() <= known, f"an exchange has {', '.join(sorted(known))}"
        recorded = _recorded(written.get("recording"))
        request = {**recorded["request"], **written.get("request", {})}
        response = copy.deepcopy({**recorded["response"], **written.get("response", {})})
        for path, value in written.get("set", {}).items():
            holder, name = _holder(response["body"], path)
            holder[name] = value
        for path in written.get("remove", ()):
            holder, name = _holder(response["body"], path)
            del holder[name]
        url = urlsplit(request["path"])
        sent = {"Content-Type": "application/json; charset=utf-8", **response.get("headers", {})}
        headers = {name.lower(): text for name, text in request.get("headers", {}).items()}
        return cls(
            method=request["method"],
            path=url.path,
            query=dict(parse_qsl(url.query)),
            body=request.get("body"),
            headers=headers,
            auth=request.get("auth", False) or "authorization" in headers,
            response=Response(
                response["status"],
                _encoded(response.get("body")),
                sent.pop("Content-Type"),
                sent,
            ),
        )

    def is_for(self, request: Request) -> bool:
        """Whether a request is the one that is expected."""
        body = json.loads(request.body) if request.body else None
        return (
            (self.method, self.path, self.query) == (request.method, request.path, request.query)
            and self.body == body
            and self.auth == ("authorization" in request.headers)
            and self.headers.items() <= request.headers.items()
        )

    def __str__(self) -> str:
        return f"{self.method} {self.path} {json.dumps(self.body)}"


class ExchangeServer(Closing):
    """Answers as recorded.

    A request that several exchanges expect has their answers in turn, then the last one's again.

    Attributes:
        unexpected: what was asked and is not among the exchanges. A test asserts that it is empty.
    """

    def __init__(self, exchanges: Iterable[Mapping[str, Any]]) -> None:
        self.exchanges = [Exchange.of(one) for one in exchanges]
        self.unexpected: list[str] = []
        self._lock = threading.Lock()
        self._server = HttpServer(self._answer)
        self.url = self._server.url

    @property
    def never_asked(self) -> list[str]:
        """The exchanges whose request never came."""
        return [str(one) for one in self.exchanges if not one.asked]

    def _answer(self, request: Request) -> Response:
        with self._lock:
            fitting = [one for one in self.exchanges if one.is_for(request)]
            if not fitting:
                query = f"?{request.query}" if request.query else ""
                body = request.body.decode()
                self.unexpected.append(f"{request.method} {request.path}{query} {body}")
                return Response(501)
            chosen = next((one for one in fitting if not one.asked), fitting[-1])
            chosen.asked += 1
            return chosen.response

    def close(self) -> None:
        """Stop it; it must have had no fault of its own."""
        self._server.close()
        assert not self._server.errors, self._server.errors


def _recorded(path: str | None) -> dict[str, Any]:
    if path is None:
        return {"request": {}, "response": {}}
    text = (RECORDINGS / path).read_text("utf-8")
    if path.endswith(".prom"):
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return {
            "request": {"method": "GET", "path": "/metrics"},
            "response": {"status": 200, "headers": headers, "body": text},
        }
    recorded: dict[str, Any] = json.loads(text)
    return recorded


def _holder(body: Any, path: str) -> tuple[Any, Any]:
    """What holds the value at a path, and its name or place in that."""
    *before, last = path.split(".")
    for name in before:
        body = body[int(name)] if isinstance(body, list) else body[name]
    return body, int(last) if isinstance(body, list) else last


def _encoded(body: Any) -> bytes:
    """Text as it is, anything else as JSON."""
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
