"""Importing the packages that the handler cannot do without, and what the handler adds to them.

    with installed() as environment:
        taken = imports(environment, processes=15)

Each process imports the packages and then the handler, so that both are taken at one speed of the
machine: apart from each other their ratio moved by a tenth from one minute to the next.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.collector import CODE, clean_environment

PACKAGES = """\
import boto3, requests
import opentelemetry.exporter.otlp.proto.http.metric_exporter
import aws_lambda_powertools.utilities.parameters
"""
"""What the bound is counted from: boto3, requests, the OTLP exporter, and of Powertools its logger,
which comes with the package, and its parameters."""

# Processor time: what else runs on this machine is not in it.
_TIMED = f"""\
import time
began = time.process_time()
{PACKAGES}
packages = time.process_time()
import app
print(packages - began, time.process_time() - began)
"""


class Import(NamedTuple):
    """The seconds of processor time in one process: of the packages, and of both together."""

    packages_s: float
    handler_s: float

    @property
    def ratio(self) -> float:
        """The time of the packages and the handler, divided by that of the packages."""
        return self.handler_s / self.packages_s


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


def imports(environment: Mapping[str, str], processes: int) -> Import:
    """The import of the process whose ratio is the median."""
    # the first warms the machine's cache of files, and writes what is compiled
    taken = [_once(environment) for _ in range(processes + 1)][1:]
    return sorted(taken, key=lambda one: one.ratio)[processes // 2]


def _once(environment: Mapping[str, str]) -> Import:
    printed = subprocess.run(
        [sys.executable, "-c", _TIMED],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    ).stdout.split()
    return Import(*map(float, printed))
