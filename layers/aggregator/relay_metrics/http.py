"""One HTTP exchange: TLS verified, no redirect followed, bytes and time bounded.

`requests` bounds the wait between two bytes, not the whole: a server that drips a byte a second
would hold a run for hours. Here the time that is left is laid on every read of the socket, headers
included, so that an exchange ends when its time does, whatever the other side does.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies

from relay_metrics.errors import ExchangeError, TimedOut

_CHUNK = 65536
USER_AGENT = "relay-metrics"


@dataclass(frozen=True)
class Answer:
    """What a server answered: the status, its headers, and the body, decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class _TimedReader(io.RawIOBase):
    """A socket's bytes until an instant: each read waits no longer than what is left."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        self._raw = raw
        self._sock = sock
        self._ends = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """urllib3 sets what is left of the total as the socket's time-out just before it reads."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        seconds = sock.gettimeout()
        if seconds is not None:
            self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock, seconds), _CHUNK)


class _TimedHTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _TimedResponse


class _TimedHTTPSConnection(urllib3.connection.HTTPSConnection):
    response_class = _TimedResponse


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _TimedHTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection


class _Adapter(HTTPAdapter):
    """Pools of timed connections that share one TLS context: reading the CAs costs 20 ms."""

    def __init__(self, context: ssl.SSLContext, connections: int) -> None:
        self._context = context
        super().__init__(pool_connections=8, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self._use_timed_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        self._use_timed_pools(manager)
        return manager

    @staticmethod
    def _use_timed_pools(manager: Any) -> None:
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context has the CAs and demands verification; there is nothing to add to it."""


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class Client:
    """A keep-alive HTTP client for several threads.

    Args:
        connections: how many connections to one host are kept open.
        ca_pem: certificates to trust beside the public ones, for a server with a CA of its own.
    """

    def __init__(self, connections: int = 16, ca_pem: str | None = None) -> None:
        self._connections = connections
        self._ca_pem = ca_pem
        self._session: requests.Session | None = None
        self._proxies: dict[str, dict[str, str]] = {}

    def _made(self, url: str) -> tuple[requests.Session, dict[str, str]]:
        if self._session is None:
            context = ssl.create_default_context(cafile=certifi.where())
            if self._ca_pem:
                context.load_verify_locations(cadata=self._ca_pem)
            session = requests.Session()
            # with trust_env a ~/.netrc would take the place of the Authorization header
            session.trust_env = False
            session.auth = _no_netrc
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            session.headers = CaseInsensitiveDict({"User-Agent": USER_AGENT})
            adapter = _Adapter(context, self._connections)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            self._session = session
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        if origin not in self._proxies:
            self._proxies[origin] = get_environ_proxies(url)
        return self._session, self._proxies[origin]

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
                dropped = _first_cause(error, (ConnectionResetError, BrokenPipeError)) is not None
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
        session, proxies = self._made(url)
        response = session.request(
            method,
            url,
            headers=dict(headers),
            data=body,
            timeout=urllib3.Timeout(total=seconds),  # type: ignore[arg-type]  # requests takes it
            allow_redirects=False,
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
    if _first_cause(error, (socket.gaierror, urllib3.exceptions.NameResolutionError)):
        return ExchangeError("dns", "the host's name is not known")
    tls = _first_cause(error, (ssl.SSLError, requests.exceptions.SSLError))
    if tls:
        reason = getattr(tls, "verify_message", "") or "the handshake failed"
        return ExchangeError("tls", f"TLS: {reason}")
    if _first_cause(
        error, (urllib3.exceptions.IncompleteRead, requests.exceptions.ChunkedEncodingError)
    ):
        return ExchangeError("truncated", "the connection was closed before the end of the body")
    if _first_cause(error, (ConnectionRefusedError,)):
        return ExchangeError("connection", "the connection was refused")
    if _first_cause(error, (ConnectionResetError, BrokenPipeError)):
        return ExchangeError("connection", "the connection was closed before an answer")
    return ExchangeError("connection", f"the exchange failed ({type(error).__name__})")
