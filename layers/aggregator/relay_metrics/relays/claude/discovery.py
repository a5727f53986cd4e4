"""Finding a claude-relay's keys by an administrator's login: their state, limits and totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from relay_metrics import catalogue
from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.keys import STATS, TOTALS, Key, in_shard, instance_id
from relay_metrics.relays.claude.stats import counter
from relay_metrics.relays.client import RelayClient, Request
from relay_metrics.relays.values import dig, figures, flag, number, text
from relay_metrics.snapshot import Number, Reading, Scope

KEYS = "admin/api-keys"
USAGE = "admin/usage-stats"
PAGE_SIZE = 100
"""The largest that the relay takes; it takes any other number for 20."""
MAX_PAGES = 10_000
"""A million keys: an answer that tells of more is not believed."""

_WINDOW = "limits.rateLimitWindow"
SPENT: Mapping[str, str] = {
    "limits.currentWindowRequests": _WINDOW,
    "limits.currentWindowTokens": _WINDOW,
    "limits.windowRemainingSeconds": _WINDOW,
    "limits.currentWindowCost": "limits.rateLimitCost",
    "limits.currentDailyCost": "limits.dailyCostLimit",
    "limits.weeklyOpusCost": "limits.weeklyOpusCostLimit",
}
"""What user-stats has of a key and the list has not, and the limit that came in one release."""

_WINDOW_FIGURES = tuple(
    field for field in SPENT if "urrentWindow" in field or "windowRemaining" in field
)
_LIMITS = tuple(row for row in STATS if row.field.startswith("limits.") and row.field not in SPENT)


@dataclass
class Discovered:
    """The keys that an administrator's answers tell of.

    Attributes:
        states: of every key that was listed, in whichever shard, by id.
        keys: those of this shard that may be used, by id.
        usage: name and totals of this shard's keys, by id; None where the relay did not tell.
        pages: how many pages the list has; 0 while the first has not come.
        total: how many keys the relay has, by its own count.
    """

    states: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    usage: dict[str, tuple[str, dict[str, Number]]] | None = None
    pages: int = 0
    total: int = 0

    @property
    def whole(self) -> bool:
        """Whether every key is listed; not where a page failed, or keys went while it was read."""
        return self.pages > 0 and len(self.states) >= self.total

    def readings(self) -> Iterable[Reading]:
        """How many keys there are by state; nothing where the list is not whole."""
        if self.whole:
            counted = Counter(self.states.values())
            for state in catalogue.KEY_STATES:
                yield Reading(Scope.KEY_STATE, {"keys": counted[state]}, {"state": state})

    def settle(self) -> None:
        """Bring totals to the keys, and keys to the totals that no page had."""
        for key_id, (name, totals) in (self.usage or {}).items():
            key = self.keys.get(key_id)
            if key is None and not self.whole and key_id not in self.states:
                key = self.keys[key_id] = Key(key_id, instance_id(key_id), name=name)
            if key is not None:
                key.count(totals)


class _Page(NamedTuple):
    keys: list[Key]
    states: dict[str, str]
    pages: int
    total: int


def ask_usage(
    client: RelayClient, administrator: Administrator, discovered: Discovered
) -> Request[Any]:
    """Totals with cost of all keys, disabled and expired ones included. One scan."""

    def ask() -> dict[str, tuple[str, dict[str, Number]]] | None:
        answer = administrator.ask_if_there(f"/{USAGE}")
        if answer is None:
            return None
        stats = dig(answer, "data.stats")
        if not isinstance(stats, list):
            raise client.invalid(USAGE, "incomplete", "answered without stats")
        left_out = counter(client, USAGE)
        usage = {}
        for row in stats:
            key_id = text(row.get("keyId")) if isinstance(row, dict) else ""
            if not key_id:
                left_out("invalid_row")
            elif in_shard(key_id, client.shard):
                usage[key_id] = text(row.get("keyName")), figures(TOTALS, row, left_out)
        return usage

    def take(usage: dict[str, tuple[str, dict[str, Number]]] | None) -> None:
        discovered.usage = usage

    return Request(USAGE, ask, take)


def ask_page(
    client: RelayClient, administrator: Administrator, discovered: Discovered, page: int
) -> Request[_Page]:
    """A page of keys, newest first: limits and state. No scan."""

    def take(answer: _Page) -> None:
        for key in answer.keys:
            discovered.keys.setdefault(key.id, key)
        discovered.states.update(answer.states)
        discovered.pages, discovered.total = answer.pages, answer.total

    return Request(KEYS, lambda: _page(client, administrator, page), take)


def more_pages(
    client: RelayClient, administrator: Administrator, discovered: Discovered
) -> Iterable[Request[_Page]]:
    """The pages behind the first, which told how many keys there are."""
    for page in range(2, min(discovered.pages, MAX_PAGES) + 1):
        yield ask_page(client, administrator, discovered, page)


def _page(client: RelayClient, administrator: Administrator, page: int) -> _Page:
    path = f"/{KEYS}?page={page}&pageSize={PAGE_SIZE}"
    data = administrator.ask(path, endpoint=KEYS).get("data")
    items, total, pages = data, 0, 1
    if isinstance(data, dict):  # before 1.1.208 it was the bare list of all keys
        items = data.get("items")
        total, pages = (
            int(number(dig(data, f"pagination.{name}")) or 0) for name in ("total", "totalPages")
        )
    if not isinstance(items, list):
        raise client.invalid(KEYS, "incomplete", "answered without a list of keys")
    left_out = counter(client, KEYS)
    keys, states = [], {}
    for item in items:
        key_id = text(item.get("id")) if isinstance(item, dict) else ""
        if not key_id:
            left_out("invalid_row")
            continue
        key = _listed(key_id, item, left_out)
        states[key_id] = state = _state(key, item, client.time_ms)
        if state in ("active", "waiting") and in_shard(key_id, client.shard):
            keys.append(key)
    return _Page(keys, states, pages, total)


def _listed(key_id: str, item: Mapping[str, Any], left_out: Callable[[str], None]) -> Key:
    key = Key(key_id, instance_id(key_id), listed=True)
    key.describe(item, item)
    key.fields.update(figures(_LIMITS, {"limits": item}, left_out))
    # totals can be reset, after which a key that was used costs nothing
    key.used = bool(text(item.get("lastUsedAt"))) or None
    return key


def _state(key: Key, item: Mapping[str, Any], time_ms: int) -> str:
    """One of `catalogue.KEY_STATES`. The relay itself calls an expired key active."""
    if flag(item.get("isActive")) is False:
        return "disabled"
    if key.expires_ms is not None and key.expires_ms <= time_ms:
        return "expired"
    if item.get("expirationMode") == "activation" and flag(item.get("isActivated")) is not True:
        return "waiting"
    return "active"


def fill(key: Key) -> None:
    """What a listed key has not spent, as user-stats itself would say it.

    A key that was never used has spent nothing of anything, and one without a window nothing in
    one. Of a limit that the list does not have, the relay is too old to tell what is spent.
    """
    for spent, limit in SPENT.items():
        if limit in key.fields and spent not in key.fields:
            windowless = spent in _WINDOW_FIGURES and key.fields.get(_WINDOW) == 0
            if key.used is False or windowless:
                key.fields[spent] = 0


def spends(key: Key) -> bool:
    """Whether a listed key has a window or a limit of which only user-stats tells what is spent."""
    return key.used is not False and any(
        spent not in key.fields and key.fields.get(limit, 0) > 0 for spent, limit in SPENT.items()
    )
