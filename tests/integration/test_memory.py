"""What one relay answers never takes the memory that the others are delivered with."""

from __future__ import annotations

import ctypes
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from local.http_server import Fault
from local.relay import ClaudeRelay, Key, many_keys
from local.relay.demo import ADMIN
from relay_metrics.deadline import Deadline
from relay_metrics.errors import ExchangeError
from relay_metrics.net.http import Client
from relay_metrics.relays.memory import Memory, Room, json_size
from tests import ROOT
from tests.collecting import LOGIN
from tests.integration.receiver import Receiver

FUNCTION_MB = 256
BODY = 8 << 20
"""The default of RELAY_MAX_RESPONSE_BYTES."""

COLLECTOR = """
import json, sys
from relay_metrics.collect import collect
from relay_metrics.entry.event import Event
from relay_metrics.runtime import Runtime

given = json.load(sys.stdin)

class Provider:
    def get(self, *_, **__):
        return json.dumps(given["secret"])

print(json.dumps(collect(Runtime(given["environment"], Provider()), Event.of({}), seconds=60)))
"""


class KilledError(Exception):
    """The process took more memory than the function has."""


def collected(environment: dict[str, str], secret: dict[str, Any], tmp_path: Path) -> Any:
    """The report of a run in a process that is killed as Lambda would kill it."""
    out = tmp_path / "report.json"
    with out.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", COLLECTOR],
            stdin=subprocess.PIPE,
            stdout=written,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT / "layers/aggregator"), "PATH": ""},
        )
    assert process.stdin
    process.stdin.write(json.dumps({"environment": environment, "secret": secret}).encode())
    process.stdin.close()
    status = Path(f"/proc/{process.pid}/status")
    most = 0
    while process.poll() is None:
        # resident, and the highest that it ever was: nothing is missed between two looks
        found = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        most = max(most, *(int(line.split()[1]) for line in found), 0)
        if most > FUNCTION_MB << 10:
            process.kill()
            process.wait()
            raise KilledError(f"{most >> 10} MB")
        time.sleep(0.005)
    assert process.returncode == 0
    return json.loads(out.read_bytes().splitlines()[-1])


def filled(unit: bytes, size: int = BODY) -> bytes:
    """JSON that is so long, as long as a body may be."""
    head, tail = b'{"success":true,"data":[', b"]}"
    count = (size - len(head) - len(tail)) // (len(unit) + 1)
    return head + b",".join([unit] * count) + tail


