"""Requests to `/api/usage/timeseries`: the usage in each minute, grouped by one dimension."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from relay_metrics import catalogue
from relay_metrics.errors import RelayError, Unauthorised
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.values import figures, instant_ms, number, text
from relay_metrics.relays.wyolet.settings import access
from relay_metrics.snapshot import Number, Scope

T = TypeVar("T")

TIMESERIES = "api/usage/timeseries"
MINUTE_MS = 60_000
MAX_BUCKETS = 4_320
"""How many buckets one request asks for: three days of minutes. The relay refuses above 5,000."""

MODEL, MODEL_ID, KEY_HASH = "model", "model_id", "relay_key_hash"

_TOKENS = {"input": 0, "output": 0, "cache_creation": 0, "cache_read": 0}
"""The kinds of tokens that become metrics. Other kinds are parts of these or overlap with them, so
that a sum over all kinds would be wrong."""


class Window(NamedTuple):
    """A window of whole minutes, without its end; epoch milliseconds."""

    start_ms: int
    end_ms: int

    def parts(self, minutes: int) -> Iterator[Window]:
        """Consecutive windows of at most `minutes` minutes each."""
        for start in range(self.start_ms, self.end_ms, minutes * MINUTE_MS):
            yield Window(start, min(start + minutes * MINUTE_MS, self.end_ms))


class Minute(NamedTuple):
    """The usage of one group, a model or the hash of a key, in one minute.

    Attributes:
        group: the model or hash; empty for requests without one.
        start_ms: the start of the minute, epoch milliseconds.
        fields: the figures by the fields of the catalogue.
    """

    group: str
    start_ms: int
    fields: Mapping[str, Number]


class Usage(NamedTuple):
    """The minutes of one or several answers.

    Attributes:
        left_out: how many values are missing or invalid, by `error.type`.
        seconds: the longest time that an answer took.
    """

    minutes: tuple[Minute, ...]
    left_out: Counter[str]
    seconds: float


def get(client: RelayClient, path: str, endpoint: str) -> dict[str, Any]:
    """A GET with the administrator's token. After a 401 it is sent again with a renewed token.

    Raises:
        RelayError: the relay did not answer with a JSON object.
    """

    def ask(token: str | None) -> dict[str, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return client.ask_json("GET", path, endpoint=endpoint, headers=headers, says_success=False)

    try:
        return ask(access(client.relay).admin_token)
    except Unauthorised:
        return ask(access(client.renewed()).admin_token)


def timeseries(client: RelayClient, scope: Scope, dimension: str, window: Window) -> Usage:
    """The usage in each minute of a window.

    Args:
        scope: chooses the rows of the catalogue.
        dimension: what the relay groups by.

    Raises:
        RelayError: a request failed.
    """
    return _joined([_usage(client, scope, dimension, one) for one in window.parts(MAX_BUCKETS)])


def most_minutes(client: RelayClient, dimension: str, window: Window) -> int:
    """The most minutes with usage that a window has, over all groups.

    It requests hours instead of minutes: in an hour a group has at most as many minutes with usage
    as requests, and at most sixty.

    Raises:
        RelayError: a request failed.
    """
    most = 0
    for part in window.parts(60 * MAX_BUCKETS):
        for row in _rows(client, _ask(client, dimension, "1h", part), "1h0m0s"):
            points = row.get("points") if isinstance(row, dict) else None
            for point in points if isinstance(points, list) else ():
                requests = number(point.get("requests")) if isinstance(point, dict) else None
                most += min(int(requests or 0), 60)
    return most


def _ask(client: RelayClient, dimension: str, interval: str, window: Window) -> dict[str, Any]:
    # The relay ignores parameters that it does not know, so a misspelt one would not be noticed.
    query = {
        "interval": interval,
        "group_by": dimension,
        "from": instant(window.start_ms),
        "to": instant(window.end_ms),
    }
    return _twice(lambda: get(client, f"/{TIMESERIES}?{urlencode(query)}", TIMESERIES))


def _rows(client: RelayClient, answer: Mapping[str, Any], interval: str) -> list[Any]:
    rows = answer.get("rows", False)
    if answer.get("interval") != interval or not isinstance(rows, list | None):
        message = "answered 200 with other than usage by the interval that was asked for"
        raise client.invalid(TIMESERIES, "incomplete", message)
    return rows or []


def _usage(client: RelayClient, scope: Scope, dimension: str, window: Window) -> Usage:
    """The usage of a window; of its halves, if the answer is too large."""
    began = time.monotonic()
    try:
        answer = _ask(client, dimension, "1m", window)
    except RelayError as error:
        minutes = (window.end_ms - window.start_ms) // MINUTE_MS
        if error.type not in ("too_large", "memory") or minutes < 2:
            raise
        halves = window.parts((minutes + 1) // 2)
        return _joined([_usage(client, scope, dimension, half) for half in halves])
    seconds = time.monotonic() - began
    left_out: Counter[str] = Counter()
    return Usage(
        tuple(_minutes(client, scope, dimension, window, answer, left_out)), left_out, seconds
    )


def _joined(parts: list[Usage]) -> Usage:
    left_out: Counter[str] = Counter()
    for one in parts:
        left_out.update(one.left_out)
    minutes = tuple(minute for one in parts for minute in one.minutes)
    return Usage(minutes, left_out, max((one.seconds for one in parts), default=0.0))


def _twice(ask: Callable[[], T]) -> T:
    """Call `ask`, and again after a 400, which the relay also answers when its backend fails."""
    try:
        return ask()
    except RelayError as error:
        if error.status != 400:
            raise
        return ask()


def _minutes(
    client: RelayClient,
    scope: Scope,
    dimension: str,
    window: Window,
    answer: Mapping[str, Any],
    left_out: Counter[str],
) -> Iterator[Minute]:
    rows_of = catalogue.rows(scope)
    for row in _rows(client, answer, "1m0s"):
        group = row.get("group") if isinstance(row, dict) else None
        points = row.get("points") if isinstance(row, dict) else None
        if not isinstance(group, dict) or dimension not in group or not isinstance(points, list):
            left_out["invalid_row"] += 1
            continue
        for point in points:
            start_ms = instant_ms(point.get("bucket")) if isinstance(point, dict) else None
            if start_ms is None or start_ms % MINUTE_MS:
                left_out["invalid_row"] += 1
            # Both ends of a request are inclusive: the bucket that begins at the end of the window
            # has only the events of its first instant, so it is dropped.
            elif window.start_ms <= start_ms < window.end_ms:
                fields = figures(rows_of, _plain(point), lambda type: left_out.update((type,)))
                if fields:
                    yield Minute(text(group[dimension]), start_ms, fields)


def _plain(point: Mapping[str, Any]) -> Mapping[str, Any]:
    """A bucket with 0 for kinds of tokens that its `tokens` do not have, and its cost in USD."""
    plain = dict(point)
    if "tokens" in point:  # an empty map can be null
        tokens = point["tokens"]
        plain["tokens"] = {**_TOKENS, **(tokens if isinstance(tokens, dict) else {})}
    if "cost_nanos" in point:
        nanos = number(point["cost_nanos"])
        plain["cost_usd"] = point["cost_nanos"] if nanos is None else nanos / 1e9
    return plain


def instant(at_ms: int) -> str:
    """A time in the form that the relay accepts, RFC 3339 in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
