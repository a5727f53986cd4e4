"""An answer belongs to its own request, whatever a server sends on a connection that is kept."""

from __future__ import annotations

import fcntl
import re
import select
import socket
import termios
import threading
from collections.abc import Callable
from queue import SimpleQueue

import pytest

from relay_metrics.errors import ExchangeError, TimedOut
from relay_metrics.net.http import Client
from tests.raw_server import HANG_S, raw_server
from tests.tls import Certified, certified

Send = Callable[[bytes], None]


def whole(number: int, *headers: str, status: int = 200) -> bytes:
    """The answer to the request with this number, which is its body."""
    body = b"%d" % number
    lines = [f"HTTP/1.1 {status} OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def interim(*statuses: int) -> bytes:
    return b"".join(b"HTTP/1.1 %d X\r\nLink: </a>\r\n\r\n" % status for status in statuses)


def bodiless(number: int, status: int, header: str) -> bytes:
    """An answer that can have no body, and has one."""
    return b"HTTP/1.1 %d X\r\n%s\r\n\r\n" % (status, header.encode()) + whole(number + 50)


def chunked(number: int, behind: bytes = b"", headers: str = "", coding: str = "chunked") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding:{coding}\r\n{headers}\r\n".encode()
    body = b"%d" % number
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) + behind


STALE = whole(99)
"""The answer to a request that nobody made."""

SENT: dict[str, Callable[[int], list[bytes]]] = {
    "as it should be": lambda n: [whole(n)],
    "early hints, then the answer": lambda n: [interim(103), whole(n)],
    "many interim answers in one segment": lambda n: [interim(100, 102, 103, 103) + whole(n)],
    "one after the other": lambda n: [interim(100), interim(103), interim(199), whole(n)],
    "another protocol": lambda n: [interim(101) + whole(n)],
    "two answers in one segment": lambda n: [whole(n) + STALE],
    "a second answer later": lambda n: [whole(n), STALE],
    "a second answer instead of early hints": lambda n: [interim(103), whole(n), STALE],
    "half an answer later": lambda n: [whole(n), STALE[:10]],
    "garbage": lambda n: [whole(n) + b"garbage"],
    "garbage later": lambda n: [whole(n), b"garbage"],
    "an empty line": lambda n: [whole(n) + b"\r\n"],
    "more than its length": lambda n: [whole(n) + b"0", STALE],
    "an interim answer behind it": lambda n: [whole(n) + interim(103)],
    "a body where none can be": lambda n: [bodiless(n, 204, "Content-Length: 2")],
    "a body of no length where none can be": lambda n: [bodiless(n, 204, "X: y")],
    "a body of what was not modified": lambda n: [bodiless(n, 304, "Content-Length: 2")],
    "chunks": lambda n: [chunked(n)],
    "chunks and more": lambda n: [chunked(n, STALE)],
    "chunks with white space around their name": lambda n: [chunked(n, coding=" \tChunked \t")],
    "chunks on another line": lambda n: [chunked(n, STALE, coding="\r\n chunked")],
    "chunks twice": lambda n: [chunked(n, STALE, coding="chunked, chunked")],
    "chunks, said in two headers": lambda n: [chunked(n, headers="Transfer-Encoding: chunked\r\n")],
    "a body of chunks where none can be": lambda n: [
        bodiless(n, 204, "Transfer-Encoding: chunked")
    ],
    "chunks and more later": lambda n: [chunked(n), STALE],
    "chunks of a length": lambda n: [chunked(n, headers="Content-Length: 3\r\n"), STALE],
    "two lengths": lambda n: [whole(n, "Content-Length: 70"), STALE],
    "one length twice": lambda n: [whole(n, f"Content-Length: {len(str(n))}"), STALE],
    "it closes": lambda n: [whole(n, "Connection: close"), STALE],
    "without a length": lambda n: [b"HTTP/1.1 200 OK\r\n\r\n" + b"%d" % n],
}


def number_of(connection: socket.socket) -> int | None:
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(4096)
        if not more:
            return None
        head += more
    found = re.match(rb"GET /([0-9]+) ", head)
    assert found
    return int(found[1])


def arrived(connection: socket.socket) -> None:
    """Wait for what was sent to be where it is read: a busy machine takes a moment for that.

    Or for the client to leave, which is all that it can do before it has heard of this.
    """
    unread = bytearray(4)
    for _ in range(HANG_S * 1000):
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, unread)
        if not any(unread) or select.select([connection], [], [], 0.001)[0]:
            return


@pytest.fixture(scope="module")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return certified(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", SENT)
def test_every_answer_is_of_its_own_request(name: str, secured: bool, localhost: Certified) -> None:
    sent: SimpleQueue[None] = SimpleQueue()

    def serve(connection: socket.socket) -> None:
        while (number := number_of(connection)) is not None:
            try:
                for segment in SENT[name](number):
                    connection.sendall(segment)
                arrived(connection)
            finally:
                # so that it is there before the next request is made
                sent.put(None)
            if name == "without a length":
                return

    tls = localhost if secured else None
    client = Client(ca_pem=tls.pem if tls else None)
    got: list[bytes] = []
    with raw_server(serve, tls.context if tls else None) as url:
        for number in range(10, 16):
            try:
                answer = client.exchange("GET", f"{url}/{number}", seconds=HANG_S, max_bytes=100)
            except ExchangeError:
                got.append(b"")
            else:
                got.append(answer.body)
                assert answer.body in (b"%d" % number, b""), "the answer to another request"
            sent.get(timeout=HANG_S)
    refused = {"another protocol", "two lengths", "chunks twice"}
    empty = {one for one in SENT if one.startswith("a body ")} | refused
    expected = [b""] * 6 if name in empty else [b"%d" % number for number in range(10, 16)]
    assert got == expected


def test_an_answer_that_comes_after_the_time_was_out_is_nobodys() -> None:
    late = threading.Event()

    def serve(connection: socket.socket) -> None:
        while (number := number_of(connection)) is not None:
            if number % 2:
                connection.sendall(interim(103))
                late.wait(HANG_S)
            connection.sendall(whole(number))

    client = Client()
    with raw_server(serve) as url:
        for number in range(0, 10, 2):
            answer = client.exchange("GET", f"{url}/{number}", seconds=HANG_S, max_bytes=100)
            assert answer.body == b"%d" % number
            late.clear()
            with pytest.raises(TimedOut):
                client.exchange("GET", f"{url}/{number + 1}", seconds=0.1, max_bytes=100)
            late.set()
