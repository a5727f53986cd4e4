"""What one relay, destination, message or invocation does to the others: nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.http_server import Fault, Request
from local.relay import ClaudeRelay, Key
from relay_metrics.convert import convert
from relay_metrics.deliver import delivery, pieces
from relay_metrics.deliver.spool import Message, Spool
from relay_metrics.relays.client import MOST_SILENCES
from relay_metrics.snapshot import Snapshot
from tests import ROOT
from tests.integration.conftest import System

LONG_S = 30.0


def of_many_keys(system: System, name: str, count: int) -> ClaudeRelay:
    keys = [Key(name=f"key-{number}") for number in range(count)]
    relay: ClaudeRelay = system.serve(ClaudeRelay(keys))
    relay.tick()
    listed = {"name": name, "base_url": relay.url, "api_ids": [key.id for key in keys]}
    system.secret.setdefault("relays", []).append(listed)
    return relay


def test_relays_of_many_keys_that_hang_leave_the_others_their_turn(system: System) -> None:
    hanging = {name: of_many_keys(system, name, 50) for name in ("hanging", "hanging-too")}
    for relay in hanging.values():
        relay.fault = lambda request: Fault(delay_s=LONG_S)
    system.claude("healthy")
    there = system.receiver()
    # fewer than there are relays: whoever has a turn has it at the cost of another one
    system.environment |= {"RELAY_CONCURRENCY": "1", "RELAY_TIMEOUT_MS": "3000"}

    ended = system.collect()

    assert ended.relay("healthy")["error"] is None
    assert "relay_requests_total" in there.of(relay_name="healthy")
    for name, relay in hanging.items():
        assert relay.server.requests == MOST_SILENCES
        assert there.of(relay_name=name)["relay_up"] == [0.0]
        assert {"timeout", "given_up"} <= there.names("error.type", relay_name=name).keys()
        assert "no whole answer within 3 s (and 1 more)" in ended.relay(name)["error"]


def test_a_relay_that_is_done_leaves_its_share_to_the_others(system: System) -> None:
    both = threading.Barrier(2)

    def answered_together(request: Request) -> Fault | None:
        if request.path.endswith("user-stats"):
            both.wait(LONG_S)
        return None

    of_many_keys(system, "two-at-once", 2).fault = answered_together
    system.wyolet("soon-done")
    system.receiver()
    system.environment["RELAY_CONCURRENCY"] = "2"

    ended = system.collect()

    assert [one["error"] for one in ended.answer["relays"]] == [None, None]


def test_a_destination_that_hangs_holds_up_no_push_to_another_one(system: System) -> None:
    relays = 32  # as many as are asked at once
    for number in range(relays):
        system.wyolet(f"relay-{number}")
    release = threading.Event()
    hanging, well = system.receiver("hanging"), system.receiver("well")

    def hang(request: Request) -> None:
        release.wait(LONG_S)

    def last(request: Request) -> None:
        if len(well.requests) == relays:
            release.set()

    hanging.fault, well.fault = hang, last

    ended = system.collect()

    assert release.is_set(), "all were pushed there while the other one hung"
    assert [one["error"] for one in ended.answer["destinations"]] == [None, None]


@pytest.fixture
def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    release = threading.Event()
    resolve = socket.getaddrinfo

    def hang(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "hanging.invalid":
            release.wait(LONG_S)
        return resolve(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield
    release.set()


@pytest.mark.usefixtures("hanging_resolver")
def test_a_resolver_that_hangs_for_one_relay_and_one_destination(system: System) -> None:
    system.claude("hanging")
    system.wyolet("healthy")
    system.receiver("lost")
    system.listed("hanging")["base_url"] = "http://hanging.invalid"
    system.listed("lost")["url"] = "http://hanging.invalid/"
    there = system.receiver()
    system.environment |= {"RELAY_TIMEOUT_MS": "4000", "OTEL_TIMEOUT_MS": "4000"}

    ended = system.collect(seconds=40)

    assert not ended.relay("hanging")["up"]
    assert ended.relay("healthy")["up"]
    assert ended.destination("default")["error"] is None
    assert ended.destination("lost")["pushed"] == 0
    assert "relay_inflight_requests" in there.of(relay_name="healthy")
    assert len(system.aws.spooled()) == 2


HANGING_RUN = """
import socket, time
from relay_metrics.net.http import Client
from relay_metrics.errors import TimedOut
from relay_metrics.scrape import threads
socket.getaddrinfo = lambda *_, **__: time.sleep(300)
def ask():
    Client().exchange("GET", "http://hanging.invalid", seconds=0.3, max_bytes=1)
with threads(2, "request") as pool:
    assert isinstance(pool.submit(ask).exception(), TimedOut)
print("done", flush=True)
"""


def test_a_process_ends_although_a_resolver_hangs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING_RUN],
        env={"PYTHONPATH": str(ROOT / "layers" / "aggregator")},
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    assert done.stdout == "done\n"


# -- faults of our own ----------------------------------------------------------------------------


def fails_for(relay: str, whole: Any) -> Any:
    """A step that has a fault where it meets that relay's data."""

    def step(*given: Any, **more: Any) -> Any:
        for one in given:
            snapshot = one.snapshot if isinstance(one, Message) else one
            if isinstance(snapshot, Snapshot) and snapshot.relay == relay:
                raise ZeroDivisionError("with something secret")
        return whole(*given, **more)

    return step


