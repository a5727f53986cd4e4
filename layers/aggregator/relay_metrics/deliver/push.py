"""OTLP to a destination, and the truth about what happened to it.

The encoder is the SDK's; the POST is ours. The exporter of the same package calls a redirect and a
partial success a success, retries by its own clock and keeps the status to itself.
"""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics.export import MetricsData

from relay_metrics.deadline import Deadline
from relay_metrics.errors import (
    EncodingError,
    ExchangeError,
    Impossible,
    PushError,
    Refused,
    Unavailable,
)
from relay_metrics.net.http import Answer, Client
from relay_metrics.observability import redact
from relay_metrics.settings import Destination

PROMOTE = "x-greptime-otlp-metric-promote-resource-attrs"
PROMOTED = frozenset(
    {
        "service.name",
        "service.namespace",
        "service.instance.id",
        "service.version",
        "cloud.region",
        "cloud.availability_zone",
        "container.name",
        "deployment.environment",
        "deployment.environment.name",
        "k8s.cluster.name",
        "k8s.container.name",
        "k8s.cronjob.name",
        "k8s.daemonset.name",
        "k8s.deployment.name",
        "k8s.job.name",
        "k8s.namespace.name",
        "k8s.node.name",
        "k8s.pod.name",
        "k8s.replicaset.name",
        "k8s.statefulset.name",
    }
)
"""The resource attributes that GreptimeDB makes tags of by itself; others must be named."""

INCOMPATIBLE = b"incompatible existing tables"
"""In the text of GreptimeDB's 500 where tables that OTLP made and others are among the names."""

MAX_ANSWER_BYTES = 1 << 20
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_SHORTEST_TRY_S = 0.05
"""With less time left, a try would only put a time-out in the place of the reason."""
_MOST_READ = 65536
_MOST_SAID = 200


