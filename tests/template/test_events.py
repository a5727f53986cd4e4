"""The event files: one for each way to invoke, all of them the contract's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from relay_metrics.deliver.spool import Message
from relay_metrics.entry.event import BACKFILL, CHECK, COLLECT, DRY_RUN, Event
from relay_metrics.settings import environment, settings
from tests import ROOT
from tests.template.deployed import source

DECLARED = source()["Globals"]["Function"]["Environment"]["Variables"]
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
        "backfill",
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
        ("backfill", BACKFILL),
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


def test_sam_local_heeds_every_variable_of_its_file() -> None:
    """It ignores, without a word, what the template does not declare."""
    assert read("env").keys() == {"Parameters"}
    assert read("env")["Parameters"].keys() <= DECLARED.keys()


def test_the_file_has_every_variable_that_sam_local_cannot_resolve() -> None:
    """It passes on the logical id of a resource, or the name of a parameter without default."""
    of_stack = {name for name, value in DECLARED.items() if _unresolved(value)}
    assert {"SECRET_ID", "SPOOL_QUEUE_URL", "RELAY_BASE_URL", "OTEL_EXPORT_URL"} <= of_stack
    assert of_stack <= read("env")["Parameters"].keys()


def _unresolved(value: Any) -> bool:
    if isinstance(value, dict) and "Fn::If" in value:
        return any(_unresolved(one) for one in value["Fn::If"][1:])
    name = value.get("Ref") if isinstance(value, dict) else None
    return name is not None and "Default" not in source()["Parameters"].get(name, {})


def test_the_file_s_variables_are_settings_that_name_the_relay_of_the_events() -> None:
    variables = read("env")["Parameters"]
    read_settings = settings(environment(variables), '{"relay_api_id": "it"}')
    assert [relay.name for relay in read_settings.relays] == read("relays")["relays"]
    [record] = read("redrive")["Records"]
    assert read_settings.destination(Message.load(record["body"]).destination)
    assert read_settings.environment.spool_queue_url


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_a_file_names_no_real_place(path: Path) -> None:
    for host in re.findall(r"https?://([^/\"]+)", path.read_text("utf-8")):
        assert host.endswith("example.com") or host.startswith("sqs."), host
