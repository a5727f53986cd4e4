"""Case folders: recorded exchanges in, OTLP as readable text out. tests/cases/README.md says how.

One loop finds them: a new case is a new folder, and no code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from relay_metrics.errors import RelayMetricsError
from tests import RECORDINGS
from tests.collecting import Collector
from tests.exchanges import ExchangeServer
from tests.otlp import as_text

CASES = Path(__file__).parent / "cases"
FOLDERS = sorted(path.parent for path in CASES.glob("*/settings.json"))
HOST = "relay.test"
"""Stands for the server of the exchanges, whose port differs from run to run."""

SETTINGS = {"about", "environment", "secret", "renewed_secret", "event", "instants"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.name))
def test_case(folder: Path, request: pytest.FixtureRequest) -> None:
    written = (folder / "settings.json").read_text("utf-8")
    assert json.loads(written).keys() <= SETTINGS
    with ExchangeServer(json.loads((folder / "exchanges.json").read_text("utf-8"))) as relay:
        address = relay.url.removeprefix("http://")
        settings = json.loads(written.replace(HOST, address))
        got = "\n".join(_runs(settings)).replace(address, HOST)
    assert relay.unexpected == []
    assert relay.never_asked == []
    expected = folder / "expected.txt"
    if request.config.getoption("--update-cases"):
        expected.write_text(got, "utf-8")
        pytest.skip("its expectation was written anew")
    assert got == expected.read_text("utf-8")


def test_every_folder_is_a_case() -> None:
    assert FOLDERS
    files = {"settings.json", "exchanges.json", "expected.txt"}
    for folder in CASES.iterdir():
        if folder.is_dir():
            assert {path.name for path in folder.iterdir()} == files, folder.name


def test_every_recording_is_used_or_said_not_to_be() -> None:
    recorded = {
        path.relative_to(RECORDINGS).as_posix()
        for kind in ("claude-relay", "prometheus")
        for path in (RECORDINGS / kind).iterdir()
    }
    # a case fails where one of its exchanges is never asked for: what is named there is used
    used = {
        exchange["recording"]
        for folder in FOLDERS
        for exchange in json.loads((folder / "exchanges.json").read_text("utf-8"))
        if "recording" in exchange
    }
    unused = json.loads((CASES / "unused.json").read_text("utf-8"))
    assert all(unused.values()), "each has a reason"
    assert used | unused.keys() == recorded
    assert used & unused.keys() == set()


def _runs(settings: Mapping[str, Any]) -> Iterator[str]:
    """What each run of a case says: the report, then all that was pushed."""
    secret = settings.get("secret", {})
    renewed = settings.get("renewed_secret", secret)
    with Collector(settings["environment"], secret, renewed) as collector:
        for instant in settings["instants"]:
            yield f"run at {instant}"
            try:
                run = collector.run(instant, settings.get("event"))
            except RelayMetricsError as error:
                yield f"{type(error).__name__}: {error}\n"
                return
            yield from _reported(run.report)
            yield ""
            yield as_text(run.pushed)


def _reported(report: Mapping[str, Any]) -> Iterator[str]:
    for relay in report["relays"]:
        state = "up" if relay["up"] else "down"
        yield f"relay {relay['name']} {relay['kind']} {state}, {relay['samples']} samples"
        if relay["error"]:
            yield f"  {relay['error']}"
    for destination in report["destinations"]:
        counts = [f"{name} {destination[name]}" for name in ("pushed", "spooled", "rejected")]
        yield f"destination {destination['name']} {' '.join(counts)}"
        assert destination["error"] is None
