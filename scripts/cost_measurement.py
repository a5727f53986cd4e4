"""Measures what a run of the collector uses: processor time, log, requests, rows in GreptimeDB.

The real collector runs under AWS's own runtime client, against the simulated relay, the stand-in
for GreptimeDB, and moto.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from local.aws import Aws
from local.greptimedb import GreptimeDB
from local.greptimedb.otlp import Options, Rows, tables_of
from local.greptimedb.server import Received
from local.http_server import Request
from local.relay import ClaudeRelay, many_keys
from local.relay.demo import ADMIN, demo_accounts
from local.runtime_api import Function, Result

RECORDED: Final = Path(__file__).parent / "cost_measured.json"
ROOT: Final = Path(__file__).parents[1]
WARM_RUNS: Final = {1: 40, 100: 20, 1000: 10}
"""The number of keys of a relay, and how many runs are measured. A single key is configured, more
keys are discovered."""

UNIT_BYTES: Final = 1024
LINE_BYTES: Final = 26
"""Bytes that CloudWatch counts for a log event beside its text (API reference, PutLogEvents)."""

_REQUEST_ID: Final = "0" * 36
_MS: Final = 1000
_MEMORY: Final = "Memory Size: 256 MB\tMax Memory Used: 99 MB"
LAMBDAS_LINES: Final = (
    f"START RequestId: {_REQUEST_ID} Version: $LATEST\n",
    f"END RequestId: {_REQUEST_ID}\n",
    f"REPORT RequestId: {_REQUEST_ID}\tDuration: {_MS}.00 ms\tBilled Duration: {_MS} ms\t{_MEMORY}",
)
"""The lines that Lambda itself logs for a warm run."""


@dataclass(frozen=True, slots=True)
class Used:
    """The average use of one warm run.

    Attributes:
        cpu_s: seconds of a whole processor.
        start_cpu_s: more seconds in the first run of an environment: Python, imports, clients.
        log_bytes: log bytes as CloudWatch counts them, including Lambda's own lines.
        relay_requests: requests to the relay.
        pushes: requests to the database.
        bytes_out: bytes of all requests, including headers, before TLS.
        rows: rows written to the database.
        row_bytes: the bytes of these rows, as GreptimeCloud counts them.
        units_by_request: write units, rounded up for each push.
        units_by_table: write units, rounded up for each table of a push.
    """

    cpu_s: float
    start_cpu_s: float
    log_bytes: int
    relay_requests: float
    pushes: float
    bytes_out: int
    rows: int
    row_bytes: int
    units_by_request: int
    units_by_table: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of a measurement, with its date and machine.

    Attributes:
        by_keys: the results by the number of the relay's keys.
    """

    date: str
    machine: str
    python: str
    by_keys: Mapping[int, Used]

    @classmethod
    def recorded(cls) -> Self:
        """The recorded results of the last measurement."""
        written = json.loads(RECORDED.read_text("utf-8"))
        used = {int(keys): Used(**one) for keys, one in written.pop("by_keys").items()}
        return cls(by_keys=used, **written)

    def record(self) -> None:
        """Record the results, in place of the earlier ones."""
        RECORDED.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")


def measure() -> Measured:
    """Measure all. It takes a few minutes.

    Raises:
        RuntimeError: a run did not deliver everything.
    """
    return Measured(
        datetime.now(UTC).date().isoformat(),
        f"{platform.machine()}, {_processor()}",
        platform.python_version(),
        {keys: _measure(keys, runs) for keys, runs in WARM_RUNS.items()},
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor() or "an unknown processor"
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} × {names[0] if names else 'an unknown processor'}"


