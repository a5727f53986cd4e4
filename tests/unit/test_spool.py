"""What is written into a queue is read back, whatever it was, and fits into a message."""

from __future__ import annotations

import gzip
import json
import random
import threading
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from relay_metrics import observability
from relay_metrics.deliver import pieces, spool
from relay_metrics.deliver.pieces import By, Piece
from relay_metrics.deliver.spool import MAX_MESSAGE_BYTES, Message, Spool
from relay_metrics.errors import SnapshotError, SpoolError
from relay_metrics.relays.kinds import KINDS
from relay_metrics.snapshot import (
    Failure,
    Reading,
    Scope,
    Scrape,
    Snapshot,
)
from tests.unit.snapshots import families

TEXT = st.text(max_size=8)
NUMBER = st.one_of(st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1))
INSTANT = st.integers(0, 2**42)
LABELS = st.dictionaries(TEXT, TEXT, max_size=3)
READING = st.builds(
    Reading,
    scope=st.sampled_from(Scope),
    fields=st.dictionaries(TEXT, NUMBER, max_size=3),
    attributes=LABELS,
    resource=LABELS,
    start_ms=st.none() | INSTANT,
    time_ms=st.none() | INSTANT,
)
FAMILY = families().filter(lambda family: len(family.series) > 0)
SCRAPE = st.builds(
    Scrape,
    up=st.booleans(),
    duration_s=st.floats(0, 900),
    samples=st.integers(0, 10**9),
    last_success_ms=st.none() | INSTANT,
    failures=st.lists(st.builds(Failure, TEXT, TEXT, st.integers(0, 9)), max_size=3).map(tuple),
    keys_failed=st.integers(0, 9),
    keys_left_out=st.integers(0, 9),
    models_left_out=st.integers(0, 9),
    shard=st.sampled_from(["", "2/4"]),
)
SNAPSHOT = st.builds(
    Snapshot,
    kind=st.sampled_from(tuple(KINDS)),
    relay=TEXT,
    time_ms=INSTANT,
    resource=LABELS,
    scrape=st.none() | SCRAPE,
    readings=st.lists(READING, max_size=6).map(tuple),
    families=st.lists(FAMILY, max_size=3).map(tuple),
)


class Queues:
    """SQS as far as a spool knows it.

    Attributes:
        asked: the operations, in order.
        sent: (queue, body, reason), in order.
        delays: of what was sent.
        receipt: the answer to what is sent.
        policy: the redrive policy of the spool.
    """

    def __init__(self, refuse: Callable[[str], Exception | None] = lambda operation: None) -> None:
        self.asked: list[str] = []
        self.sent: list[tuple[str, str, str | None]] = []
        self.delays: list[int] = []
        self.receipt = {"MessageId": "1"}
        arn = "arn:aws:sqs:eu-central-1:123456789012:dead"
        self.policy = json.dumps({"deadLetterTargetArn": arn})
        self.refuse = refuse

    def get_queue_attributes(self, **asked: Any) -> dict[str, Any]:
        self._maybe("GetQueueAttributes")
        assert asked == {"QueueUrl": "spool", "AttributeNames": ["RedrivePolicy"]}
        return {"Attributes": {"RedrivePolicy": self.policy}}

    def get_queue_url(self, **asked: str) -> dict[str, str]:
        self._maybe("GetQueueUrl")
        assert asked == {"QueueName": "dead", "QueueOwnerAWSAccountId": "123456789012"}
        return {"QueueUrl": "dead"}

    def send_message(self, **sent: Any) -> dict[str, str]:
        self._maybe("SendMessage")
        body, reason = sent["MessageBody"], None
        size = len(body.encode())
        for name, attribute in sent["MessageAttributes"].items():
            assert (name, attribute["DataType"]) == ("reason", "String")
            reason = attribute["StringValue"]
            assert reason, "SQS takes no empty attribute"
            size += len(name) + len("String") + len(reason.encode())
        assert size <= MAX_MESSAGE_BYTES
        self.sent.append((sent["QueueUrl"], body, reason))
        self.delays.append(sent["DelaySeconds"])
        return self.receipt

    def change_message_visibility(self, **asked: Any) -> None:
        self._maybe("ChangeMessageVisibility")
        assert asked == {"QueueUrl": "spool", "ReceiptHandle": "handle", "VisibilityTimeout": 60}

    def _maybe(self, operation: str) -> None:
        self.asked.append(operation)
        if error := self.refuse(operation):
            raise error


