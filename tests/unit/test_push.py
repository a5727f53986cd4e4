"""What a destination answers, and what is then true of the points."""

from __future__ import annotations

import gzip
import json
import math
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from local.http_server import Fault, HttpServer, Request, Response
from relay_metrics import observability
from relay_metrics.deadline import Deadline
from relay_metrics.deliver import pieces
from relay_metrics.deliver import push as deliver
from relay_metrics.deliver.answers import MOST_READ
from relay_metrics.deliver.delivery import MOST_REFUSALS, Outcome, push
from relay_metrics.deliver.pieces import Piece
from relay_metrics.deliver.push import Sender
from relay_metrics.errors import Impossible, Incompatible, PushError, Refused, Unavailable
from relay_metrics.families import Family, FamilyType, Series
from relay_metrics.net.http import Client
from relay_metrics.settings import Destination
from relay_metrics.snapshot import (
    Reading,
    Scope,
    Scrape,
    Snapshot,
)
from tests.otlp import attributes_of, points

PROTOBUF = "application/x-protobuf"
TIME_MS = 1_800_000_000_000


def piece(points: int = 3, scrape: Scrape | None = None, **families: int) -> Piece:
    """So many readings of a data point each, and families of so many series."""
    readings = [
        Reading(Scope.KEY, {"usage.total.requests": at}, {}, {"relay.key.id": str(at)})
        for at in range(points)
    ]
    delivered = [
        Family.of(
            name, FamilyType.GAUGE, "", tuple(Series({"n": str(at)}, at) for at in range(count))
        )
        for name, count in families.items()
    ]
    return Piece(Snapshot("claude-relay", "main", TIME_MS, {}, scrape, readings, delivered))


def sent(body: bytes) -> Counter[str]:
    """The points of a request, a line each."""
    return Counter(points([ExportMetricsServiceRequest.FromString(gzip.decompress(body))]))


def names(body: bytes) -> Counter[str]:
    """How many points of each metric there are in a request."""
    request = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
    return Counter(
        metric.name
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for _ in getattr(metric, str(metric.WhichOneof("data"))).data_points
    )


# -- a destination --------------------------------------------------------------------------------


