"""One exchange, with servers that do their worst: it ends in time, within its bounds, and typed."""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from local.http_server import Fault, HttpServer, Request, Response, redirect
from relay_metrics.deadline import Deadline
from relay_metrics.errors import ExchangeError, TimedOut
from relay_metrics.net.http import (
    CLIENT_CERTIFICATE,
    CLOSED_TLS,
    NO_TLS,
    UNTRUSTED,
    Answer,
    Client,
)
from tests.raw_server import HANG_S, raw_server
from tests.tls import Certified, certified, private_ca

MAX_BYTES = 10_000
SHORT_S = 0.3
BODY = b'{"text":"' + b"x" * 3000 + b'"}'


def answer(request: Request) -> Response:
    return Response(body=BODY)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer(answer) as server:
        yield server
        assert server.errors == []


@pytest.fixture
def client() -> Client:
    return Client()


def get(client: Client, url: str, seconds: float = HANG_S, **more: Any) -> bytes:
    return client.exchange("GET", url, seconds=seconds, max_bytes=MAX_BYTES, **more).body


def failure(client: Client, url: str, seconds: float = HANG_S - 5) -> ExchangeError:
    began = time.monotonic()
    with pytest.raises(ExchangeError) as caught:
        get(client, url, seconds)
    assert time.monotonic() - began < HANG_S
    return caught.value


def test_an_answer_whatever_its_status(server: HttpServer, client: Client) -> None:
    server.fault = lambda request: Fault(status=418, body=b"tea", content_type="Text/Plain; a=b")
    got = client.exchange("GET", server.url, seconds=HANG_S, max_bytes=MAX_BYTES)
    assert (got.status, got.body, got.media_type) == (418, b"tea", "text/plain")


def test_what_is_sent(client: Client) -> None:
    seen: list[Request] = []

    def keep(request: Request) -> Response:
        seen.append(request)
        return Response(headers={"Set-Cookie": "session=1; Path=/"})

    with HttpServer(keep) as server:
        for _ in range(2):
            client.exchange(
                "POST",
                server.url + "/path?query=1",
                seconds=HANG_S,
                max_bytes=MAX_BYTES,
                headers={"Authorization": "Bearer token", "X-Team": "\xe9quipe"},
                body=b"body",
            )
        assert server.connections == 1, "the connection is kept"
    assert [(one.method, one.path, one.query, one.body) for one in seen] == [
        ("POST", "/path", {"query": "1"}, b"body")
    ] * 2
    assert seen[1].headers == {
        "host": server.url.removeprefix("http://"),
        "user-agent": "relay-metrics",
        "accept-encoding": "gzip",
        "content-length": "4",
        "authorization": "Bearer token",
        "x-team": "\xe9quipe".encode().decode("latin-1"),  # as the server reads bytes
    }, "no cookie, and nothing of a library"


