"""Requests to the public stats endpoints of a claude-relay, by the ids of keys.

`docs/relays.md` says what each answers and costs the relay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from relay_metrics import catalogue
from relay_metrics.errors import RelayError, Unauthorised
from relay_metrics.relays.claude.keys import API, Identity, KeyIds, renewed, with_id
from relay_metrics.relays.claude.record import STATS, Batched, Described, Models, Stats
from relay_metrics.relays.claude.settings import access
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.values import dig, figures, instant_ms, number, text
from relay_metrics.snapshot import Number, Scope

T = TypeVar("T")

USER_STATS, USER_MODELS, BATCH = "user-stats", "user-model-stats", "batch-stats"

WINDOW_LEFT = "limits.windowRemainingSeconds"

BATCH_SIZE = 30
"""The most ids that the relay accepts in one batch."""

REFUSALS = (400, 401, 403, 404)
"""The statuses for a key that the relay does not know, or that may not be read."""

_BATCH_TOTALS = tuple(
    row for row in catalogue.answered_by(Scope.KEY, BATCH) if row.field.startswith("usage.total.")
)
_BATCH_FIGURES = catalogue.rows(Scope.KEY, BATCH)
_MODEL = catalogue.rows(Scope.MODEL)


def user_stats(client: RelayClient, key_ids: KeyIds, key: Identity) -> Stats:
    """The totals, limits and window of a key. It takes a scan if the key never had a cost.

    Raises:
        RelayError: the request failed, or the relay refused the key.
    """
    key, answer = _ask_by_id(client, key_ids, key, USER_STATS, {})
    data = part(client, USER_STATS, answer, "data", dict, "data")
    for path in ("usage.total", "limits"):
        part(client, USER_STATS, data, path, dict, path)
    fields = figures(STATS, data, counter(client, USER_STATS))
    if fields.get(WINDOW_LEFT, 0) > 0:
        fields[WINDOW_LEFT] += client.elapsed_s
    return Stats(key, described(data, data["limits"]), fields)


def described(data: Mapping[str, Any], limits: Mapping[str, Any]) -> Described:
    """The description of a key, which user-stats and the administrator's list share.

    Args:
        limits: the object with the day and hour of the key's week, which may be text.
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
    """A key's usage of each model in the configured period. It takes a scan.

    Raises:
        RelayError: as `user_stats`.
    """
    period = client.environment.period
    key, answer = _ask_by_id(client, key_ids, key, USER_MODELS, {"period": period})
    rows = part(client, USER_MODELS, answer, "data", list, "a list of models")
    # A relay before 1.1.263 answers alltime with the rows of the month. Its rows lack isLegacy.
    old = any(isinstance(row, dict) and "isLegacy" not in row for row in rows)
    answered = "monthly" if period == "alltime" and old else period
    return models(client, USER_MODELS, key, [_with_true_costs(row) for row in rows], answered)


def models(
    client: RelayClient, endpoint: str, key: Identity, rows: Sequence[Any], period: str
) -> Models:
    """The model rows of a key; only the most used models if there are too many."""
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
    """A model row in which `costs.total` is the real cost, or missing if that is hidden.

    A relay with HIDE_CUSTOMER_BILLING_DETAILS sends only the rated cost, as the total. Its rows are
    recognised because they are not legacy but have neither `costs.real` nor `pricing`.
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
        keys: the keys that may be read, by id.
        cost: the cost of all of them together, for all time; None if it was not sent.
    """

    keys: Mapping[str, Batched]
    cost: Number | None


def batch_stats(client: RelayClient, ids: Sequence[str]) -> Batch | None:
    """The usage of at most `BATCH_SIZE` keys: in total, this month and today. It takes no scan.

    Returns:
        None if the relay is older than 1.1.126 and does not have the endpoint.

    Raises:
        RelayError: the request failed.
    """
    try:
        answer = client.ask_json("POST", API + BATCH, endpoint=BATCH, body={"apiIds": list(ids)})
    except RelayError as error:
        if error.status == 404:
            return None
        raise
    individual = part(client, BATCH, answer, "data.individual", list, "individual")
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


def part(
    client: RelayClient, endpoint: str, answer: object, path: str, kind: type[T], what: str
) -> T:
    """The part of an answer at a path, which is of one type of JSON, a list or an object.

    Raises:
        InvalidAnswer: it is not there ("answered without WHAT").
    """
    found = dig(answer, path)
    if not isinstance(found, kind):
        raise client.invalid(endpoint, "incomplete", f"answered without {what}")
    return found


def counter(client: RelayClient, endpoint: str) -> Callable[[str], None]:
    """A function that counts a left-out value of an endpoint's answer, given its type."""
    return lambda type: client.left_out(endpoint, type)


def _ask_by_id(
    client: RelayClient,
    key_ids: KeyIds,
    key: Identity,
    endpoint: str,
    more: Mapping[str, str],
) -> tuple[Identity, dict[str, Any]]:
    """Send a request with the key's id, and again with a new id if the relay refuses it.

    Returns:
        The identity with the id that was used last, and the answer.
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
        # The API key may have got a new id: it may have been deleted and created again.
        key_ids.forget(client, credential.api_key)
    return ask(with_id(client, key_ids, key.place or 0, credential))
