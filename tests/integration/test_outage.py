"""An hour without the database, while the relays change: nothing of it is missing afterwards."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from local.greptimedb import GreptimeDB
from local.http_server import Fault, FaultHook, Request, html_page
from local.relay import ClaudeRelay, Key, Limits
from tests.integration.conftest import System, contents
from tests.integration.receiver import Receiver, number

START_NS = 1_780_000_000 * 1_000_000_000
MINUTE_NS = 60_000_000_000
BEFORE, OUTAGE, AFTER = 2, 60, 2

DOWN = [
    Fault(status=404),
    Fault(status=503, headers={"Retry-After": "300"}),
    html_page(),
    Fault(status=302, headers={"Location": "http://127.0.0.1:9/"}),
    Fault(status=401),
    Fault(status=429, headers={"Retry-After": "3600"}),
]
"""What a database, or what stands before it, answers while it is down."""


def stored_but_not_said() -> FaultHook:
    """The first request of each relay is stored and its answer lost, the second one refused."""
    seen: set[bytes] = set()

    def hook(request: Request) -> Fault:
        lost = request.body not in seen
        seen.add(request.body)
        return Fault(close="before", reset=True) if lost else Fault(status=404)

    return hook


@dataclass
class Minutes:
    """A simulated clock, the relays that it moves, and what they knew in each minute."""

    now_ns: int = START_NS
    requests: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def began_ms(self) -> int:
        return START_NS // 1_000_000

    def seconds(self) -> float:
        return self.now_ns / 1e9

    def pass_one(self, relay: ClaudeRelay) -> None:
        """A minute passes, and its usage is noted by key and instant."""
        self.now_ns += MINUTE_NS
        relay.tick()
        for key in relay.keys:
            if not key.deleted:
                self.requests[key.id][self.now_ns // 1_000_000] = key.usage_in().requests


def key_named(name: str) -> Key:
    return Key(name=name, models=("gpt-5",), limits=Limits(rate_limit_window=60))


def change(relay: ClaudeRelay, listed: dict[str, Any], minute: int) -> None:
    """What people do to a relay in the course of an hour."""
    keys = {key.name: key for key in relay.keys}
    if minute == 10:
        listed["api_ids"].append(relay.add(key_named("new")).id)
    if minute == 20:
        keys["first"].name = "rénamed"
    if minute == 30:
        relay.delete(keys["second"])
        listed["api_ids"].remove(keys["second"].id)


def test_an_hour_without_the_database(system: System) -> None:
    minutes = Minutes()
    system.clock = lambda: minutes.now_ns
    keys = [key_named("first"), key_named("second")]
    relay = system.serve(ClaudeRelay(keys, clock=minutes.seconds))
    listed = {"name": "claude", "base_url": relay.url, "api_ids": [key.id for key in keys]}
    system.secret["relays"] = [listed]
    wyolet = system.wyolet(clock=minutes.seconds)
    system.listed("wyolet")["metric_exclude"] = ["go_*", "process_*"]
    steady: Receiver = system.receiver()
    down: list[Receiver | GreptimeDB] = [system.receiver("down"), system.database("down-too")]
    system.put_secret()
    system.environment["SECRET_MAX_AGE_SECONDS"] = "0"

    for minute in range(-BEFORE, OUTAGE + AFTER):
        change(relay, listed, minute)
        system.put_secret()
        minutes.pass_one(relay)
        wyolet.tick()
        # for ten minutes one of the relays is down as well
        wyolet.fault = (lambda _: Fault(status=500)) if 40 <= minute < 50 else None
        fault = DOWN[minute % len(DOWN)] if 0 <= minute < OUTAGE else None
        for one in down:
            one.fault = stored_but_not_said() if minute == 7 else partial(answer, fault)
        ended = system.collect({"time": "2026-01-02T03:04:05Z"})
        assert ended.error is None
        assert ended.destination("default")["error"] is None
        samples = sum(one["samples"] for one in ended.answer["relays"])
        for name in ("down", "down-too"):
            assert ended.destination(name)["spooled" if fault else "pushed"] == samples
    assert len(system.aws.spooled()) == 2 * 2 * OUTAGE

    deliver_all(system, down)

    assert system.aws.dead() == []
    receiver, database = down
    assert isinstance(receiver, Receiver)
    assert isinstance(database, GreptimeDB)
    assert receiver.points == steady.points, "as in a run without the outage"
    stored = contents(database)
    for metric, samples in figures(steady).items():
        rows = [(row["greptime_timestamp"], row["greptime_value"]) for row in stored[metric]]
        assert Counter(rows) == samples, metric
    times = Counter(row["greptime_timestamp"] for row in stored["relay_up"])
    minute_ms = [minutes.began_ms + 60_000 * (1 + at) for at in range(BEFORE + OUTAGE + AFTER)]
    assert times == dict.fromkeys(minute_ms, 2), "each tick once, for each relay"
    assert_requests(stored["relay_requests_total"], minutes)


def answer(fault: Fault | None, request: Request) -> Fault | None:
    return fault


def figures(receiver: Receiver) -> dict[str, Counter[tuple[int, float]]]:
    """The (instant, value) of all series, by the name that their table has in GreptimeDB."""
    found: dict[str, Counter[tuple[int, float]]] = defaultdict(Counter)
    for ((metric, _), instant), point in receiver.points.items():
        at = instant // 1_000_000
        if isinstance(point, NumberDataPoint):
            found[metric][at, number(point)] += 1
        else:
            found[f"{metric}_count"][at, float(point.count)] += 1
            found[f"{metric}_sum"][at, point.sum] += 1
    return found


def deliver_all(system: System, down: Sequence[Receiver | GreptimeDB]) -> None:
    """All messages in any order: at first in vain, and every fifth batch twice."""
    rng = random.Random(4)
    for one in down:
        one.fault = partial(answer, Fault(status=404))
    event = system.aws.event()
    ended = system.redrive(event)
    assert len(ended.answer["batchItemFailures"]) == len(event["Records"]) == 10
    for one in down:
        one.fault = None
    batch = 0
    while system.aws.spooled():
        system.aws.let_time_pass()
        event = system.aws.event()
        rng.shuffle(event["Records"])
        batch += 1
        # each message has its part of the time, which on a busy machine should be enough as well
        if batch % 5 == 0:
            assert system.redrive(event, seconds=600).answer == {"batchItemFailures": []}
        ended = system.redrive(event, seconds=600)
        assert ended.answer == {"batchItemFailures": []}
        system.aws.settle(event, ended.answer)


def assert_requests(rows: list[Any], minutes: Minutes) -> None:
    """Each key's total in each minute is what the relay knew then."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for row in rows:
        if row["relay_name"] == "claude":
            at = row["greptime_timestamp"]
            assert at not in found[row["relay_key_id"]]
            found[row["relay_key_id"]][at] = int(row["greptime_value"])
    assert found == minutes.requests