def spool_of(queues: Queues) -> Spool:
    return Spool("spool", queues)  # type: ignore[arg-type]


def plain(snapshot: Snapshot) -> Any:
    """A snapshot for comparison: sequences and mappings of any type are alike."""
    return json.loads(snapshot.dump())


def figures(parts: Sequence[Snapshot]) -> Counter[str]:
    """Every figure that several snapshots have, with all that belongs to it."""
    parts = [Snapshot.load(part.dump()) for part in parts]
    return Counter(
        [
            repr((one._replace(fields={path: value}), part.time_ms, part.resource))
            for part in parts
            for one in part.readings
            for path, value in one.fields.items()
        ]
        + [
            repr((family.name, family.type, family.help, one, part.time_ms, part.resource))
            for part in parts
            for family in part.families
            for one in family.series
        ]
    )


def singles(message: Message) -> list[Message]:
    """A message for each single figure of a snapshot."""
    if not message.piece.split(By.SIZE):
        return [message]
    return [
        single
        for half in message.piece.split(By.SIZE)
        for single in singles(Message(message.destination, half))
    ]


@given(TEXT, SNAPSHOT)
@hypothesis_settings(deadline=None)
def test_a_message_is_read_back(destination: str, snapshot: Snapshot) -> None:
    body = Message(destination, Piece(snapshot)).dump()
    assert body is not None
    assert body.isascii()
    read = Message.load(body)
    assert read.destination == destination
    assert plain(read.snapshot) == plain(snapshot)


def test_a_message_shows_people_what_it_is() -> None:
    snapshot = Snapshot("claude-relay", "tëam", 1_700_000_000_123, {})
    body = json.loads(str(Message("default", Piece(snapshot)).dump()))
    assert body.keys() == {"destination", "relay", "time", "snapshot"}
    assert (body["destination"], body["relay"]) == ("default", "tëam")
    assert body["time"] == "2023-11-14T22:13:20.123+00:00"
    # as docs/failures.md has it: base64 -d | gunzip | jq
    shown = json.loads(gzip.decompress(b64decode(body["snapshot"])))
    assert shown["time_ms"] == snapshot.time_ms


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_a_message_or_an_error_of_ours(text: str) -> None:
    with pytest.raises(SnapshotError):
        Message.load(text)


GOOD = json.loads(str(Message("d", Piece(Snapshot("claude-relay", "r", 0, {}))).dump()))


def packed(data: bytes) -> str:
    return b64encode(gzip.compress(data)).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"destination": 1},
        {"destination": None},
        {"snapshot": "!"},
        {"snapshot": "ä"},
        {"snapshot": None},
        {"snapshot": b64encode(b"no gzip").decode()},
        {"snapshot": b64encode(gzip.compress(b"{}")[:-9]).decode()},
        {"snapshot": packed(b"{}")},
        {"snapshot": packed(b"[" * 100_000)},
        {"snapshot": packed(b'{"schema":2}')},
        {"snapshot": packed(bytes(65 << 20))},
        {"snapshot": packed(b'{"schema":1,"kind":"claude-relay","relay":"r","time_ms":1e3}')},
    ],
)
def test_a_damaged_message(change: dict[str, Any]) -> None:
    Message.load(json.dumps(GOOD))
    with pytest.raises(SnapshotError):
        Message.load(json.dumps({**GOOD, **change}))


@given(SNAPSHOT, st.integers(600, 4000))
@hypothesis_settings(deadline=None)
def test_what_is_too_large_is_split_and_says_the_same(snapshot: Snapshot, most: int) -> None:
    queues = Queues()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "MAX_MESSAGE_BYTES", most)
        patch.setattr(spool, "_ROOM_FOR_REASON", 0)
        try:
            spool_of(queues).put(Message("d", Piece(snapshot)))
        except SpoolError:
            assert any(part.dump() is None for part in singles(Message("d", Piece(snapshot))))
            return
    parts = [Message.load(body) for _, body, _ in queues.sent]
    assert all(len(body) <= most for _, body, _ in queues.sent)
    assert all(part.snapshot.time_ms == snapshot.time_ms for part in parts)
    carried = None if snapshot.scrape is None else snapshot.scrape.to_carry()
    assert [part.snapshot.scrape for part in parts[1:]] == [carried] * (len(parts) - 1)
    assert figures([part.snapshot for part in parts]) == figures([snapshot])


def readings(count: int, text: Callable[[int], str]) -> tuple[Reading, ...]:
    return tuple(Reading(Scope.KEY, {"usage": at}, {"model": text(at)}) for at in range(count))


