"""The records of a run's keys, and the requests that each add an answer to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from relay_metrics.errors import RelayError
from relay_metrics.relays.claude.admin import Sessions
from relay_metrics.relays.claude.calendar import Calendar
from relay_metrics.relays.claude.keys import Identity, KeyIds, Memory
from relay_metrics.relays.claude.record import Record, Stats
from relay_metrics.relays.claude.stats import (
    BATCH,
    BATCH_SIZE,
    REFUSALS,
    USER_MODELS,
    USER_STATS,
    Batch,
    batch_stats,
    user_models,
    user_stats,
)
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.phases import Request
from relay_metrics.snapshot import Reading

if TYPE_CHECKING:
    from relay_metrics.relays.claude.day_before import Told


class Counted(NamedTuple):
    """How many accounts a list had on a day of the relay, and how many without a request."""

    day: int
    accounts: int
    idle: int


@dataclass
class State:
    """What is kept from one run to the next. Without it a run asks a little more.

    Attributes:
        utc_offset_hours: of relays' clocks, by base URL.
        days_told: the day before that was told last, by base URL and shard.
        lists: what was counted in lists of accounts that scan, by base URL and platform.
    """

    key_ids: KeyIds = field(default_factory=KeyIds)
    sessions: Sessions = field(default_factory=Sessions)
    keys: Memory = field(default_factory=Memory)
    utc_offset_hours: dict[str, float] = field(default_factory=dict)
    days_told: dict[tuple[str, int, int], Told] = field(default_factory=dict)
    lists: dict[tuple[str, str], Counted] = field(default_factory=dict)


class Records:
    """What a run has learned of its keys.

    Attributes:
        of: each key's record, by the id that it is first asked for by.
        asked: the keys whose user-stats was asked for.
        answered: called with each key whose user-stats came.
    """

    def __init__(self, client: RelayClient, kept: State, keys: Iterable[Identity] = ()) -> None:
        self.of: dict[str, Record] = {}
        self.asked: set[str] = set()
        self.answered: Callable[[str], None] = lambda _: None
        self._handed_over: set[str] = set()
        self._client = client
        self._kept = kept
        for key in keys:
            self.add(Record(key))

    def add(self, record: Record) -> None:
        """Have a key, with what earlier runs were told of it."""
        key_id = record.identity.id
        known = self._kept.keys.recall(self._client.relay.base_url, key_id)
        self.of[key_id] = record._replace(known=known)

    def learn(self, key_id: str, **answer: Any) -> None:
        """Add an answer to a key's record; to none where the key was left out meanwhile."""
        if key_id in self.of:
            self.of[key_id] = self.of[key_id]._replace(**answer)

    # -- requests

    def stats(self, key_id: str) -> Request[Any]:
        """User-stats of a key."""
        self.asked.add(key_id)
        key = self.of[key_id].identity

        def refused(error: RelayError) -> None:
            if error.status in REFUSALS:
                self.learn(key_id, refused=True)

        def take(stats: Stats) -> None:
            if key_id in self.of:
                self.learn(key_id, stats=stats)
                self.answered(key_id)

        return Request(
            USER_STATS,
            lambda: user_stats(self._client, self._kept.key_ids, key),
            take,
            refused,
        )

    def models(self, key_id: str) -> Request[Any]:
        """The use that a key made of models."""
        key = self.of[key_id].identity
        return Request(
            USER_MODELS,
            lambda: user_models(self._client, self._kept.key_ids, key),
            lambda models: self.learn(key_id, models=models),
        )

    def batches(self, ids: Sequence[str]) -> Iterable[Request[Any]]:
        """The day's and the month's usage of keys."""
        for start in range(0, len(ids), BATCH_SIZE):
            yield self.batch(ids[start : start + BATCH_SIZE])

    def batch(self, ids: Sequence[str], *, for_cost: bool = False) -> Request[Any]:
        """A batch of keys.

        Args:
            for_cost: whether it is of one key alone, for all that it ever cost.
        """

        def take(batch: Batch | None) -> None:
            if batch is None:
                return
            for key_id in ids:
                batched = batch.keys.get(key_id)
                self.learn(key_id, batched=batched, absent=batched is None)
                # what all of a batch cost together is each one's cost where that is 0
                if batched is not None and (for_cost or batch.cost == 0):
                    self.learn(key_id, cost=batch.cost)

        return Request(BATCH, lambda: batch_stats(self._client, ids), take)

    # -- what comes of it

    def figures(self, ids: Iterable[str]) -> list[Reading]:
        """What is delivered of keys but their use of models, for `readings` to leave out."""
        ids = list(ids)
        self._handed_over.update(ids)
        calendar = self._calendar
        return [reading for key_id in ids for reading in self.of[key_id].figures(calendar)]

    def readings(self) -> Iterable[Reading]:
        """What is delivered of the keys. What a later run may want to know of them is kept."""
        calendar = self._calendar
        for key_id, record in self.of.items():
            identity = (record.stats or record.models or record).identity
            self._kept.keys.keep(self._client.relay.base_url, identity.id, record.to_keep)
            if key_id not in self._handed_over:
                yield from record.figures(calendar)
            yield from record.use_of_models()

    @property
    def _calendar(self) -> Calendar:
        offset = self._kept.utc_offset_hours.get(
            self._client.relay.base_url, self._client.environment.utc_offset_hours
        )
        return Calendar.at(self._client.time_ms, offset)

    @property
    def failed(self) -> int:
        """How many keys were asked for and gave no stats."""
        return sum(self.of[key_id].stats is None for key_id in self.asked if key_id in self.of)

    @property
    def models_left_out(self) -> int:
        """How many model rows are beyond the bound."""
        return sum(one.models.left_out for one in self.of.values() if one.models is not None)

    @property
    def accepted(self) -> bool:
        """Whether the relay answered for any key: with its user-stats where that was asked for."""
        return any(
            record.batched is not None if key_id not in self.asked else record.stats is not None
            for key_id, record in self.of.items()
        )
