"""The usage of a window of time: `/api/usage/timeseries`, minute by minute, by one dimension."""

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
"""Of one question, three days of minutes: the relay refuses more than 5,000."""

MODEL, MODEL_ID, KEY_HASH = "model", "model_id", "relay_key_hash"

_TOKENS = {"input": 0, "output": 0, "cache_creation": 0, "cache_read": 0}
"""The kinds that are told; others are parts of these, or beside them, so that no sum is made."""


class Window(NamedTuple):
    """From one minute to another, which is not in it; epoch milliseconds."""

    start_ms: int
    end_ms: int

    def parts(self, minutes: int) -> Iterator[Window]:
        """Windows of so many minutes at most that follow each other."""
        for start in range(self.start_ms, self.end_ms, minutes * MINUTE_MS):
            yield Window(start, min(start + minutes * MINUTE_MS, self.end_ms))


class Minute(NamedTuple):
    """What was used in a minute: of one model, or by one hash of a key.

    Attributes:
        group: its name; empty where a request had none.
        start_ms: the minute's beginning.
        fields: as the rows of the catalogue name them.
    """

    group: str
    start_ms: int
    fields: Mapping[str, Number]


class Told(NamedTuple):
    """An answer, or several.

    Attributes:
        left_out: how many values are missing or invalid, by the type of what is counted.
        seconds: the longest time that an answer took.
    """

    minutes: tuple[Minute, ...]
    left_out: Counter[str]
    seconds: float


def get(client: RelayClient, path: str, endpoint: str) -> dict[str, Any]:
    """A GET as the administrator, whose token is sent with nothing else.

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


def timeseries(client: RelayClient, scope: Scope, dimension: str, window: Window) -> Told:
    """What was used in each minute of a window.

    Args:
        scope: whose rows of the catalogue are filled.
        dimension: what the relay groups by.

    Raises:
        RelayError: the relay did not tell it.
    """
    told = [_told(client, scope, dimension, part) for part in window.parts(MAX_BUCKETS)]
    return _joined(told)


def most_minutes(client: RelayClient, dimension: str, window: Window) -> int:
    """How many minutes of a window will be told, at most, all groups together.

    It is asked by the hour: of a group that has no more minutes than requests, and sixty at most.

    Raises:
        RelayError: the relay did not tell it.
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
    # what the relay does not know it ignores: these four it knows
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


def _told(client: RelayClient, scope: Scope, dimension: str, window: Window) -> Told:
    began = time.monotonic()
    try:
        answer = _ask(client, dimension, "1m", window)
    except RelayError as error:
        minutes = (window.end_ms - window.start_ms) // MINUTE_MS
        if error.type not in ("too_large", "memory") or minutes < 2:
            raise
        halves = window.parts((minutes + 1) // 2)
        return _joined([_told(client, scope, dimension, half) for half in halves])
    seconds = time.monotonic() - began
    left_out: Counter[str] = Counter()
    return Told(
        tuple(_minutes(client, scope, dimension, window, answer, left_out)), left_out, seconds
    )


def _joined(told: list[Told]) -> Told:
    left_out: Counter[str] = Counter()
    for one in told:
        left_out.update(one.left_out)
    minutes = tuple(minute for one in told for minute in one.minutes)
    return Told(minutes, left_out, max((one.seconds for one in told), default=0.0))


def _twice(ask: Callable[[], T]) -> T:
    """What is asked for, once more where the relay says 400: a backend that fails says so too."""
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
            # both ends are inclusive: the last bucket has the events of its first instant alone
            elif window.start_ms <= start_ms < window.end_ms:
                fields = figures(rows_of, _plain(point), lambda type: left_out.update((type,)))
                if fields:
                    yield Minute(text(group[dimension]), start_ms, fields)


def _plain(point: Mapping[str, Any]) -> Mapping[str, Any]:
    """A bucket with every kind of token, and its cost in USD."""
    tokens = point.get("tokens")
    plain = {**point, "tokens": {**_TOKENS, **(tokens if isinstance(tokens, dict) else {})}}
    if "cost_nanos" in point:
        nanos = number(point["cost_nanos"])
        plain["cost_usd"] = point["cost_nanos"] if nanos is None else nanos / 1e9
    return plain


def instant(at_ms: int) -> str:
    """As the relay takes it, with its time and zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
