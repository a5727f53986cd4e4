"""Which minutes of a relay's usage a run tells, and the figures that it makes of them."""

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
    Told,
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
    """What earlier runs of this environment know of one relay's usage; none of it is needed.

    Attributes:
        longer_s: when all of the lookback was told and taken, epoch seconds.
        day_asked_s: when the whole day before was asked for.
        day: the day (since 1970) whose day before was told and taken.
        slow: whether the relay needs more than a second for an answer.
        by_model: what it groups by to tell models apart: before 0.3.0 their ids.
        nobodys: hashes that were not in the list of keys.
    """

    longer_s: float | None = None
    day_asked_s: float | None = None
    day: int | None = None
    slow: bool = False
    by_model: str = MODEL
    names: Names = field(default_factory=Names)
    nobodys: set[str] = field(default_factory=set)


class Usage:
    """The usage of a relay in one run.

    The minutes that were over last are told in every run. Events are written at a request's end,
    with its start, so that minutes change: from time to time all of the lookback is told again,
    and once a day the whole day before.

    Args:
        memory: of this relay.

    Attributes:
        longer: whether this run tells all of the lookback, and reads anew what is kept.
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
        self._told: dict[tuple[Scope, Window], Told] = {}
        self._complete = True

    def requests(self) -> Iterator[Request[Any]]:
        """What is asked for first."""
        for window in filter(None, (self._recent, self._day)):
            yield self._request(Scope.USAGE_MODEL, window, by_model)
            yield self._request(Scope.USAGE_KEY, window, by_key)
        if self.longer or self._client.checking or not self._memory.names.read:
            yield self._names()

    def more_requests(self) -> Iterator[Request[Any]]:
        """What the answers have made worth asking: whose the hashes are that are not known."""
        if not self._names_read and self._unknown() - self._memory.nobodys:
            yield self._names()

    def _request(
        self, scope: Scope, window: Window, ask: Callable[[RelayClient, Memory, Window], Told]
    ) -> Request[Told]:
        def take(told: Told) -> None:
            self._told[scope, window] = told
            if window == self._recent:
                self._memory.slow = any(
                    one.seconds > SLOW_S for (_, of), one in self._told.items() if of == window
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
        """The hashes that were told and are no key's, as far as it is known."""
        return unknown(self._told_of(Scope.USAGE_KEY), self._memory.names)

    def _told_of(self, scope: Scope) -> list[Minute]:
        return [one for (of, _), told in self._told.items() if of is scope for one in told.minutes]

    def timed(self) -> tuple[Reading, ...]:
        """The figures, each with the beginning of its minute as its time."""
        client, memory = self._client, self._memory
        for told in self._told.values():
            for type, count in told.left_out.items():
                client.left_out(TIMESERIES, type, count)
        nobodys = self._unknown()
        if self._names_read:
            memory.nobodys |= nobodys
        if told_by_digits := nobodys & memory.nobodys:
            client.left_out(RELAY_KEYS, "unknown_key", len(told_by_digits))
        # of a key whose id is not known yet, told under digits, the usage would count twice later
        leave_out = nobodys - memory.nobodys
        self._complete = not leave_out
        return (
            *of_models(self._told_of(Scope.USAGE_MODEL)),
            *of_keys(self._told_of(Scope.USAGE_KEY), memory.names, leave_out),
        )

    def readings(self) -> Iterator[Reading]:
        """What is told at the run's time."""
        if self._recent is not None:
            yield Reading(Scope.USAGE, {"up": int(self._has(self._recent))})
        yield from self._memory.names.readings()

    def taken(self) -> None:
        """Remember that the figures are where they belong."""
        if self.longer and self._recent and self._has(self._recent):
            self._memory.longer_s = self._client.scheduled_s
            if self._day is not None and self._has(self._day):
                self._memory.day = self._today

    def _has(self, window: Window) -> bool:
        scopes = (Scope.USAGE_MODEL, Scope.USAGE_KEY)
        return self._complete and all((scope, window) in self._told for scope in scopes)


def by_model(client: RelayClient, memory: Memory, window: Window) -> Told:
    """The minutes of a window by model.

    Raises:
        RelayError: the relay did not tell them.
    """
    return _of_models(
        memory, lambda dimension: timeseries(client, Scope.USAGE_MODEL, dimension, window)
    )


def _of_models(memory: Memory, ask: Callable[[str], T]) -> T:
    """What is told by model; by its id where the release knows no other way."""
    try:
        return ask(memory.by_model)
    except RelayError as error:
        if error.status != 400 or memory.by_model == MODEL_ID:
            raise
        by_id = ask(MODEL_ID)
    try:
        # a backend that fails now and then says 400 as well: names and ids must not alternate
        return ask(MODEL)
    except RelayError as error:
        if error.status != 400:
            raise
    memory.by_model = MODEL_ID
    return by_id


def most_points(client: RelayClient, memory: Memory, window: Window) -> int:
    """How many data points the minutes of a window are, at most. Two questions, by the hour.

    Raises:
        RelayError: the relay did not tell it.
    """
    of_models = _of_models(memory, lambda dimension: most_minutes(client, dimension, window))
    of_keys = most_minutes(client, KEY_HASH, window)
    return of_models * len(catalogue.rows(Scope.USAGE_MODEL)) + of_keys * len(
        catalogue.rows(Scope.USAGE_KEY)
    )


def by_key(client: RelayClient, _memory: Memory, window: Window) -> Told:
    """The minutes of a window by the hash of the caller's key.

    Raises:
        RelayError: the relay did not tell them.
    """
    return timeseries(client, Scope.USAGE_KEY, KEY_HASH, window)


def unknown(minutes: Iterable[Minute], names: Names) -> set[str]:
    """The hashes that are no key's."""
    return {one.group for one in minutes if not names.known(one.group)}


def of_models(minutes: Iterable[Minute]) -> Iterator[Reading]:
    """The figures of models."""
    for model, start_ms, fields in _summed(minutes, lambda model: model):
        yield Reading(Scope.USAGE_MODEL, fields, {"model": model}, time_ms=start_ms)


def of_keys(minutes: Iterable[Minute], names: Names, leave_out: set[str]) -> Iterator[Reading]:
    """The figures of keys: those of all the hashes that a key had, in one."""
    chosen = (one for one in minutes if one.group not in leave_out)
    for key, start_ms, fields in _summed(chosen, names.id):
        yield Reading(Scope.USAGE_KEY, fields, resource={"relay.key.id": key}, time_ms=start_ms)


def _summed(
    minutes: Iterable[Minute], named: Callable[[str], str]
) -> Iterator[tuple[str, int, dict[str, Number]]]:
    """Minutes by what their groups are called: of two that are called the same the sum."""
    sums: dict[tuple[str, int], dict[str, Number]] = {}
    for group, start_ms, fields in minutes:
        of = sums.setdefault((named(group), start_ms), {})
        for name, value in fields.items():
            of[name] = of.get(name, 0) + value
    for (name, start_ms), of in sums.items():
        yield name, start_ms, of


def _due(last_s: float | None, now_s: float) -> bool:
    return last_s is None or abs(now_s - last_s) >= _LONGER_EVERY_S
