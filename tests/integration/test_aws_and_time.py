"""AWS fails, or the time runs out, at each step: nothing is lost without a word."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from local.http_server import Fault
from local.relay import WyoletUsage, for_demo
from local.relay.demo import ADMIN
from relay_metrics.errors import NotDelivered, SecretError, SettingsError
from tests.collecting import LOGIN
from tests.integration.conftest import USERNAME, System

pytestmark = pytest.mark.aws_time_outs

LONG_S = 30.0


def refusal(code: str, status: int = 400) -> Fault:
    """As AWS's JSON services refuse; the message repeats what was sent, as some do."""
    body = json.dumps({"__type": f"com.amazonaws#{code}", "message": "local-secret-access-key"})
    return Fault(status=status, body=body.encode(), content_type="application/x-amz-json-1.0")


@dataclass(frozen=True)
class AtAws:
    """A fault of AWS, and the word for it in our message."""

    what: str
    fault: Fault
    word: str

    def __str__(self) -> str:
        return self.what


AT_AWS = [
    AtAws("denied", refusal("AccessDeniedException"), "AccessDenied"),
    AtAws("throttled", refusal("RequestThrottled", 403), "RequestThrottled"),
    AtAws("500", Fault(status=500), "500"),
    AtAws("503 with HTML", Fault(status=503, body=b"<html>", content_type="text/html"), ""),
    AtAws("wrong JSON", Fault(body=b"{"), ""),
    AtAws("empty", Fault(body=b""), ""),
    AtAws("reset", Fault(close="before", reset=True), "Connection"),
    AtAws("closed in the body", Fault(close="body"), ""),
    AtAws("no answer", Fault(delay_s=LONG_S), "Timeout"),
]


# -- SQS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", AT_AWS, ids=str)
def test_neither_the_destination_nor_the_queue(system: System, row: AtAws) -> None:
    system.claude()
    healthy = system.receiver("healthy")
    system.receiver().fault = lambda request: Fault(status=404)
    system.aws.faults["SendMessage"] = row.fault

    ended = system.collect()

    assert isinstance(ended.error, NotDelivered)
    message = str(ended.error)
    assert "data points of relay claude are lost: destination default: answered 404" in message
    assert "SQS did not take a message (" in message
    assert row.word in message
    assert message.endswith("The next run brings new ones")
    assert "relay_requests_total" in healthy.of(relay_name="claude"), "the other has its own"
    assert ended.left_s > 0
    assert system.lines("destination"), "the report is in the log"
    assert system.lines(message)[0]["level"] == "ERROR"


@pytest.mark.parametrize("operation", ["GetQueueAttributes", "GetQueueUrl", "SendMessage"])
def test_the_dead_letter_queue_cannot_be_reached(system: System, operation: str) -> None:
    system.claude()
    system.receiver().fault = lambda request: Fault(status=400)
    system.aws.faults[operation] = refusal("AccessDeniedException")
    ended = system.collect()
    assert isinstance(ended.error, NotDelivered)
    assert "answered 400; SQS did not take a message (AccessDeniedException)" in str(ended.error)


def test_a_queue_that_refuses_once(system: System) -> None:
    """botocore asks a second time by itself."""
    system.claude()
    system.receiver().fault = lambda request: Fault(status=404)
    failures = [Fault(status=500)]
    faults = system.aws.server.fault
    assert faults

    system.aws.server.fault = lambda request: (
        failures.pop() if failures and "SendMessage" in str(request.headers) else faults(request)
    )
    assert system.collect().error is None
    assert len(system.aws.spooled()) == 1


def test_no_spool_is_configured(system: System) -> None:
    system.claude()
    system.receiver().fault = lambda request: Fault(status=503)
    system.environment |= {"SPOOL_QUEUE_URL": "", "OTEL_TIMEOUT_MS": "300"}
    ended = system.collect()
    assert isinstance(ended.error, NotDelivered)
    assert "SPOOL_QUEUE_URL is not set, so there is no spool" in str(ended.error)


def test_many_losses_are_one_sentence(system: System) -> None:
    for number in range(5):
        system.wyolet(f"relay-{number}")
    system.receiver().fault = lambda request: Fault(status=404)
    system.environment["SPOOL_QUEUE_URL"] = ""
    message = str(system.collect().error)
    assert " (and 4 more). The next run brings new ones" in message
    assert len(message) < 500


