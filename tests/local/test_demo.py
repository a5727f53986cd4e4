"""The demo as a newcomer runs it: a process, what it prints, and that nothing is left of it."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.demonstration import RUNS
from local.figures import Comparison
from local.greptimedb import GreptimeDB
from local.http_server import Fault, Request
from local.relay import ClaudeRelay, WyoletRelay, for_demo
from local.relay.demo import ADMIN
from tests import ROOT

GUARD_S = 300
PASSWORD = "pass-word-of-the-database"


def start(**variables: str) -> subprocess.Popen[str]:
    """The demo, in a process group of its own, with no other variables than these."""
    return subprocess.Popen(
        [sys.executable, "-m", "local.demo"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def demo(**variables: str) -> tuple[int, str, str]:
    """Run the demo to its end: status, output, errors. Nothing of it may be left."""
    process = start(**variables)
    try:
        out, err = process.communicate(timeout=GUARD_S)
        assert members(process.pid) == []
    finally:
        end(process)
    return process.returncode, out, err


def members(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(after_name[2]) == group and after_name[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def end(process: subprocess.Popen[str]) -> None:
    """End what is left of a demo, so that a failing test leaves nothing either."""
    for pid in members(process.pid):
        os.kill(pid, signal.SIGKILL)
    with process:
        process.kill()


@pytest.fixture
def claude() -> Iterator[ClaudeRelay]:
    with for_demo() as relay:
        yield relay


@pytest.fixture
def database() -> Iterator[GreptimeDB]:
    with GreptimeDB(username="writer", password=PASSWORD) as stand_in:
        yield stand_in


def pushing_to(database: GreptimeDB) -> dict[str, str]:
    return {
        "OTEL_EXPORT_URL": database.url,
        "GREPTIME_USERNAME": "writer",
        "GREPTIME_PASSWORD": PASSWORD,
        "OTEL_TIMEOUT_MS": "60000",
    }


pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="what is left of a group is read from /proc"
)


def test_it_shows_what_is_in_the_store_and_holds_it_against_the_relays() -> None:
    status, out, err = demo()
    assert (status, err) == (0, "")
    for seen in ("team-alpha", 'team-beta "β"', "intern", "claude-sonnet-4-20250514"):
        assert seen in out
    assert "10 keys" in out
    assert "relay_overhead_seconds" in out
    assert "Checked: all" in out
    assert f"run {RUNS} " in out
    # the README's sample is of another day: the same lines with other numbers
    [sample] = re.findall(r"(?s)```text\n(.*?)```", (ROOT / "README.md").read_text("utf-8"))
    lines = without_numbers(out)
    assert [line for line in without_numbers(sample) if line not in {*lines, "…"}] == []


def without_numbers(text: str) -> list[str]:
    """Its lines with every number, rule and space as one."""
    return [
        re.sub(r" +", " ", re.sub("─+", "─", re.sub(r"\d[\d,.]*\d|\d", "0", line))).strip()
        for line in text.splitlines()
    ]


def test_a_users_aws_proxy_and_terminal_settings_do_not_get_in_the_way() -> None:
    status, out, err = demo(
        AWS_PROFILE="of-the-user",
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        HTTP_PROXY="http://127.0.0.1:9",
        PYTHONIOENCODING="ascii",
        LC_ALL="C",
    )
    assert (status, err) == (0, "")
    assert "Checked: all" in out


def test_a_real_relay_and_a_real_database_take_the_places_of_the_simulated_ones(
    claude: ClaudeRelay, database: GreptimeDB
) -> None:
    key = claude.keys[0]
    status, out, err = demo(
        RELAY_BASE_URL=claude.url, RELAY_API_KEY=key.api_key, **pushing_to(database)
    )
    assert (status, err) == (0, "")
    assert key.name in out
    assert f"All {RUNS} runs are in the store" in out
    assert key.api_key not in out
    assert PASSWORD not in out
    rows = database.sql("SELECT relay_key_name, greptime_value FROM relay_requests_total")
    assert [row["greptime_value"] for row in rows] == [key.usage_in().requests] * RUNS
    assert {row["relay_key_name"] for row in rows} == {key.name}


def test_any_prometheus_endpoint_can_be_read() -> None:
    with WyoletRelay(headers={"x-token": "let-me-in"}) as wyolet:
        wyolet.tick()
        status, out, err = demo(
            RELAY_BASE_URL=wyolet.url,
            RELAY_KIND="wyolet-relay",
            RELAY_HEADERS='{"X-Token": "let-me-in"}',
        )
    assert (status, err) == (0, "")
    assert "pipeline" in out
    assert "let-me-in" not in out


def in_second_run(fault: Fault) -> Callable[[Request], Fault | None]:
    """What becomes of the second run's pushes: each run pushes its own record once a relay."""
    pushes: Counter[str] = Counter()

    def hook(request: Request) -> Fault | None:
        if not request.path.endswith("/metrics") or b"relay_up" not in gzip.decompress(
            request.body
        ):
            return None
        pushes["of runs"] += 1
        return fault if pushes["of runs"] in (3, 4) else None

    return hook


