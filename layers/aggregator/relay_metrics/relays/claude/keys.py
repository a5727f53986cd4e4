"""The keys of a claude-relay: who they are, and what a run knows of each."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from relay_metrics import catalogue
from relay_metrics.errors import Unauthorised
from relay_metrics.relays.claude.calendar import Calendar
from relay_metrics.relays.claude.settings import KeyCredential, access
from relay_metrics.relays.client import RelayClient, Request, Shard
from relay_metrics.relays.values import instant_ms, number, text
from relay_metrics.snapshot import Number, Reading, Scope

API = "/apiStats/api/"

STATS = catalogue.rows(Scope.KEY, "user-stats")
TOTALS = tuple(row for row in STATS if row.field.startswith("usage.total."))

MOST_REMEMBERED = 20_000
"""Keys of all relays, twice as many as a run of the default `RELAY_MAX_KEYS` has: some 8 MB."""


@dataclass(slots=True, eq=False)
class Key:
    """A key in the course of a run.

    Attributes:
        place: among the configured credentials; None for one that was discovered.
        listed: whether the administrator's list has it, and so its limits.
        batched: whether batch-stats has it, which leaves out those that may not be read; None while
            it did not answer.
        told: whether its user-stats came.
        refused: whether the relay did not answer its user-stats for the key's sake.
        used: whether it ever was; None while unknown.
        priced: whether it ever cost anything, without which its user-stats makes the relay scan;
            None while unknown.
        week: the day and hour on which its week begins.
    """

    id: str
    instance: str
    place: int | None = None
    name: str = ""
    created_ms: int | None = None
    expires_ms: int | None = None
    week: tuple[int, int] | None = None
    listed: bool = False
    batched: bool | None = None
    told: bool = False
    refused: bool = False
    used: bool | None = None
    priced: bool | None = None
    fields: dict[str, Number] = field(default_factory=dict)
    models: list[Reading] = field(default_factory=list)
    models_left_out: int = 0

    @property
    def scans(self) -> bool:
        """Whether its user-stats makes the relay scan, or may do so, or may have done so.

        A key that may not be read is refused before the relay looks at what it cost.
        """
        return not self.priced and not self.refused and self.batched is not False

    @property
    def resource(self) -> dict[str, str]:
        """The resource attributes that tell it from the relay's other keys."""
        return {
            "service.instance.id": self.instance,
            "relay.key.id": self.id,
            "relay.key.name": self.name,
        }

    def describe(self, data: Mapping[str, Any], limits: Mapping[str, Any]) -> None:
        """Take what user-stats and the administrator's list tell alike.

        Args:
            limits: where the day and hour of its week are; they may be text.
        """
        self.name = text(data.get("name"))
        self.created_ms = instant_ms(data.get("createdAt"))
        self.expires_ms = instant_ms(data.get("expiresAt"))
        day, hour = number(limits.get("weeklyResetDay")), number(limits.get("weeklyResetHour"))
        known = day in range(1, 8) and hour in range(24)
        self.week = (int(day or 0), int(hour or 0)) if known else None

    def count(self, totals: Mapping[str, Number]) -> None:
        """Take its totals, and what they tell of it."""
        for path, figure in totals.items():
            self.fields.setdefault(path, figure)
        if any(totals.values()):
            self.used = True
        elif totals and self.used is None:
            self.used = False
        cost = totals.get("usage.total.cost")
        if cost is not None:
            self.priced = cost > 0
        elif totals and not any(totals.values()) and self.priced is None:
            self.priced = False

    def readings(self, calendar: Calendar) -> Iterable[Reading]:
        """What is known of it."""
        if self.fields:
            fields = {**self.fields, "day_resets_s": calendar.next_day_s}
            if self.expires_ms is not None:
                fields["expires_s"] = self.expires_ms / 1000
            if self.week is not None:
                fields["week_resets_s"] = calendar.next_week_s(*self.week)
            yield Reading(Scope.KEY, fields, {}, self.resource, self.created_ms)
        for model in self.models:
            yield Reading(Scope.MODEL, model.fields, model.attributes, self.resource)


def instance_id(configured: str) -> str:
    """The `service.instance.id` of a key: as the former publisher made it, of its id or itself."""
    return sha256(configured.encode()).hexdigest()[:16]


def in_shard(key_id: str, shard: Shard) -> bool:
    """Whether a key is dealt to a shard: by a hash of its id, so that all shards agree."""
    return int(sha256(key_id.encode()).hexdigest()[:16], 16) % shard.count == shard.index - 1


