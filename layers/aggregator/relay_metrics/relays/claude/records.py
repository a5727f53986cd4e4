"""The records of all keys in a run, and the requests whose answers are added to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from relay_metrics.errors import RelayError
from relay_metrics.relays.claude.admin import Sessions
from relay_metrics.relays.claude.calendar import Calendar
from relay_metrics.relays.claude.keys import Identity, KeyIds, Memory
from relay_metrics.relays.claude.record import USAGE_STATS, Record, Stats
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
    from relay_metrics.relays.claude.day_before import Delivered


class Counted(NamedTuple):
    """On a day of the relay: how many accounts a list had, and how many of them had no request."""

    day: int
    accounts: int
    idle: int


@dataclass
class State:
    """What the runtime keeps between runs. Without it a run sends a few more requests.

    Attributes:
        utc_offset_hours: the offsets of relays' clocks, by base URL.
        days_delivered: the last day before that was delivered, by base URL and shard.
        lists: the counts of accounts in lists that scan, by base URL and platform.
    """

    key_ids: KeyIds = field(default_factory=KeyIds)
    sessions: Sessions = field(default_factory=Sessions)
    keys: Memory = field(default_factory=Memory)
    utc_offset_hours: dict[str, float] = field(default_factory=dict)
    days_delivered: dict[tuple[str, int, int], Delivered] = field(default_factory=dict)
    lists: dict[tuple[str, str], Counted] = field(default_factory=dict)


class Records:
    """The records of the keys of one run.

    Attributes:
        of: the record of each key, by the id with which it is first requested.
        asked: the ids of keys whose user-stats was requested.
        answered: called with the id of each key whose user-stats came.
    """

    def __init__(self, client: RelayClient, kept: State, keys: Iterable[Identity] = ()) -> None:
        self.of: dict[str, Record] = {}
        self.asked: set[str] = set()
        self.answered: Callable[[str], None] = lambda _: None
        self._handed_over: set[str] = set()
        self._renewed: dict[str, str] = {}  # the ids that keys have by now, and their former ones
        self._client = client
        self._kept = kept
        for key in keys:
            self.add(Record(key))

    def add(self, record: Record) -> None:
        """Add a record, with the facts from earlier runs."""
        self.of[record.identity.id] = self._with_known(record)

    def _with_known(self, record: Record) -> Record:
        known = self._kept.keys.recall(self._client.relay.base_url, record.identity.id)
        expires_ms = None if known is None else known.expires_ms
        expired = expires_ms is not None and expires_ms <= self._client.time_ms
        return record._replace(known=known, expired=expired)

    def learn(self, key_id: str, **answer: Any) -> None:
        """Add an answer to the record of a key, unless the key was left out meanwhile."""
        if key_id in self.of:
            self.of[key_id] = self.of[key_id]._replace(**answer)

    def _learn_of(self, key_id: str, identity: Identity, **answer: Any) -> None:
        if identity.id != key_id:
            self._renewed[identity.id] = key_id
        self.learn(key_id, **answer)

    # -- requests

    def stats(self, key_id: str) -> Request[Any]:
        """The request for the user-stats of a key."""
        self.asked.add(key_id)
        key = self.of[key_id].identity

        def refused(error: RelayError) -> None:
            if error.status in REFUSALS:
                self.learn(key_id, refused=True)

        def take(stats: Stats) -> None:
            if key_id in self.of:
                self._learn_of(key_id, stats.identity, stats=stats)
                self.answered(key_id)

        return Request(
            USER_STATS,
            lambda: user_stats(self._client, self._kept.key_ids, key),
            take,
            refused,
        )

    def models(self, key_id: str) -> Request[Any]:
        """The request for the model rows of a key."""
        key = self.of[key_id].latest_identity

        return Request(
            USER_MODELS,
            lambda: user_models(self._client, self._kept.key_ids, key),
            lambda models: self._learn_of(key_id, models.identity, models=models),
        )

    def batches(self, ids: Sequence[str]) -> Iterable[Request[Any]]:
        """The requests for the usage of keys on the day and in the month."""
        for start in range(0, len(ids), BATCH_SIZE):
            yield self.batch(ids[start : start + BATCH_SIZE])

    def batch(self, ids: Sequence[str], *, for_cost: bool = False) -> Request[Any]:
        """The request for a batch of keys.

        Args:
            for_cost: whether it has one key only, to get the key's total cost.
        """

        def take(batch: Batch | None) -> None:
            if batch is None:
                return
            for key_id in ids:
                batched = batch.keys.get(key_id)
                self.learn(key_id, batched=batched, absent=batched is None)
                # the cost is that of the whole batch; if it is 0, it is 0 for each key
                if batched is not None and (for_cost or batch.cost == 0):
                    self.learn(key_id, cost=batch.cost)

        return Request(BATCH, lambda: batch_stats(self._client, ids), take)

    # -- results

    def figures(self, ids: Iterable[str]) -> list[Reading]:
        """The readings of keys, without those of models. `readings` then leaves them out."""
        told = {key_id: record for key_id in ids if (record := self._told(key_id)) is not None}
        self._handed_over.update(told)
        calendar = self.calendar
        return [reading for record in told.values() for reading in record.figures(calendar)]

    def readings(self) -> Iterable[Reading]:
        """The readings of all keys. The facts about them are kept for later runs."""
        calendar = self.calendar
        if zeros := sum(record.zeros_left_out for record in self.of.values()):
            self._client.left_out(USAGE_STATS, "zero_of_used", zeros)
        for key_id in self.of:
            record = self._told(key_id)
            if record is None:
                continue
            identity = record.latest_identity
            self._kept.keys.keep(self._client.relay.base_url, identity.id, record.to_keep)
            if key_id not in self._handed_over:
                yield from record.figures(calendar)
            yield from record.use_of_models()

    def _told(self, key_id: str) -> Record | None:
        """The record that is delivered of a key; None if another one is delivered in its place.

        A configured key may have got a new id, which the relay lists as well. Then it wins over
        its twin, unless that was handed over before.
        """
        record = self.of[key_id]
        identity = record.latest_identity
        twin_told = identity.id in self._handed_over
        if key_id != (identity.id if twin_told else self._renewed.get(identity.id, key_id)):
            return None
        if identity.id == key_id:
            return record
        twin = self.of.get(identity.id) or self._with_known(Record(identity))
        stats, models = record.stats or twin.stats, record.models or twin.models
        return twin._replace(
            identity=identity,
            stats=stats and stats._replace(identity=identity),
            models=models and models._replace(identity=identity),
        )

    @property
    def calendar(self) -> Calendar:
        """The run's day by the relay's clock, or by `RELAY_UTC_OFFSET_HOURS` if it is not known."""
        offset = self._kept.utc_offset_hours.get(
            self._client.relay.base_url, self._client.environment.utc_offset_hours
        )
        return Calendar.at(self._client.time_ms, offset)

    @property
    def failed(self) -> int:
        """How many keys were asked for their user-stats without success."""
        return sum(self.of[key_id].stats is None for key_id in self.asked if key_id in self.of)

    @property
    def models_left_out(self) -> int:
        """How many model rows are beyond `RELAY_MAX_MODELS_PER_KEY`."""
        return sum(one.models.left_out for one in self.of.values() if one.models is not None)

    @property
    def accepted(self) -> bool:
        """Whether the relay answered for any key: with user-stats if requested, else in a batch."""
        return any(
            record.batched is not None if key_id not in self.asked else record.stats is not None
            for key_id, record in self.of.items()
        )
