"""What waits in the spool: delivered with its own instant, later, or put where a person looks."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

from local.http_server import Fault
from local.relay import ClaudeRelay, Key, Limits, many_keys
from relay_metrics.deliver.pieces import Piece
from relay_metrics.deliver.spool import MAX_MESSAGE_BYTES, Message
from relay_metrics.errors import SecretError, SettingsError
from relay_metrics.snapshot import SCHEMA, Reading, Scope, Snapshot
from tests.integration.conftest import System, contents
from tests.integration.receiver import Receiver

REFUSED = Fault(status=404)
MINUTE_NS = 60_000_000_000
START_NS = 1_780_000_000 * 1_000_000_000


def spooled(system: System, ticks: int, *unavailable: Receiver) -> None:
    """Collect so many minutes while destinations refuse what they are sent."""
    for receiver in unavailable:
        receiver.fault = lambda request: REFUSED
    for tick in range(ticks):
        system.clock = lambda tick=tick: START_NS + tick * MINUTE_NS  # type: ignore[misc]
        assert system.collect().error is None
    for receiver in unavailable:
        receiver.requests.clear()


def refusing(system: System, ticks: int = 1) -> Receiver:
    """A destination that has refused so many minutes of a relay, and still does."""
    system.claude()
    there = system.receiver()
    spooled(system, ticks, there)
    return there


def rejected(system: System) -> list[float]:
    """How many data points the last invocation counted as rejected."""
    lines = [json.loads(line) for line in system.printed().splitlines()]
    return [count for line in lines for count in line.get("PointsRejected", [])]


def packed(data: bytes) -> str:
    return b64encode(gzip.compress(data)).decode()


def test_each_message_is_delivered_with_its_own_instant(system: System) -> None:
    there = refusing(system, 3)
    there.fault = None
    ended = system.redrive()
    assert ended.answer == {"batchItemFailures": []}
    assert system.aws.spooled() == []
    instants = {instant for _, instant in there.points}
    assert instants == {START_NS + tick * MINUTE_NS for tick in range(3)}
    assert len(system.lines("redriven")) == 3


def test_after_the_first_passing_failure_the_rest_for_that_destination_is_not_tried(
    system: System,
) -> None:
    system.claude()
    busy = system.receiver("busy")
    well = system.receiver("well")
    spooled(system, 4, busy, well)
    well.fault = None

    event = system.aws.event()
    ended = system.redrive(event)

    assert len(event["Records"]) == 8
    assert len(busy.requests) == 1
    assert len(well.of()["relay_up"]) == 4
    system.aws.settle(event, ended.answer)
    left = system.aws.spooled()
    assert [held.message.destination for held in left] == ["busy"] * 4
    # 60 s ± 20 %, and the time that the test took since
    assert all(20 < held.waits_s <= 72 for held in left), "those not tried wait as well"


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_what_an_operator_or_time_can_mend_stays_in_the_spool(system: System, status: int) -> None:
    there = refusing(system)
    # an hour is more than an invocation has, so that it does not try again by itself
    there.fault = lambda request: Fault(status=status, headers={"Retry-After": "3600"})
    assert len(system.redrive().answer["batchItemFailures"]) == 1
    assert len(system.aws.spooled()) == 1
    assert system.aws.dead() == []


def test_a_message_waits_by_its_receive_count(system: System) -> None:
    there = refusing(system)
    for rule in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        system.aws.let_time_pass()
        assert system.redrive().answer["batchItemFailures"]
        [held] = system.aws.spooled()
        assert 0.8 * rule - 30 < held.waits_s <= 1.2 * rule
    there.fault = None
    system.drain()
    assert len(there.of()["relay_up"]) == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=400, body=b'{"error":"no database"}'), "answered 400 (no database)"),
        (Fault(status=500, body=b'{"error":"incompatible existing tables"}'), "incompatible"),
        (Fault(status=413), "413 for what cannot be split further"),
    ],
)
def test_what_can_never_succeed_goes_to_the_dead_letter_queue(
    system: System, fault: Fault, says: str
) -> None:
    there = refusing(system, 2)
    before = [held.body for held in system.aws.spooled()]
    there.fault = lambda request: fault
    system.printed()
    assert system.redrive().answer == {"batchItemFailures": []}
    assert system.aws.spooled() == []
    assert [held.body for held in system.aws.dead()] == before, "as it was"
    assert rejected(system) == [sum(held.message.piece.points for held in system.aws.dead())]
    for held in system.aws.dead():
        assert str(held.reason).startswith("destination default: ")
        assert says in str(held.reason)


def test_points_that_are_rejected_are_counted_and_not_sent_again(system: System) -> None:
    there = refusing(system, 2)
    partly = b'{"partialSuccess":{"rejectedDataPoints":"2","errorMessage":"too old"}}'
    there.fault = lambda request: Fault(body=partly)
    system.printed()
    assert system.redrive().answer == {"batchItemFailures": []}
    assert rejected(system) == [4]
    assert len(there.requests) == 2
    assert system.aws.spooled() == system.aws.dead() == []


def test_a_destination_that_no_longer_exists(system: System) -> None:
    system.claude()
    gone = system.receiver("gone")
    there = system.receiver()
    spooled(system, 1, gone)
    del system.secret["destinations"]
    system.put_secret()
    assert system.redrive().answer == {"batchItemFailures": []}
    [held] = system.aws.dead()
    assert held.reason == "destination gone: there is no destination of this name any more"
    assert len(there.of()["relay_up"]) == 1


def test_a_destination_whose_name_is_mistyped_in_the_secret(system: System) -> None:
    system.claude()
    there = system.receiver("there")
    spooled(system, 1, there)
    [entry] = system.secret["destinations"]
    entry["nmae"] = entry.pop("name")
    system.put_secret()
    assert len(system.redrive().answer["batchItemFailures"]) == 1
    assert system.aws.dead() == []
    entry["name"] = entry.pop("nmae")
    there.fault = None
    system.put_secret()
    system.aws.let_time_pass()
    assert system.redrive().answer == {"batchItemFailures": []}
    assert len(there.of()["relay_up"]) == 1


def test_a_destination_that_was_added_a_moment_ago(system: System) -> None:
    """The redriver's copy of the secret is older than the message."""
    there = refusing(system)
    there.fault = None
    system.redrive()
    added = system.receiver("added")
    added.fault = lambda request: Fault(status=404)
    system.put_secret()
    system._apps.pop("collector")
    system.collect()
    added.fault = None
    assert system.redrive().answer == {"batchItemFailures": []}
    assert len(added.of()["relay_up"]) == 1
    assert system.aws.dead() == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "7",
        "[]",
        "{}",
        '{"destination":["default"],"snapshot":"H4sIAAAAAAAA"}',
        '{"destination":"default"}',
        '{"destination":"default","snapshot":"H4sIAAAAAAAA"}',
        "[" * 100_000,
        "x" * (MAX_MESSAGE_BYTES - 5),
    ],
    ids=[
        *("empty", "text", "number", "list", "nothing", "destinations"),
        *("no snapshot", "cut", "deep", "large"),
    ],
)
def test_a_body_that_cannot_be_read(system: System, body: str) -> None:
    there = refusing(system)
    there.fault = None
    event = system.aws.event()
    system.aws.sqs.send_message(QueueUrl=system.aws.spool_url, MessageBody=body or " ")
    event["Records"] += system.aws.event()["Records"]
    assert len(event["Records"]) == 2
    assert system.redrive(event).answer == {"batchItemFailures": []}
    [held] = system.aws.dead()
    assert held.body == (body or " ")
    assert held.reason in ("the message is none of ours, or damaged", None)
    assert (held.reason is None) == (len(body) > MAX_MESSAGE_BYTES - 13)
    assert len(there.of()["relay_up"]) == 1


