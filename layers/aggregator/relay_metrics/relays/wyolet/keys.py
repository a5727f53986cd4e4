"""The relay keys of callers: their names and states, and which hash belongs to which key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.values import flag, text
from relay_metrics.relays.wyolet.timeseries import get
from relay_metrics.snapshot import Reading, Scope

RELAY_KEYS = "api/relay-keys"
_DIGITS = 12
"""How many digits of an unknown hash stand in place of a key's id."""


class RelayKey(NamedTuple):
    """A key. `labels` are those that `RELAY_KEY_LABELS` names."""

    id: str
    hash: str
    name: str
    owner: str
    state: str
    labels: dict[str, str]


@dataclass
class Names:
    """The keys of a relay, kept for the life of the execution environment.

    Attributes:
        read: whether the list was ever read.
        left_out: how many keys are beyond `RELAY_MAX_KEYS`.
    """

    read: bool = False
    left_out: int = 0
    _keys: tuple[RelayKey, ...] = ()
    _ids: dict[str, str] = field(default_factory=dict)

    def take(self, client: RelayClient, answer: dict[str, Any]) -> None:
        """Keep the list of an answer.

        Raises:
            InvalidAnswer: the answer has no list.
        """
        items = answer.get("items", False)
        if not isinstance(items, list | None):
            raise client.invalid(RELAY_KEYS, "incomplete", "answered 200 without items")
        keys = {}
        for item in items or ():
            key = _key(item, client.environment.key_labels)
            if key is None:
                client.left_out(RELAY_KEYS, "invalid_row")
            else:
                keys[key.id] = key
        most = client.environment.max_keys
        self._keys = tuple(keys.values())[:most]
        self.left_out = max(len(keys) - most, 0)
        self.read = True
        # Keys beyond the bound keep their ids here, because their minutes are reported under them.
        # Hashes from before a rotation stay as well: their minutes belong to the same key.
        self._ids |= {key.hash: key.id for key in keys.values() if key.hash}

    def known(self, key_hash: str) -> bool:
        """Whether a hash belongs to a known key; True for an empty one, of requests without key."""
        return not key_hash or key_hash in self._ids

    def id(self, key_hash: str) -> str:
        """The id of the key that a hash belongs to; the first digits of an unknown hash."""
        return self._ids.get(key_hash, key_hash[:_DIGITS])

    def readings(self) -> Iterator[Reading]:
        """One reading of `relay_key_info` for each key."""
        for key in self._keys:
            yield Reading(
                Scope.KEY_INFO,
                {"info": 1},
                {**key.labels, "relay.key.state": key.state, "relay.key.owner": key.owner},
                {"relay.key.id": key.id, "relay.key.name": key.name},
            )


def ask(client: RelayClient) -> dict[str, Any]:
    """Request the list of keys. Without `limit` it is complete; other parameters are refused.

    Raises:
        RelayError: the request failed.
    """
    return get(client, f"/{RELAY_KEYS}", RELAY_KEYS)


def _key(item: Any, wanted: tuple[str, ...]) -> RelayKey | None:
    parts = (item.get("metadata"), item.get("spec")) if isinstance(item, dict) else (None, None)
    metadata, spec = parts
    if not isinstance(metadata, dict) or not isinstance(spec, dict) or not text(metadata.get("id")):
        return None
    owner, labels = metadata.get("owner"), metadata.get("labels")
    state = "active"
    if spec.get("revokedAt"):
        state = "revoked"
    elif flag(spec.get("enabled")) is False:
        state = "disabled"
    return RelayKey(
        text(metadata["id"]),
        text(spec.get("keyHash")),
        text(metadata.get("name")) or text(metadata.get("displayName")),
        text(owner.get("id")) if isinstance(owner, dict) else "",
        state,
        {name: text(labels.get(name)) for name in wanted} if isinstance(labels, dict) else {},
    )
