"""Interprets a destination's answer: which status and which text mean what."""

from __future__ import annotations

import json
import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from relay_metrics.errors import Impossible, Incompatible, PushError, Refused, TooLarge, Unavailable
from relay_metrics.net.http import Answer
from relay_metrics.observability import redact

INCOMPATIBLE = b"incompatible existing tables"
"""In GreptimeDB's 500 for a request that names tables made by OTLP and tables made otherwise."""

MOVING_REGION = (
    rb"(?i)(?<![\w.])(?<!column )(?<!tag )(?:physical |logical )?"
    rb"region(?:id)?\b[^\"]{0,200}?\bnot found"
)
"""In GreptimeDB's 400 while a region is being moved to another node."""

_COSTS = ("greptime_exec_write_cost", "greptime_cloud_wcu")
_FAILED = re.compile(
    rb'"(?:errors?"\s*:\s*(?!null|false|0|""|\[\s*\]|\{\s*\})'
    rb'|success"\s*:\s*false|status"\s*:\s*"(?:error|fail)")'
)
"""In JSON that reports an error and is too long to be parsed."""

_PROTOBUF = ("application/x-protobuf", "application/protobuf", "application/octet-stream", "")

MOST_READ = 16384
"""How many bytes of an answer are read. Real answers are shorter, and parsing JSON of this length
takes 0.6 MB of memory at most, even if it was made to take more."""
_MAX_TEXT = 200


class Taken(NamedTuple):
    """A destination's answer to a request that it accepted.

    Attributes:
        rejected: how many of the data points it rejected.
        remark: the message that it gave for the rejected points.
        write_cost: the cost of the write as it reports it; None if it does not.
    """

    rejected: int = 0
    remark: str = ""
    write_cost: float | None = None


def taken(name: str, answer: Answer, user: str = "") -> Taken:
    """Interpret the answer to a request.

    Args:
        name: of the destination.
        answer: complete, or cut after more than `MOST_READ` bytes.
        user: the user name that was sent. GreptimeDB repeats it when it refuses a credential.

    Raises:
        PushError: the destination did not accept the request.
    """
    try:
        return _taken(name, answer, user)
    except PushError as error:
        error.page = answer.web_page
        raise


def _taken(name: str, answer: Answer, user: str) -> Taken:
    status, says = answer.status, _says(answer, user)
    message = f"answered {status}{says}"
    if 200 <= status < 300:
        if answer.web_page:
            question = "is the address the OTLP endpoint?"
            raise Refused(name, f"answered {status} with HTML: {question}", status)
        rejected, remark = _rejected(answer)
        if rejected is None:
            raise Refused(name, message, status)
        return Taken(max(rejected, 0), _plain(remark, user), _write_cost(answer))
    if answer.web_page:
        message += " with HTML"
    if answer.redirects_to:
        message = f"answered {status}, to {answer.redirects_to}"
    if status == 413:
        raise TooLarge(name, message, status)
    if status == 400 and re.search(MOVING_REGION, answer.body):
        raise Unavailable(name, message, status)
    if INCOMPATIBLE in answer.body:
        raise Incompatible(name, message, status)
    if status == 400:
        raise Impossible(name, message, status)
    if status in (408, 429) or status >= 500:
        timed_out = status in (408, 504)
        raise Unavailable(name, message, status, _retry_after_s(answer), timed_out=timed_out)
    raise Refused(name, message, status)


def _is_cut(answer: Answer) -> bool:
    return len(answer.body) > MOST_READ


def _rejected(answer: Answer) -> tuple[int | None, str]:
    """How many points were rejected, and why; None for all of them, if JSON reports an error.

    A body that is no OTLP answer means that the whole request was accepted.
    """
    # An encoded OTLP message never begins with a brace, even if the content type is protobuf's.
    if answer.media_type in _PROTOBUF and not answer.body.startswith(b"{"):
        try:
            partial = ExportMetricsServiceResponse.FromString(answer.body).partial_success
        except DecodeError:
            return 0, ""
        return partial.rejected_data_points, partial.error_message
    if _is_cut(answer):
        is_object = answer.body.lstrip().startswith(b"{")
        return (None if is_object and _FAILED.search(answer.body) else 0), ""
    try:
        body = json.loads(answer.body)
        if not isinstance(body, dict):
            return 0, ""
        failed = body.get("success") is False or body.get("status") in ("error", "fail")
        if failed or body.get("error") or body.get("errors"):
            return None, ""
        # protobuf's JSON mapping allows both spellings of a name
        partly = body.get("partialSuccess") or body.get("partial_success") or {}
        rejected = partly.get("rejectedDataPoints") or partly.get("rejected_data_points") or 0
        reason = partly.get("errorMessage") or partly.get("error_message") or ""
        return int(rejected), str(reason)
    except (ArithmeticError, ValueError, TypeError, AttributeError, RecursionError):
        return 0, ""


def _write_cost(answer: Answer) -> float | None:
    """The cost of the write in GreptimeDB's header; None if there is none."""
    try:
        metrics = json.loads(answer.headers.get("x-greptime-metrics", ""))
        costs = [metrics[name] for name in _COSTS if name in metrics]
        numbers = [cost for cost in costs if isinstance(cost, int | float) and math.isfinite(cost)]
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
    return numbers[0] if numbers and not isinstance(numbers[0], bool) else None


def _says(answer: Answer, user: str) -> str:
    """The destination's error message in brackets: one line of bounded length, no web page."""
    if answer.web_page or not answer.body:
        return ""
    text = answer.body.decode("utf-8", "replace")
    if answer.media_type == "application/json" and not _is_cut(answer):
        try:
            body = json.loads(answer.body)
            error = body.get("error") or body.get("errors") or body.get("message") or ""
            text = error if isinstance(error, str) else json.dumps(error)
        except (ValueError, RecursionError, AttributeError):
            pass  # no error object: the message is the body as it came
    plain = _plain(text, user)
    return f" ({plain})" if plain else ""


def _plain(text: str, user: str) -> str:
    """The beginning of a text, in one line, without credentials and the user's name.

    The text is redacted before it is cut, as half a secret would not be recognised.
    """
    safe = redact(text, user)
    return " ".join("".join(c if c.isprintable() else " " for c in safe).split())[:_MAX_TEXT]


def _retry_after_s(answer: Answer) -> float | None:
    """The wait of a Retry-After header, given as seconds or as a date; None if there is none."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
