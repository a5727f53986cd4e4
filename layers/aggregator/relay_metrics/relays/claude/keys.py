"""The keys of a claude-relay: who they are, and by which id each is asked for."""

from __future__ import annotations

import threading
from hashlib import sha256
from typing import NamedTuple

from relay_metrics.errors import Unauthorised
from relay_metrics.relays.claude.settings import KeyCredential, access
from relay_metrics.relays.client import RelayClient, Shard
from relay_metrics.relays.phases import Request
from relay_metrics.relays.values import text

API = "/apiStats/api/"

MOST_REMEMBERED = 20_000
"""Keys of all relays, twice as many as a run of the default `RELAY_MAX_KEYS` has: some 8 MB."""


class Identity(NamedTuple):
    """Who a key is.

    Attributes:
        instance: its `service.instance.id`.
        place: among the configured credentials; None for one that was discovered.
    """

    id: str
    instance: str
    place: int | None = None

    @classmethod
    def discovered(cls, key_id: str) -> Identity:
        """That of a key that nothing but the relay told of."""
        return cls(key_id, instance_id(key_id))


def instance_id(configured: str) -> str:
    """The `service.instance.id` of a key: as the former publisher made it, of its id or itself."""
    return sha256(configured.encode()).hexdigest()[:16]


def in_shard(key_id: str, shard: Shard) -> bool:
    """Whether a key belongs to a shard: by a hash of its id, so that all shards agree."""
    return int(sha256(key_id.encode()).hexdigest()[:16], 16) % shard.count == shard.index - 1


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


class Known(NamedTuple):
    """What earlier runs were told of a key.

    Attributes:
        costs: whether it ever cost anything; None while unknown.
    """

    name: str
    created_ms: int | None
    expires_ms: int | None
    costs: bool | None


class Memory:
    """What was told of keys, kept for as long as the process lives.

    Beyond `MOST_REMEMBERED` the keys that were not seen for longest are forgotten.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Known] = {}
        self._lock = threading.Lock()

    def keep(self, base_url: str, key_id: str, known: Known) -> None:
        """Note what a run knows of a key, so that a later one that is told less has it."""
        place = base_url, key_id
        with self._lock:
            self._known.pop(place, None)
            self._known[place] = known
            while len(self._known) > MOST_REMEMBERED:
                del self._known[next(iter(self._known))]

    def recall(self, base_url: str, key_id: str) -> Known | None:
        """What earlier runs were told of a key; None where that is nothing."""
        with self._lock:
            return self._known.get((base_url, key_id))


def configured(client: RelayClient, key_ids: KeyIds) -> tuple[list[Identity], int]:
    """The configured keys, each once, and how many of them have no id."""
    credentials = access(client.relay).keys
    found: dict[int, Identity] = {}

    def exchange(place: int) -> Request[Identity]:
        return Request(
            "get-key-id",
            lambda: with_id(client, key_ids, place, credentials[place]),
            lambda key: found.__setitem__(place, key),
        )

    for place, credential in enumerate(credentials):
        if credential.api_id:
            found[place] = Identity(credential.api_id, instance_id(credential.api_id), place)
    client.together(exchange(place) for place, one in enumerate(credentials) if not one.api_id)
    keys: dict[str, Identity] = {}
    for place in sorted(found):
        keys.setdefault(found[place].id, found[place])
    return list(keys.values()), len(credentials) - len(found)


def with_id(
    client: RelayClient, key_ids: KeyIds, place: int, credential: KeyCredential
) -> Identity:
    """The key that a credential belongs to; by the secret as it is now where the relay refuses it.

    Raises:
        RelayError: the relay does not know it.
    """
    if credential.api_id:
        return Identity(credential.api_id, instance_id(credential.api_id), place)
    api_key = credential.api_key or ""
    try:
        key_id = key_ids.of(client, api_key)
    except Unauthorised:
        fresh = renewed(client, place)
        if fresh is None:
            raise
        if fresh.api_id:
            return Identity(fresh.api_id, instance_id(fresh.api_id), place)
        api_key = fresh.api_key or ""
        key_id = key_ids.of(client, api_key)
    return Identity(key_id, instance_id(api_key), place)


def renewed(client: RelayClient, place: int | None) -> KeyCredential | None:
    """The credential at that place of the secret as it is now; None where there is none."""
    keys = access(client.renewed()).keys
    return keys[place] if place is not None and place < len(keys) else None
