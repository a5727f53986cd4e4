from __future__ import annotations

import os
import subprocess
import sys
import time

from tests import ROOT


def collecting(hash_seed: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        text=True,
    )


def collected(run: subprocess.Popen[str]) -> list[str]:
    with run:
        out, _ = run.communicate()
    lines = out.splitlines()
    return [line for line in lines if "::" in line] if run.returncode == 0 else lines[-20:]


def test_two_processes_collect_the_same_tests_in_the_same_order() -> None:
    """Otherwise a run with several workers ends with an error, now and then."""
    first = collecting("1")
    time.sleep(1.1)  # the second one begins in another second and with another order of sets
    second = collecting("2")
    tests, again = [collected(run) for run in (first, second)]
    assert len(tests) > 1000, "\n".join(tests)
    assert again == tests
