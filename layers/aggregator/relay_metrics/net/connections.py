"""HTTP connections with a time-out for the whole exchange, and strict rules for their reuse.

`requests` and urllib3 limit the wait between two bytes, not the total time: a server that sends a
byte a second could block a run for hours, and a resolver that hangs could block it for ever. Here
the time that is left limits every step: the resolver, the connection to each address, the TLS
handshake, and each read and write of the socket, including those of the headers.

In HTTP/1.1 only the order on the connection shows which request an answer belongs to. Therefore a
connection is closed, and never reused, after anything unexpected on it.

This depends on internals of urllib3: its connection has the method `_new_conn`, reads the property
`timeout` before it connects, sends and reads, and reads `is_connected` before it reuses a
connection. It also depends on internals of http.client: the method `_read_status`, and that the
file of an answer is closed at its end. `requirements.in` therefore pins urllib3 to a minor version.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import Any

import certifi
import urllib3
from requests.adapters import HTTPAdapter

from relay_metrics.deadline import Deadline

_CHUNK = 65536
_HOSTS = 4096
"""How many pools are kept: more than a secret can have hosts, as a pool in use must not close."""
MAX_IDLE_S = 30
"""How long an idle connection is reused. Firewalls and NATs silently drop those idle for longer."""


class _Socket(socket.socket):
    """A socket whose time-out limits all following operations together, not each one.

    Attributes:
        spoilt: whether bytes came after the end of the answer.
        used_at: when the last answer ended, epoch seconds. The monotonic clock is not used, as it
            may stop while Lambda freezes the execution environment.
    """

    spoilt = False
    used_at = 0.0
    _deadline: Deadline | None = None

    def settimeout(self, value: float | None) -> None:
        self._deadline = Deadline.after(value) if value else None
        super().settimeout(value)

    # `sendall` needs no override: Python applies its time-out to the whole call, also with TLS.
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self._deadline is not None:
            left = self._deadline.left
            if left <= 0:
                raise TimeoutError("timed out")
            super().settimeout(left)
        return super().recv_into(*args, **kwargs)

    def makefile(self, *_: Any, **__: Any) -> Any:
        """The file from which http.client reads one answer."""
        return _AnswerFile(self, super().makefile("rb", 0))

    def answer_ended(self, file: io.BufferedReader) -> None:
        """Check, without waiting, whether more bytes came after the answer."""
        deadline = self._deadline
        self.settimeout(0)
        try:
            self.spoilt = self.spoilt or bool(file.peek(1))
        except ssl.SSLWantReadError:
            pass  # no more bytes
        except OSError:
            self.spoilt = True
        self.used_at = time.time()
        self.settimeout(_waiting(deadline.left) if deadline else None)

    @property
    def fit(self) -> bool:
        """Whether it may be reused. If the clock was set back, its idle time is unknown: no."""
        return not self.spoilt and 0 <= time.time() - self.used_at <= MAX_IDLE_S


class _TLSSocket(_Socket, ssl.SSLSocket):
    pass


class _AnswerFile(io.BufferedReader):
    def __init__(self, sock: _Socket, raw: Any) -> None:
        self._sock = sock
        super().__init__(raw, _CHUNK)

    def close(self) -> None:
        if not self.closed:
            self._sock.answer_ended(self)
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that skips interim answers (1xx) and checks how the body is framed."""

    def _read_status(self) -> tuple[str, int, str]:
        # http.client skips only 100. It would return any other interim answer, and the next request
        # on the connection would read the real one.
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # private
            if not 100 <= status < 200:
                return version, status, reason
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise http.client.HTTPException("it changes to a protocol that was not asked for")
            http.client.parse_headers(self.fp)

    def begin(self) -> None:
        super().begin()
        # some servers repeat the line, which says nothing more
        codings = _listed(dict.fromkeys(self.headers.get_all("transfer-encoding", ())))
        lengths = set(_listed(self.headers.get_all("content-length", ())))
        if codings not in ([], ["identity"], ["chunked"]):
            raise http.client.HTTPException("a Transfer-Encoding that was not asked for")
        if len(lengths) > 1 or not all(one.isascii() and one.isdigit() for one in lengths):
            raise http.client.HTTPException("a Content-Length that is not one number")
        has_no_body = self.status in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED)
        # http.client does not recognise it with white space behind, and would wait for the chunks
        # of an answer that can have no body
        self.chunked = codings == ["chunked"] and not has_no_body
        self.chunk_left = None
        if (codings and lengths) or (has_no_body and (codings or lengths - {"0"})):
            self.will_close = True  # the end of the body is ambiguous


