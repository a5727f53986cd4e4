"""The fault server serves well when left alone, and each fault is what it is called."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from local.http_server import (
    Fault,
    HttpServer,
    Request,
    Response,
    html_page,
    oversized,
    redirect,
)
from tests.tls import certified

LONG = {"text": "x" * 5000}


def echo(request: Request) -> Response:
    if request.path == "/boom":
        raise RuntimeError("boom")
    if request.path == "/long":
        return Response.of_json(LONG)
    return Response.of_json(
        {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "body": request.body.decode(),
            "header": request.headers.get("x-test", ""),
        }
    )


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer(echo) as running:
        yield running


def fault_all(server: HttpServer, fault: Fault) -> None:
    server.fault = lambda _request: fault


def get(server: HttpServer, path: str = "/long", **options: Any) -> requests.Response:
    return requests.get(server.url + path, timeout=10, **options)


def test_a_request_arrives_whole(server: HttpServer) -> None:
    answer = requests.post(
        f"{server.url}/a%20b?x=1&y=&z=%C3%A9",
        data="grüße".encode(),
        headers={"X-Test": "yes"},
        timeout=10,
    )

    assert answer.json() == {
        "method": "POST",
        "path": "/a b",
        "query": {"x": "1", "y": "", "z": "é"},
        "body": "grüße",
        "header": "yes",
    }


def test_a_chunked_request_arrives_whole(server: HttpServer) -> None:
    parts = (part for part in (b"one", b"two", b"three"))

    answer = requests.post(server.url, data=parts, timeout=10)

    assert answer.json()["body"] == "onetwothree"


def test_a_connection_is_kept(server: HttpServer) -> None:
    with requests.Session() as session:
        for _ in range(5):
            session.get(server.url, timeout=10)

    assert (server.requests, server.connections) == (5, 1)


def test_requests_run_side_by_side() -> None:
    together = threading.Barrier(8, timeout=10)

    def meet(_request: Request) -> Response:
        together.wait()
        return Response()

    with HttpServer(meet) as server:
        threads = [threading.Thread(target=get, args=(server,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert server.errors == []


def test_an_answer_waits_for_the_latency() -> None:
    with HttpServer(echo, latency_s=60) as server, pytest.raises(requests.ReadTimeout):
        requests.get(server.url, timeout=0.2)


def test_gzip_is_for_those_who_ask(server: HttpServer) -> None:
    asked = get(server, headers={"Accept-Encoding": "gzip, deflate"})
    small = get(server, "/", headers={"Accept-Encoding": "gzip"})
    plain = get(server, headers={"Accept-Encoding": "identity"})

    assert asked.headers["Content-Encoding"] == "gzip"
    assert int(asked.headers["Content-Length"]) < 200
    assert asked.json() == plain.json() == LONG
    assert "Content-Encoding" not in small.headers
    assert "Content-Encoding" not in plain.headers


def test_what_a_handler_raises_is_a_500_and_kept(server: HttpServer) -> None:
    assert get(server, "/boom").status_code == 500
    assert [str(error) for error in server.errors] == ["boom"]


def test_bytes_out_are_counted(server: HttpServer) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    received = b""
    while part := connection.recv(65536):
        received += part
    connection.close()

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.bytes_out == len(received)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"400"),
    ],
)
def test_a_malformed_request_is_refused(
    server: HttpServer, request_bytes: bytes, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(100).startswith(b"HTTP/1.1 " + status)
    assert get(server).json() == LONG


def test_an_answer_replaced(server: HttpServer) -> None:
    fault_all(server, Fault(status=429, headers={"Retry-After": "7"}, body=b"slow down"))
    answer = get(server)
    assert (answer.status_code, answer.headers["Retry-After"], answer.text) == (
        429,
        "7",
        "slow down",
    )
    assert server.errors == []

    fault_all(server, html_page())
    assert get(server).headers["Content-Type"].startswith("text/html")
    fault_all(server, oversized(9_000_000))
    assert len(get(server).json()) == 9_000_000 - 2


def test_a_redirect_points_elsewhere(server: HttpServer) -> None:
    fault_all(server, redirect("http://127.0.0.1:9/"))

    answer = get(server, allow_redirects=False)

    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:9/")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_leaves_the_connection_usable(
    server: HttpServer, status: int
) -> None:
    with requests.Session() as session:
        fault_all(server, Fault(status=status))
        assert session.get(server.url, timeout=10).status_code == status
        server.fault = None
        assert session.get(f"{server.url}/long", timeout=10).json() == LONG
    assert server.connections == 1


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("close", ["before", "headers", "body"])
def test_a_connection_dropped(server: HttpServer, close: str, reset: bool) -> None:
    fault_all(server, Fault(close=close, reset=reset))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/long")
    try:
        if close == "before":
            with pytest.raises(ConnectionError):
                connection.getresponse()
            return
        try:
            response = connection.getresponse()
        except ConnectionResetError:
            assert reset  # the reset may overtake the headers
            return
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as cut:
            response.read()
        if isinstance(cut.value, http.client.IncompleteRead):
            assert len(cut.value.partial) == (0 if close == "headers" else 2505)
    finally:
        connection.close()


def test_delays_before_and_after_the_headers(server: HttpServer) -> None:
    fault_all(server, Fault(delay_s=60))
    with pytest.raises(requests.ReadTimeout):
        requests.get(server.url, timeout=0.2)

    fault_all(server, Fault(body_delay_s=60))
    with requests.get(server.url, timeout=2, stream=True) as answer:
        assert answer.status_code == 200
        with pytest.raises(requests.ConnectionError):
            answer.content  # noqa: B018 - reading is the act


def test_a_body_drips_so_that_no_pause_is_long(server: HttpServer) -> None:
    fault_all(server, Fault(drip_bytes_per_s=50))
    asked = {"Accept-Encoding": "identity"}

    with requests.get(f"{server.url}/long", timeout=10, stream=True, headers=asked) as answer:
        assert answer.raw.read(10) == b'{"text":"x'

    assert server.bytes_out < 5000


def test_a_dripping_body_arrives_whole(server: HttpServer) -> None:
    fault_all(server, Fault(drip_bytes_per_s=100_000))

    assert get(server, headers={"Accept-Encoding": "identity"}).json() == LONG


def test_a_truncated_gzip_is_a_whole_answer_that_cannot_be_unpacked(server: HttpServer) -> None:
    fault_all(server, Fault(truncate_gzip=True))

    answer = get(server, stream=True)
    raw = answer.raw.read(decode_content=False)

    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(raw) == int(answer.headers["Content-Length"])
    with pytest.raises(EOFError):
        gzip.decompress(raw)


def test_an_answer_in_chunks(server: HttpServer) -> None:
    fault_all(server, Fault(chunked=True, drip_bytes_per_s=100_000))

    answer = get(server, headers={"Accept-Encoding": "identity"})

    assert "Content-Length" not in answer.headers
    assert answer.json() == LONG


def test_a_rewritten_answer(server: HttpServer) -> None:
    def shorter(response: Response) -> Response:
        return Response.of_json({"was": len(response.body)}, 500)

    fault_all(server, Fault(rewrite=shorter))

    answer = get(server)

    assert (answer.status_code, answer.json()) == (500, {"was": 5011})


def test_an_unknown_kind_of_close_is_an_error() -> None:
    with pytest.raises(ValueError, match="sometime"):
        Fault(close="sometime")


def test_closing_ends_what_is_under_way_and_frees_the_port() -> None:
    server = HttpServer(echo)
    fault_all(server, Fault(delay_s=60))
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(requests.ConnectionError):
            get(server)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while not server.requests:
        time.sleep(0.01)
    server.close()
    server.close()

    assert ended.wait(10)
    thread.join()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_tls(tmp_path: Path) -> None:
    own = certified(tmp_path)
    with HttpServer(echo, tls=own.context) as server:
        assert server.url.startswith("https://localhost:")
        with pytest.raises(requests.exceptions.SSLError):
            get(server)
        assert get(server, verify=str(tmp_path / "localhost.pem")).json() == LONG
