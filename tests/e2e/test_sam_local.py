"""`sam local` for real: the built functions in containers, invoked with every file of `events/`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.e2e.conftest import HERE

MACHINE = {"arm64": "aarch64", "x86_64": "x86_64"}[HERE]
pytestmark = pytest.mark.e2e

RUNTIME_CLIENT = ("awslambdaric", "boto3")
"""What AWS's image brings besides Python, and what these need."""

NEEDED_BY = r"(?m)#\s+(?:via )?([a-z0-9-]+)$"

BOOTSTRAP = """\
#!/bin/sh
export AWS_EXECUTION_ENV=AWS_Lambda_python3.13
export PYTHONPATH=/var/task:/opt/python:/var/runtime
exec /usr/bin/python3.13 -m awslambdaric "$_HANDLER"
"""


@pytest.fixture(scope="module")
def engine() -> None:
    """What a Docker engine and its image are made with; skips where it cannot be had."""
    done = subprocess.run(
        [ROOT / "scripts/get-docker-engine"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return
    why = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no reason was given"
    if os.environ.get("CI") == "true":
        pytest.fail(f"sam local cannot be run: {why}")
    pytest.skip(why)


@pytest.fixture(scope="module")
def answers(engine: None, built: Path) -> Iterator[dict[str, Any]]:
    """What came of each event, by its name."""
    # a socket's path must be short, and what an engine leaves is too large to keep
    with tempfile.TemporaryDirectory(prefix="sam-local-", ignore_cleanup_errors=False) as folder:
        work = Path(folder)
        _make_image_files(work)
        done = subprocess.run(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"),
                *("--mount-proc", sys.executable, "-m", "tests.e2e.sam_local"),
                *(folder, str(built), str(ROOT / ".venv-deploy/bin/sam")),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
                "PYTHONPATH": f"{ROOT}:{ROOT / 'layers/aggregator'}",
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield json.loads((work / "answers.json").read_text("utf-8"))
    assert not work.exists()
    assert str(work) not in Path("/proc/mounts").read_text("utf-8")


def _make_image_files(work: Path) -> None:
    """Debian's Python 3.13 and AWS's runtime client for it, in one archive."""
    archive = work / "image.tar"
    _run(
        "mmdebstrap",
        "--variant=essential",
        "--include=python3,libstdc++6,ca-certificates",
        "trixie",
        str(archive),
    )
    pinned = work / "runtime.txt"
    pinned.write_text(_with_what_they_need(RUNTIME_CLIENT), "utf-8")
    runtime = work / "runtime"
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "--only-binary", ":all:"),
        *("--implementation", "cp", "--python-version", "3.13"),
        *(f"--platform=manylinux2014_{MACHINE}", f"--platform=manylinux_2_28_{MACHINE}"),
        *("--target", str(runtime), "-r", str(pinned)),
    )
    bootstrap = runtime / "bootstrap"
    bootstrap.write_text(BOOTSTRAP, "utf-8")
    bootstrap.chmod(0o755)
    with tarfile.open(archive, "a") as image:
        image.add(runtime, "./var/runtime")


def _with_what_they_need(names: Sequence[str]) -> str:
    """The pinned requirements of some packages and of all that these need, by the file's `via`."""
    text = (ROOT / "requirements-local.txt").read_text("utf-8")
    blocks = {block.partition("==")[0]: block for block in re.split(r"\n(?=[a-z0-9])", text)}
    needed = set(names)
    while more := {
        name
        for name, block in blocks.items()
        if name not in needed and needed & set(re.findall(NEEDED_BY, block))
    }:
        needed |= more
    return "\n".join(blocks[name] for name in sorted(needed)) + "\n"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


COLLECTED = ["schedule", "relays", "shard"]


def test_one_invocation_checks_everything(answers: dict[str, Any]) -> None:
    found = answers["invoked"]
    assert found["status"] == 0, found["log"]
    answer = json.loads(found["answer"])
    assert answer.get("ok") is True, answer


def test_every_event_has_an_answer(answers: dict[str, Any]) -> None:
    events = {path.stem for path in (ROOT / "events").glob("*.json")} - {"env"}
    assert events <= answers.keys()
    # SAM says with its status nothing of how a function ended
    failed = {name: answers[name] for name in events if answers[name]["error"]}
    assert failed == {}


@pytest.mark.parametrize("event", COLLECTED)
def test_a_run_brings_the_relay_into_the_database(answers: dict[str, Any], event: str) -> None:
    report = answers[event]["answer"]
    [relay], [destination] = report["relays"], report["destinations"]
    assert (relay["name"], relay["up"], relay["error"]) == ("main", True, None)
    assert destination["pushed"] == relay["samples"] > 0
    assert destination["error"] is None


def test_the_database_has_every_run_and_what_was_spooled(answers: dict[str, Any]) -> None:
    runs = {row["greptime_timestamp"] for row in answers["up"] if row["relay_name"] == "main"}
    assert len(runs) >= len(COLLECTED)
    assert answers["redrive"]["answer"] == {"batchItemFailures": []}
    assert answers["redriven"] == [{"greptime_value": 1250.0}]
    assert answers["errors"] == []


def test_a_dry_run_shows_what_would_be_sent(answers: dict[str, Any]) -> None:
    names = {metric["name"] for metric in answers["dry-run"]["answer"]["metrics"]}
    assert "relay_requests_total" in names