class Encoded:
    """An OTLP request, whole or a part of one.

    Args:
        request: as the encoder made it.
    """

    def __init__(self, request: ExportMetricsServiceRequest) -> None:
        self._request = request
        self.points = sum(len(points) for points in _points(request))
        self.body = gzip.compress(request.SerializeToString(), compresslevel=6, mtime=0)

    @classmethod
    def of(cls, metrics: MetricsData) -> Encoded:
        """Metrics as an OTLP request.

        Raises:
            EncodingError: the encoder refused them, or encoded other than all of their points.
        """
        given = sum(
            len(metric.data.data_points)
            for resource in metrics.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
        try:
            encoded = cls(encode_metrics(metrics))
        # the encoder wraps whatever went wrong into a bare Exception
        except Exception as error:  # noqa: BLE001
            raise EncodingError(f"cannot be encoded ({type(error).__name__})") from None
        if encoded.points != given:
            raise EncodingError(f"{given} points were given and {encoded.points} encoded")
        return encoded

    @property
    def attributes(self) -> list[str]:
        """The names of all resource attributes in it, sorted."""
        return sorted(
            {
                attribute.key
                for resource in self._request.resource_metrics
                for attribute in resource.resource.attributes
            }
        )

    def halves(self) -> tuple[Encoded, Encoded]:
        """Two requests that have half of the points each."""
        middle = self.points // 2
        return Encoded(self._cut(0, middle)), Encoded(self._cut(middle, self.points))

    def _cut(self, start: int, stop: int) -> ExportMetricsServiceRequest:
        request = ExportMetricsServiceRequest()
        request.CopyFrom(self._request)
        offset = 0
        for points in _points(request):
            size = len(points)
            del points[max(stop - offset, 0) :]
            del points[: max(start - offset, 0)]
            offset += size
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                _drop_empty(scope.metrics, lambda metric: bool(_data(metric)))
            _drop_empty(resource.scope_metrics, lambda scope: bool(scope.metrics))
        _drop_empty(request.resource_metrics, lambda resource: bool(resource.scope_metrics))
        return request


@dataclass
class Outcome:
    """What became of the points of one request.

    Attributes:
        pushed: taken by the destination.
        rejected: refused by it while it took the others.
        error: why the rest was not taken; None where all were.
        remark: what the destination said of the rejected ones.
    """

    pushed: int = 0
    rejected: int = 0
    error: PushError | None = None
    remark: str = ""

    def add(self, other: Outcome) -> None:
        """The outcome of a further part."""
        self.pushed += other.pushed
        self.rejected += other.rejected
        self.error = self.error or other.error
        self.remark = self.remark or other.remark


def push(
    encoded: Encoded,
    destination: Destination,
    client: Client,
    deadline: Deadline,
    renew: Callable[[], Destination | None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Send a request until the destination takes it, refuses it, or the time is over.

    What is too large is cut in two and sent again; what fails for a passing reason is sent again
    after a pause that doubles, or that the destination asks for; where the credential is refused
    it is read anew and the request sent once more.

    Args:
        deadline: for all of it, retries included.
        renew: gives the destination by the secret as it is now, which is read anew once an
            invocation; None where it is not there any more.
        sleep: waits so many seconds.
    """
    pause = _FIRST_PAUSE_S
    renewed = False
    error: PushError = Unavailable(destination.name, "there was no time left to send anything")
    while deadline.left > 0:
        try:
            return _taken(encoded, destination, _send(encoded, destination, client, deadline))
        except _TooLarge:
            if encoded.points < 2:
                message = "answered 413 for a single data point"
                return Outcome(error=Impossible(destination.name, message, 413))
            outcome = Outcome()
            for half in encoded.halves():
                outcome.add(push(half, destination, client, deadline, renew, sleep=sleep))
                if outcome.error:
                    break
            return outcome
        except Unavailable as unavailable:
            error = unavailable
            # a pause even where the destination asks for none: it is in trouble
            spread = random.uniform(1, 1.2)  # noqa: S311 - it spreads retries, it guards nothing
            wanted = max(pause * spread, unavailable.retry_after_s or 0.0)
            if wanted + _SHORTEST_TRY_S >= deadline.left:
                break
            sleep(wanted)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        except PushError as refused:
            fresh = renew() if refused.status in (401, 403) and not renewed else None
            if fresh is None:
                return Outcome(error=refused)
            error, destination, renewed = refused, fresh, True
    return Outcome(error=error)


class _TooLarge(Exception):
    """The destination answered 413."""


def _send(encoded: Encoded, destination: Destination, client: Client, deadline: Deadline) -> Answer:
    ours = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    promoting = _promoting(destination.headers, encoded.attributes)
    # what the body is, is not for configuration to say: the former stack's were for JSON
    body_names = {name.lower() for name in ours}
    headers = {name: text for name, text in promoting.items() if name.lower() not in body_names}
    name = destination.name
    try:
        answer = client.exchange(
            "POST",
            destination.url,
            seconds=deadline.left,
            max_bytes=MAX_ANSWER_BYTES,
            headers={**headers, **ours},
            body=encoded.body,
        )
    except ExchangeError as error:
        raise Unavailable(name, str(error)) from None
    status, says = answer.status, _says(answer)
    if 200 <= status < 300:
        return answer
    if status == 413:
        raise _TooLarge
    if status == 400 or INCOMPATIBLE in answer.body:
        raise Impossible(name, f"answered {status}{says}", status)
    if status in (408, 429) or status >= 500:
        raise Unavailable(name, f"answered {status}{says}", status, _retry_after_s(answer))
    raise Refused(name, f"answered {status}{says}", status)


def _promoting(headers: Mapping[str, str], attributes: list[str]) -> dict[str, str]:
    """The destination's headers, with every attribute promoted that does not go by itself."""
    given = [text for name, text in headers.items() if name.lower() == PROMOTE]
    rest = {name: text for name, text in headers.items() if name.lower() != PROMOTE}
    named = [name.strip() for text in given for name in text.split(";") if name.strip()]
    promoted = dict.fromkeys([*named, *(name for name in attributes if name not in PROMOTED)])
    return {**rest, PROMOTE: ";".join(promoted)} if promoted else rest


def _taken(encoded: Encoded, destination: Destination, answer: Answer) -> Outcome:
    """The outcome that an answer with success tells of.

    Raises:
        Refused: it is no answer of an OTLP receiver, but of a proxy or a web page before it; or
            it says that it is no success.
    """
    try:
        rejected, remark = _rejected(answer) if answer.body else (0, "")
    except (DecodeError, ArithmeticError, ValueError, TypeError, AttributeError, RecursionError):
        what = "HTML" if answer.media_type == "text/html" else "no answer of an OTLP receiver"
        message = f"answered {answer.status} with {what}: is the address the OTLP endpoint?"
        raise Refused(destination.name, message, answer.status) from None
    if rejected is None:
        raise Refused(destination.name, f"answered {answer.status}{_says(answer)}", answer.status)
    rejected = min(max(rejected, 0), encoded.points)
    return Outcome(encoded.points - rejected, rejected, remark=_plain(remark))


def _rejected(answer: Answer) -> tuple[int | None, str]:
    """How many points an OTLP answer says were rejected, and why; None for all, of other JSON."""
    if answer.media_type == "text/html":
        raise ValueError
    # the encoding of this message never begins with a brace, whatever the content type says
    if answer.media_type != "application/json" and not answer.body.startswith(b"{"):
        partial = ExportMetricsServiceResponse.FromString(answer.body).partial_success
        return partial.rejected_data_points, partial.error_message
    told = json.loads(answer.body)
    if told.get("success") is False or told.get("error"):
        return None, ""
    # protobuf's JSON has the one or the other form of a name
    partly = told.get("partialSuccess") or told.get("partial_success") or {}
    rejected = partly.get("rejectedDataPoints") or partly.get("rejected_data_points") or 0
    return int(rejected), str(partly.get("errorMessage") or partly.get("error_message") or "")


def _says(answer: Answer) -> str:
    """What a destination says of a failure, in brackets: bounded, one line, no web page."""
    if answer.media_type == "text/html" or not answer.body:
        return ""
    text = answer.body[:_MOST_READ].decode("utf-8", "replace")
    if answer.media_type == "application/json":
        try:
            told = json.loads(answer.body)
            error = told.get("error") or told.get("message") or ""
            text = error if isinstance(error, str) else json.dumps(error)
        except (ValueError, RecursionError, AttributeError):
            pass  # then what it sent is all that there is to show
    plain = _plain(text)
    return f" ({plain})" if plain else ""


def _plain(text: str) -> str:
    """The beginning of a text, in one line. Redacted first: half a secret is not recognised."""
    said = redact(text[:_MOST_READ])
    return " ".join("".join(c if c.isprintable() else " " for c in said).split())[:_MOST_SAID]


def _retry_after_s(answer: Answer) -> float | None:
    """The seconds, or the date, of a Retry-After header."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _data(metric: Any) -> Any:
    """The data points of an encoded metric."""
    return getattr(metric, metric.WhichOneof("data")).data_points


def _points(request: ExportMetricsServiceRequest) -> Iterator[Any]:
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.WhichOneof("data"):
                    yield _data(metric)


def _drop_empty(repeated: Any, filled: Callable[[Any], bool]) -> None:
    for at in reversed(range(len(repeated))):
        if not filled(repeated[at]):
            del repeated[at]