SAYS: dict[str, Callable[[], bytes]] = {
    "lists": lambda: filled(b"[]"),
    "lists in lists": lambda: filled(b"[[]]"),
    "objects": lambda: filled(b"{}"),
    "objects of one": lambda: filled(b'{"a":{}}'),
    "deep": lambda: filled(b"[" * 900 + b"]" * 900),
    "too deep": lambda: b"[" * BODY,
    "numbers": lambda: filled(b"1.5"),
    "long numbers": lambda: filled(b"9" * 4000),
    "texts": lambda: filled(b'"ab"'),
    "a text": lambda: filled(b'"' + b"x" * (BODY - 100) + b'"'),
    "a wide text": lambda: filled(b'"' + b"x" * (BODY - 100) + "😀".encode() + b'"'),
    "keys": lambda: (
        b'{"success":true,"data":{%s}}'
        % b",".join(b'"%06x":1' % number for number in range(BODY // 11 - 10))
    ),
    "rows of keys": lambda: filled(b'{"id":"%s","name":"n","usage":{"total":{}}}' % (b"k" * 36)),
    "lists that are read": lambda: filled(b"[[]]", 1_600_000),
    "texts that are read": lambda: filled(b'"ab"', 4_500_000),
    "rows that are read": lambda: filled(b'{"id":"a","usage":{"total":{"requests":1}}}', 3_000_000),
    "no JSON": lambda: filled(b"[],[")[:-1],
}


@pytest.mark.parametrize(
    ("name", "status"),
    [*((name, 200) for name in SAYS), ("lists in lists", 500), ("a wide text", 500)],
)
def test_whatever_one_relay_says_the_others_are_delivered(
    name: str, status: int, tmp_path: Path
) -> None:
    packed = gzip.compress(SAYS[name](), 6, mtime=0)
    keys = [Key(name=f"key-{number}") for number in range(12)]
    with ClaudeRelay(keys, admin=ADMIN) as relay, ClaudeRelay(keys[:3]) as healthy:
        healthy.tick()
        headers = {"Content-Encoding": "gzip"}

        def fault(request: Any) -> Fault | None:
            if request.path.endswith("/login"):
                return None
            return Fault(status=status, body=packed, headers=headers)

        relay.fault = fault
        with closing(Receiver("writer", "password")) as there:
            report = collected(
                {
                    "SECRET_ID": "relay-metrics",
                    "OTEL_EXPORT_URL": there.url,
                    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(FUNCTION_MB),
                    # memory is the subject, not the time of a busy machine
                    "RELAY_TIMEOUT_MS": "60000",
                    "OTEL_TIMEOUT_MS": "60000",
                },
                {
                    "greptime_username": "writer",
                    "greptime_password": "password",
                    "relays": [
                        {
                            "name": "hungry",
                            "base_url": relay.url,
                            "api_ids": [key.id for key in keys],
                            **LOGIN,
                        },
                        {
                            "name": "healthy",
                            "base_url": healthy.url,
                            "api_ids": [key.id for key in keys[:3]],
                        },
                    ],
                },
                tmp_path,
            )
    hungry, other = report["relays"]
    assert hungry["error"]
    assert (other["up"], other["error"]) == (True, None)
    assert "relay_requests_total" in there.of(relay_name="healthy")
    assert there.of(relay_name="hungry")["relay_scrape_errors"]


def test_the_totals_of_ten_thousand_keys_have_room_beside_a_hungry_relay() -> None:
    keys = many_keys(10_000)
    with ClaudeRelay(keys, admin=ADMIN) as relay:
        relay.tick()
        client = Client()
        login = client.exchange(
            "POST",
            relay.url + "/web/auth/login",
            seconds=60,
            max_bytes=BODY,
            headers={"Content-Type": "application/json"},
            body=json.dumps({"username": ADMIN[0], "password": ADMIN[1]}).encode(),
        )
        token = json.loads(login.body)["token"]
        answer = client.exchange(
            "GET",
            relay.url + "/admin/usage-stats",
            seconds=60,
            max_bytes=BODY,
            headers={"Authorization": f"Bearer {token}"},
        )
    named = answer.body.replace(b'"key-', '"名-'.encode())
    memory = Memory(FUNCTION_MB, 2)
    hungry = memory.room("hungry")
    hungry.take(memory.share, Deadline.after(0))
    for body in (answer.body, named):
        room = memory.room("ours")
        room.take(json_size(body), Deadline.after(0))
        room.give_back()


def test_a_relay_s_large_answers_follow_each_other_as_they_are_forgotten() -> None:
    memory = Memory(FUNCTION_MB, 1)
    first, second = memory.room("a"), memory.room("a")
    first.take(memory.share, Deadline.after(1))
    del first
    second.take(memory.share, Deadline.after(0))
    assert second.size == memory.share


def test_relays_that_hold_memory_and_wait_for_more_do_not_wait_for_each_other() -> None:
    memory = Memory(FUNCTION_MB, 3)
    third = memory.share * 20 // 33  # of the memory of all answers
    rooms = [memory.room(name) for name in "abc"]
    for room in rooms:
        room.take(third - 1, Deadline.after(0))

    def grow(room: Room) -> bool:
        try:
            room.take(third // 3, Deadline.after(600))
        except ExchangeError:
            room.give_back()
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(grow, rooms)) == [False, True, True]


ARENAS = """
import ctypes, os, threading
from relay_metrics.relays.memory import Memory

Memory(256, 1)
alive = threading.Barrier(5)

def allocate():
    block = bytearray(100_000)
    alive.wait()
    alive.wait()

for _ in range(4):
    threading.Thread(target=allocate).start()
alive.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(os.dup(1), b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
alive.wait()
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="of glibc, which Lambda has"
)
def test_threads_share_what_is_freed() -> None:
    got = subprocess.run(
        [sys.executable, "-c", ARENAS],
        env={"PYTHONPATH": str(ROOT / "layers/aggregator"), "PATH": ""},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert got.count("<heap ") == 1, "an arena a thread would keep what each has freed"
