"""One HTTP exchange: TLS verified, no redirect followed, bytes and time bounded.

It ends when its time does, whatever the other side does.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies

from relay_metrics.connections import Adapter
from relay_metrics.errors import ExchangeError, TimedOut

_CHUNK = 65536
_DROPPED = (ConnectionResetError, BrokenPipeError)
USER_AGENT = "relay-metrics"


class Answer(NamedTuple):
    """What a server answered: the status, its headers, and the body, decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Client:
    """A keep-alive HTTP client for several threads.

    It uses an adapter of `requests` without its Session, which would bring redirects, cookies and
    a ~/.netrc in place of the Authorization header, and costs a third of a request's processor
    time.

    Args:
        connections: how many connections to one host are kept open.
        ca_pem: certificates to trust beside the public ones, for a server with a CA of its own.
    """

    def __init__(self, connections: int = 16, ca_pem: str | None = None) -> None:
        self._connections = connections
        self._ca_pem = ca_pem
        self._lock = threading.Lock()
        self._adapter: Adapter | None = None
        self._proxies: dict[str, dict[str, str]] = {}

    def _made(self, url: str) -> tuple[Adapter, dict[str, str]]:
        """The adapter, made when it is first needed, and the proxies on the way to an address."""
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        with self._lock:
            if self._adapter is None:
                self._adapter = Adapter(self._connections, self._ca_pem)
            if origin not in self._proxies:
                self._proxies[origin] = get_environ_proxies(url)
            return self._adapter, self._proxies[origin]

    def exchange(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send one request and read the whole answer, whatever its status.

        A connection that was open from an earlier run may have been closed by the other side in
        the meantime; then the request is sent once more on a new one. Everything that is sent
        here may be sent twice: readings, and pushes that overwrite themselves.

        Args:
            seconds: for the whole exchange.
            max_bytes: of the body, decompressed and not; a longer one is an error.

        Raises:
            TimedOut: the time ran out.
            ExchangeError: no connection, no TLS, a reset, a cut or oversized or undecodable body.
        """
        ends = time.monotonic() + seconds
        sent = {"Accept-Encoding": "gzip", **(headers or {})}
        for attempt in (1, 2):
            left = ends - time.monotonic()
            if left <= 0:
                raise TimedOut(seconds)
            try:
                return self._exchange(method, url, sent, body, left, ends, max_bytes)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                failure = _failure(error, seconds)
                dropped = _first_cause(error, _DROPPED) is not None
                if attempt == 2 or not dropped or failure.type != "connection":
                    raise failure from None
        raise AssertionError("unreachable")

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        seconds: float,
        ends: float,
        max_bytes: int,
    ) -> Answer:
        adapter, proxies = self._made(url)
        request = requests.PreparedRequest()
        request.prepare_method(method)
        request.prepare_url(url, None)
        request.prepare_headers({"User-Agent": USER_AGENT, **headers})
        request.prepare_content_length(body)
        request.body = body
        response = adapter.send(
            request,
            timeout=urllib3.Timeout(total=seconds),  # type: ignore[arg-type]  # it takes it
            stream=True,
            proxies=proxies,
        )
        with response:
            raw = response.raw
            encoding = response.headers.get("content-encoding", "identity").strip().lower()
            content = _read(raw, encoding, max_bytes, ends, seconds)
            return Answer(response.status_code, response.headers, content)


def _read(raw: Any, encoding: str, max_bytes: int, ends: float, seconds: float) -> bytes:
    """The whole body, decompressed by hand: urllib3 takes a gzip stream cut short for a whole."""
    if encoding in ("gzip", "x-gzip"):
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    elif encoding in ("identity", ""):
        inflate = None
    else:
        raise ExchangeError("encoding", "the body's Content-Encoding is neither gzip nor identity")
    content = bytearray()
    received = 0
    while chunk := raw.read1(_CHUNK, decode_content=False):
        received += len(chunk)
        if inflate is None:
            content += chunk
        else:
            try:
                content += inflate.decompress(chunk, max_bytes + 1 - len(content))
            except zlib.error:
                raise ExchangeError("encoding", "the body is not the gzip that it says") from None
        if len(content) > max_bytes or received > max_bytes:
            raise ExchangeError("too_large", f"the body is longer than {max_bytes} bytes")
        if time.monotonic() > ends:
            raise TimedOut(seconds)
    if inflate is not None and received:
        if not inflate.eof:
            raise ExchangeError("truncated", "the body's gzip ends too early")
        if inflate.unused_data:
            raise ExchangeError("encoding", "the body goes on behind the end of its gzip")
    return bytes(content)


def _first_cause(error: BaseException, kinds: tuple[type[BaseException], ...]) -> Any:
    """The first of these kinds among an exception, its causes and its arguments, or None."""
    seen: list[Any] = [error]
    for one in seen:
        if isinstance(one, kinds):
            return one
        if isinstance(one, BaseException) and len(seen) < 32:
            seen += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return None


def _failure(error: BaseException, seconds: float) -> ExchangeError:
    """A library's exception as one of ours, in our own words: theirs can hold a header or a URL."""
    if _first_cause(error, (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)):
        return TimedOut(seconds)
    if _first_cause(error, (socket.gaierror,)):
        return ExchangeError("dns", "the host's name is not known")
    tls = _first_cause(error, (ssl.SSLError,))
    if tls:
        reason = getattr(tls, "verify_message", "") or tls.reason or "no connection"
        return ExchangeError("tls", f"TLS: {reason}")
    if _first_cause(error, (http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)):
        return ExchangeError("truncated", "the connection was closed before the end of the body")
    if _first_cause(error, (ConnectionRefusedError,)):
        return ExchangeError("connection", "the connection was refused")
    if _first_cause(error, _DROPPED):
        return ExchangeError("connection", "the connection was closed before the end of the answer")
    return ExchangeError("connection", f"the exchange failed ({type(error).__name__})")
