"""An HTTP client that verifies TLS, follows no redirect, and bounds bytes and time.

An exchange ends when its time is over, whatever the server does.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests
import urllib3
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies

from relay_metrics.deadline import Deadline
from relay_metrics.errors import ExchangeError, TimedOut
from relay_metrics.net.connections import Adapter

_CHUNK = 65536
_DROPPED = (ConnectionResetError, BrokenPipeError)
_ONCE = urllib3.Retry(0, read=False)
_GZIP = frozenset({"gzip", "x-gzip"})
_OTHER_CODINGS = frozenset({"br", "compress", "dcb", "dcz", "deflate", "x-compress", "zstd"})
"""Codings that the request did not allow. Other words, like `UTF-8`, are no codings and ignored."""
_MOST_GZIP = 2
"""A server and a proxy before it may both compress, or may both only name it."""
_GZIP_STARTS = b"\x1f"
"""No text begins with it."""
_PROXY_URL = r"(?:.*@|[\w+.-]+://)?((?:[\w.-]+|\[[\w.:]+\])(?::[0-9]+)?)/?"
"""What may precede a proxy's host and port, and these; a password can hold any character."""
_TUNNEL_STATUS = r"Tunnel connection failed: ([0-9]{3})"
USER_AGENT = "relay-metrics"
CLIENT_CERTIFICATE = "TLS: the server asks for a client certificate"
CLOSED_TLS = "TLS: the server closed the connection"
NO_TLS = "TLS: what answers there is no TLS"
UNTRUSTED = "TLS: the certificate is not trusted"
PROXY = "the proxy"
_MAX_TEXT = 200


def media_type(headers: Mapping[str, str]) -> str:
    """The content type without its parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


class Answer(NamedTuple):
    """An answer: the status, the headers, and the decompressed body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return media_type(self.headers)

    @property
    def web_page(self) -> bool:
        """Whether the body is HTML, by the content type or by how it begins."""
        typed = self.media_type in ("text/html", "application/xhtml+xml") and bool(self.body)
        return typed or self.body[:256].lstrip().lower().startswith((b"<!doctype html", b"<html"))

    @property
    def redirects_to(self) -> str:
        """The target of a redirect without user, query and fragment, which may hold credentials."""
        try:
            parts = urlsplit(self.headers.get("location", "") if 300 <= self.status < 400 else "")
        except ValueError:
            return ""
        host = parts.netloc.rpartition("@")[2]
        address = parts._replace(netloc=host, query="", fragment="").geturl()
        return "".join(c for c in address if c.isprintable())[:_MAX_TEXT]


class _Route(NamedTuple):
    """How an origin is reached.

    Attributes:
        pool: the connections to its host, or to a proxy.
        forwarded: whether a proxy forwards the requests, so that they need the whole URL.
    """

    pool: urllib3.HTTPConnectionPool
    forwarded: bool


class _Bounds(NamedTuple):
    max_bytes: int
    deadline: Deadline
    seconds: float