def most_used(keys: Sequence[Key], most: int) -> tuple[list[Key], int]:
    """At most so many keys, those with the most tokens, in their order; and how many are left."""
    if len(keys) <= most:
        return list(keys), 0
    ranked = sorted(keys, key=lambda key: (-key.fields.get("usage.total.allTokens", 0), key.id))
    kept = {key.id for key in ranked[:most]}
    return [key for key in keys if key.id in kept], len(keys) - most


class KeyIds:
    """The ids of the API keys that were exchanged, kept for as long as the process lives.

    The exchange never activates a key; asking for model stats by the key itself does.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], str] = {}

    def of(self, client: RelayClient, api_key: str) -> str:
        """The id of an API key.

        Raises:
            RelayError: the relay does not say.
        """
        known = (client.relay.base_url, instance_id(api_key))
        if known not in self._ids:
            endpoint = "get-key-id"
            answer = client.ask_json(
                "POST", API + endpoint, endpoint=endpoint, body={"apiKey": api_key}
            )
            data = answer.get("data")
            key_id = text(data.get("id")) if isinstance(data, dict) else ""
            if not key_id:
                raise client.invalid(endpoint, "incomplete", "answered without an id")
            self._ids[known] = key_id
        return self._ids[known]

    def forget(self, client: RelayClient, api_key: str) -> None:
        """Ask again next time: the relay does not know the id any more."""
        self._ids.pop((client.relay.base_url, instance_id(api_key)), None)


class _Known(NamedTuple):
    name: str
    created_ms: int | None
    expires_ms: int | None
    priced: bool | None


class Memory:
    """What was told of keys, kept for as long as the process lives.

    Beyond `MOST_REMEMBERED` the keys that were not seen for longest are forgotten.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}
        self._lock = threading.Lock()

    def keep(self, base_url: str, key: Key) -> None:
        """Note what a run knows of a key, so that a later one that is told less has it."""
        known = base_url, key.id
        with self._lock:
            self._known.pop(known, None)
            self._known[known] = _Known(key.name, key.created_ms, key.expires_ms, key.priced)
            while len(self._known) > MOST_REMEMBERED:
                del self._known[next(iter(self._known))]

    def recall(self, base_url: str, key: Key) -> None:
        """Bring to a key what this run was not told of it."""
        with self._lock:
            known = self._known.get((base_url, key.id))
        if known is None:
            return
        if key.created_ms is None:
            key.created_ms = known.created_ms
        if not key.told and not key.listed:
            key.name = key.name or known.name
            key.expires_ms = known.expires_ms
        if key.priced is None:
            key.priced = known.priced


def configured(client: RelayClient, key_ids: KeyIds) -> tuple[list[Key], int]:
    """The configured keys, each once, and how many of them have no id."""
    credentials = access(client.relay).keys
    found: dict[int, Key] = {}

    def exchange(place: int) -> Request[Key]:
        return Request(
            "get-key-id",
            lambda: with_id(client, key_ids, place, credentials[place]),
            lambda key: found.__setitem__(place, key),
        )

    for place, credential in enumerate(credentials):
        if credential.api_id:
            found[place] = Key(credential.api_id, instance_id(credential.api_id), place)
    client.together(exchange(place) for place, one in enumerate(credentials) if not one.api_id)
    keys: dict[str, Key] = {}
    for place in sorted(found):
        keys.setdefault(found[place].id, found[place])
    return list(keys.values()), len(credentials) - len(found)


def with_id(client: RelayClient, key_ids: KeyIds, place: int, credential: KeyCredential) -> Key:
    """The key that a credential is of; by the secret as it is now where the relay refuses it.

    Raises:
        RelayError: the relay does not know it.
    """
    if credential.api_id:
        return Key(credential.api_id, instance_id(credential.api_id), place)
    api_key = credential.api_key or ""
    try:
        key_id = key_ids.of(client, api_key)
    except Unauthorised:
        fresh = renewed(client, place)
        if fresh is None:
            raise
        if fresh.api_id:
            return Key(fresh.api_id, instance_id(fresh.api_id), place)
        api_key = fresh.api_key or ""
        key_id = key_ids.of(client, api_key)
    return Key(key_id, instance_id(api_key), place)


def renewed(client: RelayClient, place: int | None) -> KeyCredential | None:
    """The credential at that place of the secret as it is now; None where there is none."""
    keys = access(client.renewed()).keys
    return keys[place] if place is not None and place < len(keys) else None
