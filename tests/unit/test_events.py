"""What an event asks for, and what a wrong one says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_metrics import check, dry_run
from relay_metrics.entry import actions
from relay_metrics.entry.event import Event
from relay_metrics.errors import SettingsError
from relay_metrics.observability import logger
from relay_metrics.relays.client import Shard
from relay_metrics.runtime import Runtime
from tests import ROOT

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


# -- what it asks for


@pytest.mark.parametrize(
    "event", [None, {}, {"time": None}, {"anything": ["else"], "id": 7}, {"action": None}]
)
def test_an_event_without_action_collects_everything(event: object) -> None:
    assert Event.of(event) == Event("collect", None, Shard(1, 1), NOW)


@pytest.mark.parametrize("action", ["check", "dry-run"])
def test_actions(action: str) -> None:
    assert Event.of({"action": action}).action == action


def test_relays_each_once_in_order() -> None:
    assert Event.of({"relays": ["b", "a", "b"]}).relays == ("b", "a")


def test_a_relay_s_name_is_mended_as_in_the_settings() -> None:
    assert Event.of({"relays": ["a\ud800"]}).relays == ("a\ufffd",)


@pytest.mark.parametrize(
    ("shard", "expected"),
    [("1/1", (1, 1)), ("2/4", (2, 4)), ("02/04", (2, 4)), ("1000/1000", (1000, 1000))],
)
def test_shards(shard: str, expected: tuple[int, int]) -> None:
    asked = Event.of({"shard": shard}).shard
    assert (asked.index, asked.count) == expected
    assert asked.first == (asked.index == 1)


@pytest.mark.parametrize(
    ("given_time", "seconds"),
    [
        ("2026-11-21T21:00:00Z", 1_795_294_800.0),
        ("2026-11-21T21:00:00.250Z", 1_795_294_800.25),
        ("now", NOW),
        ("<aws.scheduler.scheduled-time>", NOW),
        (7.5, 0.008),
        (True, NOW),
    ],
)
def test_the_instant_that_it_was_scheduled_for(given_time: object, seconds: float) -> None:
    assert Event.of({"time": given_time}).scheduled_s == seconds


@pytest.mark.parametrize(
    "path", sorted((ROOT / "events").glob("*.json")), ids=lambda path: path.name
)
def test_the_examples_are_events(path: Path) -> None:
    event = json.loads(path.read_text("utf-8"))
    if "Records" not in event and "Parameters" not in event:
        asked = Event.of(event)
        assert asked.action == event.get("action", "collect")


EVENTBRIDGE = {
    "version": "0",
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "111122223333",
    "time": "2026-11-21T21:00:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:111122223333:rule/collect"],
    "detail": {},
}
"""What a rule of EventBridge invokes a function with."""


SENSELESS: list[Any] = [
    *("", "now", "<aws.scheduler.scheduled-time>", "12:00", "2026-13-01T00:00:00Z"),
    *(True, [], {}, -1, 0, 1e300, "NaN", "1000-01-01T00:00:00Z"),
]
"""Values of `time` that are no instant."""


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(logger, "warning", lambda text, *what: said.append(text % what))
    return said


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({}, []),
        (EVENTBRIDGE, []),
        (
            EVENTBRIDGE | {"relay": ["main"], "shards": "1/4"},
            [
                "the event has an unknown field 'relay': it is ignored",
                "the event has an unknown field 'shards': it is ignored",
            ],
        ),
        *(
            (
                {"relays": ["main"], "time": senseless},
                ["time in the event is no time like 2026-10-01T12:00:00Z: now is used"],
            )
            for senseless in SENSELESS
        ),
    ],
)
def test_what_an_event_cannot_mean_is_warned_of(
    event: dict[str, Any], says: list[str], warnings: list[str]
) -> None:
    asked = Event.of(event)
    assert asked.action == "collect"
    assert warnings == says
    assert asked.scheduled_s in (NOW, 1_795_294_800.0)


@pytest.mark.parametrize("action", ["check", "dry-run", "backfill"])
def test_what_an_action_does_not_know_is_named(action: str, warnings: list[str]) -> None:
    assert Event.of({**EVENTBRIDGE, "action": action, "relays": ["main"]}).action == action
    with pytest.raises(SettingsError) as caught:
        Event.of({"action": action, "form": "2026-10-01"})
    known = "action, relays, shard, time" + (
        ", from, to, models, scans, dry_run" if action == "backfill" else ""
    )
    assert str(caught.value) == f"the event has an unknown field 'form'; known are {known}"
    assert warnings == []


# -- what a wrong one says


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ("check", "the event must be a JSON object"),
        ([], "the event must be a JSON object"),
        (False, "the event must be a JSON object"),
        ({"action": "chekc"}, "action in the event must be check, dry-run or backfill, or absent"),
        (
            {"action": "collect "},
            "action in the event must be check, dry-run or backfill, or absent",
        ),
        (
            {"action": ["check"]},
            "action in the event must be check, dry-run or backfill, or absent",
        ),
        ({"action": ""}, "action in the event must be check, dry-run or backfill, or absent"),
        ({"relays": "main"}, "relays in the event must be a list of names"),
        ({"relays": []}, "relays in the event must be a list of names"),
        ({"relays": ["main", 7]}, "relays in the event must be a list of names"),
    ],
)
def test_a_wrong_event_says_what_is_wrong(event: Any, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Event.of(event)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    "shard",
    ["0/4", "5/4", "2", "2/4/6", "-1/4", "1/1001", "\u0661/\u0662", " 1/2", "", 2, 0.5, []],
)
def test_a_wrong_shard_says_what_one_is(shard: object) -> None:
    with pytest.raises(SettingsError) as caught:
        Event.of({"shard": shard})
    assert str(caught.value) == 'shard in the event must be like "2/4": the second of four parts'


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["action", "relays", "shard", "time"]), inner)
        ),
        max_leaves=6,
    )
)
def test_any_event_is_one_or_says_what_is_wrong(event: object) -> None:
    try:
        asked = Event.of(event)
    except SettingsError:
        return
    assert asked.action in ("collect", "check", "dry-run")
    assert 1 <= asked.shard.index <= asked.shard.count <= 1000


# -- what is done


@pytest.mark.parametrize(
    ("event", "module", "name"),
    [
        ({}, actions, "collect"),
        ({"action": "check"}, check, "check"),
        ({"action": "dry-run"}, dry_run, "dry_run"),
    ],
)
def test_each_action_has_its_answer(
    event: dict[str, str], module: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, lambda *asked: {"asked": asked})
    runtime = Runtime({})
    answer = actions.act(runtime, event, 50)
    assert answer == {"asked": (runtime, Event.of(event), 50)}


def test_a_wrong_event_does_nothing() -> None:
    with pytest.raises(SettingsError):
        actions.act(Runtime({}), {"action": "delete"}, 50)