# -- Secrets Manager ------------------------------------------------------------------------------


@pytest.mark.parametrize("row", AT_AWS, ids=str)
def test_no_secret_and_no_older_copy(system: System, row: AtAws) -> None:
    relay = system.claude()
    system.receiver()
    system.aws.faults["GetSecretValue"] = row.fault
    ended = system.collect()
    assert isinstance(ended.error, SecretError)
    assert "Secrets Manager did not give the secret (" in str(ended.error)
    assert row.word in str(ended.error)
    assert relay.server.requests == 0


@pytest.mark.parametrize("row", AT_AWS, ids=str)
def test_no_secret_but_an_older_copy(system: System, row: AtAws) -> None:
    system.claude()
    there = system.receiver()
    system.environment["SECRET_MAX_AGE_SECONDS"] = "0"
    assert system.collect().error is None
    system.aws.faults["GetSecretValue"] = row.fault
    ended = system.collect()
    assert ended.error is None
    assert len(there.of(relay_name="claude")["relay_up"]) == 2
    [line] = system.lines("the secret cannot be read: an older copy is used")
    assert line["level"] == "WARNING"
    assert row.word in line["reason"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is other JSON"),
        ('{"relay_api_kye":"cr_mistyped"}', "unknown key 'relay_api_kye'"),
        ('{"relays":[]}', "RELAY_BASE_URL is not set"),
        ('{"greptime_username":"a:b","greptime_password":"c","relay_api_id":"x"}', "a colon"),
    ],
)
def test_a_secret_that_is_wrong(system: System, text: str, says: str) -> None:
    system.receiver()
    system.aws.put_secret(text)
    if "relays" not in text:
        system.environment["RELAY_BASE_URL"] = "http://127.0.0.1:9"
    ended = system.collect()
    assert isinstance(ended.error, SettingsError)
    assert says in str(ended.error)
    assert "cr_mistyped" not in str(ended.error)


def test_a_rotation_costs_no_sample(system: System) -> None:
    relay = system.wyolet()
    there = system.receiver()
    assert system.collect().error is None

    password = system.secrets.new("the-new-password-of-the-destination")
    token = system.secrets.new("the-new-token-of-the-relay")
    there.authorization = f"Basic {system.secrets.basic(USERNAME, password)}"
    system.secrets.add(system.secrets.basic(USERNAME, password))
    relay.headers = {"Authorization": f"Bearer {token}"}
    system.secret["greptime_password"] = password
    system.listed("wyolet")["headers"] = relay.headers
    system.put_secret()
    before = system.aws.asked.count("GetSecretValue")

    ended = system.collect()

    assert ended.relay("wyolet")["error"] is None
    assert ended.destination("default")["error"] is None
    assert len(there.of(relay_name="wyolet")["relay_inflight_requests"]) == 10
    assert system.aws.asked.count("GetSecretValue") == before + 1


def test_a_rotation_at_the_destination_alone_waits_in_the_spool(system: System) -> None:
    """The password is changed there first, in the secret a minute later."""
    system.claude()
    there = system.receiver()
    system.put_secret()
    password = system.secrets.new("the-new-password-of-the-destination")
    there.authorization = f"Basic {system.secrets.basic(USERNAME, password)}"
    ended = system.collect()
    assert "answered 401" in ended.destination("default")["error"]
    assert len(system.aws.spooled()) == 1
    assert system.redrive().answer["batchItemFailures"]

    system.secret["greptime_password"] = password
    system.put_secret()
    system.drain()
    assert len(there.of(relay_name="claude")["relay_up"]) == 1


# -- time -----------------------------------------------------------------------------------------

SECONDS = 10.0
"""Most of it is waited for. What is left for the queue has to do on a busy machine."""


def unhurried(system: System) -> None:
    """No time-out of its own ends anything before the invocation's time does."""
    system.environment |= {"RELAY_TIMEOUT_MS": "60000", "OTEL_TIMEOUT_MS": "60000"}


