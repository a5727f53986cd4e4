"""Chooses the minutes of usage that a run requests, and makes figures of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from relay_metrics import catalogue
from relay_metrics.errors import RelayError
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.phases import Request
from relay_metrics.relays.wyolet import keys
from relay_metrics.relays.wyolet.keys import RELAY_KEYS, Names
from relay_metrics.relays.wyolet.timeseries import (
    KEY_HASH,
    MINUTE_MS,
    MODEL,
    MODEL_ID,
    TIMESERIES,
    Minute,
    Usage,
    Window,
    most_minutes,
    timeseries,
)
from relay_metrics.snapshot import Number, Reading, Scope

T = TypeVar("T")

_RECENT_MINUTES = 5
_LONGER_EVERY_S = 600
SLOW_S = 1.0
_DAY_MS = 86_400_000


@dataclass
class Memory:
    """What the runtime keeps of one relay's usage. Results do not depend on it.

    Attributes:
        longer_s: when the whole lookback was last delivered, epoch seconds.
        day_asked_s: when the whole day before was last requested, epoch seconds.
        day: the day (counted from 1970) on which the day before it was delivered.
        slow: whether the relay needs more than a second for an answer.
        by_model: the dimension for models; their ids with a relay before 0.3.0.
        nobodys: hashes that were not in the list of keys.
    """

    longer_s: float | None = None
    day_asked_s: float | None = None
    day: int | None = None
    slow: bool = False
    by_model: str = MODEL
    names: Names = field(default_factory=Names)
    nobodys: set[str] = field(default_factory=set)


class UsageScrape:
    """The usage of a relay in one run.

    Every run delivers the last few minutes. The relay stores an event when a request ends, under
    the time when it started, so that past minutes change. Therefore the whole lookback is delivered
    again every ten minutes, and the whole day before once a day.

    Args:
        memory: of this relay.

    Attributes:
        longer: whether this run delivers the whole lookback and reads the lists of keys again.
    """

    def __init__(self, client: RelayClient, memory: Memory) -> None:
        self._client = client
        self._memory = memory
        now_s = client.scheduled_s
        self.longer = not client.checking and _due(memory.longer_s, now_s)
        self._today = int(now_s * 1000 // _DAY_MS)
        minutes = client.environment.usage_lookback_s // 60 if self.longer else _RECENT_MINUTES
        end_ms = client.time_ms // MINUTE_MS * MINUTE_MS
        recent = Window(end_ms - minutes * MINUTE_MS, end_ms)
        self._recent = recent if self.longer or client.checking or not memory.slow else None
        self._day = None
        if self.longer:
            memory.by_model = MODEL  # the relay may have been upgraded
            day_ms = self._today * _DAY_MS
            before = Window(day_ms - _DAY_MS, min(day_ms, recent.start_ms))
            if memory.day != self._today and _due(memory.day_asked_s, now_s):
                memory.day_asked_s = now_s
                self._day = before if before.start_ms < before.end_ms else None
        self._names_read = False
        self._answers: dict[tuple[Scope, Window], Usage] = {}
        self._complete = True

    def requests(self) -> Iterator[Request[Any]]:
        """The first requests of the run."""
        for window in filter(None, (self._recent, self._day)):
            yield self._request(Scope.USAGE_MODEL, window, by_model)
            yield self._request(Scope.USAGE_KEY, window, by_key)
        if self.longer or self._client.checking or not self._memory.names.read:
            yield self._names()

    def more_requests(self) -> Iterator[Request[Any]]:
        """The list of keys, if the answers have hashes that are not known yet."""
        if not self._names_read and self._unknown() - self._memory.nobodys:
            yield self._names()

    def _request(
        self, scope: Scope, window: Window, ask: Callable[[RelayClient, Memory, Window], Usage]
    ) -> Request[Usage]:
        def take(answer: Usage) -> None:
            self._answers[scope, window] = answer
            if window == self._recent:
                self._memory.slow = any(
                    one.seconds > SLOW_S for (_, of), one in self._answers.items() if of == window
                )

        return Request(TIMESERIES, partial(ask, self._client, self._memory, window), take)

    def _names(self) -> Request[dict[str, Any]]:
        def take(answer: dict[str, Any]) -> None:
            try:
                self._memory.names.take(self._client, answer)
            except RelayError as error:
                self._client.failed(error)
            else:
                self._names_read = True
                self._memory.nobodys.clear()

        return Request(RELAY_KEYS, lambda: keys.ask(self._client), take)

    def _unknown(self) -> set[str]:
        """The hashes in the answers that belong to no known key."""
        return unknown(self._minutes(Scope.USAGE_KEY), self._memory.names)

    def _minutes(self, scope: Scope) -> list[Minute]:
        answers = (answer for (of, _), answer in self._answers.items() if of is scope)
        return [minute for answer in answers for minute in answer.minutes]

    def timed(self) -> tuple[Reading, ...]:
        """The figures of each minute, with its start as their timestamp."""
        client, memory = self._client, self._memory
        for answer in self._answers.values():
            for type, count in answer.left_out.items():
                client.left_out(TIMESERIES, type, count)
        nobodys = self._unknown()
        if self._names_read:
            memory.nobodys |= nobodys
        if without_id := nobodys & memory.nobodys:
            client.left_out(RELAY_KEYS, "unknown_key", len(without_id))
        # Without the list of keys, a new hash may belong to a key. Reported under its digits now
        # and under the key's id later, its usage would count twice.
        leave_out = nobodys - memory.nobodys
        self._complete = not leave_out
        return (
            *of_models(self._minutes(Scope.USAGE_MODEL)),
            *of_keys(self._minutes(Scope.USAGE_KEY), memory.names, leave_out),
        )

    def readings(self) -> Iterator[Reading]:
        """The readings with the time of the run: whether the usage came, and the keys."""
        if self._recent is not None:
            yield Reading(Scope.USAGE, {"up": int(self._has(self._recent))})
        yield from self._memory.names.readings()

    def taken(self) -> None:
        """Remember that the figures were delivered."""
        if self.longer and self._recent and self._has(self._recent):
            self._memory.longer_s = self._client.scheduled_s
            if self._day is not None and self._has(self._day):
                self._memory.day = self._today

    def _has(self, window: Window) -> bool:
        scopes = (Scope.USAGE_MODEL, Scope.USAGE_KEY)
        return self._complete and all((scope, window) in self._answers for scope in scopes)


def by_model(client: RelayClient, memory: Memory, window: Window) -> Usage:
    """The minutes of a window, grouped by model.

    Raises:
        RelayError: a request failed.
    """
    return _of_models(
        memory, lambda dimension: timeseries(client, Scope.USAGE_MODEL, dimension, window)
    )


def _of_models(memory: Memory, ask: Callable[[str], T]) -> T:
    """Call `ask` with the dimension for models: their names, or ids with an older relay."""
    try:
        return ask(memory.by_model)
    except RelayError as error:
        if error.status != 400 or memory.by_model == MODEL_ID:
            raise
        by_id = ask(MODEL_ID)
    try:
        # A failing backend also answers 400. Try the names once more, so that the series do not
        # alternate between names and ids.
        return ask(MODEL)
    except RelayError as error:
        if error.status != 400:
            raise
    memory.by_model = MODEL_ID
    return by_id


def most_points(client: RelayClient, memory: Memory, window: Window) -> int:
    """The most data points that the minutes of a window can give. It takes two requests.

    Raises:
        RelayError: a request failed.
    """
    of_models = _of_models(memory, lambda dimension: most_minutes(client, dimension, window))
    of_keys = most_minutes(client, KEY_HASH, window)
    return of_models * len(catalogue.rows(Scope.USAGE_MODEL)) + of_keys * len(
        catalogue.rows(Scope.USAGE_KEY)
    )


def by_key(client: RelayClient, _memory: Memory, window: Window) -> Usage:
    """The minutes of a window, grouped by the hash of the caller's key.

    Raises:
        RelayError: a request failed.
    """
    return timeseries(client, Scope.USAGE_KEY, KEY_HASH, window)


def unknown(minutes: Iterable[Minute], names: Names) -> set[str]:
    """The hashes that belong to no known key."""
    return {one.group for one in minutes if not names.known(one.group)}


def of_models(minutes: Iterable[Minute]) -> Iterator[Reading]:
    """The readings of models."""
    for model, start_ms, fields in _summed(minutes, lambda model: model):
        yield Reading(Scope.USAGE_MODEL, fields, {"model": model}, time_ms=start_ms)


def of_keys(minutes: Iterable[Minute], names: Names, leave_out: set[str]) -> Iterator[Reading]:
    """The readings of keys; all hashes that a key ever had are summed."""
    chosen = (one for one in minutes if one.group not in leave_out)
    for key, start_ms, fields in _summed(chosen, names.id):
        yield Reading(Scope.USAGE_KEY, fields, resource={"relay.key.id": key}, time_ms=start_ms)


def _summed(
    minutes: Iterable[Minute], named: Callable[[str], str]
) -> Iterator[tuple[str, int, dict[str, Number]]]:
    """Minutes with their groups renamed; groups that get the same name are summed."""
    sums: dict[tuple[str, int], dict[str, Number]] = {}
    for group, start_ms, fields in minutes:
        of = sums.setdefault((named(group), start_ms), {})
        for name, value in fields.items():
            of[name] = of.get(name, 0) + value
    for (name, start_ms), of in sums.items():
        yield name, start_ms, of


def _due(last_s: float | None, now_s: float) -> bool:
    return last_s is None or abs(now_s - last_s) >= _LONGER_EVERY_S
