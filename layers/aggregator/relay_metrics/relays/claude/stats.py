"""The public stats endpoints of a claude-relay, asked by a key's id.

What each answers, and what it costs the relay, is in `docs/relays.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from relay_metrics import catalogue
from relay_metrics.errors import RelayError, Unauthorised
from relay_metrics.relays.claude.keys import API, Identity, KeyIds, renewed, with_id
from relay_metrics.relays.claude.record import STATS, Batched, Described, Models, Stats
from relay_metrics.relays.claude.settings import access
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.values import dig, figures, instant_ms, number, text
from relay_metrics.snapshot import Number, Scope

USER_STATS, USER_MODELS, BATCH = "user-stats", "user-model-stats", "batch-stats"

WINDOW_LEFT = "limits.windowRemainingSeconds"

BATCH_SIZE = 30
"""The relay refuses more ids in one batch."""

REFUSALS = (400, 401, 403, 404)
"""What the relay answers for a key that it does not know, or that may not be read."""

_BATCH_TOTALS = tuple(
    row for row in catalogue.told_by(Scope.KEY, BATCH) if row.field.startswith("usage.total.")
)
_BATCH_FIGURES = catalogue.rows(Scope.KEY, BATCH)
_MODEL = catalogue.rows(Scope.MODEL)


def user_stats(client: RelayClient, key_ids: KeyIds, key: Identity) -> Stats:
    """The totals, limits and window of a key. A scan where it never cost anything.

    Raises:
        RelayError: the relay refuses the key, or gives no answer.
    """
    key, answer = _ask_by_id(client, key_ids, key, USER_STATS, {})
    data = answer.get("data")
    if not isinstance(data, dict):
        raise client.invalid(USER_STATS, "incomplete", "answered without data")
    for path in ("usage.total", "limits"):
        if not isinstance(dig(data, path), dict):
            raise client.invalid(USER_STATS, "incomplete", f"answered without {path}")
    told = figures(STATS, data, counter(client, USER_STATS))
    if told.get(WINDOW_LEFT, 0) > 0:
        told[WINDOW_LEFT] += client.elapsed_s
    return Stats(key, described(data, data["limits"]), told)


def described(data: Mapping[str, Any], limits: Mapping[str, Any]) -> Described:
    """What user-stats and the administrator's list tell alike.

    Args:
        limits: where the day and hour of its week are; they may be text.
    """
    day, hour = number(limits.get("weeklyResetDay")), number(limits.get("weeklyResetHour"))
    known = day in range(1, 8) and hour in range(24)
    return Described(
        name=text(data.get("name")),
        created_ms=instant_ms(data.get("createdAt")),
        expires_ms=instant_ms(data.get("expiresAt")),
        week=(int(day or 0), int(hour or 0)) if known else None,
    )


def user_models(client: RelayClient, key_ids: KeyIds, key: Identity) -> Models:
    """The use that a key made of each model in the configured period. A scan.

    Raises:
        RelayError: as `user_stats`.
    """
    period = client.environment.period
    key, answer = _ask_by_id(client, key_ids, key, USER_MODELS, {"period": period})
    rows = answer.get("data")
    if not isinstance(rows, list):
        raise client.invalid(USER_MODELS, "incomplete", "answered without a list of models")
    # a relay before 1.1.263, whose rows have no isLegacy, answers alltime with the month's
    old = any(isinstance(row, dict) and "isLegacy" not in row for row in rows)
    told = "monthly" if period == "alltime" and old else period
    return models(client, USER_MODELS, key, [_with_true_costs(row) for row in rows], told)


def models(
    client: RelayClient, endpoint: str, key: Identity, rows: Sequence[Any], period: str
) -> Models:
    """A key's rows of models, the most used ones where there are too many."""
    left_out = counter(client, endpoint)
    named = {text(row.get("model")): row for row in rows if isinstance(row, dict)}
    if unnamed := len(rows) - len(named) + ("" in named):
        client.left_out(endpoint, "invalid_row", unnamed)
    named.pop("", None)
    ranked = sorted(named, key=lambda model: -(number(named[model].get("allTokens")) or 0))
    kept = set(ranked[: client.environment.max_models_per_key])
    return Models(
        key,
        [
            (figures(_MODEL, row, left_out), {"model": model, "period": period})
            for model, row in named.items()
            if model in kept
        ],
        len(named) - len(kept),
    )


def _with_true_costs(row: Any) -> Any:
    """A model row whose `costs.total` is real, as it is everywhere but where billing is hidden.

    A relay with HIDE_CUSTOMER_BILLING_DETAILS answers with nothing but the rated cost, and calls it
    the total. It is known by a row that is not legacy and yet has neither `costs.real` nor prices.
    """
    if not isinstance(row, dict):
        return row
    costs = row.get("costs")
    hidden = row.get("isLegacy") is False and "pricing" not in row
    if hidden and isinstance(costs, dict) and "real" not in costs:
        return {**row, "costs": {"rated": costs.get("rated", costs.get("total"))}}
    return row


class Batch(NamedTuple):
    """An answer of batch-stats.

    Attributes:
        keys: those that may be read, by id.
        cost: all that they ever cost together; None where it was not sent.
    """

    keys: Mapping[str, Batched]
    cost: Number | None


def batch_stats(client: RelayClient, ids: Sequence[str]) -> Batch | None:
    """What at most `BATCH_SIZE` keys used ever, this month and today. No scan.

    Returns:
        None where the relay is older than 1.1.126 and has no such endpoint.

    Raises:
        RelayError: the relay gives no answer.
    """
    try:
        answer = client.ask_json("POST", API + BATCH, endpoint=BATCH, body={"apiIds": list(ids)})
    except RelayError as error:
        if error.status == 404:
            return None
        raise
    individual = dig(answer, "data.individual")
    if not isinstance(individual, list):
        raise client.invalid(BATCH, "incomplete", "answered without individual")
    by_id = {text(one.get("apiId")): one for one in individual if isinstance(one, dict)}
    left_out = counter(client, BATCH)
    keys = {key_id: _batched(by_id[key_id], left_out) for key_id in ids if key_id in by_id}
    return Batch(keys, number(dig(answer, "data.aggregated.usage.cost")))


def _batched(one: Mapping[str, Any], left_out: Callable[[str], None]) -> Batched:
    return Batched(
        name=text(one.get("name")),
        totals=figures(_BATCH_TOTALS, {"usage": {"total": one.get("usage")}}, left_out),
        figures=figures(_BATCH_FIGURES, one, left_out),
        day_cost=number(dig(one, "dailyUsage.cost")),
        month_cost=number(dig(one, "monthlyUsage.cost")),
    )


def counter(client: RelayClient, endpoint: str) -> Callable[[str], None]:
    """Counts each value of an endpoint's answer that is left out, by its type."""
    return lambda type: client.left_out(endpoint, type)


def _ask_by_id(
    client: RelayClient,
    key_ids: KeyIds,
    key: Identity,
    endpoint: str,
    more: Mapping[str, str],
) -> tuple[Identity, dict[str, Any]]:
    """Ask by the key's id; once more where the relay refuses it and there may be another one.

    Returns:
        Who the key is by now, and the answer.
    """

    def ask(key: Identity) -> tuple[Identity, dict[str, Any]]:
        body = {"apiId": key.id, **more}
        return key, client.ask_json("POST", API + endpoint, endpoint=endpoint, body=body)

    try:
        return ask(key)
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
    return ask(with_id(client, key_ids, key.place or 0, credential))
