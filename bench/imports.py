"""Importing the handler, against importing what it cannot do without, each in whole processes.

    with installed() as environment:
        ours, alone = imports(environment, processes=9)

The two take turns, so that what else this machine does is shared between them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.collector import CODE, clean_environment

HANDLER = "import app"
ALONE = """\
import boto3, requests
import opentelemetry.exporter.otlp.proto.http.metric_exporter
import aws_lambda_powertools.utilities.parameters
"""
"""What the bound is counted from: boto3, requests, the OTLP exporter, and of Powertools its logger,
which comes with the package, and its parameters."""

# Processor time: what else runs on this machine makes both longer, but not by the same.
_TIMED = """\
import sys, time
began = time.process_time()
{program}
print(time.process_time() - began, len(sys.modules))
"""


@dataclass(frozen=True, slots=True)
class Import:
    """Of one program: the median processor time of its processes, and the modules it has then."""

    seconds: float
    modules: int


@contextmanager
def installed() -> Iterator[Mapping[str, str]]:
    """The environment of a process that imports the sources and what is installed here.

    With bytecode, as a package has it that pip installed: ours is compiled beforehand.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join(map(str, CODE))
        yield {**clean_environment(), "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": folder}


def deployed(layer: Path) -> Mapping[str, str]:
    """The environment of a process that imports a built layer, as Lambda lays it out.

    Without bytecode, since a layer has none and Lambda cannot write any. boto3 is this machine's.
    """
    path = os.pathsep.join([str(CODE[0]), str(layer / "python")])
    return {**clean_environment(), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def imports(environment: Mapping[str, str], processes: int) -> tuple[Import, Import]:
    """Our import, and that of the packages alone."""
    taken: dict[str, list[tuple[float, int]]] = {HANDLER: [], ALONE: []}
    # the first round warms the machine's cache of files, and writes what is compiled
    for turn in range(processes + 1):
        for program, times in taken.items():
            told = subprocess.run(
                [sys.executable, "-c", _TIMED.format(program=program)],
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                timeout=60,
            ).stdout.split()
            if turn:
                times.append((float(told[0]), int(told[1])))
    ours, alone = (
        Import(statistics.median(one[0] for one in times), times[0][1]) for times in taken.values()
    )
    return ours, alone