def test_credentials_of_the_user_who_runs_it_are_not_sent(
    server: HttpServer, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password pass\n", "ascii")
    monkeypatch.setenv("NETRC", str(netrc))
    seen: list[Request] = []
    server.fault = seen.append
    get(client, server.url)
    assert "authorization" not in seen[0].headers


@pytest.mark.parametrize(
    ("content_type", "body", "media_type", "web_page"),
    [
        (" Text/HTML ; charset=utf-8", b"x", "text/html", True),
        ("application/xhtml+xml", b"x", "application/xhtml+xml", True),
        ("text/html", b"", "text/html", False),
        ("text/plain", b"\n <!DocType HTML>", "text/plain", True),
        (None, b"<HTML lang=en>", "", True),
        (None, b" " * 251 + b"<html", "", True),
        (None, b" " * 252 + b"<html", "", False),
        ("application/json", b'"<html>"', "application/json", False),
    ],
)
def test_what_is_a_web_page(
    content_type: str | None, body: bytes, media_type: str, web_page: bool
) -> None:
    got = Answer(200, {} if content_type is None else {"content-type": content_type}, body)
    assert (got.media_type, got.web_page) == (media_type, web_page)


@pytest.mark.parametrize(
    ("status", "location", "leads_to"),
    [
        (300, "https://user:t0ken@host:1/path?key=t0ken#t0ken", "https://host:1/path"),
        (399, "/pa\x00\u202eth", "/path"),
        (302, "/" + "x" * 300, "/" + "x" * 199),
        (302, "http://[::1", ""),
        (302, None, ""),
        (299, "/path", ""),
        (400, "/path", ""),
    ],
)
def test_where_a_redirect_leads(status: int, location: str | None, leads_to: str) -> None:
    got = Answer(status, {} if location is None else {"location": location}, b"")
    assert got.redirects_to == leads_to


# -- what goes wrong ------------------------------------------------------------------------------

SAID = {
    "connection": [
        "the connection was closed before the end of the answer",
        "the answer cannot be read as HTTP",
    ],
    "truncated": [
        "the connection was closed before the end of the body",
        "the body's gzip ends too early",
    ],
    "timeout": [str(TimedOut(SHORT_S))],
    "encoding": ["the body is not the gzip that it says"],
    "too_large": [f"the body is longer than {MAX_BYTES} bytes"],
}
GZIPPED = gzip.compress(BODY, mtime=0)
GZIP = {"Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("fault", "type"),
    [
        pytest.param(Fault(close="before"), "connection", id="closed before the headers"),
        pytest.param(Fault(close="before", reset=True), "connection", id="reset before them"),
        pytest.param(Fault(close="headers"), "truncated", id="closed behind the headers"),
        pytest.param(Fault(close="headers", reset=True), "connection", id="reset behind them"),
        pytest.param(Fault(close="body"), "truncated", id="closed in the body"),
        pytest.param(Fault(close="body", chunked=True), "truncated", id="closed in a chunk"),
        pytest.param(Fault(delay_s=HANG_S), "timeout", id="no headers"),
        pytest.param(Fault(body_delay_s=HANG_S), "timeout", id="no body"),
        pytest.param(Fault(drip_bytes_per_s=100), "timeout", id="a drip"),
        pytest.param(Fault(drip_bytes_per_s=100, chunked=True), "timeout", id="a drip of chunks"),
        pytest.param(Fault(truncate_gzip=True), "truncated", id="half a gzip stream"),
        pytest.param(Fault(body=BODY, headers=GZIP), "encoding", id="no gzip"),
        pytest.param(Fault(body=GZIPPED + b"more", headers=GZIP), "encoding", id="more than gzip"),
        pytest.param(
            Fault(body=GZIPPED + GZIPPED[:30], headers=GZIP), "truncated", id="half a gzip member"
        ),
        pytest.param(Fault(body=bytes(MAX_BYTES + 1)), "too_large", id="too long"),
        pytest.param(
            Fault(body=bytes(MAX_BYTES + 1), chunked=True), "too_large", id="too long, in chunks"
        ),
        pytest.param(
            Fault(body=gzip.compress(bytes(50_000_000), 1), headers=GZIP),
            "too_large",
            id="a gzip bomb",
        ),
        pytest.param(
            Fault(body=gzip.compress(bytes(2_000), 9) * 6, headers=GZIP),
            "too_large",
            id="too long, in members",
        ),
        pytest.param(Fault(status=101), "connection", id="another protocol"),
        *(
            pytest.param(
                Fault(body=BODY, headers={"Transfer-Encoding": coding}), "connection", id=coding
            )
            for coding in ("gzip, chunked", "chunked, chunked", "identity, chunked", "chunked,x")
        ),
        pytest.param(
            Fault(body=BODY, headers={"Content-Length": "5, 6"}), "connection", id="two lengths"
        ),
        pytest.param(
            Fault(body=BODY, headers={"Content-Length": "1_0"}), "connection", id="no length"
        ),
        pytest.param(
            Fault(headers={"Content-Length": "1000000"}), "timeout", id="shorter than it says"
        ),
        pytest.param(
            Fault(headers={f"X-{number}": "" for number in range(101)}),
            "connection",
            id="too many headers",
        ),
        pytest.param(Fault(headers={"X": "x" * 70_000}), "connection", id="a header too long"),
    ],
)
def test_an_answer_that_goes_wrong(
    server: HttpServer, client: Client, fault: Fault, type: str
) -> None:
    server.fault = lambda request: fault
    seconds = SHORT_S if type == "timeout" else HANG_S - 5
    error = failure(client, server.url, seconds)
    assert error.type == type
    assert str(error) in SAID[type]


@pytest.mark.parametrize(
    "coding",
    [
        *("br", "compress", "dcb", "dcz", "deflate", "X-Compress", "zstd"),
        *("br, gzip", "gzip ,zstd", "gzip, gzip, gzip"),
    ],
)
def test_a_coding_that_was_not_asked_for(server: HttpServer, client: Client, coding: str) -> None:
    server.fault = lambda request: Fault(body=BODY, headers={"Content-Encoding": coding})
    error = failure(client, server.url)
    said = "the body's Content-Encoding was not asked for"
    assert (error.type, str(error)) == ("encoding", said)


@pytest.mark.parametrize("size", [0, MAX_BYTES])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_body_as_long_as_it_may_be(
    server: HttpServer, client: Client, size: int, encoded: bool
) -> None:
    body = bytes(size)
    fault = Fault(body=gzip.compress(body), headers=GZIP) if encoded else Fault(body=body)
    server.fault = lambda request: fault
    assert get(client, server.url) == body


def test_nobody_listens(client: Client) -> None:
    with HttpServer(answer) as server:
        pass
    error = failure(client, server.url)
    assert (error.type, str(error)) == ("connection", "the connection was refused")


@pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 70 + ".invalid"])
def test_a_name_that_is_not_known(client: Client, host: str) -> None:
    error = failure(client, f"http://{host}")
    assert (error.type, str(error)) == ("dns", "the host's name is not known")


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        ([], "ProtocolError"),
        # TCP cannot go to everybody
        ([(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("255.255.255.255", 9))], "unreachable"),
    ],
    ids=["none", "unreachable"],
)
def test_a_name_without_an_address_of_use(
    client: Client, monkeypatch: pytest.MonkeyPatch, addresses: list[object], why: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    error = failure(client, "http://host.invalid")
    assert error.type == "connection"
    assert re.fullmatch(rf"the exchange failed \(.*{why}\)", str(error))


def test_a_resolver_that_hangs_ends_with_the_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        release.wait(HANG_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        assert failure(client, "http://host.invalid", SHORT_S).type == "timeout"
    finally:
        release.set()


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    server: HttpServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            # the backlog is full now: a further connection waits for ever
            addresses = [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
                for address in (full.getsockname(), ("127.0.0.1", server.port))
            ]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
            assert get(client, "http://two.invalid", 6) == BODY
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses[:1] * 2)
            assert failure(Client(), "http://two.invalid", SHORT_S).type == "timeout"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="one Continue after the other"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX", id="headers that do not end"),
    ],
)
def test_headers_that_drip(client: Client, line: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(line)
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" if line.endswith(b"\n") else b"x")
            time.sleep(0.02)

    with raw_server(drip) as url:
        assert failure(client, url, SHORT_S).type == "timeout"


def test_no_http_at_all(client: Client) -> None:
    asked: list[int] = []

    def babble(connection: socket.socket) -> None:
        asked.append(len(connection.recv(1000)))
        connection.sendall(b"220 mail.example.com ESMTP\r\n")

    with raw_server(babble) as url:
        error = failure(client, url)
    assert (error.type, str(error)) == ("connection", "the answer cannot be read as HTTP")
    assert len(asked) == 1, "only what may be an old connection's end is tried again"


def test_a_server_that_does_not_read(client: Client) -> None:
    release = threading.Event()
    body = bytes(64 << 20)
    with raw_server(lambda connection: release.wait(HANG_S)) as url:
        try:
            with pytest.raises(TimedOut):
                client.exchange("POST", url, seconds=SHORT_S, max_bytes=10, body=body)
        finally:
            release.set()


def test_a_server_that_reads_in_drips(localhost: Certified) -> None:
    """Each record that it takes is progress, but the whole has its time."""

    body = bytes(32 << 20)
    read: SimpleQueue[int] = SimpleQueue()

    def read_slowly(connection: socket.socket) -> None:
        size = 0
        try:
            while more := len(connection.recv(1 << 14)):
                size += more
                time.sleep(0.001)
        finally:
            read.put(size)

    client = Client(ca_pem=localhost.pem)
    with raw_server(read_slowly, localhost.context) as url:
        with pytest.raises(TimedOut):
            client.exchange("POST", url, seconds=1, max_bytes=10, body=body)
        assert read.get(timeout=HANG_S) < len(body), "the rest was not sent"


def test_no_time_is_left(server: HttpServer, client: Client) -> None:
    with pytest.raises(TimedOut):
        get(client, server.url, 0)
    assert server.requests == 0


# -- encodings and blocks ------


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"a 1\n", mtime=0) + gzip.compress(b"b 2\n", mtime=0)),
        ("gzip", gzip.compress(b"a 1\nb 2\n", mtime=0) + gzip.compress(b"", mtime=0)),
        ("gzip", gzip.compress(b"a 1\nb 2\n", mtime=0) + bytes(1000)),
        ("X-Gzip , identity", gzip.compress(b"a 1\nb 2\n", mtime=0)),
        ("identity,gzip", gzip.compress(b"a 1\nb 2\n", mtime=0)),
        ("gzip, gzip", gzip.compress(b"a 1\nb 2\n", mtime=0)),
        ("gzip, x-gzip", gzip.compress(gzip.compress(b"a 1\nb 2\n", mtime=0), mtime=0)),
        ("UTF-8", b"a 1\nb 2\n"),
        ("none", b"a 1\nb 2\n"),
        ("", b"a 1\nb 2\n"),
    ],
)
def test_a_body_as_it_is_encoded(
    server: HttpServer, client: Client, encoding: str, body: bytes
) -> None:
    server.fault = lambda request: Fault(body=body, headers={"Content-Encoding": encoding})
    assert get(client, server.url) == b"a 1\nb 2\n"


