"""The health of a relay's upstream keys, which its `/metrics` does not have."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.phases import Request
from relay_metrics.relays.values import number, text
from relay_metrics.relays.wyolet.timeseries import get
from relay_metrics.snapshot import Number, Reading, Scope

HOST_KEYS = "api/host-keys"
HEALTH = "api/host-keys/health"

_UP = {"closed": 1, "half_open": 0, "open": 0}
"""Whether requests use a key, by the state of its circuit breaker. Half open, it is only tested."""


class HostKey(NamedTuple):
    """An upstream key."""

    id: str
    name: str


@dataclass
class HostKeys:
    """The upstream keys of a relay, kept for the life of the execution environment.

    Attributes:
        read: whether the list was ever read.
    """

    read: bool = False
    _keys: tuple[HostKey, ...] = ()
    _next: int = 0

    def ask(self, client: RelayClient) -> tuple[HostKey, ...]:
        """Request the current list.

        Raises:
            RelayError: the request failed.
        """
        items = get(client, f"/{HOST_KEYS}", HOST_KEYS).get("items", False)
        if not isinstance(items, list | None):
            raise client.invalid(HOST_KEYS, "incomplete", "answered 200 without items")
        keys = []
        for item in items or ():
            metadata = item.get("metadata") if isinstance(item, dict) else None
            if isinstance(metadata, dict) and text(metadata.get("id")):
                keys.append(HostKey(text(metadata["id"]), text(metadata.get("name"))))
            else:
                client.left_out(HOST_KEYS, "invalid_row")
        return tuple(keys)

    def take(self, keys: tuple[HostKey, ...]) -> None:
        """Keep the list."""
        self._keys, self.read = keys, True

    def readings(self, client: RelayClient) -> Iterator[Reading]:
        """The health of the keys: a request for each, in batches, for `RELAY_TIMEOUT_MS` in all.

        If that is too short for all keys, the next run goes on with the rest.
        """
        found: list[Reading] = []
        ends = time.monotonic() + client.environment.relay_timeout_s
        at_once = client.environment.concurrency
        first = self._next % max(len(self._keys), 1)
        in_order = self._keys[first:] + self._keys[:first]
        asked = 0
        while asked < len(in_order) and (asked == 0 or time.monotonic() < ends):
            chosen = in_order[asked : asked + at_once]
            client.together([_request(client, key, found) for key in chosen])
            asked += len(chosen)
        self._next = first + asked
        yield from found


def _request(client: RelayClient, key: HostKey, found: list[Reading]) -> Request[dict[str, Any]]:
    def take(answer: dict[str, Any]) -> None:
        if fields := _fields(client, answer):
            attributes = {"relay.host_key.id": key.id, "relay.host_key.name": key.name}
            found.append(Reading(Scope.HOST_KEY, fields, attributes))

    path = f"/api/host-keys/by-id/{quote(key.id, safe='')}/health"
    return Request(HEALTH, lambda: get(client, path, HEALTH), take)


def _fields(client: RelayClient, answer: dict[str, Any]) -> dict[str, Number]:
    state = answer.get("state")
    if state == "unknown":  # the relay has not used the key yet
        return {}
    up = _UP.get(state) if isinstance(state, str) else None
    if up is None:
        client.left_out(HEALTH, "missing_field" if state is None else "invalid_value")
        return {}
    # the field may be missing for a key that is not cooling down
    left = number(answer.get("cooldown_remaining_seconds") or 0)
    if left is None:
        client.left_out(HEALTH, "invalid_value")
        return {"up": up}
    return {"up": up, "cooldown_s": left}
