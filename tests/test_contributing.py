"""The changes that CONTRIBUTING.md describes, made to a copy of the layer as written there.

Each runs in a process of its own, which imports the copy.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from local.http_server import HttpServer, Request, Response
from tests import ROOT
from tests.exchanges import ExchangeServer

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"<!-- (\S+) -->\n```\w+\n(.*?)\n```", TEXT, re.DOTALL))
CASE = ROOT / "tests/cases/claude-one-key"

RUN = """
import json, sys
from tests.collecting import Collector
from tests.otlp import as_text

asked = json.load(sys.stdin)
with Collector(asked["environment"], asked["secret"], asked["secret"]) as collector:
    run = collector.run("2026-11-21T21:00:00Z")
    check = collector.run("2026-11-21T21:01:00Z", {"action": "check"}).report
print(json.dumps({"report": run.report, "check": check, "text": as_text(run.pushed)}))
"""


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    copy = tmp_path / "layer"
    shutil.copytree(ROOT / "layers/aggregator/relay_metrics", copy / "relay_metrics")
    return copy


def run(layer: Path, environment: Mapping[str, str], secret: Mapping[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps({"environment": environment, "secret": secret}),
        env={"PYTHONPATH": f"{layer}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # the log is before it
    return answer


def insert(file: Path, after: str, text: str) -> None:
    before = file.read_text("utf-8")
    assert before.count(after) == 1
    file.write_text(before.replace(after, f"{after}\n{text},"), "utf-8")


def test_a_field_is_one_row(layer: Path) -> None:
    insert(
        layer / "relay_metrics/catalogue.py",
        "METRICS: tuple[Metric, ...] = (",
        EXAMPLES["row"],
    )
    settings = json.loads((CASE / "settings.json").read_text("utf-8"))
    with ExchangeServer(json.loads((CASE / "exchanges.json").read_text("utf-8"))) as relay:
        environment = {**settings["environment"], "RELAY_BASE_URL": relay.url}
        answer = run(layer, environment, settings["secret"])
    assert "gauge relay_daily_input_tokens {token}" in answer["text"].lower()


def test_a_kind_is_a_package_and_one_line(layer: Path) -> None:
    insert(
        layer / "relay_metrics/relays/kinds.py",
        "KINDS: Mapping[str, str] = {",
        EXAMPLES["kind"],
    )
    for name, text in EXAMPLES.items():
        if name.startswith("relays/"):
            file = layer / "relay_metrics" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{text}\n", "utf-8")

    def health(request: Request) -> Response:
        assert request.path == "/health"
        return Response(200, json.dumps({"uptime": 12.5}).encode(), "application/json")

    with HttpServer(health) as relay:
        environment = {"RELAY_KIND": "hello-relay", "RELAY_BASE_URL": relay.url}
        answer = run(layer, environment, {"hello_token": "t0ken"})
    assert answer["check"]["ok"], answer["check"]
    [one] = answer["report"]["relays"]
    assert (one["kind"], one["up"], one["error"]) == ("hello-relay", True, None)
    assert "gauge relay_uptime_seconds s" in answer["text"].lower()


def test_a_destination_is_an_entry_of_the_secret() -> None:
    from relay_metrics.settings import environment, settings

    secret = {"destinations": [json.loads(EXAMPLES["destination"])], "relay_api_id": "an-id"}
    variables = {"RELAY_BASE_URL": "http://relay.example", "OTEL_EXPORT_URL": "http://db.example"}
    read = settings(environment(variables), json.dumps(secret))
    assert [one.name for one in read.destinations] == ["default", "prometheus"]


def test_no_kind_is_known_by_name_outside_its_package() -> None:
    layer = ROOT / "layers/aggregator/relay_metrics"
    own = {"claude-relay": "relays/claude/", "wyolet-relay": "relays/wyolet/"}
    for file in layer.rglob("*.py"):
        path = file.relative_to(layer).as_posix()
        for kind, package in own.items():
            if path != "relays/kinds.py" and not path.startswith(package):
                text = file.read_text("utf-8")
                assert f'"{kind}"' not in text, f"{path} knows {kind}"


def test_the_rooms_of_the_drawing_are_there() -> None:
    layer = ROOT / "layers/aggregator/relay_metrics"
    table = TEXT.split("what it does |", 1)[1].split("\n\n", 1)[0]
    rooms = re.findall(
        r"`([a-z_]+(?:\.py|/))`", "\n".join(line.split("|")[1] for line in table.splitlines()[2:])
    )
    there = {
        path.name + ("/" if path.is_dir() else "")
        for path in layer.iterdir()
        if path.suffix == ".py" or path.is_dir()
    } - {"__init__.py", "__pycache__/"}
    assert set(rooms) == there
