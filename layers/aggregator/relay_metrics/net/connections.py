"""Connections that keep to the time of their exchange, and are used again only while all is well.

`requests` and urllib3 bound the wait between two bytes, not the whole: a server that drips a byte a
second would hold a run for hours, and a resolver that hangs would hold it for ever. Here what is
left of the total is laid on every step: the resolver, each address, the handshake, each write and
each read of the socket, headers included.

In HTTP/1.1 only its place on the connection tells which request an answer belongs to. A connection
on which anything was not as it should be is therefore closed, never used again.

What this takes from inside: of urllib3's connection the method `_new_conn`, and that it reads the
property `timeout` before it connects, sends and reads, and `is_connected` before it uses a
connection again; of http.client the method `_read_status`, and that it closes the file of an answer
at the answer's end. `requirements.in` pins urllib3 to a minor version for that.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

import certifi
import urllib3
from requests.adapters import HTTPAdapter

from relay_metrics.deadline import Deadline

_CHUNK = 65536
_HOSTS = 4096
"""More than a secret has room for: the pool of a host must not be closed while it is in use."""
MAX_IDLE_S = 30
"""Firewalls and NATs forget a connection that is silent, and drop its packets without a word."""


class _Socket(socket.socket):
    """A socket whose time-out is the total of all that follows, not of each wait.

    Attributes:
        spoilt: whether more came than the answer that was read.
        used_at: when the last answer ended, epoch seconds. Not of the monotonic clock, which may
            stand still while an execution environment is frozen between two runs.
    """

    spoilt = False
    used_at = 0.0
    _deadline: Deadline | None = None

    def settimeout(self, value: float | None) -> None:
        self._deadline = Deadline.after(value) if value else None
        super().settimeout(value)

    # Python's own `sendall`, of TLS too, takes its time-out for the total of all that it writes
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self._deadline is not None:
            left = self._deadline.left
            if left <= 0:
                raise TimeoutError("timed out")
            super().settimeout(left)
        return super().recv_into(*args, **kwargs)

    def makefile(self, *_: Any, **__: Any) -> Any:
        """The file that http.client reads one answer from."""
        return _AnswerFile(self, super().makefile("rb", 0))

    def answer_ended(self, file: io.BufferedReader) -> None:
        """Look, without waiting, whether anything stands behind the answer that was read."""
        deadline = self._deadline
        self.settimeout(0)
        try:
            self.spoilt = self.spoilt or bool(file.peek(1))
        except ssl.SSLWantReadError:
            pass  # nothing is there
        except OSError:
            self.spoilt = True
        self.used_at = time.time()
        self.settimeout(_waiting(deadline.left) if deadline else None)

    @property
    def fit(self) -> bool:
        """Whether it may carry another exchange. A clock that was put back proves nothing."""
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
    """An answer behind any number of interim ones, framed in one way."""

    def _read_status(self) -> tuple[str, int, str]:
        # http.client takes each interim answer but 100 for the answer, and leaves the real one to
        # the next request of the connection
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # private
            if not 100 <= status < 200:
                return version, status, reason
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise http.client.HTTPException("it changes to a protocol that was not asked for")
            http.client.parse_headers(self.fp)

    def begin(self) -> None:
        super().begin()
        codings = _listed(self.headers.get_all("transfer-encoding"))
        lengths = _listed(self.headers.get_all("content-length"))
        if codings - {"identity"} and codings != {"chunked"}:
            raise http.client.HTTPException("a Transfer-Encoding that was not asked for")
        if len(lengths) > 1 or not all(one.isascii() and one.isdigit() for one in lengths):
            raise http.client.HTTPException("a Content-Length that is not one number")
        has_no_body = self.status in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED)
        if (codings and lengths) or (has_no_body and (codings or lengths - {"0"})):
            self.will_close = True  # where it ends is not certain


def _listed(values: list[str] | None) -> set[str]:
    """The different elements of a header that is a list, in lower case."""
    return {one.strip().lower() for value in values or () for one in value.split(",")}


class _TimedHTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _Response

    # urllib3 sets the total at the start of an exchange, and what is left of it before it reads
    @property
    def timeout(self) -> float | None:
        return _waiting(self._deadline.left)

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._deadline = Deadline.after(seconds or 0.0)

    @property
    def is_connected(self) -> bool:
        # whatever else is a socket, TLS within TLS say, is used once
        return isinstance(self.sock, _Socket) and self.sock.fit and super().is_connected

    def _new_conn(self) -> socket.socket:
        addresses = _resolved(self.host, self.port, self._deadline)
        failure = OSError("the host has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = _Socket(family, kind, protocol)
            try:
                # a share each: an address that does not answer must not cost those behind it
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
    """As a socket's time-out, where 0 would mean not to wait but to fail in another way."""
    return max(seconds, 0.001)


def _resolved(host: str, port: int, deadline: Deadline) -> list[Any]:
    """The addresses of a host, as `socket.getaddrinfo` gives them.

    The resolver knows no time-out: it is asked in a thread of its own, for which nobody waits, not
    even the end of the process.
    """
    found: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def resolve() -> None:
        family = urllib3.util.connection.allowed_gai_family()
        try:
            found.put(list(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)))
        except OSError as error:
            found.put(error)
        except UnicodeError:  # a label that is too long, say
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
    """Pools of such connections that share one TLS context: reading the CAs costs 20 ms.

    Args:
        connections: how many to one host are kept open.
        ca_pem: certificates to trust beside the public ones.
    """

    def __init__(self, connections: int, ca_pem: str | None) -> None:
        self._context = ssl.create_default_context(cafile=certifi.where())
        # From 3.13 on Python's default also refuses what OpenSSL's own recipe for a private CA
        # makes. The same everywhere: what `curl --cacert` trusts.
        self._context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        self._context.sslsocket_class = _TLSSocket
        if ca_pem:
            self._context.load_verify_locations(cadata=ca_pem)
        super().__init__(pool_connections=_HOSTS, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """The pools of those who are reached directly."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self._use_timed_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """The pools of those behind a proxy."""
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        self._use_timed_pools(manager)
        return manager

    @staticmethod
    def _use_timed_pools(manager: Any) -> None:
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context has the CAs and demands verification; there is nothing to add to it."""