def test_half_a_character_costs_no_point_its_key(system: System) -> None:
    """JSON can write it, protobuf cannot."""
    there = refusing(system)
    there.fault = None
    [held] = system.aws.spooled()
    whole = held.message.snapshot
    odd = Reading(Scope.KEY, {"usage.total.requests": 1}, resource={"relay.key.id": "ODD"})
    written = replace(whole, readings=(*whole.readings, odd)).dump().replace(b"ODD", rb"\ud800")
    event = system.aws.event()
    [record] = event["Records"]
    record["body"] = json.dumps({**json.loads(record["body"]), "snapshot": packed(written)})
    assert system.redrive(event).answer == {"batchItemFailures": []}
    assert there.of(**{"relay.key.id": "\ufffd"})["relay_requests_total"] == [1]


def test_a_snapshot_of_a_newer_release(system: System) -> None:
    system.claude()
    system.receiver()
    message = Message("default", Piece(Snapshot("claude-relay", "r", 0, {})))
    newer = message.snapshot.dump().replace(
        f'"schema":{SCHEMA}'.encode(), f'"schema":{SCHEMA + 1}'.encode()
    )
    body = json.loads(str(message.dump()))
    body["snapshot"] = packed(newer)
    system.aws.sqs.send_message(QueueUrl=system.aws.spool_url, MessageBody=json.dumps(body))
    assert system.redrive().answer == {"batchItemFailures": []}
    [held] = system.aws.dead()
    assert held.reason == f"the snapshot has a schema other than 1 to {SCHEMA}"


