"""A Claude Relay Service: its keys' usage and limits, from its public stats endpoints.

What the endpoints answer, and what each call costs the relay, is in `docs/relays.md`. A call that
scans the relay's whole database holds up everything else there: those share
`RELAY_SCANS_PER_RUN`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from relay_metrics import catalogue
from relay_metrics.errors import RelayError, Unauthorised
from relay_metrics.relays import Fetched
from relay_metrics.relays.conversation import Conversation, Request, Shard
from relay_metrics.relays.turns import in_turn
from relay_metrics.relays.wire import dig, figures, instant_ms, number, text
from relay_metrics.settings import KeyCredential
from relay_metrics.snapshot import Number, Reading, Scope

API = "/apiStats/api/"
BATCH_SIZE = 30
"""The relay refuses more ids in one batch."""


@dataclass
class Key:
    """A key in the course of a run: who it is, and what is known of it so far.

    Attributes:
        place: among the configured credentials; None for one that was discovered.
        used: whether it ever was; None while unknown.
        told: whether its user-stats came.
    """

    id: str
    instance: str
    place: int | None = None
    name: str = ""
    created_ms: int | None = None
    used: bool | None = None
    told: bool = False
    fields: dict[str, Number] = field(default_factory=dict)
    models: list[Reading] = field(default_factory=list)
    models_left_out: int = 0

    @property
    def resource(self) -> dict[str, str]:
        """The resource attributes that tell it from the relay's other keys."""
        return {
            "service.instance.id": self.instance,
            "relay.key.id": self.id,
            "relay.key.name": self.name,
        }

    def readings(self) -> Iterable[Reading]:
        """What is known of it."""
        if self.fields:
            yield Reading(Scope.KEY, self.fields, {}, self.resource, self.created_ms)
        for model in self.models:
            yield Reading(Scope.MODEL, model.fields, model.attributes, self.resource)


def instance_id(configured: str) -> str:
    """The `service.instance.id` of a key: as the former publisher made it, of its id or itself."""
    return sha256(configured.encode()).hexdigest()[:16]


def in_shard(key_id: str, shard: Shard) -> bool:
    """Whether a key is dealt to a shard: by a hash of its id, so that all shards agree."""
    return int(sha256(key_id.encode()).hexdigest()[:16], 16) % shard.count == shard.index - 1


