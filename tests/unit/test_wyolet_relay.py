"""Scraping an endpoint over loopback: what it answers, whatever it answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from local.http_server import Fault, HttpServer, Request, Response, html_page, redirect
from local.relay import WyoletRelay
from relay_metrics.deadline import Deadline
from relay_metrics.families import FamilyType
from relay_metrics.net.http import Client
from relay_metrics.relays import Fetched
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.limiter import Limiter
from relay_metrics.relays.memory import Memory
from relay_metrics.relays.wyolet.run import State, fetch
from relay_metrics.settings import Relay, environment, settings
from tests.unit.expositions import TIME_MS

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
SECRET = "Bearer s3cret-token"


def conversation_with(
    url: str,
    timeout_ms: int = 5000,
    renew: Callable[[Relay], Relay] = lambda relay: relay,
    **more: object,
) -> RelayClient:
    variables = environment(
        {"OTEL_EXPORT_URL": "http://127.0.0.1:1", "RELAY_TIMEOUT_MS": str(timeout_ms)}
    )
    listed = {"name": "wyolet", "kind": "wyolet-relay", "base_url": url, **more}
    relay = settings(variables, json.dumps({"relays": [listed]})).relays[0]
    return RelayClient(
        relay,
        variables,
        Client(),
        ThreadPoolExecutor(1),
        Limiter(1, [relay.name]),
        Memory(256, 1),
        Deadline.after(30),
        lambda: renew(relay),
        time_ms=TIME_MS,
        scheduled_s=TIME_MS / 1000,
    )


def counted(client: RelayClient) -> dict[tuple[str, str], int]:
    return {(one.endpoint, one.type): one.count for one in client.failures}


@contextmanager
def answering(
    body: bytes, content_type: str = TEXT, status: int = 200
) -> Iterator[tuple[HttpServer, list[Request]]]:
    asked: list[Request] = []

    def answer(request: Request) -> Response:
        asked.append(request)
        return Response(status, body, content_type)

    with HttpServer(answer) as server:
        yield server, asked
        assert server.errors == []


def names(fetched: Fetched) -> list[str]:
    return [family.name for family in fetched.families]


def test_every_family_of_a_relay() -> None:
    with WyoletRelay(clock=lambda: TIME_MS / 1000 - 3600) as relay:
        relay.tick()
        client = conversation_with(relay.url)
        fetched = fetch(client, State())
        overhead = relay.histograms["relay_overhead_seconds"]["pipeline"]
    assert fetched.up
    assert counted(client) == {}
    assert client.error is None
    families = {family.name: family for family in fetched.families}
    requests = families["relay_requests_total"]
    assert requests.type is FamilyType.COUNTER
    delivered = {(one.labels["source"], one.labels["status"]): one.value for one in requests.series}
    assert delivered == relay.requests
    assert {one.start_ms for one in requests.series} == {TIME_MS - 3_600_000}
    pipeline = families["relay_overhead_seconds"].series[0]
    assert pipeline.labels == {"source": "pipeline"}
    assert pipeline.count == overhead.count
    assert pipeline.sum == pytest.approx(overhead.sum)
    assert [bound for bound, _ in pipeline.buckets[:-1]] == list(overhead.bounds)
    cumulative = [count for _, count in pipeline.buckets]
    assert cumulative == [sum(overhead.counts[: at + 1]) for at in range(len(overhead.counts))]


def test_what_is_asked_for() -> None:
    with answering(b"a 1\n") as (server, asked):
        client = conversation_with(
            server.url,
            headers={"Authorization": SECRET},
            metrics_path="/internal/stats?format=prom",
        )
        assert fetch(client, State()).up
    (request,) = asked
    assert (request.method, request.path, request.query) == (
        "GET",
        "/internal/stats",
        {"format": "prom"},
    )
    assert request.headers["authorization"] == SECRET
    assert request.headers["accept"].startswith("text/plain;version=0.0.4,")
    assert "application/openmetrics-text" in request.headers["accept"]


@pytest.mark.parametrize("name", ["Accept", "accept"])
def test_accept_of_the_relays_headers_is_respected(name: str) -> None:
    with answering(b"a 1\n") as (server, asked):
        assert fetch(conversation_with(server.url, headers={name: "text/plain"}), State()).up
    assert asked[0].headers["accept"] == "text/plain"


def test_exposition_called_html_is_an_exposition() -> None:
    body = b"# HELP a x\n# TYPE a gauge\na 1.5\n"
    with answering(body, "text/html; charset=UTF-8") as (server, _):
        assert names(fetch(conversation_with(server.url), State())) == ["a"]


def test_what_is_left_out_is_counted_by_endpoint() -> None:
    with answering(b"a NaN\nb NaN\nc 1\nc 2\n") as (server, _):
        client = conversation_with(server.url, metrics_path="/internal/stats?x=y")
        fetched = fetch(client, State())
    assert fetched.up
    assert names(fetched) == ["c"]
    assert counted(client) == {
        ("internal/stats", "duplicate_sample"): 1,
        ("internal/stats", "nan"): 2,
    }
    assert client.error is None


def test_metric_exclude_of_the_settings() -> None:
    with answering(b"go_threads 1\nprocess_x 2\nrelay_x 3\n") as (server, _):
        client = conversation_with(server.url, metric_exclude=["go_*", "process_?"])
        assert names(fetch(client, State())) == ["relay_x"]


def test_openmetrics_only_where_the_content_type_says_so() -> None:
    body = b"# TYPE a counter\na_total 1.0\na_created 1700000000.0\n# EOF\n"
    with answering(body, OPENMETRICS) as (server, _):
        client = conversation_with(server.url)
        (family,) = fetch(client, State()).families
    assert (family.name, family.series[0].start_ms) == ("a_total", 1_700_000_000_000)
    with answering(body.removesuffix(b"# EOF\n"), OPENMETRICS) as (server, _):
        client = conversation_with(server.url)
        assert not fetch(client, State()).up
    with answering(body.removesuffix(b"# EOF\n")) as (server, _):
        client = conversation_with(server.url)
        assert fetch(client, State()).up


def test_10000_series_in_one_family() -> None:
    lines = "".join(f'a{{series="{at}"}} {at}\n' for at in range(10_000))
    with answering(b"# TYPE a gauge\n" + lines.encode()) as (server, _):
        client = conversation_with(server.url)
        (family,) = fetch(client, State()).families
    assert len(family.series) == 10_000


def test_gzip() -> None:
    with answering(b"a 1\n") as (server, _):
        server.fault = lambda _: Fault(
            body=gzip.compress(b"a 1\n"), content_type=TEXT, headers={"Content-Encoding": "gzip"}
        )
        client = conversation_with(server.url)
        assert names(fetch(client, State())) == ["a"]


LONG = b'a{b="%b"} 1\n' % (b"c" * 1012) * (9 << 10)
GOOD = b"".join(b'a{at="%d"} 1\n' % at for at in range(1000))


@pytest.mark.parametrize(
    ("fault", "type"),
    [
        pytest.param(html_page(), "html", id="HTML with 200"),
        pytest.param(Fault(body=b" <html></html>", content_type=TEXT), "html", id="HTML as text"),
        pytest.param(Fault(body=b"", content_type=TEXT), "empty", id="empty"),
        pytest.param(Fault(body=b"\n \n", content_type=TEXT), "empty", id="blank"),
        pytest.param(Fault(body=LONG), "too_large", id="9 MiB"),
        pytest.param(
            Fault(body=gzip.compress(LONG), headers={"Content-Encoding": "gzip"}),
            "too_large",
            id="9 MiB in a small gzip",
        ),
        pytest.param(Fault(truncate_gzip=True), "truncated", id="truncated gzip"),
        pytest.param(Fault(close="body"), "truncated", id="truncated body"),
        pytest.param(Fault(close="before", reset=True), "connection", id="reset"),
        pytest.param(Fault(body=b'a{b="\xff"} 1\n'), "malformed", id="invalid UTF-8"),
        pytest.param(Fault(body=b"a 1\nb\n"), "malformed", id="malformed line"),
        pytest.param(Fault(body=b'{"status":"ok"}'), "malformed", id="JSON"),
        pytest.param(Fault(body=b"\x0a\x05proto\x12\x00"), "malformed", id="protobuf"),
        pytest.param(Fault(drip_bytes_per_s=1), "timeout", id="a byte a second"),
        pytest.param(Fault(delay_s=5), "timeout", id="no answer"),
        pytest.param(redirect("http://127.0.0.1:1/"), "302", id="redirect"),
        pytest.param(Fault(status=401), "401", id="401"),
        pytest.param(Fault(status=404, body=b"404 page not found\n"), "404", id="404"),
        pytest.param(Fault(status=500), "500", id="500"),
        pytest.param(
            Fault(status=500, body=json.dumps({"error": "x" * 5000}).encode()),
            "500",
            id="500 with a long reason",
        ),
        pytest.param(Fault(status=204), "204", id="204"),
    ],
)
def test_bad_answer_is_a_typed_error(fault: Fault, type: str) -> None:
    timeout_ms = 500 if type == "timeout" else 20_000
    with answering(GOOD) as (server, _):
        server.fault = lambda _: fault
        client = conversation_with(server.url, timeout_ms, headers={"Authorization": SECRET})
        fetched = fetch(client, State())
    assert fetched == Fetched(up=False)
    assert counted(client) == {("metrics", type): 1}
    error = client.error
    assert error is not None
    assert error.startswith("relay wyolet: metrics: ")
    assert SECRET not in error


def test_malformed_line_is_named_and_nothing_is_delivered() -> None:
    with answering(b'a 1\nb 2\ntoken{value="hunter2} 3\nc 4\n') as (server, _):
        client = conversation_with(server.url)
        assert fetch(client, State()) == Fetched(up=False)
    assert client.error == (
        "relay wyolet: metrics: answered 200 with an exposition of which line 3 is malformed"
    )


def behind_a_proxy(request: Request) -> Response:
    if request.headers.get("authorization") != SECRET:
        return Response(401, b"unauthorized\n", TEXT)
    return Response(200, b"a 1\n", TEXT)


@pytest.mark.parametrize(("renewed", "up"), [(SECRET, True), ("Bearer still-wrong", False)])
def test_unauthorised_is_asked_once_more_with_the_renewed_secret(renewed: str, up: bool) -> None:
    renewals = []

    def renew(relay: Relay) -> Relay:
        renewals.append(relay)
        return replace(relay, headers={"Authorization": renewed})

    with HttpServer(behind_a_proxy) as server:
        old = {"Authorization": "Bearer old"}
        assert fetch(conversation_with(server.url, renew=renew, headers=old), State()).up is up
        assert server.requests == 2
    assert len(renewals) == 1