def test_a_fault_while_asking_a_relay_costs_only_itself(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.claude("odd")
    system.wyolet("plain")
    there = system.receiver()
    monkeypatch.setattr("relay_metrics.relays.claude.run.fetch", lambda *_: 1 // 0)
    ended = system.collect()
    assert ended.error is None
    assert (
        "a fault of relay-metrics (ZeroDivisionError), see the log" in ended.relay("odd")["error"]
    )
    assert there.of(relay_name="odd")["relay_up"] == [0.0]
    assert there.names("error.type", relay_name="odd") == {"internal": 1}
    assert "relay_inflight_requests" in there.of(relay_name="plain")


def test_a_snapshot_that_cannot_be_converted_costs_only_itself(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.claude("odd")
    system.claude("plain")
    there = system.receiver()
    with monkeypatch.context() as patch:
        patch.setattr(pieces, "convert", fails_for("odd", convert))
        ended = system.collect()
    assert ended.error is None
    assert "relay_requests_total" in there.of(relay_name="plain")
    [held] = system.aws.dead()
    assert (held.message.snapshot.relay, held.message.destination) == ("odd", "default")
    assert "a fault of relay-metrics (ZeroDivisionError)" in str(held.reason)
    [line] = system.lines("a fault while converting a snapshot")
    assert line["exception_name"] == "ZeroDivisionError"

    # the next release can
    system.aws.bring_back()
    system.drain()
    assert "relay_requests_total" in there.of(relay_name="odd")


def test_a_fault_while_pushing_spools(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system.claude()
    there = system.receiver()
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "push", lambda *_: 1 // 0)
        ended = system.collect()
    assert ended.destination("default")["spooled"] == ended.relay("claude")["samples"]
    assert there.points == {}
    system.drain()
    assert there.points


def test_a_fault_while_spooling_costs_only_itself(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.claude("odd")
    system.claude("plain")
    there = system.receiver()
    there.fault = lambda request: Fault(status=404)
    monkeypatch.setattr(Spool, "put", fails_for("odd", Spool.put))
    ended = system.collect()
    assert "data points of relay odd are lost" in str(ended.error)
    assert "ZeroDivisionError" in str(ended.error)
    [held] = system.aws.spooled()
    assert held.message.snapshot.relay == "plain"


# -- doubles --------------------------------------------------------------------------------------


def test_the_same_event_twice_is_two_truthful_samples(system: System) -> None:
    relay = system.claude()
    there = system.receiver()
    event = {"time": "2026-01-02T03:04:05Z", "detail-type": "Scheduled Event"}
    first = system.collect(event)
    second = system.collect(event)
    assert first.error is None
    assert second.error is None
    totals = there.of(relay_name="claude")["relay_requests_total"]
    assert totals == [relay.usage_of_all().requests] * 2


def test_two_invocations_at_once(system: System) -> None:
    system.claude()
    system.wyolet()
    there = system.receiver()
    system.receiver("second").fault = lambda request: Fault(status=404)
    apps = [system.fresh("collector") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda app: system.invoke(app, {}, 30), apps))
    assert [one.error for one in ended] == [None, None]
    assert [one.destination("default")["error"] for one in ended] == [None, None]
    assert len(there.of(relay_name="claude")["relay_up"]) == 2
    assert len(system.aws.spooled()) == 4


def test_two_redrivers_at_once_with_the_same_messages(system: System) -> None:
    system.claude()
    there = system.receiver()
    there.fault = lambda request: Fault(status=404)
    for _ in range(3):
        system.collect()
    there.fault = None
    event = system.aws.event()
    assert len(event["Records"]) == 3
    apps = [system.fresh("redriver") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda app: system.invoke(app, event, 30), apps))
    assert [one.answer for one in ended] == [{"batchItemFailures": []}] * 2
    assert len(there.of(relay_name="claude")["relay_up"]) == 3


def test_threads_end_with_their_run(system: System) -> None:
    relay = system.claude()
    relay.fault = lambda request: Fault(delay_s=2)
    system.receiver()
    system.environment["RELAY_TIMEOUT_MS"] = "500"
    system.collect()
    deadline = time.monotonic() + 20
    ours = ("request_", "relay_", "push_", "spool_", "resolver")
    while left := [one.name for one in threading.enumerate() if one.name.startswith(ours)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_the_handler_as_it_is_deployed(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system.claude()
    there = system.receiver()
    app = system.app("collector")
    app._handler._runtime = None
    assert system.collect().error is None
    assert system.collect().error is None
    assert len(there.of(relay_name="claude")["relay_up"]) == 2
    monkeypatch.setenv("RELAY_TIMEOUT_MS", "soon")
    app._handler._runtime = None
    assert "RELAY_TIMEOUT_MS must be a whole number" in str(system.collect().error)


def test_early_hints_never_give_a_key_the_figures_of_another(system: System) -> None:
    keys = [Key(name=f"name-of-{number}") for number in range(8)]
    relay = system.serve(ClaudeRelay(keys))
    relay.tick()
    relay.fault = lambda request: Fault(interim=(103,), delay_s=0.01)
    listed = {"name": "hinting", "base_url": relay.url, "api_ids": [key.id for key in keys]}
    system.secret["relays"] = [listed]
    there = system.receiver()
    system.environment["RELAY_CONCURRENCY"] = "1"

    ended = system.collect()

    assert ended.relay("hinting")["error"] is None
    for key in keys:
        of_key = there.of(relay_key_id=key.id, relay_key_name=key.name)
        assert of_key["relay_requests_total"] == [float(key.usage_in().requests)]
