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

import requests
import urllib3
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies

from relay_metrics.errors import ExchangeError, TimedOut
from relay_metrics.net.connections import Adapter

_CHUNK = 65536
_DROPPED = (ConnectionResetError, BrokenPipeError)
_ONCE = urllib3.Retry(0, read=False)
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


class _Way(NamedTuple):
    """How an address is reached: the pool of its host or proxy, and what is asked of that."""

    pool: urllib3.HTTPConnectionPool
    target: str


class Client:
    """A keep-alive HTTP client for several threads.

    It uses the pools of an adapter of `requests`, without its Session, which would bring redirects,
    cookies and a ~/.netrc in place of the Authorization header, and without its requests and
    answers: with them an exchange takes twice the processor time.

    Args:
        connections: how many connections to one host are kept open.
        ca_pem: certificates to trust beside the public ones, for a server with a CA of its own.
    """

    def __init__(self, connections: int = 16, ca_pem: str | None = None) -> None:
        self._connections = connections
        self._ca_pem = ca_pem
        self._lock = threading.Lock()
        self._adapter: Adapter | None = None
        self._ways: dict[str, _Way] = {}

    def _way(self, url: str) -> _Way:
        """The way to an address, found out when it is first needed."""
        with self._lock:
            way = self._ways.get(url)
            if way is None:
                if self._adapter is None:
                    self._adapter = Adapter(self._connections, self._ca_pem)
                request = requests.Request("GET", url).prepare()
                proxies = get_environ_proxies(url)
                pool = self._adapter.get_connection_with_tls_context(request, True, proxies)
                target = self._adapter.request_url(request, proxies)
                way = _Way(pool, target)  # type: ignore[arg-type]  # they are all of HTTP
                self._ways[url] = way
            return way

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
        way = self._way(url)
        response = way.pool.urlopen(
            method,
            way.target,
            body,
            # names in any case
            CaseInsensitiveDict({"User-Agent": USER_AGENT, **headers}),
            timeout=urllib3.Timeout(total=seconds),
            retries=_ONCE,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            encoding = response.headers.get("content-encoding", "identity").strip().lower()
            content = _read(response, encoding, max_bytes, ends, seconds)
            return Answer(response.status, response.headers, content)
        finally:
            # one that was not read to its end is of no more use
            response.close()
            response.release_conn()


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
