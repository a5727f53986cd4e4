"""What the answer of a destination means."""

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

from relay_metrics.errors import Impossible, PushError, Refused, TooLarge, Unavailable
from relay_metrics.net.http import Answer
from relay_metrics.observability import redact

INCOMPATIBLE = b"incompatible existing tables"
"""In the text of GreptimeDB's 500 where tables that OTLP made and others are among the names."""

MOVING_REGION = re.compile(
    rb"(?<![\w.])(?:physical |logical )?region(?:id)?\b[^\"]{0,200}?\bnot found", re.IGNORECASE
)
"""In the text of GreptimeDB's 400 while a region is being moved to another node."""

_COSTS = ("greptime_exec_write_cost", "greptime_cloud_wcu")
MOST_READ = 16384
"""The bytes of an answer that are read. What a database has to say takes less, and the JSON of so
many takes 0.6 MB at most to parse, also where it is made for taking more."""
_MOST_SAID = 200


class Taken(NamedTuple):
    """What a destination says of a request that it took.

    Attributes:
        rejected: how many data points it refused; at most those that there were.
        remark: what it says of that.
        write_cost: what the write cost by its own count; None where it does not say.
    """

    rejected: int = 0
    remark: str = ""
    write_cost: float | None = None


def taken(name: str, answer: Answer) -> Taken:
    """What an answer says of a request that was taken.

    Args:
        name: of the destination.
        answer: whole, or cut behind more than `MOST_READ` bytes.

    Raises:
        PushError: it was not taken.
    """
    try:
        return _taken(name, answer)
    except PushError as error:
        error.page = answer.web_page
        raise


def _taken(name: str, answer: Answer) -> Taken:
    status, says = answer.status, _says(answer)
    message = f"answered {status}{says}"
    if 200 <= status < 300:
        if answer.web_page or _is_cut(answer):
            what = "HTML" if answer.web_page else f"more than {MOST_READ} bytes"
            question = "is the address the OTLP endpoint?"
            raise Refused(name, f"answered {status} with {what}: {question}", status)
        rejected, remark = _rejected(answer)
        if rejected is None:
            raise Refused(name, message, status)
        return Taken(max(rejected, 0), _plain(remark), _write_cost(answer))
    if answer.web_page:
        message += " with HTML"
    if answer.redirects_to:
        message = f"answered {status}, to {answer.redirects_to}"
    if status == 413:
        raise TooLarge(name, message, status)
    if status == 400 and MOVING_REGION.search(answer.body):
        raise Unavailable(name, message, status)
    if status == 400 or INCOMPATIBLE in answer.body:
        raise Impossible(name, message, status)
    if status in (408, 429) or status >= 500:
        timed_out = status in (408, 504)
        raise Unavailable(name, message, status, _retry_after_s(answer), timed_out=timed_out)
    raise Refused(name, message, status)


def _is_cut(answer: Answer) -> bool:
    return len(answer.body) > MOST_READ


def _rejected(answer: Answer) -> tuple[int | None, str]:
    """How many points were rejected, and why; None for all, of JSON that says so.

    An answer that is none of OTLP's says nothing of a partial success: the request was taken.
    """
    kind = answer.media_type
    # the encoding of OTLP's message never begins with a brace, whatever the content type says
    if kind in ("application/x-protobuf", "application/octet-stream", "") and (
        not answer.body.startswith(b"{")
    ):
        try:
            partial = ExportMetricsServiceResponse.FromString(answer.body).partial_success
        except DecodeError:
            return 0, ""
        return partial.rejected_data_points, partial.error_message
    try:
        told = json.loads(answer.body)
        if not isinstance(told, dict):
            return 0, ""
        failed = told.get("success") is False or told.get("status") in ("error", "fail")
        if failed or told.get("error") or told.get("errors"):
            return None, ""
        # protobuf's JSON has the one or the other form of a name
        partly = told.get("partialSuccess") or told.get("partial_success") or {}
        rejected = partly.get("rejectedDataPoints") or partly.get("rejected_data_points") or 0
        return int(rejected), str(partly.get("errorMessage") or partly.get("error_message") or "")
    except (ArithmeticError, ValueError, TypeError, AttributeError, RecursionError):
        return 0, ""


def _write_cost(answer: Answer) -> float | None:
    """What GreptimeDB's header says that a write cost."""
    try:
        told = json.loads(answer.headers.get("x-greptime-metrics", ""))
        costs = [told[name] for name in _COSTS if name in told]
    except (ValueError, TypeError, RecursionError):
        return None
    numbers = [cost for cost in costs if isinstance(cost, int | float) and math.isfinite(cost)]
    return numbers[0] if numbers and not isinstance(numbers[0], bool) else None


def _says(answer: Answer) -> str:
    """What a destination says of a failure, in brackets: bounded, one line, no web page."""
    if answer.web_page or not answer.body:
        return ""
    text = answer.body.decode("utf-8", "replace")
    if answer.media_type == "application/json" and not _is_cut(answer):
        try:
            told = json.loads(answer.body)
            error = told.get("error") or told.get("errors") or told.get("message") or ""
            text = error if isinstance(error, str) else json.dumps(error)
        except (ValueError, RecursionError, AttributeError):
            pass  # then what it sent is all that there is to show
    plain = _plain(text)
    return f" ({plain})" if plain else ""


def _plain(text: str) -> str:
    """The beginning of a text, in one line. Redacted first: half a secret is not recognised."""
    said = redact(text)
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
