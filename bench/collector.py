"""Runs the collector's handler in a process of its own, and measures each run.

runs = collect(servers.one_key(), [{}] * 5)
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CODE = (ROOT / "functions" / "collector", ROOT / "layers" / "aggregator")


@dataclass(frozen=True, slots=True)
class Run:
    """One invocation.

    Attributes:
        wall_s: from the event to the answer.
        cpu_s: processor time of the whole process in it.
        report: the answer.
    """

    wall_s: float
    cpu_s: float
    report: dict[str, Any]

    @property
    def samples(self) -> int:
        """The data points that were pushed."""
        return sum(one["pushed"] for one in self.report["destinations"])


@dataclass(frozen=True, slots=True)
class Process:
    """All invocations of one process.

    Attributes:
        peak_bytes: the most memory that the whole process had.
        modules: the names of all that it imported.
    """

    runs: tuple[Run, ...]
    peak_bytes: int
    modules: frozenset[str]

    @property
    def warm(self) -> tuple[Run, ...]:
        """All invocations except the first, which opens the connections."""
        return self.runs[1:]


def collect(environment: Mapping[str, str], runs: int, *, spooling: bool = False) -> Process:
    """Invoke the collector several times in one new process.

    Args:
        spooling: whether the destination is down, so that everything is spooled.

    Raises:
        RuntimeError: a run did not deliver everything.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "bench.collector", str(runs)],
        cwd=ROOT,
        env={**clean_environment(), **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    # the log comes before it
    answer = json.loads(ended.stdout.splitlines()[-1])
    process = Process(
        tuple(Run(**run) for run in answer["runs"]),
        answer["peak_bytes"],
        frozenset(answer["modules"]),
    )
    for run in process.runs:
        failures = [one["error"] for part in run.report.values() for one in part if one["error"]]
        if spooling:
            failures = [one["error"] for one in run.report["destinations"] if not one["spooled"]]
        if failures:
            raise RuntimeError(f"a measured run did not deliver everything: {failures[0]}")
    return process


def clean_environment() -> dict[str, str]:
    """This process's environment for a child, without variables that would change a measurement."""
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": ""}


class _Context:
    aws_request_id = "bench"

    def get_remaining_time_in_millis(self) -> int:
        """Enough time that no run of a benchmark ends early."""
        return 600_000


def _run(handler: Any) -> Run:
    began, used = time.perf_counter(), time.process_time()
    report = handler({}, _Context())
    return Run(time.perf_counter() - began, time.process_time() - used, report)


def peak_bytes() -> int:
    """The most memory that this process had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(runs: Sequence[str]) -> None:
    """Run several times and print the measurements."""
    sys.path[:0] = [str(path) for path in CODE]
    import app  # type: ignore[import-not-found]  # from the task root, as in Lambda

    taken = [_run(app.lambda_handler) for _ in range(int(runs[0]))]
    ended = [{"wall_s": run.wall_s, "cpu_s": run.cpu_s, "report": run.report} for run in taken]
    print(json.dumps({"runs": ended, "peak_bytes": peak_bytes(), "modules": [*sys.modules]}))


if __name__ == "__main__":
    main(sys.argv[1:])