class Receiver:
    """Answers a request by what the test says, and keeps what it got."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Response] = lambda request: Response(content_type=PROTOBUF)
        self.server = HttpServer(self._answer)

    def _answer(self, request: Request) -> Response:
        self.requests.append(request)
        return self.answer(request)

    @property
    def destination(self) -> Destination:
        return Destination("there", self.server.url, {"Authorization": "Basic one"})

    def push(
        self,
        what: Piece | None = None,
        renew: Callable[[], Destination | None] = lambda: None,
        seconds: float = 60,
        slept: list[float] | None = None,
        **changes: Any,
    ) -> Outcome:
        destination = Destination(**{**vars(self.destination), **changes})
        pauses = [] if slept is None else slept
        sender = Sender(destination, Client(), Deadline.after(seconds), renew, sleep=pauses.append)
        return push(what or piece(), sender)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with receiver.server:
        yield receiver
        assert receiver.server.errors == []


def answering(*answers: Response) -> Callable[[Request], Response]:
    """Each in turn, then the last one for ever."""
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def test_a_request(receiver: Receiver) -> None:
    outcome = receiver.push()
    assert outcome == Outcome(pushed=3)
    [request] = receiver.requests
    assert request.method == "POST"
    assert request.headers["content-type"] == PROTOBUF
    assert request.headers["content-encoding"] == "gzip"
    assert request.headers["authorization"] == "Basic one"
    assert sum(sent(request.body).values()) == 3


@pytest.mark.parametrize(
    ("configured", "sent"),
    [
        ({}, {"x-greptime-otlp-metric-promote-all-resource-attrs": "true"}),
        (
            {"X-Greptime-OTLP-Metric-Promote-All-Resource-Attrs": "false"},
            {"x-greptime-otlp-metric-promote-all-resource-attrs": "false"},
        ),
        (
            {"X-Greptime-OTLP-Metric-Ignore-Resource-Attrs": "a;b"},
            {
                "x-greptime-otlp-metric-promote-all-resource-attrs": "true",
                "x-greptime-otlp-metric-ignore-resource-attrs": "a;b",
            },
        ),
    ],
    ids=["nothing", "the same", "another"],
)
def test_all_attributes_are_promoted_unless_configuration_says_otherwise(
    receiver: Receiver, configured: dict[str, str], sent: dict[str, str]
) -> None:
    receiver.push(headers=configured)
    [request] = receiver.requests
    of_greptimedb = {
        name: text for name, text in request.headers.items() if name.startswith("x-greptime")
    }
    assert of_greptimedb == sent


@pytest.mark.parametrize("name", ["a;b", "équipe", "k8s.node.name", "a\r\nX-Evil: 1"])
def test_an_attribute_that_no_header_could_name_is_delivered(receiver: Receiver, name: str) -> None:
    snapshot = replace(piece().snapshot, resource={name: "alpha"})
    assert receiver.push(Piece(snapshot)) == Outcome(3)
    [request] = receiver.requests
    delivered = ExportMetricsServiceRequest.FromString(gzip.decompress(request.body))
    assert all(name in attributes_of(one.resource.attributes) for one in delivered.resource_metrics)


def test_what_the_body_is_is_not_for_configuration_to_say(receiver: Receiver) -> None:
    json_of_old = {"content-type": "application/json", "CONTENT-ENCODING": "identity"}
    assert receiver.push(headers=json_of_old) == Outcome(pushed=3)
    [request] = receiver.requests
    assert request.headers["content-type"] == PROTOBUF
    assert request.headers["content-encoding"] == "gzip"


# -- answers --------------------------------------------------------------------------------------


def partly(rejected: int, message: str) -> Response:
    answer = ExportMetricsServiceResponse()
    answer.partial_success.rejected_data_points = rejected
    answer.partial_success.error_message = message
    return Response(200, answer.SerializeToString(), PROTOBUF)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Response(200, b"", "text/html"), Outcome(3)),
        (Response(201), Outcome(3)),
        (Response(202), Outcome(3)),
        (Response(204), Outcome(3)),
        (Response(200, b"{}"), Outcome(3)),
        (Response(200, b"{}", ""), Outcome(3)),
        (Response(200, b"{}", PROTOBUF), Outcome(3)),
        (Response(200, b'{"partialSuccess":null}'), Outcome(3)),
        (
            Response.of_json(
                {"partial_success": {"rejected_data_points": 1, "error_message": "x"}}
            ),
            Outcome(2, 1, remark="x"),
        ),
        (partly(0, ""), Outcome(3)),
        (partly(0, "a warning"), Outcome(3, 0, remark="a warning")),
        (partly(2, "too\nold"), Outcome(1, 2, remark="too old")),
        (partly(99, ""), Outcome(0, 3)),
        (partly(-1, ""), Outcome(3)),
        # what is no answer of OTLP says nothing of a partial success
        (Response(200, b"OK", "text/plain"), Outcome(3)),
        (Response(202, b"Accepted", "text/plain"), Outcome(3)),
        (Response(200, b"Welcome!", ""), Outcome(3)),
        (Response(200, b"\xff\xff", PROTOBUF), Outcome(3)),
        (Response(200, b'"OK"'), Outcome(3)),
        (Response(200, b"null"), Outcome(3)),
        (Response(200, b"[]"), Outcome(3)),
        (Response(200, b'{"partialSuccess":{'), Outcome(3)),
        (Response(200, b'{"partialSuccess":{"rejectedDataPoints":1e999}}'), Outcome(3)),
        (Response(200, b"[" * 10_000), Outcome(3)),
        (Response.of_json({"status": "success", "error": None}), Outcome(3)),
        (
            Response.of_json({"partialSuccess": {"rejectedDataPoints": "1", "errorMessage": "x"}}),
            Outcome(2, 1, remark="x"),
        ),
    ],
)
def test_a_success(receiver: Receiver, answer: Response, outcome: Outcome) -> None:
    receiver.answer = lambda request: answer
    assert receiver.push() == outcome
    assert len(receiver.requests) == 1


HTML = "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Response(200, b"<html>", HTML), Refused, "answered 200 with HTML: is the address"),
        (Response(200, b"\n\x00", HTML), Refused, "answered 200 with HTML"),
        (Response(200, b"  <!DOCTYPE html><p>", "text/plain"), Refused, "answered 200 with HTML"),
        (Response(200, b"<HTML>", ""), Refused, "answered 200 with HTML"),
        (Response.of_json({"success": False}), Refused, "answered 200"),
        (Response.of_json({"status": "error"}), Refused, "answered 200"),
        (Response.of_json({"errors": ["full"]}), Refused, 'answered 200 (["full"])'),
        (Response.of_json({"error": "full"}), Refused, "answered 200 (full)"),
        (Response(301), Refused, "answered 301"),
        (Response(302, headers={"Location": "http://127.0.0.1:1/"}), Refused, "answered 302"),
        (Response(304), Refused, "answered 304"),
        (Response.of_json({"error": "no such path"}, 404), Refused, "answered 404 (no such path)"),
        (Response.of_json({"error": "read only"}, 403), Refused, "answered 403 (read only)"),
        (Response(405, b"POST only", "text/plain"), Refused, "answered 405 (POST only)"),
        (Response(418, b"<html>tea</html>", HTML), Refused, "answered 418"),
        (Response.of_json({"error": "no database"}, 400), Impossible, "answered 400 (no database)"),
        (
            Response.of_json(
                {"code": 1003, "error": "OTLP metric input have incompatible existing tables"}, 500
            ),
            Incompatible,
            "answered 500 (OTLP metric input have incompatible existing tables)",
        ),
        # behind more words than are shown
        (
            Response.of_json({"error": "a: " * 99 + "incompatible existing tables"}, 500),
            Incompatible,
            "answered 500 (a: a: ",
        ),
    ],
)
def test_a_refusal_is_not_repeated(
    receiver: Receiver, answer: Response, error: type[PushError], says: str
) -> None:
    receiver.answer = lambda request: answer
    outcome = receiver.push()
    assert type(outcome.error) is error
    assert str(outcome.error).startswith("destination there: ")
    assert says in str(outcome.error)
    assert (outcome.pushed, len(receiver.requests)) == (0, 1)
    assert [left.points for left in outcome.left] == [3]


UNASKED, NO_GZIP = {"Content-Encoding": "br"}, {"Content-Encoding": "gzip"}


@pytest.mark.parametrize("coding", [UNASKED, NO_GZIP], ids=["not asked for", "no gzip"])
@pytest.mark.parametrize(
    ("status", "type", "error"),
    [
        (200, "text/plain", None),
        (200, PROTOBUF, None),
        (200, "application/json", None),
        (200, HTML, Refused),
        (400, "application/json", Impossible),
        (401, "application/json", Refused),
        (413, "text/plain", Impossible),
        (503, "text/plain", Unavailable),
    ],
)
def test_the_status_decides_where_a_body_cannot_be_decoded(
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    type: str,
    error: object,
    coding: dict[str, str],
) -> None:
    monkeypatch.setattr(deliver, "_FIRST_PAUSE_S", 3600)
    receiver.answer = lambda request: Response(status, b"OK", type, coding)
    renewed: list[int] = []
    outcome = receiver.push(piece(1), lambda: renewed.append(1))
    assert (None if outcome.error is None else outcome.error.__class__) is error
    assert outcome.pushed == (error is None)
    assert len(renewed) == (status == 401)
    if status in (400, 401, 503):
        assert "Content-Encoding" in str(outcome.error) or "gzip" in str(outcome.error)


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, Unavailable), (400, Unavailable), (401, Refused), (413, Impossible), (503, Unavailable)],
)
def test_the_status_decides_where_a_body_is_cut_unless_it_could_say_more(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, status: int, error: type[PushError]
) -> None:
    monkeypatch.setattr(deliver, "_FIRST_PAUSE_S", 3600)
    receiver.server.fault = lambda request: Fault(status=status, body=b"no", close="body")
    outcome = receiver.push(piece(1))
    assert type(outcome.error) is error


@pytest.mark.parametrize("header", ["authorization", "X-Greptime-Auth"])
@pytest.mark.parametrize("user", ["alice-writer", "müller"])
@pytest.mark.parametrize("nested", [False, True])
def test_the_user_s_name_is_not_repeated(
    receiver: Receiver, header: str, user: str, *, nested: bool
) -> None:
    said: Any = f"Username and password does not match, username: {user}"
    said = {"message": said} if nested else said
    receiver.answer = lambda request: Response.of_json({"error": said}, 401)
    token = b64encode(f"{user}:a-password".encode()).decode()
    outcome = receiver.push(headers={header: f"Basic {token}"})
    assert "does not match, username: ***" in str(outcome.error)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_what_passes_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.answer = answering(Response(status), Response(status), Response())
    slept: list[float] = []
    assert receiver.push(slept=slept) == Outcome(3)
    assert len(receiver.requests) == 3
    assert 0.2 <= slept[0] <= 0.24
    assert 0.4 <= slept[1] <= 0.48


def test_a_pause_doubles_up_to_a_bound_and_the_last_is_not_begun(receiver: Receiver) -> None:
    receiver.answer = lambda request: Response(503)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 9:
            receiver.answer = lambda request: Response()

    destination = receiver.destination
    sender = Sender(destination, Client(), Deadline.after(60), lambda: None, sleep=sleep)
    assert push(piece(), sender) == Outcome(3)
    assert max(slept) <= 6
    assert slept[-1] >= 5


def test_there_is_no_time_for_a_further_attempt(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_FIRST_PAUSE_S", 3600)
    receiver.answer = lambda request: Response.of_json({"error": "busy"}, 503)
    outcome = receiver.push()
    assert isinstance(outcome.error, Unavailable)
    assert str(outcome.error) == "destination there: answered 503 (busy)"
    assert len(receiver.requests) == 1


def test_a_try_that_would_only_time_out_is_not_made(receiver: Receiver) -> None:
    slept: list[float] = []
    receiver.answer = lambda request: Response(503, headers={"Retry-After": "30"})
    # a moment later than it asks for, in which nothing could be sent
    outcome = receiver.push(seconds=30.04, slept=slept)
    assert isinstance(outcome.error, Unavailable)
    assert outcome.error.status == 503
    assert slept == []


def test_there_is_no_time_at_all(receiver: Receiver) -> None:
    outcome = receiver.push(seconds=0)
    assert isinstance(outcome.error, Unavailable)
    assert str(outcome.error) == "destination there: there was no time left to send anything"
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("retry_after", "least"),
    [
        ("2", 2.0),
        ("0", 0.2),
        pytest.param(formatdate(time.time() - 60, usegmt=True), 0.2, id="a minute ago"),
        pytest.param(formatdate(time.time() + 3600, usegmt=True), None, id="in an hour"),
        ("3600", None),
        ("soon", 0.2),
        ("-5", 0.2),
        ("99999999999999999999", 0.2),
        ("Mon, 01 Jan 0001 00:00:00", 0.2),
        ("\xb2", 0.2),
    ],
)
def test_retry_after(receiver: Receiver, retry_after: str, least: float | None) -> None:
    busy = Response(429, headers={"Retry-After": retry_after})
    receiver.answer = answering(busy, Response())
    slept: list[float] = []
    outcome = receiver.push(slept=slept)
    if least is None:
        assert isinstance(outcome.error, Unavailable)
        assert outcome.error.status == 429
        assert slept == []
    else:
        assert outcome == Outcome(3)
        assert least <= slept[0] <= max(0.24, least)


# -- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_a_credential_is_read_anew_once(receiver: Receiver, status: int) -> None:
    fresh = Destination("there", receiver.server.url, {"Authorization": "Basic two"})
    receiver.answer = lambda request: Response(
        200 if request.headers["authorization"] == "Basic two" else status
    )
    assert receiver.push(renew=lambda: fresh) == Outcome(3)
    assert len(receiver.requests) == 2


def test_a_credential_that_stays_wrong(receiver: Receiver) -> None:
    renewals: list[int] = []

    def renew() -> Destination:
        renewals.append(1)
        return receiver.destination

    receiver.answer = lambda request: Response(401)
    outcome = receiver.push(renew=renew)
    assert isinstance(outcome.error, Refused)
    assert outcome.error.status == 401
    assert (len(renewals), len(receiver.requests)) == (1, 2)


def test_a_destination_that_is_not_there_any_more(receiver: Receiver) -> None:
    receiver.answer = lambda request: Response(401)
    outcome = receiver.push(renew=lambda: None)
    assert isinstance(outcome.error, Refused)
    assert len(receiver.requests) == 1


def test_a_renewal_that_takes_all_the_time(receiver: Receiver) -> None:
    def renew() -> Destination:
        sender.deadline = Deadline.after(0)
        return receiver.destination

    receiver.answer = lambda request: Response(401)
    sender = Sender(receiver.destination, Client(), Deadline.after(60), renew)
    outcome = push(piece(), sender)
    assert isinstance(outcome.error, Refused)
    assert outcome.error.status == 401


def test_a_credential_is_read_anew_once_for_all_parts(receiver: Receiver) -> None:
    renewals: list[int] = []

    def renew() -> Destination:
        renewals.append(1)
        return receiver.destination

    def answer(request: Request) -> Response:
        return Response(413 if len(receiver.requests) == 2 else 401)

    receiver.answer = answer
    receiver.push(renew=renew)
    assert len(renewals) == 1


# -- what it cost ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "cost"),
    [
        ('{"greptime_exec_write_cost":17}', 17),
        ('{"greptime_cloud_wcu":0.5,"other":1}', 0.5),
        ("{}", None),
        ("[]", None),
        ("", None),
        ("much", None),
        ('{"greptime_exec_write_cost":"17"}', None),
        ('{"greptime_exec_write_cost":true}', None),
        ('{"greptime_exec_write_cost":NaN}', None),
        pytest.param(f'{{"greptime_exec_write_cost":1{"0" * 400}}}', None, id="huge"),
    ],
)
def test_what_a_write_cost(receiver: Receiver, said: str, cost: float | None) -> None:
    receiver.answer = lambda request: Response(headers={"X-Greptime-Metrics": said})
    assert receiver.push() == Outcome(3, write_cost=cost)


def test_the_cost_of_parts_is_added_up(receiver: Receiver) -> None:
    taken = Response(headers={"x-greptime-metrics": '{"greptime_exec_write_cost":2}'})
    receiver.answer = answering(Response(413), taken, Response(), taken)
    assert receiver.push(piece(4)).write_cost == 2
    receiver.answer = answering(Response(413), taken)
    assert receiver.push(piece(4)).write_cost == 4


# -- what is too large ----------------------------------------------------------------------------


def at_most(points: int) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        return Response(200 if sum(sent(request.body).values()) <= points else 413)

    return answer


@pytest.mark.parametrize(("given", "taken"), [(1, 1), (7, 2), (64, 1), (5, 5)])
def test_what_is_too_large_is_split(receiver: Receiver, given: int, taken: int) -> None:
    receiver.answer = at_most(taken)
    whole = piece(given)
    assert receiver.push(whole) == Outcome(given)
    arrived = [sent(one.body) for one in receiver.requests]
    assert whole.request
    taken_all = sum((one for one in arrived if one.total() <= taken), Counter())
    assert taken_all == sent(whole.request.body)


def test_parts_carry_the_run_s_relay_up(receiver: Receiver) -> None:
    receiver.answer = at_most(4)
    assert receiver.push(piece(7, Scrape(True, 0.5))) == Outcome(10)
    taken = [names(one.body) for one in receiver.requests if sent(one.body).total() <= 4]
    assert all(one["relay_up"] == 1 for one in taken)
    assert sum(taken, Counter())["relay_scrape_samples"] == 1


def test_nothing_is_taken_whatever_its_size(receiver: Receiver) -> None:
    receiver.answer = lambda request: Response(413)
    whole = piece(500)
    outcome = receiver.push(whole)
    assert isinstance(outcome.error, Impossible)
    assert "413 for what cannot be split further" in str(outcome.error)
    assert [one.piece for one in outcome.left] == [whole], "as it was"
    assert len(receiver.requests) < 40, "what is as large as a refused one is not tried"


def test_what_cannot_be_split_is_left_alone(receiver: Receiver) -> None:
    def answer(request: Request) -> Response:
        return Response(413 if names(request.body)["huge"] else 200)

    receiver.answer = answer
    outcome = receiver.push(piece(20, huge=1))
    assert outcome.pushed == 20
    [left] = outcome.left
    assert (left.points, left.piece.snapshot.metrics) == (1, (("", "huge"),))


def test_what_cannot_be_encoded_is_left_alone(receiver: Receiver) -> None:
    bad = Series({}, buckets=((float("inf"), 2**65),), count=2**65)
    whole = piece(5, good=3).snapshot
    family = Family.of("bad", FamilyType.HISTOGRAM, "", (bad,))
    outcome = receiver.push(Piece(replace(whole, families=[*whole.families, family])))
    assert outcome.pushed == 8
    [left] = outcome.left
    assert "cannot be encoded" in str(left.error)
    assert (left.points, left.piece.snapshot.metrics) == (1, (("", "bad"),))


def test_one_half_is_taken_and_the_other_fails(receiver: Receiver) -> None:
    receiver.answer = answering(Response(413), Response(200), Response(404))
    outcome = receiver.push(piece(4))
    assert outcome.pushed == 2
    [left] = outcome.left
    assert (type(left.error), left.points) == (Refused, 2)


def test_after_a_failure_no_further_part_is_tried(receiver: Receiver) -> None:
    receiver.answer = answering(Response(413), Response(413), Response(200), Response(403))
    outcome = receiver.push(piece(8))
    assert (outcome.pushed, [left.points for left in outcome.left]) == (2, [2, 4])
    assert len(receiver.requests) == 4


@pytest.mark.parametrize("status", [408, 504])
def test_what_takes_too_long_is_split_where_it_is_large(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    receiver.answer = answering(Response(status), Response())
    assert receiver.push(piece(8)) == Outcome(8)
    assert [sent(one.body).total() for one in receiver.requests] == [8, 8]
    monkeypatch.setattr(pieces, "LARGE_BYTES", 100)
    receiver.requests.clear()
    receiver.answer = answering(Response(status), Response())
    assert receiver.push(piece(8)) == Outcome(8)
    assert [sent(one.body).total() for one in receiver.requests] == [8, 4, 4]
    receiver.requests.clear()
    receiver.answer = answering(Response(503), Response())
    assert receiver.push(piece(8)) == Outcome(8)
    assert [sent(one.body).total() for one in receiver.requests] == [8, 8]


def test_a_large_push_whose_time_is_over_is_left_in_halves(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.server.latency_s = 1.5
    whole = piece(8)
    assert whole.request, "made by now: the time is that of the exchange alone"
    outcome = receiver.push(whole, seconds=1)
    assert [left.points for left in outcome.left] == [8]
    monkeypatch.setattr(pieces, "LARGE_BYTES", 100)
    outcome = receiver.push(whole, seconds=1)
    assert [left.points for left in outcome.left] == [4, 4]
    assert all(isinstance(left.error, Unavailable) for left in outcome.left)


# -- what is refused ------------------------------------------------------------------------------

FOREIGN = Response.of_json({"error": "OTLP metric input have incompatible existing tables"}, 500)


def refusing(*tables: str) -> Callable[[Request], Response]:
    """GreptimeDB where tables of these names exist that OTLP did not make."""

    def answer(request: Request) -> Response:
        asked = names(request.body).keys()
        assert asked - {*tables}, "it would be written in the older way"
        return FOREIGN if asked & {*tables} else Response()

    return answer


@given(st.sets(st.integers(0, 19), max_size=4))
@hypothesis_settings(deadline=None, max_examples=20)
def test_foreign_tables_cost_only_themselves(foreign: set[int]) -> None:
    families = {f"family_{number}": 2 for number in range(20)}
    whole = piece(3, Scrape(True, 0.5), **families)
    receiver = Receiver()
    with receiver.server:
        receiver.answer = refusing(*(f"family_{number}" for number in foreign))
        outcome = receiver.push(whole)
    assert outcome.pushed == whole.points - 2 * len(foreign)
    left = [metric for one in outcome.left for metric in one.piece.snapshot.metrics]
    assert sorted(left) == sorted(("", f"family_{number}") for number in foreign)
    assert len(outcome.left) == bool(foreign), "together: one message"
    assert len(receiver.requests) <= 2 + 2 * 5 * len(foreign)


def test_foreign_tables_at_the_front_of_a_later_part_cost_only_themselves() -> None:
    families = {f"family_{number:04}": 1 for number in range(1000)}
    whole = piece(0, Scrape(True, 0.5).to_carry(), **families)
    receiver = Receiver()
    with receiver.server:
        receiver.answer = refusing(*(f"family_{number:04}" for number in range(4)))
        outcome = receiver.push(whole)
    assert outcome.pushed == whole.points - 4
    left = [metric for one in outcome.left for metric in one.piece.snapshot.metrics]
    assert sorted(left) == sorted(("", f"family_{number:04}") for number in range(4))


def test_what_cannot_be_encoded_at_the_front_costs_only_itself(receiver: Receiver) -> None:
    bad = Series({}, buckets=((math.inf, 2**65),), count=2**65)
    families = [Family.of(f"bad_{at}", FamilyType.HISTOGRAM, "", [bad]) for at in range(20)]
    good = [Series({"n": str(at)}, at) for at in range(3000)]
    families.append(Family.of("good", FamilyType.GAUGE, "", good))
    outcome = receiver.push(Piece(Snapshot("wyolet-relay", "w", TIME_MS, {}, families=families)))
    assert outcome.pushed == 3000
    assert sum(len(one.piece.snapshot) for one in outcome.left) == 20


def test_a_foreign_table_of_a_relay_s_readings_costs_only_its_own_figures(
    receiver: Receiver,
) -> None:
    readings = [
        Reading(Scope.KEY, {"usage.total.requests": 1, "usage.total.cost": 0.5}, {}, {"id": key})
        for key in "abc"
    ]
    whole = Snapshot("claude-relay", "main", TIME_MS, {}, Scrape(True, 0.5), readings)
    receiver.answer = refusing("relay_requests_total")
    outcome = receiver.push(Piece(whole))
    [left] = outcome.left
    assert (outcome.pushed, left.points) == (6, 3)
    assert left.piece.snapshot.metrics == ((Scope.KEY, "usage.total.requests"),)
    # and it is safe to send it as it is: with the run's relay_up
    assert receiver.push(left.piece).pushed == 0


def test_without_a_record_a_foreign_table_never_comes_alone(receiver: Receiver) -> None:
    whole = piece(2, family_0=1, family_1=1)
    receiver.answer = refusing("family_0")
    outcome = receiver.push(whole)
    assert [(one.piece, one.points) for one in outcome.left] == [(whole, 4)]
    assert len(receiver.requests) == 1


def test_what_refuses_everything_is_not_asked_for_each_metric(receiver: Receiver) -> None:
    receiver.answer = lambda request: Response.of_json({"error": "no such database"}, 400)
    whole = piece(3, Scrape(True, 0.5), **{f"family_{number}": 1 for number in range(300)})
    outcome = receiver.push(whole)
    assert [(one.piece, one.points) for one in outcome.left] == [(whole, 306)]
    assert len(receiver.requests) == MOST_REFUSALS + 1, "and `relay_up` by itself"


def test_a_region_that_is_being_moved_is_passing(receiver: Receiver) -> None:
    for words in ("Region 4398046511104(1024, 0) not found", "RegionId 1 not found, try later"):
        receiver.answer = answering(Response.of_json({"error": words}, 400), Response())
        assert receiver.push() == Outcome(3)
    for words in ("Physical region 1(2, 3) not found", "Logical region 1(2, 3) not found"):
        receiver.answer = answering(Response.of_json({"error": words}, 400), Response())
        assert receiver.push() == Outcome(3)
    for words in (
        "table not found",
        "column region not found",
        "column cloud_region not found",
        "tag cloud.region not found",
    ):
        receiver.answer = lambda request, words=words: Response.of_json({"error": words}, 400)  # type: ignore[misc]
        assert isinstance(receiver.push().error, Impossible)


# -- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 404, 503])
@pytest.mark.parametrize("packed", [False, True])
def test_a_long_answer_is_shown_as_far_as_it_was_read(
    receiver: Receiver, status: int, packed: bool
) -> None:
    """What it says is not parsed: a few kB of JSON can be made to take a hundred times as much."""
    body = (
        b'{"error": "busy", "more": [' + b"[]," * (1_000_000 if packed else MOST_READ // 3) + b"0]}"
    )
    more = {"Content-Encoding": "gzip"} if packed else {}
    body = gzip.compress(body) if packed else body
    later = {"Retry-After": "3600"}
    receiver.answer = lambda request: Response(status, body, headers={**more, **later})
    outcome = receiver.push()
    said = f'destination there: answered {status} ({{"error": "busy", "more": [[],[],'
    assert str(outcome.error).startswith(said)
    assert len(receiver.requests) == 1


LONG = b"x" * MOST_READ


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Response(200, LONG + b"x", "text/plain"), None),
        (Response(200, LONG + b"x", "application/octet-stream"), None),
        (Response(200, b"\xff" + LONG, PROTOBUF), None),
        (Response(200, b"error: none " + LONG, "text/plain"), None),
        (Response(200, b'["error", "' + LONG + b'"]'), None),
        (Response.of_json({"log": LONG.decode(), "error": "behind what is read"}), None),
        (Response.of_json({"status": "success", "error": None, "log": LONG.decode()}), None),
        (Response.of_json({"errors": [], "error": "", "status": "ok", "log": LONG.decode()}), None),
        (Response.of_json({"error": {}, "errors": 0, "success": True, "log": LONG.decode()}), None),
        (Response(200, b"<!doctype html>" + LONG, "text/plain"), Refused),
        (Response(200, LONG + b"x", HTML), Refused),
        (Response.of_json({"error": LONG.decode()}), Refused),
        (Response.of_json({"errors": ["full"], "log": LONG.decode()}), Refused),
        (Response.of_json({"success": False, "log": LONG.decode()}), Refused),
        (Response.of_json({"status": "fail", "log": LONG.decode()}), Refused),
        (Response(200, b' {"status":"error","log":"' + LONG + b'"}', "text/plain"), Refused),
    ],
)
def test_a_long_success_is_judged_by_what_was_read_of_it(
    receiver: Receiver, answer: Response, error: type[PushError] | None
) -> None:
    receiver.answer = lambda request: answer
    outcome = receiver.push()
    assert (outcome.pushed, outcome.rejected) == ((0, 0) if error else (3, 0))
    assert type(outcome.error) is (error or type(None))


def test_an_answer_that_comes_bit_by_bit_is_read_to_its_end(receiver: Receiver) -> None:
    receiver.answer = lambda request: partly(1, "too old")
    receiver.server.fault = lambda request: Fault(chunked=True, drip_bytes_per_s=100)
    assert receiver.push() == Outcome(2, 1, remark="too old")


def test_an_answer_of_just_so_many_bytes_is_read(receiver: Receiver) -> None:
    says = b'{"partialSuccess": {"rejectedDataPoints": 1, "errorMessage": "'
    body = says + b"x" * (MOST_READ - len(says) - 3) + b'"}}'
    assert len(body) == MOST_READ
    receiver.answer = lambda request: Response(200, body)
    outcome = receiver.push()
    assert (outcome.pushed, outcome.rejected, outcome.error) == (2, 1, None)


PASSWORD = "correct-horse-battery-staple"
TOKEN = b64encode(f"user:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize("filled", range(120, 200, 3))
@pytest.mark.parametrize("kind", ["text/plain", "application/json", PROTOBUF])
def test_an_echo_of_the_credential_is_not_shown(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, filled: int, kind: str
) -> None:
    """Not even the part of it that stands before the cut."""
    monkeypatch.setattr(observability, "_hidden", set())
    observability.hide([PASSWORD, TOKEN])
    echo = "x" * filled + f" Basic {TOKEN} {PASSWORD}"
    if kind == PROTOBUF:
        answer = partly(1, echo)
    elif kind == "application/json":
        answer = Response(404, json.dumps({"error": {"message": echo}}).encode(), kind)
    else:
        answer = Response(404, echo.encode(), kind)
    receiver.answer = lambda request: answer
    outcome = receiver.push(headers={"Authorization": f"Basic {TOKEN}"})
    said = f"{outcome.error} {outcome.remark}"
    assert "xxx" in said
    assert TOKEN[:6] not in said
    assert PASSWORD[:6] not in said


@given(st.binary(max_size=300), st.sampled_from([200, 204, 302, 400, 401, 429, 500]))
@hypothesis_settings(deadline=None, max_examples=60)
def test_any_answer_has_one_outcome_and_one_line(body: bytes, status: int) -> None:
    kinds = [PROTOBUF, "application/json", "text/plain", HTML, ""]
    receiver = Receiver()
    with receiver.server:
        receiver.answer = lambda request: Response(status, body, kinds[len(body) % len(kinds)])
        outcome = receiver.push(seconds=0.15)
    assert outcome.pushed + outcome.rejected + sum(left.points for left in outcome.left) == 3
    assert (outcome.error is None) == (outcome.left == [])
    said = f"{outcome.error} {outcome.remark}"
    assert said.isprintable()
    assert len(said) < 300
