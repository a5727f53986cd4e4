"""A small HTTP/1.1 server on loopback that can simulate faults.

One handler answers every request: ``handler(Request) -> Response``. One hook decides whether
the answer reaches the client unharmed: ``fault(Request) -> Fault | None``. The demo's relays are
built on it, and so is any fake destination that a test wants::

    server = HttpServer(lambda request: Response(body=b"{}"))
    server.fault = lambda request: Fault(status=503, headers={"Retry-After": "1"})
    with server:
        requests.post(server.url + "/v1/metrics", data=b"...")

It speaks what the systems it stands for speak and no more: keep-alive, ``Content-Length`` or
chunked request bodies, gzip for a client that asks for it, TLS where a context is given. Not
`http.server`: its header parsing is most of the cost of a small answer, and a benchmark of a
client must not measure the server.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from local.closing import Closing

MAX_HEADER_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
GZIP_FROM_BYTES = 1024
DRIP_STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent. Header names are lower case; `path` is decoded, without the query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises ValueError where it is not valid."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """What the handler answers. `headers` are added to Content-Type and Content-Length."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: object, status: int = 200) -> Response:
        """A JSON answer, written without spaces and with text as it is, as Express writes it."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return cls(status, text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Fault:
    """How one answer goes wrong. The default changes nothing; fields combine.

    With `status` or `body` the handler is not asked, and they are the answer (status 200 and an
    empty body where only the other is given); without them the handler's answer is used.

    Attributes:
        status: replaces the answer's status.
        body: replaces the answer's body, sent as it is, never compressed by the server.
        content_type: of the replaced answer.
        headers: added last, so they win over the server's own (`Content-Length` included).
        rewrite: changes the handler's answer before it is sent.
        close: ends the connection ``"before"`` any byte of the answer, after the ``"headers"``,
            or in the middle of the ``"body"``; with `reset`, by RST instead of FIN.
        interim: statuses of answers (1xx) that go ahead of it, before it waits.
        delay_s: waits before the headers.
        body_delay_s: waits between headers and body.
        drip_bytes_per_s: sends the body this slowly.
        truncate_gzip: sends half of the gzip stream, with the Content-Length of that half.
        chunked: sends the body chunked, without Content-Length.
    """

    status: int | None = None
    body: bytes | None = None
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    rewrite: Callable[[Response], Response] | None = None
    close: str = ""
    reset: bool = False
    interim: tuple[int, ...] = ()
    delay_s: float = 0.0
    body_delay_s: float = 0.0
    drip_bytes_per_s: float = 0.0
    truncate_gzip: bool = False
    chunked: bool = False

    def __post_init__(self) -> None:
        if self.close not in ("", "before", "headers", "body"):
            raise ValueError(f"close is '', 'before', 'headers' or 'body', not {self.close!r}")


def html_page(status: int = 200) -> Fault:
    """A web page where an answer is expected: a proxy's error page, a login page."""
    page = b"<!DOCTYPE html><html><body><h1>It works</h1></body></html>"
    return Fault(status=status, body=page, content_type="text/html; charset=utf-8")


def redirect(location: str, status: int = 302) -> Fault:
    """An answer that points elsewhere, with an empty body."""
    return Fault(status=status, headers={"Location": location})


def oversized(size: int) -> Fault:
    """`size` bytes of valid JSON with 200."""
    return Fault(status=200, body=b'"' + b"x" * (size - 2) + b'"')


Handler = Callable[[Request], Response]
FaultHook = Callable[[Request], Fault | None]


class _BadRequestError(Exception):
    """The client did not send a valid HTTP request; the message says why."""

    status = 400


class _TooLongError(_BadRequestError):
    """The client's body is longer than this server takes."""

    status = 413


class _HangupError(Exception):
    """The client closed, or the answer is to end here."""


