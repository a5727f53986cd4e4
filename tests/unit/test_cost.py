"""What a run costs, as far as that is the same on any machine; `make bench` measures the rest."""

from __future__ import annotations

import io
import re
import sys
import time
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from bench.collector import Process, collect
from bench.exposition import exposition
from bench.servers import Counts, Servers
from relay_metrics.deliver.pieces import Piece
from relay_metrics.relays.prometheus.exposition import Reader, read
from relay_metrics.relays.prometheus.families import assemble
from relay_metrics.snapshot import Reading, Scope, Snapshot
from scripts.notice import shipped
from tests import ROOT

KEYS = 100
SCANS = 10
STATS, MODELS, BATCH = (
    f"/apiStats/api/{name}" for name in ("user-stats", "user-model-stats", "batch-stats")
)


@pytest.fixture(scope="module")
def one() -> tuple[Process, Counts]:
    with Servers(1, latency_s=0) as servers:
        return collect(servers.one_key(), 2), servers.counts()


def test_one_key_is_three_requests_a_scan_and_a_small_push(one: tuple[Process, Counts]) -> None:
    process, seen = one
    each = seen.shared(len(process.runs))
    assert each.calls == {STATS: 1, MODELS: 1, BATCH: 1}
    assert (each.scans, each.pushes) == (1, 1)
    assert process.runs[-1].samples >= 50
    assert each.pushed_bytes < 3_000
    assert each.relay_bytes < 4_000


def test_a_claude_relays_run_imports_what_it_needs_and_no_more(one: tuple[Process, Counts]) -> None:
    modules = one[0].modules
    assert not modules & {
        "opentelemetry.exporter.otlp.proto.http",
        "relay_metrics.check",
        "relay_metrics.convert.exposition",
        "relay_metrics.dry_run",
        "relay_metrics.families",
        "relay_metrics.redrive",
        "relay_metrics.relays.claude.accounts",
        "relay_metrics.relays.claude.at_large",
        "relay_metrics.relays.prometheus.exposition",
        "relay_metrics.relays.wyolet.run",
    }
    of_the_layer = {
        *("aws_lambda_powertools", "certifi", "charset_normalizer", "google", "idna"),
        *("opentelemetry", "relay_metrics", "requests", "typing_extensions"),
    }
    of_the_runtime = {
        *("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "simplejson", "six"),
        "urllib3",
    }
    of_the_bench = {"__main__", "__mp_main__", "_distutils_hack", "app", "bench"}
    packages = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    # charset_normalizer's compiled half is named after its compiler
    packages = {name for name in packages if "cython" not in name}
    assert packages <= of_the_layer | of_the_runtime | of_the_bench


def test_many_keys_by_their_ids_are_a_request_each_and_few_scans() -> None:
    with Servers(KEYS, latency_s=0) as servers:
        process = collect(servers.configured(), 1)
        seen = servers.counts()
    assert seen.calls[BATCH] == 4 + 1  # of 30 keys, and of those that never cost anything
    # a key that was never used would make the relay scan, and is not asked for but in its turn
    assert 90 <= seen.calls[STATS] <= 90 + SCANS
    assert seen.calls.keys() == {STATS, MODELS, BATCH}
    assert seen.scans == SCANS
    assert seen.pushes == 1
    assert seen.pushed_bytes / process.runs[0].samples < 15


def test_many_keys_by_a_login_are_a_request_a_page_and_a_batch_and_few_scans() -> None:
    with Servers(KEYS, latency_s=0) as servers:
        process = collect(servers.discovered(), 2)
        seen = servers.counts()
    runs = len(process.runs)
    assert seen.calls["/web/auth/login"] == 1  # its session is kept
    assert seen.calls["/admin/api-keys"] == runs  # a page has 100
    assert seen.calls["/admin/usage-stats"] == runs
    assert seen.calls[BATCH] == 4 * runs
    limited = KEYS // 4
    assert seen.calls[STATS] <= limited * runs
    assert seen.scans <= SCANS * runs
    assert seen.pushes == runs


def test_what_the_layer_ships_is_small() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for package in shipped():
            for part in metadata.files(package) or []:
                if part.suffix not in {".pyc", ".pyi"} and "tests" not in part.parts:
                    file.write(Path(str(part.locate())), str(part))
        for path in (ROOT / "layers" / "aggregator" / "relay_metrics").rglob("*.py"):
            file.write(path)
    assert archive.tell() < 5_000_000


def text_to_bytes(samples: int) -> None:
    text = "".join(exposition(samples)).encode()
    families = assemble(read(text, "text/plain"), 1)
    assert Piece(Snapshot("wyolet-relay", "a", 1, {}, families=families)).request


def test_an_exposition_is_columns_and_few_bytes() -> None:
    text = "".join(exposition(20_000)).encode()
    before = sys.getallocatedblocks()
    families = assemble(read(text, "text/plain"), 1)
    # an object a sample would be ten blocks of memory: its labels, their texts, its value
    assert (sys.getallocatedblocks() - before) / 20_000 < 0.2
    request = Piece(Snapshot("wyolet-relay", "a", 1, {}, families=families)).request
    assert request is not None
    assert request.size / request.points < 120
    assert len(request.body) / request.points < 4


def test_no_line_of_an_exposition_is_read_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    # small families, as a client library's own, do not keep the large ones from being read so
    small = "".join(f'# TYPE s{at} gauge\ns{at}{{a="b"}} 1\n' for at in range(20_000))
    text = (small + "".join(exposition(20_000))).encode()
    by_themselves: list[str] = []
    by_an_expression: list[str] = []

    def line(_: Reader, text: str) -> None:
        by_themselves.append(text)

    plainly = Reader._plainly

    def by_expression(reader: Reader, text: str, pattern: re.Pattern[str]) -> bool:
        by_an_expression.extend(text.splitlines())
        return plainly(reader, text, pattern)

    monkeypatch.setattr(Reader, "_line", line)
    monkeypatch.setattr(Reader, "_plainly", by_expression)
    read(text, "text/plain")
    assert all(one.startswith("# ") for one in by_themselves)
    # what a block leaves of a family alone
    left = [line for line in by_an_expression if line.startswith("service_")]
    assert len(left) < 20_000 / 20


def keys_to_bytes(samples: int) -> None:
    fields = {"usage.total.requests": 1, "usage.total.cost": 0.5}
    readings = [
        Reading(Scope.KEY, fields, {}, {"relay.key.id": str(key)}) for key in range(samples // 2)
    ]
    assert Piece(Snapshot("claude-relay", "a", 1, {}, readings=readings)).request


def snapshot_to_bytes_and_back(samples: int) -> None:
    readings = [Reading(Scope.KEY, {"usage.total.requests": at}) for at in range(samples)]
    Snapshot.load(Snapshot("claude-relay", "a", 1, {}, readings=readings).dump())


@pytest.mark.parametrize("work", [text_to_bytes, keys_to_bytes, snapshot_to_bytes_and_back])
def test_work_grows_as_the_samples_do(work: Callable[[int], None]) -> None:
    def cpu_s(samples: int) -> float:
        began = time.process_time()
        work(samples)
        return time.process_time() - began

    cpu_s(1000)
    tenth = min(cpu_s(2_000) for _ in range(3))
    whole = min(cpu_s(20_000) for _ in range(2))
    # 10 × where it is linear, 100 × where it is quadratic
    assert whole < 30 * tenth
