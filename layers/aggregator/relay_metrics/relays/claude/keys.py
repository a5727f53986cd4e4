"""The identities of a claude-relay's keys, and what is kept of them between runs."""

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
"""How many keys of all relays are kept: twice the default of `RELAY_MAX_KEYS`, some 8 MB."""


class Identity(NamedTuple):
    """The identity of a key.

    Attributes:
        id: its id at the relay.
        instance: its `service.instance.id`.
        place: its index in the configured credentials; None for a discovered key.
    """

    id: str
    instance: str
    place: int | None = None

    @classmethod
    def discovered(cls, key_id: str) -> Identity:
        """The identity of a key that is not configured but listed by the relay."""
        return cls(key_id, instance_id(key_id))


def instance_id(configured: str) -> str:
    """The `service.instance.id` of a key, computed from its id or key as the Compose stack did."""
    return sha256(configured.encode()).hexdigest()[:16]


def in_shard(key_id: str, shard: Shard) -> bool:
    """Whether a key belongs to a shard. A hash of the id decides, so that all shards agree."""
    return int(sha256(key_id.encode()).hexdigest()[:16], 16) % shard.count == shard.index - 1


class KeyIds:
    """The ids of API keys, requested from the relay and kept for the life of the environment.

    The request for an id does not activate a key. A request for model stats by API key would.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], str] = {}

    def of(self, client: RelayClient, api_key: str) -> str:
        """The id of an API key.

        Raises:
            RelayError: the request failed.
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
        """Forget an id that the relay no longer knows, so that it is requested again."""
        self._ids.pop((client.relay.base_url, instance_id(api_key)), None)


class Known(NamedTuple):
    """Facts about a key from earlier runs.

    Attributes:
        name: its name.
        created_ms: when it was created, epoch milliseconds.
        expires_ms: when it expires, epoch milliseconds.
        has_cost: whether it ever had a cost; None if unknown.
        counted: the fields of its running totals that were more than 0.
    """

    name: str
    created_ms: int | None
    expires_ms: int | None
    has_cost: bool | None
    counted: frozenset[str] = frozenset()


class Memory:
    """Facts about keys, kept for the life of the execution environment.

    At most `MOST_REMEMBERED` keys are kept; those that were not seen for longest are dropped.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Known] = {}
        self._lock = threading.Lock()

    def keep(self, base_url: str, key_id: str, known: Known) -> None:
        """Keep the facts about a key for later runs."""
        place = base_url, key_id
        with self._lock:
            self._known.pop(place, None)
            self._known[place] = known
            while len(self._known) > MOST_REMEMBERED:
                del self._known[next(iter(self._known))]

    def recall(self, base_url: str, key_id: str) -> Known | None:
        """The facts about a key from earlier runs; None if there are none."""
        with self._lock:
            return self._known.get((base_url, key_id))


def configured(client: RelayClient, key_ids: KeyIds) -> tuple[list[Identity], int]:
    """The configured keys without duplicates, and for how many no id was found."""
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
    """The identity of the key of a credential. If it is refused, the secret is read again.

    Raises:
        RelayError: the relay does not know the key.
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
    """Read the secret again and return the credential at `place`.

    Returns None if there is none, or if it was at another place before: then it is not a renewed
    one, and its key is asked for there.
    """
    before, keys = access(client.relay).keys, access(client.renewed()).keys
    if place is None or place >= len(keys):
        return None
    elsewhere = (*before[:place], *before[place + 1 :])
    return None if keys[place] in elsewhere else keys[place]