@pytest.mark.parametrize(
    "encoding", ["gzip", "br", "UTF-8", pytest.param("gzip," * 5000, id="gzip many times")]
)
@pytest.mark.parametrize("status", [200, 204])
def test_no_body_needs_no_decoding(
    server: HttpServer, client: Client, encoding: str, status: int
) -> None:
    server.fault = lambda request: Fault(status, headers={"Content-Encoding": encoding})
    assert get(client, server.url) == b""


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("headers", [{}, GZIP])
def test_a_body_in_blocks(
    server: HttpServer, client: Client, headers: dict[str, str], chunked: bool
) -> None:
    content = bytes(range(256)) * 4000
    body = gzip.compress(content) if headers else content
    server.fault = lambda request: Fault(body=body, headers=headers, chunked=chunked)
    for _ in range(2):
        with client.open("GET", server.url, seconds=HANG_S, max_bytes=len(content)) as answer:
            blocks = list(answer.blocks())
        assert b"".join(blocks) == content
        assert max(map(len, blocks)) <= 65536
    assert server.connections == 1


def test_the_time_is_over_also_where_all_of_the_body_is_there(
    server: HttpServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes its blocks may be slow: a parser of a large exposition, say."""
    server.fault = lambda request: Fault(body=gzip.compress(bytes(MAX_BYTES * 20)), headers=GZIP)
    with client.open("GET", server.url, seconds=HANG_S, max_bytes=MAX_BYTES * 20) as answer:
        blocks = answer.blocks()
        assert next(blocks)
        monkeypatch.setattr(Deadline, "left", property(lambda _: 0.0))
        with pytest.raises(TimedOut):
            list(blocks)


def test_a_body_that_is_not_read_to_its_end_ends_its_connection(
    server: HttpServer, client: Client
) -> None:
    server.fault = lambda request: Fault(body=bytes(1 << 20))
    with client.open("GET", server.url, seconds=HANG_S, max_bytes=1 << 20) as answer:
        assert next(answer.blocks())
    server.fault = None
    assert get(client, server.url) == BODY
    assert server.connections == 2


# -- redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_not_followed(
    server: HttpServer, client: Client, status: int
) -> None:
    with HttpServer(answer) as other:
        server.fault = lambda request: redirect(other.url, status)
        got = client.exchange("POST", server.url, seconds=HANG_S, max_bytes=MAX_BYTES, body=b"x")
        assert (got.status, got.body, server.requests) == (status, b"", 1)
        assert other.requests == 0


@pytest.mark.parametrize("location", ["http://[::1", "\xff\xfe", "//", "http://x:y/", ""])
def test_a_redirect_to_what_is_no_address(
    server: HttpServer, client: Client, location: str
) -> None:
    server.fault = lambda request: redirect(location)
    assert client.exchange("GET", server.url, seconds=HANG_S, max_bytes=MAX_BYTES).status == 302


def test_the_body_of_a_redirect_is_bounded_as_any(server: HttpServer, client: Client) -> None:
    squeezed = zlib.compressobj(1, wbits=31)
    bomb = b"".join([*(squeezed.compress(bytes(1 << 20)) for _ in range(64)), squeezed.flush()])
    server.fault = lambda request: Fault(status=302, body=bomb, headers={"Location": "/", **GZIP})
    assert failure(client, server.url).type == "too_large"


# -- kept connections -----------------------------------------------------------------------------


def test_a_kept_connection_that_was_closed_meanwhile_is_opened_anew(client: Client) -> None:
    answered: list[int] = []

    def once(connection: socket.socket) -> None:
        connection.recv(1000)
        answered.append(1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        if len(answered) == 1:
            connection.recv(1000)  # the second request, which is not answered

    with raw_server(once) as url:
        assert [get(client, url), get(client, url)] == [b"ok", b"ok"]
    assert len(answered) == 2


@pytest.mark.parametrize(
    ("seconds", "connections"), [(0, 1), (29, 1), (31, 2), (86_400, 2), (-60, 2)]
)
def test_a_connection_is_not_used_again_when_it_was_long_idle(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, seconds: float, connections: int
) -> None:
    client = Client()
    get(client, server.url)
    now = time.time
    # the wall's clock alone: an environment that is frozen between two runs may not count them
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    get(client, server.url)
    assert server.connections == connections


def test_an_exchange_is_tried_no_more_than_twice(server: HttpServer, client: Client) -> None:
    server.fault = lambda request: Fault(close="before", reset=True)
    assert failure(client, server.url).type == "connection"
    assert server.requests == 2


def test_an_exchange_that_was_late_leaves_the_next_its_time(
    server: HttpServer, client: Client
) -> None:
    get(client, server.url, 2)
    server.fault = lambda request: Fault(delay_s=2.5)
    get(client, server.url)
    assert server.connections == 1


def test_many_threads_share_a_client(server: HttpServer, client: Client) -> None:
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: got.append(get(client, server.url, 20))) for _ in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [BODY] * 32


# -- TLS and proxies ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return certified(tmp_path_factory.mktemp("tls"))


def test_a_certificate_is_trusted_only_where_it_is_configured(localhost: Certified) -> None:
    with HttpServer(answer, tls=localhost.context) as server:
        error = failure(Client(), server.url)
        assert (error.type, str(error)) == ("tls", f"{UNTRUSTED} (self-signed certificate)")
        assert get(Client(ca_pem=localhost.pem), server.url) == BODY


def test_a_private_ca_is_trusted_as_openssl_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = ssl.create_default_context

    def strict(**given: Any) -> ssl.SSLContext:
        context = default(**given)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    # the default from Python 3.13 on
    monkeypatch.setattr(ssl, "create_default_context", strict)
    # without a key usage in the CA, or an authority key identifier in the leaf
    ca = private_ca(tmp_path)
    with HttpServer(answer, tls=ca.context) as server:
        assert get(Client(ca_pem=ca.pem), server.url) == BODY
        assert failure(Client(), server.url).type == "tls"
        (tmp_path / "other").mkdir()
        other = private_ca(tmp_path / "other")
        assert failure(Client(ca_pem=other.pem), server.url).type == "tls"


def test_a_certificate_of_another_host(tmp_path: Path) -> None:
    other = certified(tmp_path, "elsewhere.example")
    with HttpServer(answer, tls=other.context) as server:
        error = failure(Client(ca_pem=other.pem), server.url)
        assert error.type == "tls"
        assert UNTRUSTED in str(error)


@pytest.mark.parametrize("waits", [True, False])
def test_a_server_that_asks_for_a_client_certificate(tmp_path: Path, waits: bool) -> None:
    strict = certified(tmp_path)
    strict.context.verify_mode = ssl.CERT_REQUIRED
    strict.context.load_verify_locations(cadata=strict.pem)
    release = threading.Event()

    def refuse(connection: socket.socket) -> None:
        tls = strict.context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        with suppress(ssl.SSLError):
            tls.do_handshake()
        if waits:  # until its alert was read
            release.wait(HANG_S)
        tls.close()

    with raw_server(refuse) as url:
        try:
            address = url.replace("http://127.0.0.1", "https://localhost")
            error = failure(Client(ca_pem=strict.pem), address)
        finally:
            release.set()
    if waits:
        assert (error.type, str(error)) == ("tls", CLIENT_CERTIFICATE)
    else:  # its closing overtakes the alert, or not
        assert str(error) in (
            CLIENT_CERTIFICATE,
            CLOSED_TLS,
            "the connection was closed before the end of the answer",
        )


def old_client_certificate(server: Certified) -> None:
    server.context.maximum_version = ssl.TLSVersion.TLSv1_2
    server.context.verify_mode = ssl.CERT_REQUIRED
    server.context.load_verify_locations(cadata=server.pem)


def old_ciphers(server: Certified) -> None:
    server.context.maximum_version = ssl.TLSVersion.TLSv1_2
    server.context.set_ciphers("AES128-SHA")


@pytest.mark.parametrize("demand", [old_client_certificate, old_ciphers])
def test_a_handshake_that_fails_otherwise_is_not_blamed_on_the_certificate(
    tmp_path: Path, demand: Callable[[Certified], None]
) -> None:
    odd = certified(tmp_path)
    demand(odd)
    with HttpServer(answer, tls=odd.context) as server:
        error = failure(Client(ca_pem=odd.pem), server.url)
    assert error.type in ("tls", "connection")  # a closing that overtakes the alert is the latter
    assert UNTRUSTED not in str(error)


def test_no_tls_where_it_is_asked_for(server: HttpServer, client: Client) -> None:
    error = failure(client, server.url.replace("http:", "https:"))
    assert (error.type, str(error)) == ("tls", NO_TLS)


def test_a_handshake_that_hangs(client: Client) -> None:
    release = threading.Event()
    with raw_server(lambda connection: release.wait(HANG_S)) as url:
        try:
            address = url.replace("http:", "https:")
            assert failure(client, address, SHORT_S).type == "timeout"
        finally:
            release.set()


def test_a_proxy_of_the_environment(
    client: Client, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    assert get(client, "http://relay.invalid/") == BODY


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"", "the proxy 127.0.0.1:{port} refused the connection"),
        (b"HTTP/1.1 407 No\r\n\r\n", "the proxy 127.0.0.1:{port} answered 407"),
    ],
)
def test_a_proxy_that_refuses_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch, scheme: str, said: bytes, message: str
) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(said)

    with raw_server(refuse) as url:
        port = url.rpartition(":")[2]
        monkeypatch.setenv(f"{scheme}_proxy", f"http://name:t0ken@127.0.0.1:{port}")
        if said and scheme == "http":  # then it is an answer like any other
            assert (
                client.exchange("GET", "http://relay.invalid/", seconds=HANG_S, max_bytes=9)[0]
                == 407
            )
        elif said:
            error = failure(client, "https://relay.invalid/")
            assert (error.type, str(error)) == ("proxy", message.format(port=port))
    if not said:
        error = failure(client, f"{scheme}://relay.invalid/")
        assert (error.type, str(error)) == ("proxy", message.format(port=port))


def test_a_proxy_that_speaks_no_tls_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw_server(lambda connection: connection.sendall(b"no TLS at all")) as url:
        monkeypatch.setenv("https_proxy", url.replace("http:", "https:"))
        error = failure(client, "https://relay.invalid/")
        port = url.rpartition(":")[2]
        found = f"the proxy 127.0.0.1:{port} could not be used"
        assert (error.type, str(error)) == ("proxy", found)


def test_a_proxy_whose_name_is_not_known(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://nowhere.invalid:3128")
    error = failure(client, "https://relay.invalid/")
    found = "the name of the proxy nowhere.invalid:3128 is not known"
    assert (error.type, str(error)) == ("proxy", found)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_says_nothing_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    release = threading.Event()
    with raw_server(lambda connection: release.wait(HANG_S)) as url:
        try:
            port = url.rpartition(":")[2]
            monkeypatch.setenv(f"{scheme}_proxy", f"http://name:t0ken@127.0.0.1:{port}")
            error = failure(client, f"{scheme}://relay.invalid/", SHORT_S)
        finally:
            release.set()
    assert error.type == "timeout"
    assert str(error).endswith(f", through the proxy 127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("socks5://name:t0ken@10.0.0.1:1080", "the proxy 10.0.0.1:1080"),
        ("ftp://name:t0ken@10.0.0.1:21", "the proxy 10.0.0.1:21"),
        ("http://10.0.0.1:99999/", "the proxy 10.0.0.1:99999"),
        ("http://name:t0/ken@[::1]:3128", "the proxy [::1]:3128"),
        ("http://name:пароль@10.0.0.1:3128", "the proxy 10.0.0.1:3128"),
        ("http://name:t0[ken]@10.0.0.1:3128", "the proxy 10.0.0.1:3128"),
        ("http://name:t0ken", "the proxy"),
        ("http://", "the proxy"),
    ],
)
def test_a_proxy_url_that_cannot_be_used_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch, url: str, named: str
) -> None:
    monkeypatch.setenv("https_proxy", url)
    error = failure(client, "https://relay.invalid/")
    assert (error.type, str(error)) == ("proxy", f"{named} is no http://HOST:PORT")


@pytest.mark.parametrize("password", ["2024/t0ken", "#t0ken", "?t0ken"])
def test_what_urllib_takes_for_a_proxy_s_host_is_not_shown(
    client: Client, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("https_proxy", f"http://name:{password}@127.0.0.1:9")
    error = failure(client, "https://relay.invalid")
    assert error.type == "proxy"
    assert not re.search("name|2024|t0ken", str(error).removeprefix("the name of "))


def test_a_proxy_that_drips_its_consent(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX")
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    with raw_server(drip) as url:
        monkeypatch.setenv("https_proxy", url)
        assert failure(client, "https://relay.invalid/", SHORT_S).type == "timeout"


def test_a_message_holds_nothing_of_the_request(client: Client, server: HttpServer) -> None:
    for fault in (Fault(close="before"), Fault(close="body"), Fault(drip_bytes_per_s=10)):
        server.fault = partial(lambda fault, request: fault, fault)
        with pytest.raises(ExchangeError) as caught:
            get(client, server.url + "/?q=t0ken", SHORT_S, headers={"Authorization": "t0ken"})
        assert "t0ken" not in str(caught.value)
        assert caught.value.__cause__ is None