def noise(at: int) -> str:
    """A text that gzip makes little of."""
    return b64encode(random.Random(at).randbytes(150)).decode()


def test_a_large_snapshot_fits_in_messages_of_their_real_size() -> None:
    snapshot = Snapshot("claude-relay", "r", 0, {}, Scrape(True, 1), readings(12_000, noise))
    queues = Queues()
    spool_of(queues).put(Message("d", Piece(snapshot)))
    assert len(queues.sent) > 1
    assert figures([Message.load(body).snapshot for _, body, _ in queues.sent]) == figures(
        [snapshot]
    )


def test_what_unfolds_to_more_than_a_reader_takes_is_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces, "MAX_SNAPSHOT_BYTES", 100_000)
    snapshot = Snapshot("claude-relay", "r", 0, {}, None, readings(5000, lambda _: "x" * 50))
    queues = Queues()
    spool_of(queues).put(Message("d", Piece(snapshot)))
    assert figures([Message.load(body).snapshot for _, body, _ in queues.sent]) == figures(
        [snapshot]
    )


@pytest.mark.parametrize(("room", "messages"), [(4096, 1), (4095, 2)])
def test_a_message_leaves_room_for_a_reason(
    monkeypatch: pytest.MonkeyPatch, room: int, messages: int
) -> None:
    message = Message("d", Piece(Snapshot("claude-relay", "r", 0, {}, None, readings(2, str))))
    monkeypatch.setattr(spool, "MAX_MESSAGE_BYTES", len(str(message.dump())) + room)
    queues = Queues()
    spool_of(queues).put(message)
    assert len(queues.sent) == messages


def test_a_reading_that_is_larger_than_a_message() -> None:
    huge = "".join(noise(at) for at in range(8000))
    others = readings(3, str)
    listed = [others[0], *readings(1, lambda _: huge), *others[1:]]
    snapshot = Snapshot("claude-relay", "r", 0, {}, None, listed)
    queues = Queues()
    with pytest.raises(SpoolError, match="a single figure is larger"):
        spool_of(queues).put(Message("d", Piece(snapshot)))
    kept = [Message.load(body).snapshot for _, body, _ in queues.sent]
    assert figures(kept) == figures([replace(snapshot, readings=others)]), "all but that one"


# -- the queues -----------------------------------------------------------------------------------

ANY = Message("d", Piece(Snapshot("claude-relay", "r", 0, {})))


def test_what_is_put_is_there_at_once_or_after_a_while() -> None:
    queues = Queues()
    spool_of(queues).put(ANY)
    spool_of(queues).put(ANY, 60)
    assert queues.sent == [("spool", ANY.dump(), None)] * 2
    assert queues.delays == [0, 60]


def test_what_is_buried_has_its_reason() -> None:
    queues = Queues()
    one = spool_of(queues)
    one.bury(ANY, "answered 400\n(no\x00 database)")
    one.bury_body("no message", "no message")
    assert queues.sent == [
        ("dead", ANY.dump(), "answered 400 (no  database)"),
        ("dead", "no message", "no message"),
    ]
    assert queues.delays == [0, 0]
    assert queues.asked.count("GetQueueUrl") == 1, "the queue is found once"


def test_a_queue_that_gives_no_receipt() -> None:
    queues = Queues()
    queues.receipt = {}
    with pytest.raises(SpoolError, match=r"^SQS did not take a message \(no receipt\)$"):
        spool_of(queues).put(ANY)


@pytest.mark.parametrize(
    "policy", ["", "{", "[]", "7", "{}", '{"deadLetterTargetArn":7}', '{"deadLetterTargetArn":"a"}']
)
def test_a_redrive_policy_of_something_else(policy: str) -> None:
    queues = Queues()
    queues.policy = policy
    with pytest.raises(SpoolError, match=r"^SQS did not name the dead-letter queue$"):
        spool_of(queues).bury_body("body", "a reason")
    assert queues.sent == []


COUNTS = {
    "ApproximateNumberOfMessages": "1",
    "ApproximateNumberOfMessagesNotVisible": "20",
    "ApproximateNumberOfMessagesDelayed": "300",
}


