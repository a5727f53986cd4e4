"""Requests for all keys of a claude-relay, as an administrator: states, limits and totals."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from relay_metrics import catalogue
from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.keys import Identity
from relay_metrics.relays.claude.record import TOTALS, Described, Listed, Models, Usage
from relay_metrics.relays.claude.stats import counter, described, models, part
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.values import dig, figures, flag, instant_ms, number, text
from relay_metrics.snapshot import NO_ATTRIBUTES, Scope

KEYS = "admin/api-keys"
USAGE = "admin/usage-stats"
MODELS = "admin/api-keys/model-stats"
PAGE_SIZE = 100
"""The largest size that the relay accepts. It reads numbers that it does not accept as 20."""
MAX_PAGES = 10_000
"""The most pages that are read, which is a million keys."""

_LIMITS = tuple(
    row for row in catalogue.answered_by(Scope.KEY, KEYS) if row.field.startswith("limits.")
)


class Page(NamedTuple):
    """A page of the list of keys.

    Attributes:
        keys: the keys by id, newest first.
        pages: the number of pages of the list.
        total: the number of keys by the relay's own count.
    """

    keys: Mapping[str, Listed]
    pages: int
    total: int


def usage_stats(client: RelayClient, administrator: Administrator) -> Mapping[str, Usage] | None:
    """Totals and cost of all keys by id, including disabled and expired keys. It takes one scan.

    Returns:
        None if an older relay does not have the endpoint.

    Raises:
        RelayError: the request failed.
    """
    answer = administrator.ask_if_there(f"/{USAGE}")
    if answer is None:
        return None
    stats = part(client, USAGE, answer, "data.stats", list, "stats")
    left_out = counter(client, USAGE)
    usage = {}
    for row in stats:
        key_id = text(row.get("keyId")) if isinstance(row, dict) else ""
        if key_id:
            usage[key_id] = Usage(text(row.get("keyName")), figures(TOTALS, row, left_out))
        else:
            left_out("invalid_row")
    return usage


def page_of_keys(client: RelayClient, administrator: Administrator, page: int) -> Page:
    """A page of keys with their limits and states. It takes no scan.

    Raises:
        RelayError: the request failed.
    """
    path = f"/{KEYS}?page={page}&pageSize={PAGE_SIZE}"
    answer = administrator.ask(path, endpoint=KEYS)  # kept: its memory is reserved as long
    items, total, pages = rows_of_page(client, KEYS, answer)
    left_out = counter(client, KEYS)
    keys = {}
    for item in items:
        key_id = text(item.get("id")) if isinstance(item, dict) else ""
        if key_id:
            keys[key_id] = _listed(client, item, left_out)
        else:
            left_out("invalid_row")
    return Page(keys, pages, total)


def rows_of_page(
    client: RelayClient, endpoint: str, answer: Mapping[str, Any]
) -> tuple[list[Any], int, int]:
    """The rows of a page of keys, how many keys there are, and on how many pages.

    Raises:
        InvalidAnswer: one of them is missing, so that keys may be on other pages.
    """
    data = answer.get("data")
    if isinstance(data, list):  # a relay before 1.1.208 answers with a list of all keys
        return data, len(data), 1
    items = dig(data, "items")
    total, pages = (number(dig(data, f"pagination.{name}")) for name in ("total", "totalPages"))
    if not isinstance(items, list) or total is None or pages is None:
        message = "answered without a list of keys, or without how many there are"
        raise client.invalid(endpoint, "incomplete", message)
    return items, int(min(total, MAX_PAGES * PAGE_SIZE)), int(min(pages, MAX_PAGES))


def _listed(
    client: RelayClient, item: Mapping[str, Any], left_out: Callable[[str], None]
) -> Listed:
    key = described(item, item)
    return Listed(
        described=key,
        state=_state(key, item, client.time_ms),
        last_used_ms=instant_ms(item.get("lastUsedAt")),
        never_used=item.get("lastUsedAt", ...) in ("", None),
        limits=figures(_LIMITS, {"limits": item}, left_out),
        # The relay names its administrator as the owner of keys that belong to no user.
        owner=text(item.get("userUsername")) or text(item.get("ownerDisplayName")),
        labels=_labels(item.get("tags"), client.environment.key_labels),
    )


def _labels(tags: Any, wanted: Collection[str]) -> Mapping[str, str]:
    """The wanted labels of a key, from its tags.

    The tags `team:research` and `team=research` give the label `team` the value `research`. A tag
    without a value gives `true`. If a label has several values, the first one is used.
    """
    if not wanted or not isinstance(tags, list):
        return NO_ATTRIBUTES
    found: dict[str, str] = {}
    for tag in map(text, tags):
        name, *value = re.split("[:=]", tag, maxsplit=1)
        if name.strip() in wanted:
            found.setdefault(name.strip(), value[0].strip() if value else "true")
    return found


def _state(key: Described, item: Mapping[str, Any], time_ms: int) -> str:
    """One of `catalogue.KEY_STATES`. The relay's own state of an expired key is active."""
    if flag(item.get("isActive")) is False:
        return "disabled"
    if key.expires_ms is not None and key.expires_ms <= time_ms:
        return "expired"
    if item.get("expirationMode") == "activation" and flag(item.get("isActivated")) is not True:
        return "waiting"
    return "active"


def models_of_today(
    client: RelayClient, administrator: Administrator, key: Identity
) -> Models | None:
    """A key's usage of each model on the current day. It takes a scan only if there is no usage.

    Returns:
        None if an older relay does not have the endpoint.

    Raises:
        RelayError: the request failed.
    """
    path = f"/{KEYS}/{quote(key.id, safe='')}/model-stats?period=daily"
    answer = administrator.ask_if_there(path, endpoint=MODELS)
    if answer is None:
        return None
    rows = part(client, MODELS, answer, "data", list, "a list of models")
    return models(client, MODELS, key, [_with_real_total(row) for row in rows], "daily")


def _with_real_total(row: Any) -> Any:
    """A row in the form of user-model-stats; in the given row, `costs.total` is the rated cost."""
    costs = row.get("costs") if isinstance(row, dict) else None
    if not isinstance(costs, dict):
        return row
    named = {"rated": costs.get("total"), "total": costs.get("real")}
    return {**row, "costs": {name: cost for name, cost in named.items() if cost is not None}}
