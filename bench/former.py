"""What the publisher before this one did with the same servers: its requests, its bytes, its time.

It asked the relay twice, one request after the other, and pushed OTLP as JSON, uncompressed. What
it pushed is taken from a recording of it; that it ran in a process of its own all day is counted,
not measured: it held about 100 MB.
"""

from __future__ import annotations

import http.client
import json
import statistics
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bench.servers import ROOT, Servers

RECORDING = ROOT / "tests" / "recordings" / "parity" / "relay-metrics-publisher.json"
MEMORY_MB = 100
"""That it held, day and night."""


@dataclass(frozen=True, slots=True)
class Former:
    """A run of it.

    Attributes:
        seconds: from the first request to the answer of the push; the median.
        samples: data points in a push.
        body_bytes: of a push.
        floor_s: one relay request and one push, the median: what no run can go below.
    """

    seconds: float
    samples: int
    body_bytes: int
    floor_s: float


def former(servers: Servers, runs: int) -> Former:
    """Do what it did, so many times, over connections that are kept open."""
    relay, push = _connection(servers.relay_url), _connection(servers.push_url)
    body = _pushed()
    key = {"apiId": servers.key_ids[0]}
    taken, floors = [], []
    for _ in range(runs):
        began = time.perf_counter()
        _post(relay, "/apiStats/api/user-stats", json.dumps(key).encode())
        first = time.perf_counter()
        _post(relay, "/apiStats/api/user-model-stats", json.dumps(key).encode())
        second = time.perf_counter()
        _post(push, urlsplit(servers.push_url).path, body)
        ended = time.perf_counter()
        taken.append(ended - began)
        floors.append((first - began) + (ended - second))
    relay.close()
    push.close()
    samples = len(json.loads(RECORDING.read_text("utf-8"))["metrics"])
    # the first opens the connections
    return Former(statistics.median(taken[1:]), samples, len(body), statistics.median(floors[1:]))


def _connection(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)


def _post(connection: http.client.HTTPConnection, path: str, body: bytes) -> None:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}")


def _pushed() -> bytes:
    """Its push: the recorded metrics as its exporter writes them."""
    recorded = json.loads(RECORDING.read_text("utf-8"))
    nanos = str(time.time_ns())

    def metric(one: dict[str, Any]) -> dict[str, Any]:
        point = {
            "attributes": _attributes(one["attributes"]),
            "startTimeUnixNano": nanos,
            "timeUnixNano": nanos,
            "asDouble": one["value"],
        }
        words = {"name": one["name"], "description": one["description"], "unit": ""}
        return {**words, "gauge": {"dataPoints": [point]}}

    resource = {"attributes": _attributes(recorded["resource"]), "droppedAttributesCount": 0}
    scope = {"scope": {"name": "relay-metrics"}, "metrics": [*map(metric, recorded["metrics"])]}
    request = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}
    return json.dumps(request, separators=(",", ":")).encode()


def _attributes(named: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in named.items()]
