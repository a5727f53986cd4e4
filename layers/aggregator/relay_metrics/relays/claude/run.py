"""A Claude Relay Service: what its keys use and may use, and how it is itself.

What the endpoints answer, and what each call costs the relay, is in `docs/relays.md`. A call that
scans the relay's whole database holds up everything else there: those share
`RELAY_SCANS_PER_RUN`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relay_metrics.errors import RelayError
from relay_metrics.relays import Fetched
from relay_metrics.relays.claude.admin import Administrator, Sessions
from relay_metrics.relays.claude.calendar import Calendar
from relay_metrics.relays.claude.discovery import (
    Discovered,
    ask_page,
    ask_usage,
    fill,
    more_pages,
    spends,
)
from relay_metrics.relays.claude.keys import (
    STATS,
    TOTALS,
    Key,
    KeyIds,
    Memory,
    configured,
    in_shard,
    most_used,
)
from relay_metrics.relays.claude.settings import Login, access
from relay_metrics.relays.claude.stats import ask_batches, ask_models, ask_stats
from relay_metrics.relays.client import RelayClient, Request
from relay_metrics.relays.rotation import in_turn
from relay_metrics.snapshot import Reading

if TYPE_CHECKING:
    from relay_metrics.relays.claude.at_large import AtLarge

USAGE_SCANS, DASHBOARD_SCANS, CONCURRENCY_SCANS = 1, 3, 1


@dataclass
class State:
    """What is kept from one run to the next. Without it a run asks a little more.

    Attributes:
        utc_offset_hours: of relays' clocks, by base URL.
    """

    key_ids: KeyIds = field(default_factory=KeyIds)
    sessions: Sessions = field(default_factory=Sessions)
    keys: Memory = field(default_factory=Memory)
    utc_offset_hours: dict[str, float] = field(default_factory=dict)


def fetch(client: RelayClient, kept: State) -> Fetched:
    """What the configured keys, and with a login all keys, have used and may use.

    Few configured keys are asked everything side by side, in one round trip. Of many, the bulk
    answers tell first which were ever used: user-stats of one that was not makes the relay scan,
    and so does every user-model-stats.
    """
    run = _Run(client, kept)
    everyone, without_id = configured(client, kept.key_ids)
    keys = [key for key in everyone if in_shard(key.id, client.shard)]
    login = access(client.relay).login
    few = 2 * len(keys) <= run.scans and len(keys) <= client.environment.max_keys
    if few and login is None:
        run.ask_everything(keys)
    else:
        run.ask_bulk(keys if login is None else run.discover(login, keys))
        run.ask_each()
    if not keys:
        # the credential is as good as that of any key that is another shard's
        run.ask_whether_up(everyone)
    return run.fetched(without_id if client.shard.first else 0)


class _Run:
    """The course of a run.

    Attributes:
        scans: how many more of them the run may cause.
    """

    def __init__(self, client: RelayClient, kept: State) -> None:
        self.scans = client.environment.scans_per_run
        self._client = client
        self._kept = kept
        self._administrator: Administrator | None = None
        self._discovered = Discovered()
        self._keys: list[Key] = []
        self._asked: list[Key] = []
        self._at_large: list[Reading] = []
        self._keys_left_out = 0
        self._keys_failed = 0

    # -- few keys

    def ask_everything(self, keys: Sequence[Key]) -> None:
        """All requests of a few keys side by side."""
        self._keys = self._asked = list(keys)
        self._client.together(
            [
                *(self._stats(key) for key in self._keys),
                *(self._models(key) for key in self._keys),
                *ask_batches(self._client, self._keys),
            ]
        )

    # -- an administrator's answers

    def discover(self, login: Login, keys: Sequence[Key]) -> list[Key]:
        """The configured keys and those that the administrator's answers tell of.

        A configured key keeps its place and its instance id.
        """
        # a run without a login need not import it
        from relay_metrics.relays.claude.at_large import AtLarge

        administrator = Administrator(self._client, self._kept.sessions, login)
        self._administrator = administrator
        try:
            administrator.enter()
        except RelayError as error:
            self._client.failed(error)
            return list(keys)
        found = self._discovered
        at_large = AtLarge(self._client, administrator)
        self._client.together(self._first_round(administrator, at_large))
        pages = more_pages(self._client, administrator, found)
        accounts = at_large.accounts() if self._client.shard.first else ()
        self._client.together([*pages, *accounts])
        if at_large.utc_offset_hours is not None:
            base_url = self._client.relay.base_url
            self._kept.utc_offset_hours[base_url] = at_large.utc_offset_hours
        found.settle()
        if self._client.shard.first:
            self._at_large = [*at_large.readings, *found.readings()]
        merged = dict(found.keys)
        for key in keys:
            twin = merged.get(key.id)
            if twin is None:
                merged[key.id] = key
            else:
                twin.place, twin.instance = key.place, key.instance
        return list(merged.values())

    def _first_round(self, administrator: Administrator, at_large: AtLarge) -> list[Request[Any]]:
        """What needs no other answer; of the requests that scan the most needed ones first."""
        asked = self._client, administrator, self._discovered
        first = self._client.shard.first
        requests: list[Request[Any]] = [ask_page(*asked, 1)]
        if self._may_scan(USAGE_SCANS):
            requests.append(ask_usage(*asked))
        # another shard asks for the relay's clock alone, and once
        unknown = self._client.relay.base_url not in self._kept.utc_offset_hours
        if (first or unknown) and self._may_scan(DASHBOARD_SCANS):
            requests.append(at_large.dashboard())
        if first:
            if self._may_scan(CONCURRENCY_SCANS):
                requests.append(at_large.concurrency())
            requests.append(at_large.health())
        return requests

    def _may_scan(self, scans: int) -> bool:
        """Whether so many scans are left, which are then taken."""
        if scans > self.scans:
            return False
        self.scans -= scans
        return True

    # -- many keys

    def ask_bulk(self, keys: Sequence[Key]) -> None:
        """The batches of the keys, of which the most used are kept."""
        if self._discovered.usage is not None:
            self._keep_most_used(keys)
            keys = self._keys
        self._client.together(ask_batches(self._client, keys))
        # a key that no page had may be disabled or expired: a batch leaves those out
        confirmed = [key for key in keys if key.listed or key.place is not None or key.batched]
        if self._administrator and self._administrator.accepted and not self._discovered.whole:
            lacking = self._discovered.total - len(self._discovered.states)
            known = len(keys) - len(confirmed)
            self._keys_failed += known if self._discovered.usage is not None else max(lacking, 0)
        self._keep_most_used(confirmed)

    def ask_each(self) -> None:
        """User-stats where the bulk answers lack something, and model rows.

        First the keys that cost something, which scan nothing, then those of which that is not
        known, and what scans in turn.
        """
        keys = sorted(self._keys, key=lambda key: key.id)
        wanting: list[Key] = []
        for key in keys:
            self._kept.keys.recall(self._client.relay.base_url, key)
            if key.listed:
                fill(key)
            if self._wants_stats(key):
                wanting.append(key)
        unknown = [key for key in wanting if key.scans and key.priced is None]
        free = {key.id for key in wanting if key.scans and key.priced is False}
        self._ask_stats([key for key in wanting if not key.scans])
        self._ask_unknown(unknown)
        scanning = [
            (key, models)
            for key in keys
            for models in (False, True)
            if (self._wants_models(key) if models else key.id in free)
        ]
        turn = in_turn(scanning, self.scans, self._client.scheduled_s)
        asked = [key for key, models in turn if not models]
        self._asked += asked
        self._client.together(
            [
                *(self._stats(key) for key in asked),
                *(self._models(key) for key, models in turn if models),
            ]
        )

    def _ask_stats(self, keys: Sequence[Key]) -> None:
        """User-stats of keys, of which those that were found to scan are taken off those left."""
        self._asked += keys
        self._client.together(self._stats(key) for key in keys)
        self.scans -= sum(key.scans for key in keys)

    def _ask_unknown(self, keys: Sequence[Key]) -> None:
        """User-stats of keys that may scan: as many at once as scans are left for, until none is.

        The answer of one that cost something took none, so that the next one can have it.
        """
        first = in_turn(keys, self.scans, self._client.scheduled_s)
        begun = {key.id for key in first}
        waiting = [*first, *(key for key in keys if key.id not in begun)]
        while waiting and self.scans > 0:
            count = self.scans
            self._ask_stats(waiting[:count])
            waiting = waiting[count:]
        if not self._asked and not self._accepted and self._keys:
            # without a scan too, the relay is up or it is not
            self._ask_stats(waiting[:1] or self._keys[:1])
            waiting = waiting[1:]
        if waiting:
            self._client.left_out("user-stats", "no_scan_left", len(waiting))

    def _wants_stats(self, key: Key) -> bool:
        if key.place is not None:
            return any(row.field not in key.fields for row in STATS)
        if key.listed and spends(key):
            return True
        return key.used is not False and any(row.field not in key.fields for row in TOTALS)

    def _wants_models(self, key: Key) -> bool:
        """Whether it was used in the configured period, as far as is known."""
        period = self._client.environment.period
        usage = {"daily": "dailyUsage", "monthly": "monthlyUsage"}.get(period, "usage.total")
        if key.used is False or key.batched is False:
            return False
        return key.fields.get(f"{usage}.requests") != 0

    def ask_whether_up(self, everyone: Sequence[Key]) -> None:
        """Ask of any key at all, and deliver nothing of it."""
        if self._administrator is None and everyone:
            self._asked = [everyone[0]]
            self._client.together([self._stats(everyone[0])])

    # -- what comes of it

    def fetched(self, without_id: int) -> Fetched:
        """All that was found out."""
        client = self._client
        offset = self._kept.utc_offset_hours.get(
            client.relay.base_url, client.environment.utc_offset_hours
        )
        calendar = Calendar.at(client.time_ms, offset)
        for key in self._keys:
            self._kept.keys.recall(client.relay.base_url, key)
            self._kept.keys.keep(client.relay.base_url, key)
        readings = [reading for key in self._keys for reading in key.readings(calendar)]
        return Fetched(
            up=self._accepted,
            readings=(*self._at_large, *readings),
            keys_failed=self._keys_failed + without_id + sum(not key.told for key in self._asked),
            keys_left_out=self._keys_left_out,
            models_left_out=sum(key.models_left_out for key in self._keys),
        )

    @property
    def _accepted(self) -> bool:
        """Whether the relay accepted the login; where there is none, any of the keys."""
        if self._administrator is not None:
            return self._administrator.accepted
        asked = {key.id for key in self._asked}
        batched = any(key.batched and key.id not in asked for key in self._keys)
        return batched or any(key.told for key in self._asked)

    def _keep_most_used(self, keys: Sequence[Key]) -> None:
        self._keys, left_out = most_used(keys, self._client.environment.max_keys)
        self._keys_left_out += left_out

    def _stats(self, key: Key) -> Request[Any]:
        return ask_stats(self._client, self._kept.key_ids, key)

    def _models(self, key: Key) -> Request[Any]:
        return ask_models(self._client, self._kept.key_ids, key)