class OpenAnswer:
    """An answer whose body was not read yet. It can be read once, in blocks or as a whole.

    Attributes:
        status: the HTTP status.
        headers: the headers; their names are not case-sensitive.
    """

    def __init__(self, response: Any, bounds: _Bounds) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._bounds = bounds

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return media_type(self.headers)

    def blocks(self) -> Iterator[bytes]:
        """The body, decompressed, in blocks of at most 64 KiB, none of them empty.

        Raises:
            TimedOut: the time of the exchange ran out.
            ExchangeError: the body is cut, too long or cannot be decompressed.
        """
        named = self.headers.get("content-encoding", "").lower().split(",")
        codings = [coding.strip() for coding in named]
        times = sum(coding in _GZIP for coding in codings)
        given = self._within(iter(self._read_block, b""))
        if times > _MOST_GZIP or not _OTHER_CODINGS.isdisjoint(codings):
            if next(given, None):
                raise ExchangeError("encoding", "the body's Content-Encoding was not asked for")
            return  # no body, nothing to decode
        if times:
            given = self._within(_gunzipped(given))
        if times > 1 and (first := next(given, b"")):
            given = chain([first], given)
            if first.startswith(_GZIP_STARTS):
                given = self._within(_gunzipped(given))
        yield from given

    def read(self) -> bytes:
        """The whole body, decompressed; raises as `blocks`."""
        return b"".join(self.blocks())

    def _read_block(self) -> bytes:
        with _own_errors(self._bounds.seconds):
            block: bytes = self._response.read1(_CHUNK, decode_content=False)
            return block

    def _within(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The non-empty blocks; raises when they exceed the bounds of bytes or time."""
        size = 0
        for block in blocks:
            size += len(block)
            if size > self._bounds.max_bytes:
                message = f"the body is longer than {self._bounds.max_bytes} bytes"
                raise ExchangeError("too_large", message)
            if self._bounds.deadline.left <= 0:
                raise TimedOut(self._bounds.seconds)
            if block:
                yield block


class Client:
    """A keep-alive HTTP client for several threads.

    It uses the connection pools of an adapter of `requests`, which the OTLP exporter depends on
    anyway: an exchange takes 0.3 ms of processor time, with httpx 0.8 ms. The `Session` of
    `requests` is not used, as it follows redirects, keeps cookies, and may replace the
    Authorization header from ~/.netrc. Its request and response objects are not used either, as
    they would double the processor time.

    Args:
        connections: how many connections to one host are kept open.
        ca_pem: certificates to trust in addition to the public ones.
    """

    def __init__(self, connections: int = 16, ca_pem: str | None = None) -> None:
        self._connections = connections
        self._ca_pem = ca_pem
        self._lock = threading.Lock()
        self._adapter: Adapter | None = None
        self._routes: dict[str, _Route] = {}

    def _route(self, origin: str) -> _Route:
        """The route to an origin; it is determined when it is first needed."""
        with self._lock:
            route = self._routes.get(origin)
            if route is None:
                if self._adapter is None:
                    self._adapter = Adapter(self._connections, self._ca_pem)
                request = requests.Request("GET", origin).prepare()
                proxies = get_environ_proxies(origin)
                pool = self._adapter.get_connection_with_tls_context(request, True, proxies)
                forwarded = not self._adapter.request_url(request, proxies).startswith("/")
                route = _Route(pool, forwarded)  # type: ignore[arg-type]  # they are all of HTTP
                self._routes[origin] = route
            return route

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
        """Send one request and read the whole answer, with any status. See `open`."""
        opened = self.open(
            method, url, seconds=seconds, max_bytes=max_bytes, headers=headers, body=body
        )
        with opened as answer:
            return Answer(answer.status, answer.headers, answer.read())

    @contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Iterator[OpenAnswer]:
        """Send one request; the `with` gives its answer, with any status.

            with client.open("GET", url, seconds=5, max_bytes=8 << 20) as answer:
                for block in answer.blocks(): ...

        The server may have closed a connection since an earlier run. Then the request is sent once
        more on a new connection. This is safe, as all requests are idempotent: scrapes, and pushes
        that overwrite each other.

        Args:
            seconds: the time for the whole exchange, including the body.
            max_bytes: the limit of the body, both as received and decompressed.
            headers: their values are sent in UTF-8.

        Raises:
            TimedOut: the time ran out.
            ExchangeError: no connection, no TLS, a reset, a cut or oversized or undecodable body.
        """
        bounds = _Bounds(max_bytes, Deadline.after(seconds), seconds)
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"}
        encoded = CaseInsensitiveDict(
            (name, value.encode()) for name, value in {**sent, **(headers or {})}.items()
        )
        try:
            response = self._response(method, url, encoded, body, bounds)
        except ExchangeError as error:
            if not error.dropped:
                raise
            response = self._response(method, url, encoded, body, bounds)
        try:
            yield OpenAnswer(response, bounds)
        finally:
            # this closes a connection whose answer was not read to the end
            response.close()
            response.release_conn()

    def _response(
        self,
        method: str,
        url: str,
        headers: CaseInsensitiveDict[bytes],
        body: bytes | None,
        bounds: _Bounds,
    ) -> urllib3.BaseHTTPResponse:
        left = bounds.deadline.left
        if left <= 0:
            raise TimedOut(bounds.seconds)
        parts = urlsplit(url)
        with _own_errors(bounds.seconds):
            route = self._route(f"{parts.scheme}://{parts.netloc}/")
            target = parts.path or "/"
            if parts.query:
                target += f"?{parts.query}"
            return route.pool.urlopen(
                method,
                url if route.forwarded else target,
                body,
                headers,  # type: ignore[arg-type]  # http.client takes the bytes of a value
                timeout=urllib3.Timeout(total=left),
                retries=_ONCE,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )


def _gunzipped(packed: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress consecutive gzip members (RFC 1952, 2.2); zeros after a member are padding.

    urllib3's own decoder is not used, because it accepts a stream that is cut short.
    """
    member = None
    for chunk in packed:
        rest, more = chunk, True
        while rest or more:
            if member is None:
                member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            elif member.eof:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                block = member.decompress(rest, _CHUNK)
            except zlib.error:
                raise ExchangeError("encoding", "the body is not the gzip that it says") from None
            rest = member.unused_data if member.eof else member.unconsumed_tail
            more = len(block) == _CHUNK and not member.eof
            yield block
    if member is not None and not member.eof:
        raise ExchangeError("truncated", "the body's gzip ends too early")


@contextmanager
def _own_errors(seconds: float) -> Iterator[None]:
    """Replace exceptions of libraries by `ExchangeError`, as theirs can hold a header or a URL."""
    try:
        yield
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
        ValueError,  # urllib's, with a part of a proxy's URL, which may be its password
    ) as error:
        raise _failure(error, seconds) from None