def test_a_store_that_lost_a_run_is_found_out(database: GreptimeDB) -> None:
    database.fault = in_second_run(Fault(status=200))
    status, _, err = demo(**pushing_to(database))
    assert status == 1
    assert f"the store holds {RUNS - 1} runs of {RUNS}" in err


def test_a_figure_that_differs_is_named_with_both_values() -> None:
    comparison = Comparison()
    comparison.add(0, {("requests", "k"): 5, ("tokens", "k"): 7}, {("requests", "k"): 6.0})
    assert comparison.equal == 0
    assert comparison.different == [
        "run 1, requests k: the relay counts 5, the store holds 6.0",
        "run 1, tokens k: the relay counts 7, the store holds None",
    ]


def test_what_is_wrong_is_said_without_a_traceback(claude: ClaudeRelay) -> None:
    wrong = {
        "needs a credential": {"RELAY_BASE_URL": claude.url},
        "answered 401": {
            "RELAY_BASE_URL": claude.url,
            "RELAY_API_KEY": "cr_nobody_has_this_key_0123456789",
        },
        "connection was refused": {"RELAY_BASE_URL": "http://127.0.0.1:9", "RELAY_API_ID": "x"},
        "RELAY_METRICS_PERIOD must be one of": {"RELAY_METRICS_PERIOD": "weekly"},
        "RELAY_HEADERS must be a JSON object": {
            "RELAY_BASE_URL": claude.url,
            "RELAY_KIND": "wyolet-relay",
            "RELAY_HEADERS": "{",
        },
        "destination default": {"OTEL_EXPORT_URL": claude.url},
    }
    for said, variables in wrong.items():
        status, out, err = demo(**variables)
        assert status == 1
        assert said in err
        assert "make demo failed" in err
        assert "Traceback" not in out + err
        assert "nobody_has_this_key" not in out + err


@pytest.mark.parametrize(
    ("number", "to_group", "expected"),
    [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 130), (signal.SIGKILL, False, -9)],
    ids=["Ctrl-C", "terminated", "killed"],
)
def test_nothing_is_left_when_it_is_ended(
    number: signal.Signals, to_group: bool, expected: int, database: GreptimeDB
) -> None:
    # the second run's pushes hang, so that it is ended in the middle
    database.fault = in_second_run(Fault(delay_s=GUARD_S))
    process = start(**pushing_to(database))
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "run 1" in line:
                break
        assert len(members(process.pid)) == 4, "the demo, moto, the function, the back-fill"
        (os.killpg if to_group else os.kill)(process.pid, number)
        assert process.wait(GUARD_S) == expected
        ends = time.monotonic() + GUARD_S
        while members(process.pid) and time.monotonic() < ends:
            time.sleep(0.05)
        assert members(process.pid) == []
    finally:
        end(process)


def test_an_administrators_login_can_be_given(claude: ClaudeRelay) -> None:
    status, out, err = demo(
        RELAY_BASE_URL=claude.url,
        RELAY_ADMIN_USERNAME=ADMIN[0],
        RELAY_ADMIN_PASSWORD=ADMIN[1],
    )
    assert (status, err) == (0, "")
    assert all(key.name in out for key in claude.keys)
    assert ADMIN[1] not in out
