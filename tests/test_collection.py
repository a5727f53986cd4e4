from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def collected(hash_seed: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in run.stdout.splitlines() if "::" in line]


def test_two_processes_collect_the_same_tests_in_the_same_order() -> None:
    """Otherwise a run with several workers ends with an error, now and then."""
    first = collected("1")
    # the second one begins in another second and with another order of sets
    assert first
    assert collected("2") == first
