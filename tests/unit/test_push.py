"""What a destination answers, and what is then true of the points."""

from __future__ import annotations

import gzip
import json
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
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
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from local.http_server import HttpServer, Request, Response
from relay_metrics import observability
from relay_metrics.deadline import Deadline
from relay_metrics.deliver.push import Encoded, Outcome, push
from relay_metrics.errors import EncodingError, Impossible, PushError, Refused, Unavailable
from relay_metrics.net.http import Client
from relay_metrics.settings import Destination

DELTA, CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
PROTOBUF = "application/x-protobuf"

# -- metrics of any shape -------------------------------------------------------------------------


def number(value: float, at: int) -> NumberDataPoint:
    return NumberDataPoint({"n": at}, None, at, value)  # type: ignore[arg-type]  # unset is allowed


def histogram(at: int) -> HistogramDataPoint:
    return HistogramDataPoint({"n": at}, 0, at, 3, 1.5, [1, 2], [1.0], 0.0, 0.0)


def metric(name: str, kind: str, points: int) -> Metric:
    if kind == "histogram":
        data: Any = Histogram([histogram(at) for at in range(points)], CUMULATIVE)
    elif kind == "sum":
        data = Sum([number(at, at) for at in range(points)], CUMULATIVE, is_monotonic=True)
    else:
        data = Gauge([number(at / 2, at) for at in range(points)])
    return Metric(name, "", "", data)


def metrics_of(shape: list[list[tuple[str, int]]]) -> MetricsData:
    """A resource a list, a metric a (kind, number of points)."""
    return MetricsData(
        [
            ResourceMetrics(
                Resource({"relay.key.id": str(number)}),
                [
                    ScopeMetrics(
                        InstrumentationScope("test"),
                        [metric(f"m{at}", kind, points) for at, (kind, points) in enumerate(one)],
                        "",
                    )
                ],
                "",
            )
            for number, one in enumerate(shape)
        ]
    )


def encoded(points: int = 3) -> Encoded:
    return Encoded.of(metrics_of([[("gauge", points)]]))


def sent(body: bytes) -> Counter[tuple[str, str, str]]:
    """The points of a request, each by its resource, metric and attribute."""
    request = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
    found: Counter[tuple[str, str, str]] = Counter()
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.metrics, "no empty scope"
            for one in scope.metrics:
                kind = one.WhichOneof("data")
                assert kind
                points = getattr(one, kind).data_points
                assert points, "no empty metric"
                key = resource.resource.attributes[0].value.string_value
                found.update((key, one.name, str(point.attributes)) for point in points)
    return found


SHAPES = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["gauge", "sum", "histogram"]), st.integers(1, 4)),
        min_size=1,
        max_size=4,
    ),
    max_size=4,
)


@given(SHAPES)
@hypothesis_settings(deadline=None)
def test_two_halves_have_each_point_once(shape: list[list[tuple[str, int]]]) -> None:
    whole = Encoded.of(metrics_of(shape))
    assert whole.points == sum(points for one in shape for _, points in one)
    first, second = whole.halves()
    assert first.points == whole.points // 2
    assert first.points + second.points == whole.points
    assert sent(first.body) + sent(second.body) == sent(whole.body)


def test_the_same_metrics_are_the_same_bytes() -> None:
    assert encoded().body == encoded().body


def test_what_the_encoder_refuses_is_an_error_of_ours() -> None:
    huge = metrics_of([])
    huge.resource_metrics.append(  # type: ignore[attr-defined]  # it is a list
        ResourceMetrics(
            Resource({}),
            [
                ScopeMetrics(
                    InstrumentationScope("test"),
                    [Metric("m", "", "", Gauge([number(2**70, 1)]))],
                    "",
                )
            ],
            "",
        )
    )
    with pytest.raises(EncodingError, match="cannot be encoded"):
        Encoded.of(huge)


def test_points_that_the_encoder_leaves_out_are_an_error() -> None:
    """It keeps only the last of two equal resources."""
    one = metrics_of([[("gauge", 2)]])
    twice = MetricsData([*one.resource_metrics, *one.resource_metrics])
    with pytest.raises(EncodingError, match="4 points were given and 2 encoded"):
        Encoded.of(twice)


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
        what: Encoded | None = None,
        renew: Callable[[], Destination | None] = lambda: None,
        seconds: float = 5,
        slept: list[float] | None = None,
        **changes: Any,
    ) -> Outcome:
        destination = Destination(**{**vars(self.destination), **changes})
        pauses = [] if slept is None else slept
        return push(
            what or encoded(),
            destination,
            Client(),
            Deadline.after(seconds),
            renew,
            sleep=pauses.append,
        )


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
    ("configured", "named"),
    [
        ({}, "relay.key.id"),
        (
            {"X-Greptime-OTLP-Metric-Promote-Resource-Attrs": "mine; other"},
            "mine;other;relay.key.id",
        ),
        ({"x-greptime-otlp-metric-promote-resource-attrs": "relay.key.id"}, "relay.key.id"),
    ],
)
def test_attributes_are_promoted(
    receiver: Receiver, configured: dict[str, str], named: str
) -> None:
    receiver.push(headers=configured)
    [request] = receiver.requests
    assert request.headers["x-greptime-otlp-metric-promote-resource-attrs"] == named


