"""Repeats what the former publisher did, with the same servers, and measures it.

It asked the relay twice, one request after the other, and pushed OTLP as JSON, uncompressed. What
it pushed is taken from a recording. Its memory is assumed: it ran all day in a process of its own
that held about 100 MB.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bench.floor import connection, post
from bench.servers import ROOT, Servers

RECORDING = ROOT / "tests" / "recordings" / "parity" / "relay-metrics-publisher.json"
MEMORY_MB = 100
"""Memory that it used, day and night."""


@dataclass(frozen=True, slots=True)
class Former:
    """A run of it.

    Attributes:
        seconds: from the first request to the answer of the push; the median.
        samples: data points in a push.
        body_bytes: of a push.
    """

    seconds: float
    samples: int
    body_bytes: int


def former(servers: Servers, runs: int) -> Former:
    """Repeat its runs over open connections."""
    relay, push = connection(servers.relay_url), connection(servers.push_url)
    body = _pushed()
    asked = json.dumps({"apiId": servers.key_ids[0]}).encode()
    taken = []
    # the first opens the connections
    for _ in range(runs + 1):
        began = time.perf_counter()
        post(relay, "/apiStats/api/user-stats", asked)
        post(relay, "/apiStats/api/user-model-stats", asked)
        post(push, urlsplit(servers.push_url).path, body)
        taken.append(time.perf_counter() - began)
    relay.close()
    push.close()
    samples = len(json.loads(RECORDING.read_text("utf-8"))["metrics"])
    return Former(statistics.median(taken[1:]), samples, len(body))


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