def _first_cause(error: BaseException, kinds: tuple[type[BaseException], ...]) -> Any:
    """The first exception of these types among an exception, its causes and its arguments."""
    seen: list[Any] = [error]
    for one in seen:
        if isinstance(one, kinds):
            return one
        if isinstance(one, BaseException) and len(seen) < 32:
            seen += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return None


_FAILURES: tuple[tuple[tuple[type[BaseException], ...], str, str], ...] = (
    ((socket.gaierror,), "dns", "the host's name is not known"),
    ((ssl.SSLError,), "tls", CLOSED_TLS),
    (
        (http.client.IncompleteRead, urllib3.exceptions.IncompleteRead),
        "truncated",
        "the connection was closed before the end of the body",
    ),
    ((ConnectionRefusedError,), "connection", "the connection was refused"),
    (_DROPPED, "connection", "the connection was closed before the end of the answer"),
    ((http.client.HTTPException,), "connection", "the answer cannot be read as HTTP"),
)
"""Exceptions, the `error.type` and the message for them. The first entry that fits is used."""


_OF_TLS = {
    "": CLOSED_TLS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": CLIENT_CERTIFICATE,
    "UNEXPECTED_EOF_WHILE_READING": CLOSED_TLS,
    "WRONG_VERSION_NUMBER": NO_TLS,
    "RECORD_LAYER_FAILURE": NO_TLS,
    "HTTP_REQUEST": NO_TLS,
}
"""Messages in place of OpenSSL's reasons that say little to an operator."""


_NO_PROXY_URL = (
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,  # SOCKS, for which a package is missing
    urllib3.exceptions.LocationValueError,
    UnicodeError,  # a password outside of Latin-1
)
"""What a proxy's URL raises that cannot be used; other URLs were checked with the settings."""


def _failure(error: BaseException, seconds: float) -> ExchangeError:
    if _first_cause(error, (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)):
        proxy = _proxy_of(error)
        return TimedOut(seconds, f", through {proxy}" if proxy else "")
    if _first_cause(error, _NO_PROXY_URL) or type(error) is ValueError:
        return ExchangeError("proxy", f"{_configured_proxy()} is no http://HOST:PORT")
    if _first_cause(error, (urllib3.exceptions.ProxyError,)):
        return ExchangeError("proxy", _of_proxy(error))
    for kinds, type_, said in _FAILURES:
        cause = _first_cause(error, kinds)
        if cause is not None:
            message = _of_tls(cause) if type_ == "tls" else said
            failure = ExchangeError(type_, message)
            failure.dropped = kinds is _DROPPED
            return failure
    why = getattr(_first_cause(error, (OSError,)), "strerror", None) or type(error).__name__
    return ExchangeError("connection", f"the exchange failed ({why})")


def _of_tls(error: Any) -> str:
    if verification := getattr(error, "verify_message", ""):
        return f"{UNTRUSTED} ({verification})"
    reason = getattr(error, "reason", "") or ""
    return _OF_TLS.get(reason, f"TLS: {reason}")


def _proxy_of(error: BaseException) -> str:
    """The proxy that an exchange went through, as messages name it; empty if there is none."""
    pool = getattr(_first_cause(error, (urllib3.exceptions.PoolError,)), "pool", None)
    proxy = getattr(pool, "proxy", None)
    if proxy is None:
        return ""
    # with a password that is not escaped, urllib3 takes a part of it for the host
    known = {proxy.host, f"{proxy.host}:{proxy.port}"}.intersection(_configured())
    return f"{PROXY} {proxy.host}:{proxy.port}" if known else PROXY


def _configured_proxy() -> str:
    """The proxies of the environment as messages name them."""
    return " ".join([PROXY, *_configured()])


def _configured() -> Iterable[str]:
    """Host and port of each proxy of the environment, without what may be a user or password."""
    urls = (url for name, url in sorted(getproxies().items()) if name != "no")
    found = (re.fullmatch(_PROXY_URL, url) for url in urls)
    return dict.fromkeys(one[1] for one in found if one)


def _of_proxy(error: BaseException) -> str:
    """The message for a failure at a proxy, with the proxy's address."""
    name = _proxy_of(error) or PROXY
    if refused := re.search(_TUNNEL_STATUS, str(error)):
        return f"{name} answered {refused[1]}"
    if _first_cause(error, (ConnectionRefusedError,)):
        return f"{name} refused the connection"
    if _first_cause(error, (socket.gaierror,)):
        return f"the name of {name} is not known"
    return f"{name} could not be used"
