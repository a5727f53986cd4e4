"""Measures the floor: bare exchanges with the same servers over open connections."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from bench.servers import Servers

_PUSHED = bytes(2000)
_ASKED_EACH = 20


def one_after_the_other_s(servers: Servers, times: int) -> float:
    """The median duration of a relay request and a push together."""
    relay, push = connection(servers.relay_url), connection(servers.push_url)
    taken = []
    # the first opens the connections
    for _ in range(times + 1):
        began = time.perf_counter()
        post(relay, "/apiStats/api/user-stats", _of(servers.key_ids[0]))
        post(push, urlsplit(servers.push_url).path, _PUSHED)
        taken.append(time.perf_counter() - began)
    relay.close()
    push.close()
    return statistics.median(taken[1:])


def side_by_side_s(servers: Servers, concurrency: int) -> float:
    """The duration of a relay request at a constant concurrency: time per request × concurrency."""
    parts = [servers.key_ids[at::concurrency] for at in range(concurrency)]
    connections = [connection(servers.relay_url) for _ in parts]

    def ask(place: int, times: int) -> None:
        for key_id in parts[place][:times]:
            post(connections[place], "/apiStats/api/user-stats", _of(key_id))

    with ThreadPoolExecutor(concurrency) as pool:
        places = range(concurrency)
        list(pool.map(ask, places, [1] * concurrency))
        began = time.perf_counter()
        list(pool.map(ask, places, [_ASKED_EACH] * concurrency))
        seconds = time.perf_counter() - began
    for one in connections:
        one.close()
    return seconds / _ASKED_EACH


def connection(url: str) -> http.client.HTTPConnection:
    """A connection to the host of an address."""
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)


def post(connection: http.client.HTTPConnection, path: str, body: bytes) -> None:
    """Post JSON, and read the answer.

    Raises:
        RuntimeError: its status is other than 200.
    """
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}")


def _of(key_id: str) -> bytes:
    return json.dumps({"apiId": key_id}).encode()