@pytest.mark.parametrize(
    "fault", [Fault(delay_s=LONG_S), Fault(drip_bytes_per_s=20)], ids=["no answer", "a drip"]
)
def test_the_time_runs_out_while_a_relay_answers(system: System, fault: Fault) -> None:
    unhurried(system)
    system.wyolet("slow").fault = lambda request: fault
    system.claude("slow-too").fault = lambda request: fault
    system.claude("healthy")
    there = system.receiver()
    # time for the healthy one to answer on a busy machine as well
    ended = system.collect(seconds=2 * SECONDS)
    assert ended.error is None
    assert ended.left_s > 0
    assert there.of(relay_name="slow")["relay_up"] == [0.0]
    assert set(there.names("error.type", relay_name="slow")) == {"timeout"}
    assert there.of(relay_name="slow-too")["relay_up"] == [0.0]
    assert there.of(relay_name="healthy")["relay_up"] == [1.0]


@pytest.mark.parametrize(
    "fault", [Fault(delay_s=LONG_S), Fault(status=503)], ids=["no answer", "503"]
)
def test_the_time_runs_out_while_pushing(system: System, fault: Fault) -> None:
    unhurried(system)
    system.claude()
    there = system.receiver()
    there.fault = lambda request: fault
    ended = system.collect(seconds=SECONDS)
    assert ended.error is None
    assert ended.left_s > 0
    assert len(system.aws.spooled()) == 1


def test_the_time_runs_out_while_a_relay_answers_and_then_while_pushing(system: System) -> None:
    unhurried(system)
    system.claude().fault = lambda request: Fault(drip_bytes_per_s=20)
    system.receiver().fault = lambda request: Fault(delay_s=LONG_S)
    ended = system.collect(seconds=SECONDS)
    assert ended.error is None
    assert ended.left_s > 0
    [held] = system.aws.spooled()
    assert held.message.snapshot.scrape
    assert not held.message.snapshot.scrape.up


def test_the_time_runs_out_while_spooling(system: System) -> None:
    unhurried(system)
    system.claude()
    system.receiver().fault = lambda request: Fault(delay_s=LONG_S)
    system.aws.faults["SendMessage"] = Fault(delay_s=LONG_S)
    ended = system.collect(seconds=SECONDS)
    assert isinstance(ended.error, NotDelivered)
    assert "SQS gave no answer within the time" in str(ended.error)
    assert ended.left_s > 0


def test_the_time_runs_out_while_the_secret_is_read_anew(system: System) -> None:
    unhurried(system)
    system.claude("refused").fault = lambda request: Fault(status=401)
    system.wyolet("refused-too").fault = lambda request: Fault(status=401)
    system.receiver().fault = lambda request: Fault(status=401)
    assert system.collect(seconds=SECONDS).error is None
    system.aws.faults["GetSecretValue"] = Fault(delay_s=LONG_S)
    ended = system.collect(seconds=SECONDS)
    assert ended.error is None
    assert ended.left_s > 0
    assert len(system.aws.spooled()) == 4


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.5, 1.0])
def test_next_to_no_time(system: System, seconds: float) -> None:
    """What a run then says is at least kept: that there was no time."""
    relay = system.claude()
    system.receiver()
    system.collect(seconds=30)
    asked = relay.server.requests
    ended = system.collect(seconds=seconds)
    assert relay.server.requests == asked
    if ended.error is None:
        [held] = system.aws.spooled()
        assert held.message.snapshot.scrape
        assert not held.message.snapshot.scrape.up
    else:
        assert "SQS gave no answer within the time" in str(ended.error)


@pytest.mark.parametrize(
    "time",
    ["1970-01-01T00:00:01Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "now", [], 1e99],
)
def test_no_time_of_an_event_breaks_a_run(system: System, time: Any) -> None:
    demo = system.serve(for_demo())
    system.secrets.add(ADMIN[1])
    system.secret["relays"] = [{"name": "login", "base_url": demo.url, **LOGIN}]
    token = system.secrets.new("the-administrator-s-token")
    system.wyolet("usage", usage=WyoletUsage(token=token))
    system.listed("usage")["admin_token"] = token
    there = system.receiver()
    ended = system.collect({"time": time})
    assert ended.error is None
    assert [one["up"] for one in ended.answer["relays"]] == [True, True]
    assert [one["error"] for one in ended.answer["relays"]] == [None, None]
    assert ended.destination("default")["error"] is None
    for name in ("login", "usage"):
        # samples follow the function's clock
        assert there.of(relay_name=name)["relay_up"] == [1]