def _measure(keys: int, runs: int) -> Used:
    begun = datetime.now(UTC).replace(second=0, microsecond=0)
    accounts = demo_accounts(begun.timestamp()) if keys > 1 else ()
    with (
        ClaudeRelay(many_keys(keys), admin=ADMIN, accounts=accounts) as relay,
        GreptimeDB(username="u", password="p") as database,  # noqa: S106 - of this machine only
        Aws(_secret(relay)) as aws,
    ):
        relay.tick()
        relay.tick()
        environment = {
            "RELAY_BASE_URL": relay.url,
            "OTEL_EXPORT_URL": database.url,
            "POWERTOOLS_SERVICE_NAME": "relay-metrics",
            # Every run reads the secret; by default every fifth does. This makes the bill too high.
            "SECRET_MAX_AGE_SECONDS": "0",
            **aws.environment,
        }
        asked = _Asked()
        relay.server.fault = asked

        def invoke(function: Function, minute: int) -> Result:
            time = begun + timedelta(minutes=minute)
            result = function.invoke({"time": time.isoformat()})
            _check(result)
            return result

        def collector() -> Function:
            return Function(
                ROOT / "functions" / "collector",
                "app.lambda_handler",
                environment,
                layer_path=ROOT / "layers" / "aggregator",
            )

        before = _cpu_s()
        with collector() as function:
            invoke(function, 0)
        first = _cpu_s() - before

        before = _cpu_s()
        with collector() as function:
            invoke(function, 0)
            asked.clear()
            database.requests.clear()
            logs = [invoke(function, minute).logs for minute in range(1, runs + 1)]
        warm = (_cpu_s() - before - first) / runs
        pushes = [Push.of(received) for received in database.requests]

    return Used(
        cpu_s=round(warm, 4),
        start_cpu_s=round(first - warm, 3),
        log_bytes=round(sum(log_bytes([*lines, *LAMBDAS_LINES]) for lines in logs) / runs),
        relay_requests=asked.requests / runs,
        pushes=len(pushes) / runs,
        bytes_out=round((asked.bytes + sum(one.bytes_out for one in pushes)) / runs),
        rows=round(sum(one.rows for one in pushes) / runs),
        row_bytes=round(sum(one.row_bytes for one in pushes) / runs),
        units_by_request=round(sum(one.units_by_request for one in pushes) / runs),
        units_by_table=round(sum(one.units_by_table for one in pushes) / runs),
    )


def _secret(relay: ClaudeRelay) -> dict[str, object]:
    database = {"greptime_username": "u", "greptime_password": "p"}
    if len(relay.keys) == 1:
        return {**database, "relay_api_id": relay.keys[0].id}
    username, password = ADMIN
    return {**database, "relay_admin_username": username, "relay_admin_password": password}


def _cpu_s() -> float:
    """The processor time of ended child processes; moto's child goes on after the measurement."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _check(result: Result) -> None:
    if result.error is not None:
        raise RuntimeError(f"a run failed: {result.error.message}")
    for part in (*result.payload["relays"], *result.payload["destinations"]):
        if part["error"] is not None:
            raise RuntimeError(f"a run did not deliver everything: {part['error']}")


class _Asked:
    """Counts the requests to the relay and does not change the answers."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.requests = 0
        self.bytes = 0

    def __call__(self, request: Request) -> None:
        self.requests += 1
        line = f"{request.method} {request.path} HTTP/1.1\r\n"
        self.bytes += len(line) + _header_bytes(request.headers) + len(request.body)


def _header_bytes(headers: Mapping[str, str]) -> int:
    return sum(len(f"{name}: {value}\r\n") for name, value in headers.items()) + len("\r\n")


def log_bytes(lines: list[str]) -> int:
    """The bytes that CloudWatch counts for log lines."""
    return sum(len(line.encode()) + LINE_BYTES for line in lines)


@dataclass(frozen=True, slots=True)
class Push:
    """One OTLP request, as GreptimeCloud meters it; the attributes are those of `Used`."""

    bytes_out: int
    rows: int
    row_bytes: int
    units_by_request: int
    units_by_table: int

    @classmethod
    def of(cls, received: Received) -> Self:
        """The rows and bytes that one request writes."""
        request = ExportMetricsServiceRequest.FromString(received.decompressed())
        tables = tables_of(request, Options.of(received.headers)).rows.values()
        sizes = [sum(_row_bytes(rows)) for rows in tables]
        line = f"{received.method} {received.path} HTTP/1.1\r\n"
        return cls(
            len(line) + _header_bytes(received.headers) + len(received.body),
            sum(len(rows) for rows in tables),
            sum(sizes),
            math.ceil(sum(sizes) / UNIT_BYTES),
            sum(math.ceil(size / UNIT_BYTES) for size in sizes),
        )


def _row_bytes(rows: Rows) -> Iterator[int]:
    """The bytes of each row: the length of each text, and eight each for value and time."""
    for series, _ in rows:
        yield sum(len(value.encode()) for _, value in series) + 8 + 8