class HttpServer(Closing):
    """Serves `handler` on loopback, one thread for each connection, until it is closed.

    Args:
        handler: answers a request; what it raises becomes a 500 and is kept in `errors`.
        port: 0 takes a free one.
        host: the address to listen on.
        latency_s: the least time from a request's last byte to its answer's first one. The
            handler's own time is part of it, so that a benchmark sees a constant.
        tls: a server-side context; the URL is then https.

    Attributes:
        fault: asked for every request; None, or returning None, means no fault.
        url: root URL without a slash at its end.
        bytes_out: bytes of all answers, headers included; `requests` and `connections` likewise.
        errors: what handlers raised. A test asserts that it is empty.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        latency_s: float = 0.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.latency_s = latency_s
        self.fault: FaultHook | None = None
        self.bytes_out = 0
        self.requests = 0
        self.connections = 0
        self.errors: list[Exception] = []
        self._handler = handler
        self._tls = tls
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((host, port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"https://localhost:{self.port}" if tls else f"http://{host}:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Stop listening and cut every connection. Safe to call twice."""
        self._stopping.set()
        # A close alone does not wake a thread that waits in accept().
        _shut(self._listener)
        self._listener.close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _shut(connection)
        self._acceptor.join(timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # close() was called
            with self._lock:
                if self._stopping.is_set():
                    connection.close()
                    return
                self.connections += 1
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        connection = raw
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                # Here, not in the accepting thread: a slow handshake must not block the others.
                connection = self._tls.wrap_socket(raw, server_side=True)
                with self._lock:
                    self._open.discard(raw)
                    self._open.add(connection)
            with connection.makefile("rb") as stream:
                while self._exchange(connection, stream):
                    pass
        except (_HangupError, OSError):
            pass  # the other side left, or a fault was to end the connection
        finally:
            with self._lock:
                self._open.discard(raw)
                self._open.discard(connection)
            connection.close()

    def _exchange(self, connection: socket.socket, stream: BinaryIO) -> bool:
        """One request and its answer; False where the connection is not to be kept."""
        try:
            request = _read_request(stream, connection)
        except _BadRequestError as error:
            message = str(error).encode()
            refusal = Response(error.status, message, "text/plain; charset=utf-8")
            self._send(connection, _head(refusal, len(message)) + message)
            return False
        if request is None:
            return False
        start = time.monotonic()
        with self._lock:
            self.requests += 1
        fault = (self.fault(request) if self.fault else None) or _NO_FAULT
        response = self._response(request, fault)
        for status in fault.interim:
            self._send(connection, b"HTTP/1.1 %d Interim\r\nLink: </>\r\n\r\n" % status)
        self._wait(max(fault.delay_s, start + self.latency_s - time.monotonic()))
        if fault.close == "before":
            _end(connection, fault)
        self._write(connection, request, response, fault)
        return request.headers.get("connection", "").lower() != "close"

    def _response(self, request: Request, fault: Fault) -> Response:
        if fault.status is not None or fault.body is not None:
            return Response(fault.status or 200, fault.body or b"", fault.content_type)
        try:
            response = self._handler(request)
        except Exception as error:  # noqa: BLE001 - kept in `errors`, where a test sees it
            self.errors.append(error)
            return Response.of_json({"error": "Internal Server Error"}, 500)
        return fault.rewrite(response) if fault.rewrite else response

    def _write(
        self, connection: socket.socket, request: Request, response: Response, fault: Fault
    ) -> None:
        body, headers = response.body, dict(response.headers)
        accepts_gzip = "gzip" in request.headers.get("accept-encoding", "")
        worth_it = len(body) >= GZIP_FROM_BYTES and fault.body is None
        if fault.truncate_gzip or (accepts_gzip and worth_it and "Content-Encoding" not in headers):
            body = gzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        if fault.truncate_gzip:
            body = body[: len(body) // 2]
        headers.update(fault.headers)
        if fault.chunked:
            headers["Transfer-Encoding"] = "chunked"
        head = _head(response, None if fault.chunked else len(body), headers)
        if request.method == "HEAD" or response.status in (204, 304):
            self._send(connection, head)
            return
        if fault is _NO_FAULT:
            self._send(connection, head + body)
            return
        self._send(connection, head)
        if fault.close == "headers":
            _end(connection, fault)
        self._wait(fault.body_delay_s)
        if fault.close == "body":
            self._send(connection, body[: len(body) // 2])
            _end(connection, fault)
        for part in self._paced(body, fault.drip_bytes_per_s):
            framed = b"%x\r\n%b\r\n" % (len(part), part) if fault.chunked else part
            self._send(connection, framed)
        if fault.chunked:
            self._send(connection, b"0\r\n\r\n")

    def _paced(self, body: bytes, bytes_per_s: float) -> Iterator[bytes]:
        if not bytes_per_s:
            if body:
                yield body
            return
        step = max(1, round(bytes_per_s * DRIP_STEP_S))
        for start in range(0, len(body), step):
            yield body[start : start + step]
            self._wait(step / bytes_per_s)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        with self._lock:
            self.bytes_out += len(data)

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and self._stopping.wait(seconds):
            raise _HangupError


_NO_FAULT = Fault()


def _head(
    response: Response, length: int | None, headers: Mapping[str, str] | None = None
) -> bytes:
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unknown"
    fields = {"Content-Type": response.content_type}
    if length is not None:
        fields["Content-Length"] = str(length)
    fields.update(headers or {})
    lines = [f"HTTP/1.1 {response.status} {phrase}"]
    lines.extend(f"{name}: {value}" for name, value in fields.items())
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # already closed, by either side
        connection.shutdown(socket.SHUT_RDWR)


def _end(connection: socket.socket, fault: Fault) -> None:
    if fault.reset:
        # SO_LINGER with a zero time-out makes close() send RST.
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    raise _HangupError


def _line(stream: BinaryIO) -> bytes:
    line = stream.readline(MAX_HEADER_BYTES + 1)
    if len(line) > MAX_HEADER_BYTES:
        raise _BadRequestError("a header line is too long")
    if line and not line.endswith(b"\n"):
        raise _HangupError
    return line.rstrip(b"\r\n")


def _read_request(stream: BinaryIO, connection: socket.socket) -> Request | None:
    """The next request of a connection; None where the client is done."""
    first = _line(stream)
    if not first:
        return None
    parts = first.decode("latin-1").split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _BadRequestError("no HTTP request line")
    headers: dict[str, str] = {}
    while line := _line(stream):
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise _BadRequestError("a header line without a colon")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    target = urlsplit(parts[1])
    query = dict(parse_qsl(target.query, keep_blank_values=True)) if target.query else {}
    return Request(parts[0], unquote(target.path), query, headers, _read_body(stream, headers))


def _read_body(stream: BinaryIO, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return b"".join(_chunks(stream))
    return _exactly(stream, _size(headers.get("content-length", "0"), 10))


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    total = 0
    while size := _size(_line(stream).split(b";")[0].decode("latin-1"), 16):
        total += size
        if total > MAX_BODY_BYTES:
            raise _TooLongError("the body is too long")
        yield _exactly(stream, size)
        _line(stream)
    while _line(stream):
        pass  # trailers mean nothing here


def _size(text: str, base: int) -> int:
    try:
        size = int(text, base)
    except ValueError:
        raise _BadRequestError("a length that is no number") from None
    if not 0 <= size <= MAX_BODY_BYTES:
        raise _TooLongError("the body is too long")
    return size


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size) if size else b""
    if len(data) < size:
        raise _HangupError
    return data


class Served(Closing):
    """What an HttpServer serves, its attribute `server`."""

    server: HttpServer

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
