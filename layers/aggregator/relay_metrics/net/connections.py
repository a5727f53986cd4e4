"""Connections that keep to the time of their exchange, at every step.

`requests` and urllib3 bound the wait between two bytes, not the whole: a server that drips a byte a
second would hold a run for hours, and a resolver that hangs would hold it for ever. Here what is
left of the total is laid on every step: the resolver, each address, the handshake, each write and
each read of the socket, headers included.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
from http.client import HTTPResponse
from queue import Empty, SimpleQueue
from typing import Any

import certifi
import urllib3
from requests.adapters import HTTPAdapter

from relay_metrics.deadline import Deadline

_CHUNK = 65536
_HOSTS = 4096
"""More than a secret has room for: the pool of a host must not be closed while it is in use."""


class _TimedReader(io.RawIOBase):
    """A socket's bytes until an instant: each read waits no longer than what is left."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = Deadline.after(seconds)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline.left
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

    # urllib3 sets the total at the start of an exchange, and what is left of it before it reads
    @property
    def timeout(self) -> float | None:
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._timeout = seconds
        self._deadline = Deadline.after(seconds or 0.0)

    def _new_conn(self) -> socket.socket:
        addresses = _resolved(self._dns_host, self.port, self._deadline)
        failure = OSError("the host has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
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
                sock.settimeout(_waiting(self._deadline.left))
                return sock
        raise failure

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(_waiting(self._deadline.left))
        super().send(data)


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
