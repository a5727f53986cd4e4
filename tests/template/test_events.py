"""The event files: one for each way to invoke, all of them the contract's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from relay_metrics.deliver.spool import Message
from relay_metrics.entry.event import CHECK, COLLECT, DRY_RUN, Event
from tests.template.deployed import ROOT
from tests.template.test_functions import CONTRACT

EVENTS = sorted((ROOT / "events").glob("*.json"))


def read(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text("utf-8"))


def test_there_is_one_for_each_way_to_invoke() -> None:
    assert {path.stem for path in EVENTS} == {
        "schedule",
        "relays",
        "shard",
        "check",
        "dry-run",
        "redrive",
        "env",
    }


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("schedule", COLLECT),
        ("relays", COLLECT),
        ("shard", COLLECT),
        ("check", CHECK),
        ("dry-run", DRY_RUN),
    ],
)
def test_the_collector_understands_its_events(name: str, action: str) -> None:
    event = Event.of(read(name))
    assert event.action == action
    assert (event.relays is not None) == (name == "relays")
    assert (event.shard.count > 1) == (name == "shard")
    assert ("time" in read(name)) == (action == COLLECT)


def test_the_redriver_understands_its_event() -> None:
    [record] = read("redrive")["Records"]
    message = Message.load(record["body"])
    assert message.destination == "default"
    assert len(message.snapshot) > 0
    assert int(record["attributes"]["ApproximateReceiveCount"]) == 1


def test_the_environment_for_sam_local_is_the_contracts() -> None:
    assert read("env").keys() == {"Parameters"}
    assert read("env")["Parameters"].keys() <= CONTRACT.keys()


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_a_file_names_no_real_place(path: Path) -> None:
    for host in re.findall(r"https?://([^/\"]+)", path.read_text("utf-8")):
        assert host.endswith("example.com") or host.startswith("sqs."), host
