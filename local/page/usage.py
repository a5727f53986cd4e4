"""The usage of Wyolet Relays in the last day, summed by the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from local.sql import Row, literal

HOURS: Final = 24
HOUR_S: Final = 3600

_HOUR: Final = "floor(date_part('epoch', greptime_timestamp) / 3600)"

Figures = dict[str, Any]
Ask = Callable[[str], Sequence[Row]]
"""Answers a statement; nothing where a table is not there yet."""


def figures(ask: Ask, relays: Iterable[str], now_s: float) -> Figures:
    """Cost by model and hour, and by key, as of the latest run.

    Minutes have `relay_name` and a model or a key's id alone: names and labels of keys are in
    `relay_key_info`.

    Returns:
        `{hours, models: [{name, values}], keys: [{name, team, usd, requests}], usd}`: when each
        hour begins, epoch seconds, the last one not over; dearest first. All of it is empty where
        no relay has any.
    """
    last = int(now_s // HOUR_S)
    hours = [last - back for back in reversed(range(HOURS))]
    names = ", ".join(literal(name) for name in relays)
    if not names:
        return {"hours": [], "models": [], "keys": [], "usd": None}
    since = _minutes(names, hours[0] * HOUR_S)
    models: dict[str, dict[int, float]] = defaultdict(dict)
    for row in ask(
        f"SELECT model, {_HOUR} AS hour, sum(greptime_value) AS usd"  # noqa: S608 - literals
        f" FROM relay_usage_by_model_cost_usd WHERE {since} GROUP BY model, {_HOUR}"
    ):
        models[row["model"]][int(row["hour"])] = row["usd"]
    listed = [
        {"name": model, "values": [by_hour.get(hour) for hour in hours]}
        for model, by_hour in sorted(models.items(), key=lambda one: -sum(one[1].values()))
    ]
    return {
        "hours": [hour * HOUR_S for hour in hours] if listed else [],
        "models": listed,
        "keys": _keys(ask, names, since, now_s),
        "usd": sum(sum(by_hour.values()) for by_hour in models.values()) if models else None,
    }


def _keys(ask: Ask, names: str, since: str, now_s: float) -> list[Figures]:
    info: dict[str, Row] = {
        row["relay_key_id"]: row
        for row in ask(
            "SELECT * FROM relay_key_info"  # noqa: S608 - literals
            f" WHERE {_minutes(names, now_s - HOUR_S)} ORDER BY greptime_timestamp"
        )
    }
    cost, requests = (_by_key(ask, figure, since) for figure in ("cost_usd", "requests"))
    return [
        {
            "name": _label(info, key, "relay_key_name") or key or "no key",
            "team": _label(info, key, "team"),
            "usd": usd,
            "requests": requests.get(key),
        }
        for key, usd in sorted(cost.items(), key=lambda one: -one[1])
    ]


def _by_key(ask: Ask, figure: str, since: str) -> Mapping[str, float]:
    rows = ask(
        "SELECT relay_key_id, sum(greptime_value) AS total"  # noqa: S608 - literals
        f" FROM relay_usage_by_key_{figure} WHERE {since} GROUP BY relay_key_id"
    )
    return {row["relay_key_id"] or "": row["total"] for row in rows}


def _label(info: Mapping[str, Row], key: str, name: str) -> str | None:
    text = info.get(key, {}).get(name)
    return str(text) if text else None


def _minutes(names: str, since_s: float) -> str:
    begins = datetime.fromtimestamp(since_s, UTC).isoformat(sep=" ", timespec="milliseconds")
    return f"relay_name IN ({names}) AND greptime_timestamp >= {literal(begins)}"
