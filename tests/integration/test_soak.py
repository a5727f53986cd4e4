"""Many warm runs with faults at random: all is stored in the end, and nothing grows.

`make soak` makes 2,000 of them; SOAK_SEED repeats a run that failed.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from local.http_server import Fault, Request, html_page
from tests.integration.conftest import System

RUNS = int(os.environ.get("SOAK_RUNS", "25"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
MINUTE_NS = 60_000_000_000
START_NS = 1_780_000_000 * 1_000_000_000

AT_RELAY = [
    None,
    Fault(status=500),
    Fault(status=401),
    Fault(close="before", reset=True),
    Fault(close="body"),
    html_page(),
    Fault(body=b"[" * 5000),
]
AT_DESTINATION = [
    None,
    None,
    Fault(status=404),
    Fault(status=413),
    Fault(status=429, headers={"Retry-After": "60"}),
    Fault(status=200, close="before", reset=True),
    Fault(close="before"),
    Fault(status=500, body=b"incompatible existing tables"),
]


def perhaps(fault: Fault | None, rng: random.Random, request: Request) -> Fault | None:
    """A fault that meets most requests of a run, not all."""
    return fault if rng.random() < 0.7 else None


def level() -> tuple[int, int, int]:
    """Threads, open files, and the resident memory in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    files = len(list(Path("/proc/self/fd").iterdir()))
    return threading.active_count(), files, pages * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="levels are read from /proc")
def test_many_runs_with_faults_at_random(system: System) -> None:
    rng = random.Random(SEED)
    relays = [system.claude(), system.wyolet()]
    failing, well = system.receiver(), system.receiver("well")
    system.environment |= {"OTEL_TIMEOUT_MS": "600", "RELAY_TIMEOUT_MS": "600", "LOG_LEVEL": "INFO"}
    ends = time.monotonic() + SECONDS
    before, run = level(), 0
    while run < RUNS and time.monotonic() < ends:
        system.clock = lambda at=run: START_NS + at * MINUTE_NS  # type: ignore[misc]
        for server in relays:
            server.fault = partial(perhaps, rng.choice(AT_RELAY), rng)
        failing.fault = partial(perhaps, rng.choice(AT_DESTINATION), rng)
        ended = system.collect()
        failing.fault = None
        said = f"seed {SEED}, run {run}"
        assert ended.error is None, said
        samples = sum(one["samples"] for one in ended.answer["relays"])
        for name in ("default", "well"):
            fates = ("pushed", "spooled", "rejected", "dead_lettered")
            assert sum(ended.destination(name)[fate] for fate in fates) == samples, said
        # a busy machine may let a push time out, but nothing is refused
        assert not ended.destination("well")["dead_lettered"], said
        system.aws.bring_back()
        system.drain()
        assert len(well.points) == samples, said
        assert failing.points == well.points, said
        for receiver in (failing, well):
            receiver.points.clear()
            receiver.requests.clear()
        for kept in (system.seen, system.aws.asked):
            kept.clear()
        system.log.truncate(0)
        run += 1
        if run == min(10, RUNS):  # by then everything is warm
            before = level()
    threads, files, memory = (now - then for now, then in zip(level(), before, strict=True))
    with system.capfd.disabled():
        said = f"{run} runs, seed {SEED}: {threads:+} threads, {files:+} files, {memory:+} MiB"
        sys.stdout.write(f"\n{said}\n")
    assert threads <= 10, f"seed {SEED}"
    assert files <= 20, f"seed {SEED}"
    assert memory <= 30 + run // 50, f"seed {SEED}"
