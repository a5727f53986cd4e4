"""When a relay that lets its requests time out is not asked again in a run."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from relay_metrics.deadline import Deadline
from relay_metrics.errors import RelayError, TimedOut
from relay_metrics.net.http import OpenAnswer
from relay_metrics.relays.client import MOST_SILENCES, RelayClient
from relay_metrics.relays.limiter import Limiter
from relay_metrics.relays.memory import Memory
from relay_metrics.relays.phases import Request
from relay_metrics.settings import environment, settings


class Answered:
    """An answer of nothing."""

    status = 200
    headers: Mapping[str, str] = MappingProxyType({})

    def blocks(self) -> Iterator[bytes]:
        yield b"{}"


class Connections:
    """Answers or lets time out, as it is found, without taking any time."""

    def __init__(self, answers: Callable[[str], bool]) -> None:
        self.asked: list[str] = []
        self._answers = answers

    @contextmanager
    def open(self, method: str, url: str, **_: Any) -> Iterator[OpenAnswer]:
        path = url.rpartition("/")[2]
        self.asked.append(path)
        if not self._answers(path):
            raise TimedOut(5)
        yield Answered()  # type: ignore[misc]  # what of it is read


def client_of(connections: Connections, pool: ThreadPoolExecutor, concurrency: int) -> RelayClient:
    variables = environment({"OTEL_EXPORT_URL": "http://127.0.0.1:1"})
    listed = {"name": "main", "base_url": "http://127.0.0.1:1", "api_ids": ["x"]}
    relay = settings(variables, json.dumps({"relays": [listed]})).relays[0]
    return RelayClient(
        relay,
        variables,
        connections,  # type: ignore[arg-type]  # it has what is used of a Client
        pool,
        Limiter(concurrency, ["main"]),
        Memory(256, 1),
        Deadline.after(60),
        lambda: relay,
        time_ms=0,
        scheduled_s=0,
    )


def failures(client: RelayClient) -> dict[str, int]:
    return {one.type: one.count for one in client.failures}


def together(client: RelayClient, count: int) -> list[object]:
    taken: list[object] = []

    def request(path: str) -> Request[Any]:
        return Request("stats", lambda: client.ask("GET", path, endpoint="stats"), taken.append)

    client.together([request(f"/{number}") for number in range(count)])
    return taken


def test_after_a_few_time_outs_the_rest_is_given_up_and_what_came_is_there() -> None:
    connections = Connections(lambda path: int(path) < 3)
    with ThreadPoolExecutor(1) as pool:
        client = client_of(connections, pool, 1)
        taken = together(client, 10)
    assert len(taken) == 3
    assert connections.asked == [str(number) for number in range(3 + MOST_SILENCES)]
    assert failures(client) == {"timeout": MOST_SILENCES, "given_up": 7 - MOST_SILENCES}
    assert client.error == "relay main: stats: no whole answer within 5 s (and 1 more)"


def test_an_answer_between_them_shows_that_it_does_not_hang() -> None:
    connections = Connections(lambda path: int(path) % MOST_SILENCES == 0)
    with ThreadPoolExecutor(1) as pool:
        client = client_of(connections, pool, 1)
        assert len(together(client, 20)) == 20 // MOST_SILENCES
    assert failures(client) == {"timeout": 20 - 20 // MOST_SILENCES}


def test_any_other_failure_shows_it_as_well() -> None:
    outcomes = iter([TimedOut, RelayError("main", "stats", "500", "no"), TimedOut, None])

    def answers(path: str) -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, RelayError):
            raise outcome
        return outcome is None

    with ThreadPoolExecutor(1) as pool:
        client = client_of(Connections(answers), pool, 1)
        assert len(together(client, 4)) == 1
    assert failures(client) == {"timeout": 2, "500": 1}


def test_time_outs_of_requests_that_were_under_way_together_are_one_silence() -> None:
    at_once = 4
    under_way = threading.Barrier(at_once)
    rounds: Counter[str] = Counter()

    def answers(path: str) -> bool:
        rounds[path] += 1
        # none ends before all of its round have begun
        under_way.wait(20)
        return False

    connections = Connections(answers)
    with ThreadPoolExecutor(at_once) as pool:
        client = client_of(connections, pool, at_once)
        for asked in range(1, MOST_SILENCES + 1):
            together(client, at_once)
            assert len(connections.asked) == asked * at_once
        together(client, at_once)
    assert len(connections.asked) == MOST_SILENCES * at_once
    assert failures(client) == {"timeout": MOST_SILENCES * at_once, "given_up": at_once}
