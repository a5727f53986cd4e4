"""The public stats endpoints of a claude-relay, asked by a key's id.

What each answers, and what it costs the relay, is in `docs/relays.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from relay_metrics import catalogue
from relay_metrics.errors import RelayError, Unauthorised
from relay_metrics.relays.claude.keys import API, STATS, TOTALS, Key, KeyIds, renewed, with_id
from relay_metrics.relays.claude.settings import access
from relay_metrics.relays.client import RelayClient, Request
from relay_metrics.relays.values import dig, figures, number, text
from relay_metrics.snapshot import Reading, Scope

BATCH_SIZE = 30
"""The relay refuses more ids in one batch."""

REFUSALS = (400, 401, 403, 404)
"""What the relay answers for a key that it does not know, or that may not be read."""

# a batch has no total cost of a key
_BATCH_TOTALS = tuple(row for row in TOTALS if row.field != "usage.total.cost")


def ask_stats(client: RelayClient, key_ids: KeyIds, key: Key) -> Request[Mapping[str, Any]]:
    """Its totals, limits and window."""
    endpoint = "user-stats"

    def ask() -> Mapping[str, Any]:
        try:
            data = _ask_by_id(client, key_ids, key, endpoint, {}).get("data")
        except RelayError as error:
            key.refused = error.status in REFUSALS
            raise
        if not isinstance(data, dict):
            raise client.invalid(endpoint, "incomplete", "answered without data")
        for path in ("usage.total", "limits"):
            if not isinstance(dig(data, path), dict):
                raise client.invalid(endpoint, "incomplete", f"answered without {path}")
        return data

    def take(data: Mapping[str, Any]) -> None:
        key.told = True
        key.describe(data, data["limits"])
        told = figures(STATS, data, counter(client, endpoint))
        key.fields.update(told)
        key.count({row.field: told[row.field] for row in TOTALS if row.field in told})

    return Request(endpoint, ask, take)


def ask_models(client: RelayClient, key_ids: KeyIds, key: Key) -> Request[Sequence[Any]]:
    """Its use of each model in the configured period. The relay scans for it."""
    endpoint = "user-model-stats"
    period = client.environment.period

    def ask() -> Sequence[Any]:
        answer = _ask_by_id(client, key_ids, key, endpoint, {"period": period})
        rows = answer.get("data")
        if not isinstance(rows, list):
            raise client.invalid(endpoint, "incomplete", "answered without a list of models")
        return rows

    def take(rows: Sequence[Any]) -> None:
        left_out = counter(client, endpoint)
        named = {text(row.get("model")): row for row in rows if isinstance(row, dict)}
        if unnamed := len(rows) - len(named) + ("" in named):
            client.left_out(endpoint, "invalid_row", unnamed)
        named.pop("", None)
        # a relay before 1.1.263, whose rows have no isLegacy, answers alltime with the month's
        old = any("isLegacy" not in row for row in named.values())
        told = "monthly" if period == "alltime" and old else period
        most = client.environment.max_models_per_key
        ranked = sorted(named, key=lambda model: -(number(named[model].get("allTokens")) or 0))
        kept = set(ranked[:most])
        key.models_left_out = len(named) - len(kept)
        key.models = [
            Reading(
                Scope.MODEL,
                figures(catalogue.rows(Scope.MODEL), _with_true_costs(row), left_out),
                {"model": model, "period": told},
            )
            for model, row in named.items()
            if model in kept
        ]

    return Request(endpoint, ask, take)


def _with_true_costs(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A model row whose `costs.total` is real, as it is everywhere but where billing is hidden.

    A relay with HIDE_CUSTOMER_BILLING_DETAILS answers with nothing but the rated cost, and calls it
    the total. It is known by a row that is not legacy and yet has neither `costs.real` nor prices.
    """
    costs = row.get("costs")
    hidden = row.get("isLegacy") is False and "pricing" not in row
    if hidden and isinstance(costs, dict) and "real" not in costs:
        return {**row, "costs": {"rated": costs.get("rated", costs.get("total"))}}
    return row


def ask_batches(client: RelayClient, keys: Sequence[Key]) -> Iterable[Request[Any]]:
    """The day's and the month's usage of keys, and whether each was ever used. No scan."""
    for start in range(0, len(keys), BATCH_SIZE):
        yield _ask_batch(client, keys[start : start + BATCH_SIZE])


def _ask_batch(client: RelayClient, keys: Sequence[Key]) -> Request[Sequence[Any] | None]:
    endpoint = "batch-stats"

    def ask() -> Sequence[Any] | None:
        body = {"apiIds": [key.id for key in keys]}
        try:
            answer = client.ask_json("POST", API + endpoint, endpoint=endpoint, body=body)
        except RelayError as error:
            if error.status == 404:  # a relay before 1.1.126 has no such endpoint
                return None
            raise
        individual = dig(answer, "data.individual")
        if not isinstance(individual, list):
            raise client.invalid(endpoint, "incomplete", "answered without individual")
        return individual

    def take(individual: Sequence[Any] | None) -> None:
        if individual is None:
            return
        by_id = {text(one.get("apiId")): one for one in individual if isinstance(one, dict)}
        left_out = counter(client, endpoint)
        for key in keys:
            one = by_id.get(key.id)
            key.batched = one is not None
            if one is not None:
                _take_batched(key, one, left_out)

    return Request(endpoint, ask, take)


def _take_batched(key: Key, one: Mapping[str, Any], left_out: Callable[[str], None]) -> None:
    key.name = key.name or text(one.get("name"))
    key.fields.update(figures(catalogue.rows(Scope.KEY, "batch-stats"), one, left_out))
    totals = figures(_BATCH_TOTALS, {"usage": {"total": one.get("usage")}}, left_out)
    key.count(totals)
    today, month = number(dig(one, "dailyUsage.cost")), number(dig(one, "monthlyUsage.cost"))
    if today is not None:
        # rated like user-stats' own, which is the later word where it comes as well
        key.fields.setdefault("limits.currentDailyCost", today)
    # one that was used this month for nothing may never have been used for more
    free = month == 0 and key.fields.get("monthlyUsage.requests", 0) > 0
    cost = (today or 0) > 0 or (month or 0) > 0
    if key.priced is None and (cost or (any(totals.values()) and not free)):
        key.priced = True


def counter(client: RelayClient, endpoint: str) -> Callable[[str], None]:
    """Counts each value of an endpoint's answer that is left out, by its type."""
    return lambda type: client.left_out(endpoint, type)


def _ask_by_id(
    client: RelayClient,
    key_ids: KeyIds,
    key: Key,
    endpoint: str,
    more: Mapping[str, str],
) -> dict[str, Any]:
    """Ask by the key's id; once more where the relay refuses it and there may be another one."""

    def ask() -> dict[str, Any]:
        body = {"apiId": key.id, **more}
        return client.ask_json("POST", API + endpoint, endpoint=endpoint, body=body)

    try:
        return ask()
    except Unauthorised:
        credential = renewed(client, key.place)
        if credential is None:
            raise
        if credential.api_key:
            key_ids.forget(client, credential.api_key)
    except RelayError as error:
        credential = None if key.place is None else access(client.relay).keys[key.place]
        if error.status != 404 or credential is None or credential.api_key is None:
            raise
        # the id that the key was exchanged for may be of a key that was made anew since
        key_ids.forget(client, credential.api_key)
    fresh = with_id(client, key_ids, key.place or 0, credential)
    key.id, key.instance = fresh.id, fresh.instance
    return ask()