def counting(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Spool:
    """A spool whose queues answer so where they are asked how many messages they hold."""
    queues = Queues()
    redrive_policy = queues.get_queue_attributes

    def attributes(**asked: Any) -> Any:
        if asked["AttributeNames"] == ["RedrivePolicy"]:
            return redrive_policy(**asked)
        assert asked["AttributeNames"] == [*COUNTS]
        if isinstance(answer, Exception):
            raise answer
        return answer[asked["QueueUrl"]]

    monkeypatch.setattr(queues, "get_queue_attributes", attributes)
    return spool_of(queues)


def test_how_many_messages_the_queues_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = {**COUNTS, "ApproximateNumberOfMessages": "5"}
    both = counting(monkeypatch, {"spool": {"Attributes": COUNTS}, "dead": {"Attributes": dead}})
    assert (both.waiting(), both.buried()) == (321, 325)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"spool": {}}, "no counts"),
        ({"spool": {"Attributes": {}}}, "no counts"),
        ({"spool": {"Attributes": dict.fromkeys(COUNTS, "many")}}, "no counts"),
        (ClientError({"Error": {"Code": "AccessDenied"}}, ""), "AccessDenied"),
        (EndpointConnectionError(endpoint_url="https://secret"), "EndpointConnectionError"),
    ],
)
def test_a_queue_that_does_not_say_how_many(
    monkeypatch: pytest.MonkeyPatch, answer: Any, says: str
) -> None:
    with pytest.raises(SpoolError) as caught:
        counting(monkeypatch, answer).waiting()
    assert str(caught.value) == f"SQS did not describe the queue ({says})"
    assert caught.value.__suppress_context__


def test_a_reason_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observability, "_hidden", set())
    observability.hide(["correct-horse"])
    queues = Queues()
    spool_of(queues).bury(ANY, "you sent correct-horse")
    assert queues.sent[0][2] == "you sent ***"


@pytest.mark.parametrize(
    ("size", "character", "reason"),
    [
        (MAX_MESSAGE_BYTES, "y", None),
        (MAX_MESSAGE_BYTES - 12, "y", None),
        (MAX_MESSAGE_BYTES - 12, "\xfc", None),
        (MAX_MESSAGE_BYTES - 15, "\xfc", "\xfc"),
        (MAX_MESSAGE_BYTES - 5000, "\xfc", "\xfc" * 1000),
    ],
)
@pytest.mark.parametrize("letter", ["x", "\xe4"])
def test_a_body_as_large_as_a_message_leaves_less_for_the_reason(
    size: int, character: str, reason: str | None, letter: str
) -> None:
    queues = Queues()
    body = "x" * (size % 2) + letter * (size // 2) + ("x" * (size // 2) if letter == "x" else "")
    spool_of(queues).bury_body(body, character * 2000)
    assert queues.sent == [("dead", body, reason)]


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "a secret"}}, "SendMessage")


@pytest.mark.parametrize("operation", ["SendMessage", "GetQueueAttributes", "GetQueueUrl"])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (client_error("AccessDenied"), "SQS did not take a message (AccessDenied)"),
        (
            EndpointConnectionError(endpoint_url="https://secret"),
            "SQS did not take a message (EndpointConnectionError)",
        ),
    ],
)
def test_a_queue_that_refuses(operation: str, error: Exception, says: str) -> None:
    queues = Queues(lambda asked: error if asked == operation else None)
    with pytest.raises(SpoolError) as caught:
        spool_of(queues).bury(ANY, "a reason")
    assert str(caught.value) == says
    assert caught.value.__suppress_context__


def test_a_spool_without_a_dead_letter_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Queues()
    monkeypatch.setattr(queues, "get_queue_attributes", lambda **_: {})
    with pytest.raises(SpoolError, match="the spool has no dead-letter queue"):
        spool_of(queues).bury(ANY, "a reason")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (client_error("ReceiptHandleIsInvalid"), "ReceiptHandleIsInvalid"),
        (EndpointConnectionError(endpoint_url="https://secret"), "EndpointConnectionError"),
    ],
)
def test_a_message_that_cannot_be_postponed(error: Exception, says: str) -> None:
    queues = Queues()
    spool_of(queues).postpone("handle", 60)
    queues.refuse = lambda asked: error
    with pytest.raises(SpoolError) as caught:
        spool_of(queues).postpone("handle", 60)
    assert str(caught.value) == f"SQS did not postpone a message ({says})"
    assert caught.value.__suppress_context__


def test_many_threads_make_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Queues] = []
    begin = threading.Barrier(8)

    def make(service: str, config: object) -> Queues:
        made.append(Queues())
        return made[-1]

    monkeypatch.setattr(boto3, "client", make)
    shared = Spool("spool")

    def put() -> None:
        begin.wait(10)
        shared.put(ANY)

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [only] = made
    assert len(only.sent) == 8