def test_the_dead_letter_queue_is_out_of_reach(system: System) -> None:
    there = refusing(system)
    there.fault = lambda request: Fault(status=400)
    system.aws.faults["SendMessage"] = Fault(status=500)
    assert len(system.redrive().answer["batchItemFailures"]) == 1
    [held] = system.aws.spooled()
    assert 20 < held.waits_s <= 72


def test_a_message_that_cannot_be_postponed_comes_back_all_the_same(system: System) -> None:
    refusing(system)
    system.aws.faults["ChangeMessageVisibility"] = Fault(status=500)
    assert len(system.redrive().answer["batchItemFailures"]) == 1
    [held] = system.aws.spooled()
    assert 300 < held.waits_s <= 360, "at the end of its visibility"
    assert len(system.lines("a message comes back early")) == 1


@pytest.mark.parametrize(
    ("secret", "error"),
    [(None, SecretError), ("{", SettingsError), ('{"destinations":1}', SettingsError)],
)
def test_no_settings_to_go_by(system: System, secret: str | None, error: type[Exception]) -> None:
    """All messages come back, by the same rule, so that an outage of days loses none."""
    refusing(system, 2)
    if secret is None:
        system.aws.faults["GetSecretValue"] = Fault(status=400)
    else:
        system.aws.put_secret(secret)
    assert isinstance(system.redrive().error, error)
    left = system.aws.spooled()
    assert len(left) == 2
    assert all(20 < held.waits_s <= 72 for held in left)


@pytest.mark.parametrize("relays", [[{"name": "no address"}], [], "none"])
def test_what_is_wrong_with_relays_does_not_keep_what_they_said(
    system: System, relays: object
) -> None:
    there = refusing(system)
    there.fault = None
    system.aws.put_secret({**system.secret, "relays": relays})
    assert system.redrive().answer == {"batchItemFailures": []}
    assert len(there.of()["relay_up"]) == 1


@pytest.mark.parametrize("lacking", ["attributes", "receiptHandle", "body"])
def test_a_record_that_lacks_something(system: System, lacking: str) -> None:
    refusing(system)
    event = system.aws.event()
    [record] = event["Records"]
    del record[lacking]
    answer = system.redrive(event).answer
    if lacking == "body":
        assert answer == {"batchItemFailures": []}
        assert len(system.aws.dead()) == 1
    else:
        assert answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}


@pytest.mark.parametrize("attributes", [None, [], {}, {"ApproximateReceiveCount": "often"}])
def test_a_record_with_odd_attributes(system: System, attributes: object) -> None:
    refusing(system)
    event = system.aws.event()
    [record] = event["Records"]
    record["attributes"] = attributes
    answer = system.redrive(event).answer
    assert answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    [held] = system.aws.spooled()
    assert 20 < held.waits_s <= 72