def test_what_goes_by_itself_is_not_promoted(receiver: Receiver) -> None:
    metrics = metrics_of([[("gauge", 1)]])
    resource = Resource({"service.name": "a", "k8s.pod.name": "b"})
    [one] = metrics.resource_metrics
    receiver.push(Encoded.of(MetricsData([ResourceMetrics(resource, one.scope_metrics, "")])))
    [request] = receiver.requests
    assert "x-greptime-otlp-metric-promote-resource-attrs" not in request.headers


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
        (Response(200, b"Welcome!", "text/plain"), Refused, "with no answer of an OTLP receiver"),
        (Response(200, b"["), Refused, "with no answer of an OTLP receiver"),
        (Response(200, b"[]"), Refused, "with no answer of an OTLP receiver"),
        (Response(200, b'{"partialSuccess":{"rejectedDataPoints":1e999}}'), Refused, "no answer"),
        (Response(200, b"[" * 100_000), Refused, "with no answer of an OTLP receiver"),
        (Response.of_json({"success": False}), Refused, "answered 200"),
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
            Impossible,
            "answered 500 (OTLP metric input have incompatible existing tables)",
        ),
        # behind more words than are shown
        (
            Response.of_json({"error": "a: " * 99 + "incompatible existing tables"}, 500),
            Impossible,
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
    outcome = push(encoded(), destination, Client(), Deadline.after(30), lambda: None, sleep=sleep)
    assert outcome == Outcome(3)
    assert max(slept) <= 6
    assert slept[-1] >= 5


def test_there_is_no_time_for_a_further_attempt(receiver: Receiver) -> None:
    receiver.answer = lambda request: Response.of_json({"error": "busy"}, 503)
    outcome = receiver.push(seconds=0.19)
    assert isinstance(outcome.error, Unavailable)
    assert str(outcome.error) == "destination there: answered 503 (busy)"
    assert len(receiver.requests) == 1


def test_there_is_no_time_at_all(receiver: Receiver) -> None:
    outcome = receiver.push(seconds=0)
    assert isinstance(outcome.error, Unavailable)
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
        time.sleep(0.3)
        return receiver.destination

    receiver.answer = lambda request: Response(401)
    outcome = receiver.push(renew=renew, seconds=0.2)
    assert isinstance(outcome.error, Refused)
    assert outcome.error.status == 401


# -- what is too large ----------------------------------------------------------------------------


def at_most(points: int) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        return Response(200 if sum(sent(request.body).values()) <= points else 413)

    return answer


@pytest.mark.parametrize(("given", "taken"), [(1, 1), (7, 2), (64, 1), (5, 5)])
def test_what_is_too_large_is_cut(receiver: Receiver, given: int, taken: int) -> None:
    receiver.answer = at_most(taken)
    whole = encoded(given)
    assert receiver.push(whole) == Outcome(given)
    arrived = [sent(one.body) for one in receiver.requests]
    assert sum((one for one in arrived if one.total() <= taken), Counter()) == sent(whole.body)


def test_a_single_point_that_is_too_large(receiver: Receiver) -> None:
    receiver.answer = lambda request: Response(413)
    outcome = receiver.push(encoded(64))
    assert isinstance(outcome.error, Impossible)
    assert "413 for a single data point" in str(outcome.error)
    assert len(receiver.requests) <= 8


def test_one_half_is_taken_and_the_other_fails(receiver: Receiver) -> None:
    receiver.answer = answering(Response(413), Response(200), Response(404))
    outcome = receiver.push(encoded(4))
    assert outcome.pushed == 2
    assert isinstance(outcome.error, Refused)


# -- what is said ---------------------------------------------------------------------------------

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
    assert (outcome.error is None) == (outcome.pushed + outcome.rejected == 3)
    said = f"{outcome.error} {outcome.remark}"
    assert said.isprintable()
    assert len(said) < 300