class KeyIds:
    """The ids of the API keys that were exchanged, kept for as long as the process lives.

    The exchange never activates a key; asking for model stats by the key itself does.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], str] = {}

    def of(self, conversation: Conversation, api_key: str) -> str:
        """The id of an API key.

        Raises:
            RelayError: the relay does not say.
        """
        known = (conversation.relay.base_url, instance_id(api_key))
        if known not in self._ids:
            endpoint = "get-key-id"
            answer = conversation.ask_json(
                "POST", API + endpoint, endpoint=endpoint, body={"apiKey": api_key}
            )
            data = answer.get("data")
            key_id = text(data.get("id")) if isinstance(data, dict) else ""
            if not key_id:
                raise conversation.invalid(endpoint, "incomplete", "answered without an id")
            self._ids[known] = key_id
        return self._ids[known]

    def forget(self, conversation: Conversation, api_key: str) -> None:
        """Ask again next time: the relay does not know the id any more."""
        self._ids.pop((conversation.relay.base_url, instance_id(api_key)), None)


def fetch(conversation: Conversation, key_ids: KeyIds) -> Fetched:
    """What the configured keys have used and may use.

    Few keys are asked everything side by side, in one round trip. Of many, the batch answers tell
    first which were ever used: user-stats of one that was not makes the relay scan, and so does
    every user-model-stats.
    """
    environment = conversation.environment
    scans = environment.scans_per_run
    keys, failed = configured(conversation, key_ids)
    left_out = 0
    if 2 * len(keys) <= max(scans, 2) and len(keys) <= environment.max_keys:
        stats = keys
        conversation.together(
            [
                *(ask_stats(conversation, key_ids, key) for key in keys),
                *(ask_models(conversation, key_ids, key) for key in keys[:scans]),
                *ask_batches(conversation, keys),
            ]
        )
    else:
        conversation.together(ask_batches(conversation, keys))
        keys, left_out = most_used(keys, environment.max_keys)
        scanning = in_turn(sorted(keys, key=_by_id), scans, conversation.scheduled_s)
        turn = {id(key) for key in scanning}
        stats = [key for key in keys if key.used is not False or id(key) in turn]
        conversation.together(
            [
                *(ask_stats(conversation, key_ids, key) for key in stats),
                *(
                    ask_models(conversation, key_ids, key)
                    for key in scanning
                    if key.used is not False
                ),
            ]
        )
    return Fetched(
        up=any(key.told for key in keys),
        readings=tuple(reading for key in keys for reading in key.readings()),
        keys_failed=failed + sum(not key.told for key in stats),
        keys_left_out=left_out,
        models_left_out=sum(key.models_left_out for key in keys),
    )


def configured(conversation: Conversation, key_ids: KeyIds) -> tuple[list[Key], int]:
    """The configured keys of this shard, each once, and how many of them have no id."""
    credentials = conversation.relay.keys
    found: dict[int, Key] = {}

    def exchange(place: int) -> Request[Key]:
        return Request(
            "get-key-id",
            lambda: _with_id(conversation, key_ids, place, credentials[place]),
            lambda key: found.__setitem__(place, key),
        )

    for place, credential in enumerate(credentials):
        if credential.api_id:
            found[place] = Key(credential.api_id, instance_id(credential.api_id), place)
    conversation.together(
        exchange(place) for place, one in enumerate(credentials) if not one.api_id
    )
    keys: dict[str, Key] = {}
    for place in sorted(found):
        keys.setdefault(found[place].id, found[place])
    mine = [key for key in keys.values() if in_shard(key.id, conversation.shard)]
    return mine, len(credentials) - len(found) if conversation.shard.first else 0


def most_used(keys: Sequence[Key], most: int) -> tuple[list[Key], int]:
    """At most so many keys, those with the most tokens, in their order; and how many are left."""
    if len(keys) <= most:
        return list(keys), 0
    ranked = sorted(keys, key=lambda key: (-key.fields.get("usage.total.allTokens", 0), key.id))
    kept = {id(key) for key in ranked[:most]}
    return [key for key in keys if id(key) in kept], len(keys) - most


def _by_id(key: Key) -> str:
    return key.id


# -- one key's answers ----------------------------------------------------------------------------


def ask_stats(conversation: Conversation, key_ids: KeyIds, key: Key) -> Request[Mapping[str, Any]]:
    """Its totals, limits and window."""
    endpoint = "user-stats"

    def ask() -> Mapping[str, Any]:
        data = _ask_by_id(conversation, key_ids, key, endpoint, {}).get("data")
        if not isinstance(data, dict):
            raise conversation.invalid(endpoint, "incomplete", "answered without data")
        for path in ("usage.total", "limits"):
            if not isinstance(dig(data, path), dict):
                raise conversation.invalid(endpoint, "incomplete", f"answered without {path}")
        return data

    def take(data: Mapping[str, Any]) -> None:
        key.told = True
        key.name = text(data.get("name"))
        key.created_ms = instant_ms(data.get("createdAt"))
        left_out = _counter(conversation, endpoint)
        key.fields.update(figures(catalogue.rows(Scope.KEY, endpoint), data, left_out))

    return Request(endpoint, ask, take)


def ask_models(conversation: Conversation, key_ids: KeyIds, key: Key) -> Request[Sequence[Any]]:
    """Its use of each model in the configured period. The relay scans for it."""
    endpoint = "user-model-stats"
    period = conversation.environment.period

    def ask() -> Sequence[Any]:
        answer = _ask_by_id(conversation, key_ids, key, endpoint, {"period": period})
        rows = answer.get("data")
        if not isinstance(rows, list):
            raise conversation.invalid(endpoint, "incomplete", "answered without a list of models")
        return rows

    def take(rows: Sequence[Any]) -> None:
        left_out = _counter(conversation, endpoint)
        named = {text(row.get("model")): row for row in rows if isinstance(row, dict)}
        if unnamed := len(rows) - len(named) + ("" in named):
            conversation.left_out(endpoint, "invalid_row", unnamed)
        named.pop("", None)
        # a relay before 1.1.263, whose rows have no isLegacy, answers alltime with the month's
        old = any("isLegacy" not in row for row in named.values())
        told = "monthly" if period == "alltime" and old else period
        most = conversation.environment.max_models_per_key
        ranked = sorted(named, key=lambda model: -(number(named[model].get("allTokens")) or 0))
        kept = set(ranked[:most])
        key.models_left_out = len(named) - len(kept)
        key.models = [
            Reading(
                Scope.MODEL,
                figures(catalogue.rows(Scope.MODEL), row, left_out),
                {"model": model, "period": told},
            )
            for model, row in named.items()
            if model in kept
        ]

    return Request(endpoint, ask, take)


def ask_batches(conversation: Conversation, keys: Sequence[Key]) -> Iterable[Request[Any]]:
    """The day's and the month's usage of keys, and whether each was ever used. No scan."""
    for start in range(0, len(keys), BATCH_SIZE):
        yield _ask_batch(conversation, keys[start : start + BATCH_SIZE])


def _ask_batch(conversation: Conversation, keys: Sequence[Key]) -> Request[Sequence[Any]]:
    endpoint = "batch-stats"

    def ask() -> Sequence[Any]:
        body = {"apiIds": [key.id for key in keys]}
        try:
            answer = conversation.ask_json("POST", API + endpoint, endpoint=endpoint, body=body)
        except RelayError as error:
            if error.status == 404:  # a relay before 1.1.126 has no such endpoint
                return []
            raise
        individual = dig(answer, "data.individual")
        if not isinstance(individual, list):
            raise conversation.invalid(endpoint, "incomplete", "answered without individual")
        return individual

    def take(individual: Sequence[Any]) -> None:
        by_id = {one.get("apiId"): one for one in individual if isinstance(one, dict)}
        left_out = _counter(conversation, endpoint)
        for key in keys:
            one = by_id.get(key.id)
            if one is None:
                continue
            key.name = key.name or text(one.get("name"))
            key.fields.update(figures(catalogue.rows(Scope.KEY, endpoint), one, left_out))
            totals = figures(BATCH_TOTALS, {"usage": {"total": one.get("usage")}}, left_out)
            for path, figure in totals.items():
                key.fields.setdefault(path, figure)
            if totals:
                key.used = any(totals.values())

    return Request(endpoint, ask, take)


BATCH_TOTALS = tuple(
    row
    for row in catalogue.rows(Scope.KEY, "user-stats")
    if row.field.startswith("usage.total.") and row.field != "usage.total.cost"
)
"""The totals of a key that its batch answer has as well: all but the cost."""


def _ask_by_id(
    conversation: Conversation,
    key_ids: KeyIds,
    key: Key,
    endpoint: str,
    more: Mapping[str, str],
) -> dict[str, Any]:
    """Ask by the key's id; once more where the relay refuses it and there may be another one."""

    def ask() -> dict[str, Any]:
        body = {"apiId": key.id, **more}
        return conversation.ask_json("POST", API + endpoint, endpoint=endpoint, body=body)

    try:
        return ask()
    except Unauthorised:
        credential = _renewed(conversation, key.place)
        if credential is None:
            raise
        if credential.api_key:
            key_ids.forget(conversation, credential.api_key)
    except RelayError as error:
        credential = None if key.place is None else conversation.relay.keys[key.place]
        if error.status != 404 or credential is None or credential.api_key is None:
            raise
        # the id that the key was exchanged for may be of a key that was made anew since
        key_ids.forget(conversation, credential.api_key)
    fresh = _with_id(conversation, key_ids, key.place or 0, credential)
    key.id, key.instance = fresh.id, fresh.instance
    return ask()


def _with_id(
    conversation: Conversation, key_ids: KeyIds, place: int, credential: KeyCredential
) -> Key:
    if credential.api_id:
        return Key(credential.api_id, instance_id(credential.api_id), place)
    api_key = credential.api_key or ""
    try:
        key_id = key_ids.of(conversation, api_key)
    except Unauthorised:
        renewed = _renewed(conversation, place)
        if renewed is None:
            raise
        if renewed.api_id:
            return Key(renewed.api_id, instance_id(renewed.api_id), place)
        api_key = renewed.api_key or ""
        key_id = key_ids.of(conversation, api_key)
    return Key(key_id, instance_id(api_key), place)


def _renewed(conversation: Conversation, place: int | None) -> KeyCredential | None:
    """The credential at that place of the secret as it is now; None where there is none."""
    keys = conversation.renewed().keys
    return keys[place] if place is not None and place < len(keys) else None


def _counter(conversation: Conversation, endpoint: str) -> Callable[[str], None]:
    return lambda type: conversation.left_out(endpoint, type)