@pytest.mark.parametrize(
    "event", [{}, None, [], {"Records": None}, {"Records": [7]}, {"Records": [{"s3": {}}]}]
)
def test_an_event_of_something_else(system: System, event: Any) -> None:
    system.claude()
    system.receiver()
    ended = system.redrive({} if event is None else event)
    assert isinstance(ended.error, SettingsError)
    assert "must be one of SQS" in str(ended.error)


def test_the_redriver_without_a_queue(system: System) -> None:
    system.environment["SPOOL_QUEUE_URL"] = ""
    ended = system.redrive({"Records": []})
    assert "SPOOL_QUEUE_URL is not set" in str(ended.error)


def test_the_time_of_the_redriver_runs_out(system: System) -> None:
    system.claude()
    hanging = system.receiver("hanging")
    well = system.receiver("well")
    spooled(system, 2, hanging, well)
    hanging.fault = lambda request: Fault(delay_s=30)
    well.fault = None
    system.environment["OTEL_TIMEOUT_MS"] = "60000"
    ended = system.redrive(system.aws.event(), seconds=8)
    assert ended.error is None
    assert ended.left_s > 0
    assert len(ended.answer["batchItemFailures"]) >= 2


def test_a_destination_that_hangs_leaves_the_next_message_its_time(system: System) -> None:
    system.claude()
    hanging = system.receiver("hanging")
    well = system.receiver("well")
    spooled(system, 1, hanging, well)
    hanging.fault = lambda request: Fault(delay_s=30)
    well.fault = None
    event = system.aws.event()
    event["Records"].sort(key=lambda record: '"hanging"' not in record["body"])
    first, _ = event["Records"]
    ended = system.redrive(event, seconds=8)
    assert ended.answer == {"batchItemFailures": [{"itemIdentifier": first["messageId"]}]}
    assert len(well.of()["relay_up"]) == 1


def test_the_last_message_is_given_all_the_time_that_is_left(system: System) -> None:
    system.claude()
    quick = system.receiver("quick")
    slow = system.receiver("slow")
    spooled(system, 1, quick, slow)
    quick.fault = None
    slow.fault = lambda request: Fault(delay_s=5)  # half of what 12 s leave for pushes is 4.8 s
    event = system.aws.event()
    event["Records"].sort(key=lambda record: '"slow"' in record["body"])
    assert system.redrive(event, seconds=12).answer == {"batchItemFailures": []}
    assert len(slow.of()["relay_up"]) == 1


def test_a_database_slower_than_a_push_of_the_collector_is_given_what_there_is(
    system: System,
) -> None:
    system.claude()
    slow = system.receiver()
    spooled(system, 2, slow)
    slow.fault = lambda request: Fault(delay_s=0.6)
    system.environment["OTEL_TIMEOUT_MS"] = "300"
    assert system.redrive().answer == {"batchItemFailures": []}
    assert system.aws.spooled() == []
    assert len(slow.of()["relay_up"]) == 2


def test_one_foreign_table_costs_a_spooled_snapshot_only_its_own_rows(system: System) -> None:
    system.claude()
    db = system.database()
    assert system.collect().error is None
    db.sql("DROP TABLE relay_requests_total")
    db.sql(
        "CREATE TABLE relay_requests_total"
        " (greptime_timestamp TIMESTAMP_NS, greptime_value DOUBLE, tag VARCHAR)"
    )
    db.fault = lambda request: REFUSED
    assert system.collect().destination("default")["spooled"] > 0
    db.fault = None
    system.printed()
    assert system.redrive().answer == {"batchItemFailures": []}
    assert rejected(system) == [1]
    assert system.aws.spooled() == []
    [held] = system.aws.dead()
    assert held.message.snapshot.metrics == (("key", "usage.total.requests"),)
    assert "incompatible existing tables" in str(held.reason)
    assert len(contents(db)["relay_tokens_total"]) == 2
    assert contents(db)["relay_requests_total"] == []


# -- the same series, whoever reads ---------------------------------------------------------------


