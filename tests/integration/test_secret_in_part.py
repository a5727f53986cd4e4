"""A secret of which something is wrong: one relay's or destination's failure, or not filled in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.http_server import Fault
from tests.integration.conftest import System

CHECK = {"action": "check"}

WRONG_RELAYS: list[dict[str, Any]] = [
    {"api_kyes": ["cr_mistyped"]},
    {"api_keys": None},
    {"api_keys": ["REPLACE_ME"]},
    {"base_url": "relay.example"},
    {"headers": {"Content-Length": "5"}},
]


def found(system: System) -> dict[str, dict[str, Any]]:
    return {one["target"]: one for one in system.collect(CHECK).answer["findings"]}


def change(entry: dict[str, Any], changes: dict[str, Any]) -> None:
    """Change an entry; None takes a key away."""
    entry |= changes
    for name in [name for name, value in entry.items() if value is None]:
        del entry[name]


@pytest.mark.parametrize("changes", WRONG_RELAYS, ids=str)
def test_a_relay_whose_entry_is_wrong_is_down_and_the_others_are_collected(
    system: System, changes: dict[str, Any]
) -> None:
    relay = system.claude("wrong")
    system.wyolet("good")
    there = system.receiver()
    change(system.listed("wrong"), changes)
    ended = system.collect()
    assert ended.error is None
    assert not ended.relay("wrong")["up"]
    assert "relays[0] of the secret" in ended.relay("wrong")["error"]
    assert next(iter(changes)) in ended.relay("wrong")["error"]
    assert ended.relay("good")["error"] is None
    assert there.of(relay_name="wrong")["relay_up"] == [0]
    assert there.names("error.type", relay_name="wrong") == {"settings": 1}
    assert there.of(relay_name="good")["relay_up"] == [1]
    assert '"RelaysDown":[1.0]' in system.printed().replace(" ", "")
    assert relay.server.requests == 0
    finding = found(system)["relay wrong"]
    assert not finding["ok"]
    assert "relays[0] of the secret" in finding["message"]
    what = "put the credentials" if "REPLACE_ME" in str(changes) else "what the message names"
    assert what in finding["hint"]


def test_a_destination_whose_entry_is_wrong_gets_it_from_the_spool_once_it_is_corrected(
    system: System,
) -> None:
    system.claude()
    default, other = system.receiver(), system.receiver("other")
    password = system.listed("other")["password"]
    system.listed("other")["password"] = None
    ended = system.collect()
    assert ended.error is None
    assert "password is missing in destinations[0]" in ended.destination("other")["error"]
    assert ended.destination("other")["spooled"] == ended.destination("default")["pushed"]
    assert len(default.of()["relay_up"]) == 1
    assert "password is missing" in found(system)["destination other"]["message"]
    assert system.redrive().answer["batchItemFailures"], "it is not corrected yet"
    system.listed("other")["password"] = password
    system.put_secret()
    system.drain()
    assert other.of() == default.of()
    assert system.aws.dead() == []


def test_a_back_fill_leaves_a_wrong_entry_to_be_corrected(system: System) -> None:
    system.claude()
    system.receiver()
    system.listed("claude")["passwort"] = "x"
    ended = system.collect({"action": "backfill"})
    assert "'passwort'" in ended.relay("claude")["error"]
    assert ended.answer["next"] is None


UNFILLED: list[dict[str, Any]] = [
    {"greptime_username": "REPLACE_ME", "greptime_password": "REPLACE_ME"},
    {"greptime_password": "REPLACE_ME"},
    {"relays": "REPLACE_ME"},
]


def unfill(system: System, changes: dict[str, Any]) -> None:
    """Put placeholders into the secret, for the database or for every relay."""
    system.secret |= {name: text for name, text in changes.items() if name != "relays"}
    if "relays" in changes:
        for relay in system.secret["relays"]:
            relay["api_keys"] = [changes["relays"]]
    system.put_secret()


@pytest.mark.parametrize("changes", UNFILLED, ids=str)
def test_a_stack_that_is_not_filled_in_does_nothing_and_warns_once(
    system: System, changes: dict[str, Any]
) -> None:
    relays = [system.claude("one"), system.claude("two")]
    there = system.receiver()
    other = system.receiver("other")
    filled_in = json.loads(json.dumps(system.secret))
    unfill(system, changes)
    for event in ({}, {"shard": "2/2"}, {"relays": ["one"]}):
        before = len(system.lines())
        ended = system.collect(event)
        assert ended.error is None
        assert [one["up"] for one in ended.answer["relays"]] == [False, False]
        assert {one["pushed"] + one["spooled"] for one in ended.answer["destinations"]} == {0}
        assert all("placeholder" in one["error"] for one in ended.answer["destinations"])
        warned = [one for one in system.lines()[before:] if one["level"] != "INFO"]
        assert [one["level"] for one in warned] == ["WARNING"]
        assert "placeholder REPLACE_ME" in warned[0]["reason"]
    assert system.printed() == "", "no metric that an alarm reads"
    assert (there.requests, other.requests, system.aws.spooled()) == ([], [], [])
    assert system.collect({"action": "dry-run"}).answer["metrics"] == []
    delivered = system.collect({"action": "backfill"}).answer
    assert (delivered["next"], {one["samples"] for one in delivered["relays"]}) == (None, {0})
    assert [relay.server.requests for relay in relays] == [0, 0]

    answer = system.collect(CHECK).answer
    wrong = [one for one in answer["findings"] if not one["ok"]]
    assert not answer["ok"]
    assert all("placeholder REPLACE_ME" in one["message"] for one in wrong)
    assert all("put" in one["hint"] for one in wrong)
    named = " ".join(one["message"] for one in wrong)
    assert all(name in named for name in (changes if "relays" not in changes else ["relays[1]"]))

    # what is filled in counts at once
    system.aws.put_secret(filled_in)
    assert system.collect().relay("one")["up"]
    assert len(there.of()["relay_up"]) == 2


def test_what_waits_in_the_spool_waits_until_the_database_is_filled_in(system: System) -> None:
    system.claude()
    there = system.receiver()
    there.fault = lambda request: Fault(status=503)
    system.environment["OTEL_TIMEOUT_MS"] = "300"
    system.collect()
    there.fault = None
    system.aws.put_secret({**system.secret, "greptime_password": "REPLACE_ME"})
    system.restart()
    event = system.aws.event()
    ended = system.redrive(event)
    assert ended.error is None
    [record] = event["Records"]
    assert ended.answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    [held] = system.aws.spooled()
    assert 20 < held.waits_s <= 72
    assert there.of() == {}
    assert system.aws.dead() == []
    [line] = [one for one in system.lines() if "not filled in" in one["message"]]
    assert line["level"] == "WARNING"
    system.put_secret()
    system.drain()
    assert len(there.of()["relay_up"]) == 1


def test_a_warm_environment_goes_on_with_the_last_good_secret(system: System) -> None:
    system.claude()
    there = system.receiver()
    system.environment["SECRET_MAX_AGE_SECONDS"] = "0"
    for number, text in enumerate(["", "{", '{"greptime_pasword": "x"}'], 2):
        system.collect()
        system.aws.put_secret(text or system.secret)
        ended = system.collect()
        assert ended.error is None
        assert ended.relay("claude")["up"]
        assert len(there.of()["relay_up"]) == 2 * number - 2
        system.put_secret()
    worse = [one for one in system.lines() if "changed for the worse" in one["message"]]
    assert [one["level"] for one in worse] == ["WARNING", "WARNING"]