def _listed(values: Iterable[str]) -> list[str]:
    """The elements of a header that is a list, in lower case."""
    return [one.strip().lower() for value in values for one in value.split(",")]


class _TimedHTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _Response

    # urllib3 sets it to the total time at the start of an exchange, and to the rest before it reads
    @property
    def timeout(self) -> float | None:
        return _waiting(self._deadline.left)

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._deadline = Deadline.after(seconds or 0.0)

    @property
    def is_connected(self) -> bool:
        # other sockets, for example TLS within TLS, are not reused
        return isinstance(self.sock, _Socket) and self.sock.fit and super().is_connected

    def _new_conn(self) -> socket.socket:
        addresses = _resolved(self.host, self.port, self._deadline)
        failure = OSError("the host has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = _Socket(family, kind, protocol)
            try:
                # Each address gets an equal part of the time left, so that one that does not
                # answer leaves time for the others.
                sock.settimeout(_waiting(self._deadline.left / (len(addresses) - tried)))
                sock.connect(address)
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
            except OSError as error:
                sock.close()
                failure = error
            else:
                sock.settimeout(self.timeout)
                return sock
        raise failure


class _TimedHTTPSConnection(_TimedHTTPConnection, urllib3.connection.HTTPSConnection):
    pass


def _waiting(seconds: float) -> float:
    """Seconds as a socket's time-out. It is never 0, which would mean non-blocking."""
    return max(seconds, 0.001)


def _resolved(host: str, port: int, deadline: Deadline) -> list[Any]:
    """The addresses of a host, as `socket.getaddrinfo` gives them.

    `getaddrinfo` has no time-out, so it runs in a thread of its own. If it hangs, nothing waits for
    the thread, not even the end of the process.
    """
    found: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def resolve() -> None:
        family = urllib3.util.connection.allowed_gai_family()
        try:
            found.put(list(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)))
        except OSError as error:
            found.put(error)
        except UnicodeError:  # for example a label that is too long
            found.put(socket.gaierror(socket.EAI_NONAME, "no name that a host can have"))

    threading.Thread(target=resolve, name="resolver", daemon=True).start()
    try:
        addresses = found.get(timeout=deadline.left)
    except Empty:
        raise TimeoutError("timed out") from None
    if isinstance(addresses, Exception):
        raise addresses
    return addresses


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _TimedHTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection


class Adapter(HTTPAdapter):
    """Pools of such connections. They share one TLS context, as loading the CAs takes 20 ms.

    Args:
        connections: how many connections to one host are kept open.
        ca_pem: certificates to trust in addition to the public ones.
    """

    def __init__(self, connections: int, ca_pem: str | None) -> None:
        self._context = ssl.create_default_context(cafile=certifi.where())
        # From Python 3.13 on, the default flags refuse certificates of a private CA that follow
        # OpenSSL's own instructions. These flags trust what `curl --cacert` trusts.
        self._context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        self._context.sslsocket_class = _TLSSocket
        if ca_pem:
            self._context.load_verify_locations(cadata=ca_pem)
        super().__init__(pool_connections=_HOSTS, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pools for hosts that are reached directly."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self._use_timed_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """The pools for hosts behind a proxy."""
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        self._use_timed_pools(manager)
        return manager

    @staticmethod
    def _use_timed_pools(manager: Any) -> None:
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context already has the CAs and requires verification."""