def test_a_changed_environment_makes_the_same_series(system: System) -> None:
    relay = system.claude()
    system.wyolet()
    twin, there = system.receiver("twin"), system.receiver("there")
    spooled(system, 1, there)
    there.fault = None

    system.environment |= {
        "RELAY_ENVIRONMENT": "elsewhere",
        "RELAY_KIND": "wyolet-relay",
        "RELAY_METRICS_PERIOD": "daily",
        "RELAY_UTC_OFFSET_HOURS": "-3",
        "OTEL_SERVICE_NAME": "other",
        "OTEL_SERVICE_NAMESPACE": "other",
        "OTEL_SERVICE_VERSION": "9",
        "OTEL_RESOURCE_ATTRIBUTES": "team=other",
        "RELAY_MAX_KEYS": "1",
    }
    system.secret["relays"] = [
        {"name": "another", "kind": "claude-relay", "base_url": relay.url, "api_ids": ["other"]}
    ]
    system.put_secret()
    system.restart()
    assert system.redrive().answer == {"batchItemFailures": []}
    assert there.points == twin.points


def test_a_snapshot_of_many_keys_in_several_messages(system: System) -> None:
    keys = many_keys(300)
    relay = system.serve(ClaudeRelay(keys))
    relay.tick()
    listed = {"name": "big", "base_url": relay.url, "api_ids": [key.id for key in keys]}
    system.secret["relays"] = [listed]
    twin, there = system.receiver("twin"), system.receiver("there")
    there.fault = lambda request: Fault(status=404)
    system.monkeypatch.setattr("relay_metrics.deliver.spool.MAX_MESSAGE_BYTES", 12_000)
    ended = system.collect()
    assert ended.destination("there")["spooled"] == len(twin.points)
    messages = system.aws.spooled()
    assert len(messages) > 2
    assert all(len(held.body) <= 12_000 for held in messages)
    there.fault = None
    system.drain()
    assert there.points == twin.points


@pytest.mark.parametrize("queue", [True, False], ids=["SQS", "no SQS"])
def test_what_is_left_of_a_message_that_was_taken_in_part_comes_back(
    system: System, queue: bool
) -> None:
    system.claude()
    twin, there = system.receiver("twin"), system.receiver("there")
    spooled(system, 1, there)
    [before] = system.aws.spooled()
    answers = [Fault(status=413), None]
    there.fault = lambda request: answers.pop(0) if answers else REFUSED
    if not queue:
        system.aws.faults["SendMessage"] = Fault(status=500)

    assert len(system.redrive().answer["batchItemFailures"]) == (0 if queue else 1)

    taken = len(there.points)
    assert 0 < taken < len(twin.points)
    held = system.aws.spooled()
    assert ([one.body for one in held] == [before.body]) is not queue
    assert all(20 < one.waits_s <= 72 for one in held)
    left = sum(one.message.piece.points for one in held)
    assert left == len(twin.points) - (taken if queue else 0)
    assert len(system.lines("a message comes back whole")) == (0 if queue else 1)
    system.aws.faults.clear()
    there.fault = None
    system.drain()
    assert there.points == twin.points
    assert system.aws.dead() == []


def test_413_splits_what_was_spooled(system: System) -> None:
    system.claude()
    twin, there = system.receiver("twin"), system.receiver("there")
    spooled(system, 1, there)
    there.fault = lambda request: Fault(status=413) if len(request.body) > 900 else None
    assert system.redrive().answer == {"batchItemFailures": []}
    assert len(there.requests) > 3
    assert there.points == twin.points


def test_incompatible_tables_of_a_real_store(system: System) -> None:
    """An operator's own table under a metric's name; it is dropped, and the message moved back."""
    limits = Limits(rate_limit_window=60)
    system.claude().add(Key(name="second", limits=limits))
    db = system.database()
    assert system.collect().error is None
    db.sql("DROP TABLE relay_up")
    db.sql(
        "CREATE TABLE relay_up"
        " (greptime_timestamp TIMESTAMP_MS, greptime_value DOUBLE, tag VARCHAR)"
    )
    ended = system.collect()
    assert "incompatible existing tables" in ended.destination("default")["error"]
    [held] = system.aws.dead()
    assert "incompatible existing tables" in str(held.reason)
    db.sql("DROP TABLE relay_up")
    system.aws.bring_back()
    system.drain()
    assert len(contents(db)["relay_up"]) == 1
    assert len(contents(db)["relay_requests_total"]) == 2
