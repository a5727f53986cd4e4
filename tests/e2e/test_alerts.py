"""The alert rules, run by VictoriaMetrics' `vmalert-tool` over series that are written for each."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.queries import ALERTS, rules

pytestmark = pytest.mark.e2e

TESTS = sorted(ALERTS.parent.glob("*.test.yaml"))


@pytest.fixture
def vmalert_tool(victoriametrics: Path) -> str:
    """It comes with VictoriaMetrics, in the same folder or on the PATH."""
    beside = victoriametrics.resolve().with_name("vmalert-tool")
    found = str(beside) if beside.exists() else shutil.which("vmalert-tool")
    assert found, "vmalert-tool is neither beside victoria-metrics nor on the PATH"
    return found


def run(vmalert_tool: str, tests: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [vmalert_tool, "unittest", "--files", tests.name],
        cwd=tests.parent,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("tests", TESTS, ids=lambda tests: tests.name)
def test_each_rule_fires_when_it_should_and_then_only(vmalert_tool: str, tests: Path) -> None:
    ran = run(vmalert_tool, tests)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "SUCCESS" in ran.stdout + ran.stderr


def test_a_rule_that_does_not_fire_as_expected_is_found(vmalert_tool: str, tmp_path: Path) -> None:
    document = yaml.safe_load(ALERTS.with_suffix(".test.yaml").read_text("utf-8"))
    [down] = [one for one in document["tests"] if one["name"].startswith("a relay that answers")]
    down["alert_rule_test"][0]["exp_alerts"] = [{"exp_labels": {"severity": "warning"}}]
    changed = tmp_path / "changed.test.yaml"
    changed.write_text(yaml.safe_dump({**document, "tests": [down]}), "utf-8")
    shutil.copy(ALERTS, tmp_path)
    assert run(vmalert_tool, changed).returncode != 0


def test_each_rule_is_seen_to_fire() -> None:
    documents = [yaml.safe_load(tests.read_text("utf-8")) for tests in TESTS]
    fired = {
        expected["alertname"]
        for document in documents
        for test in document["tests"]
        for expected in test["alert_rule_test"]
        if expected["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules()}
