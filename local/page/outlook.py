"""Which limits run out next, and the projected cost of the month, from the last hours."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from local.page.series import Identity, Series

HOUR_MS: Final = 3_600_000
LEAST_S: Final = 60
"""A rate is only computed over at least this time."""

SOON_S: Final = 7 * 86_400
"""A key that expires later is not listed."""

_DAY_RESETS: Final = "relay_key_day_reset_timestamp_seconds"
_EXPIRES: Final = "relay_key_expiry_timestamp_seconds"
_LIMITED: Final = "relay_account_rate_limit_seconds_remaining"


class _Limit(NamedTuple):
    """A limit: the figure that counts for it, and when that starts over.

    Attributes:
        limit: the metric, or 100 for a percentage.
        grows: the metric whose growth over `hours` is how fast it is used.
        resets: a metric: an instant, or where `remaining` the seconds until then; "" for never.
    """

    what: str
    used: str
    limit: str | float
    grows: str
    hours: float
    resets: str = ""
    remaining: bool = False


_LIMITS: Final = (
    _Limit(
        "day's limit",
        "relay_daily_cost_usd",
        "relay_daily_cost_limit_usd",
        "relay_cost_total_usd",
        1,
        _DAY_RESETS,
    ),
    _Limit(
        "week's limit on Claude",
        "relay_weekly_opus_cost_usd",
        "relay_weekly_opus_cost_limit_usd",
        "relay_weekly_opus_cost_usd",
        6,
        "relay_key_week_reset_timestamp_seconds",
    ),
    _Limit(
        "total limit",
        "relay_cost_total_usd",
        "relay_total_cost_limit_usd",
        "relay_cost_total_usd",
        24,
    ),
    _Limit(
        "window's limit",
        "relay_current_window_cost_usd",
        "relay_rate_limit_cost_limit_usd",
        "relay_current_window_cost_usd",
        0.25,
        "relay_current_window_seconds_remaining",
        remaining=True,
    ),
)
_WINDOWS: Final = (
    _Limit(
        "5-hour window",
        "relay_account_five_hour_utilization_percent",
        100,
        "relay_account_five_hour_utilization_percent",
        1,
        "relay_account_five_hour_reset_seconds_remaining",
        remaining=True,
    ),
    _Limit(
        "7-day window",
        "relay_account_seven_day_utilization_percent",
        100,
        "relay_account_seven_day_utilization_percent",
        6,
        "relay_account_seven_day_reset_seconds_remaining",
        remaining=True,
    ),
    _Limit(
        "day's quota",
        "relay_account_daily_quota_used_usd",
        "relay_account_daily_quota_usd",
        "relay_account_daily_quota_used_usd",
        1,
        _DAY_RESETS,
    ),
)


def _metrics(limits: Sequence[_Limit]) -> Iterator[str]:
    for limit in limits:
        of_limit = limit.limit if isinstance(limit.limit, str) else ""
        yield from filter(None, (limit.used, of_limit, limit.grows, limit.resets))


OF_KEYS: Final = (*_metrics(_LIMITS), _EXPIRES)
OF_ACCOUNTS: Final = (
    *_metrics(_WINDOWS),
    _LIMITED,
    "relay_account_up",
    "relay_account_schedulable",
)

Figures = dict[str, Any]


def limits(series: Mapping[str, Series], runs: Sequence[int]) -> Figures:
    """The limits on the page, as of the latest run.

    Returns:
        `soon`: what runs out, soonest first, each `{of, kind, what, unit, used, limit, share,
        state, at, resets}` with instants in epoch seconds; `state` is `out` (nothing is left until
        `resets`), `ends` (at `at`, before it would reset), or `holds`. `rate_usd`: what all keys
        spend an hour, None where two runs are not yet a minute apart. `accounts`: each with its
        state and its windows.
    """
    if not runs:
        return {"soon": [], "rate_usd": None, "accounts": []}
    of_keys = [
        one
        for limit in _LIMITS
        for key in series[limit.used]
        if (one := _held(series, runs[-1], limit, key, "key"))
    ]
    of_accounts = [
        one
        for limit in _WINDOWS
        for account in series[limit.used]
        if (one := _held(series, runs[-1], limit, account, "account"))
    ]
    soon = [*of_keys, *of_accounts, *_expiring(series, runs[-1]), *_limited(series, runs[-1])]
    order = {"out": 0, "ends": 1, "holds": 2}
    soon.sort(key=lambda one: (order[one["state"]], one["at"] or 0, -(one["share"] or 0)))
    total = series["relay_cost_total_usd"]
    since = runs[-1] - HOUR_MS
    growths = [
        growth for key in total if (growth := total.grown(key, since)) and growth[1] >= LEAST_S
    ]
    return {
        "soon": soon,
        "rate_usd": sum(3600 * usd / seconds for usd, seconds in growths) if growths else None,
        "accounts": _accounts(series, runs[-1], of_accounts),
    }


def _held(
    series: Mapping[str, Series], run: int, limit: _Limit, identity: Identity, kind: str
) -> Figures | None:
    """A figure and its limit; None if there is no limit, or no current value."""
    used = series[limit.used].at(identity, run)
    most = series[limit.limit].at(identity, run) if isinstance(limit.limit, str) else limit.limit
    if used is None or not most:
        return None
    now = run / 1000
    resets = _resets(series, run, limit, identity)
    if resets is not None and limit.remaining:
        # 0 is a window that has not begun
        resets = now + resets if resets > 0 else None
    grown = series[limit.grows].grown(identity, run - round(limit.hours * HOUR_MS))
    at = None
    if grown and grown[0] > 0 and grown[1] >= LEAST_S and used < most:
        at = now + (most - used) * grown[1] / grown[0]
        if resets is not None and at >= resets:
            at = None
    return {
        "of": _name(series[limit.used], identity),
        "id": identity,
        "kind": kind,
        "what": limit.what,
        "unit": "USD" if isinstance(limit.limit, str) else "%",
        "used": used,
        "limit": most,
        "share": used / most,
        "state": "out" if used >= most else "holds" if at is None else "ends",
        "at": at,
        "resets": resets,
    }


def _resets(
    series: Mapping[str, Series], run: int, limit: _Limit, identity: Identity
) -> float | None:
    if not limit.resets:
        return None
    known = series[limit.resets]
    if identity in known:
        return known.at(identity, run)
    # an account's day is that of its relay's keys
    days = (known.at(key, run) for key in known if key[0] == identity[0])
    return next((day for day in days if day is not None), None)


def _expiring(series: Mapping[str, Series], run: int) -> Iterator[Figures]:
    for key, values in series[_EXPIRES].items():
        expires, now = values[max(values)], run / 1000
        if now < expires < now + SOON_S:
            yield {
                **_named(series[_EXPIRES], key, "key"),
                "what": "expires",
                "state": "ends",
                "at": expires,
            }


def _limited(series: Mapping[str, Series], run: int) -> Iterator[Figures]:
    for account in series[_LIMITED]:
        if seconds := series[_LIMITED].at(account, run):
            yield {
                **_named(series[_LIMITED], account, "account"),
                "what": "limited by its provider",
                "state": "out",
                "resets": run / 1000 + seconds,
            }


def _accounts(series: Mapping[str, Series], run: int, windows: Sequence[Figures]) -> list[Figures]:
    up, schedulable = series["relay_account_up"], series["relay_account_schedulable"]
    listed = []
    for account in sorted(up, key=lambda one: (_name(up, one), one)):
        if up.at(account, run) is None:
            continue
        limited = series[_LIMITED].at(account, run)
        state = (
            "down"
            if not up.at(account, run)
            else "limited"
            if limited
            else "in use"
            if schedulable.at(account, run) != 0
            else "paused"
        )
        its = {one["what"]: one for one in windows if one["id"] == account}
        listed.append(
            {
                **_named(up, account, "account"),
                "platform": account[1],
                "state": state,
                "back": run / 1000 + limited if limited else None,
                "five_hours": its.get("5-hour window"),
                "seven_days": its.get("7-day window"),
                "quota": its.get("day's quota"),
            }
        )
    return listed


def _named(series: Series, identity: Identity, kind: str) -> Figures:
    nothing = dict.fromkeys(("unit", "used", "limit", "share", "at", "resets"))
    return {**nothing, "of": _name(series, identity), "id": identity, "kind": kind}


def _name(series: Series, identity: Identity) -> str:
    labels = ("relay_account_name", "relay_key_name")
    return next((name for one in labels if (name := series.label(identity, one))), identity[-1])


def month(today: date, spent: Mapping[date, float], so_far: float | None) -> Figures:
    """This month so far and at its end, and the last one to the same day.

    Args:
        today: of the relay's calendar.
        spent: by day, all keys together, as far as known.
        so_far: what the relay itself says of this month.

    Returns:
        `{so_far, projected, before, ends}`; `projected` takes the mean of the last seven whole
        days for each day left and the rest of today, None where one of them is missing; `before`
        is None unless every day of it is there.
    """
    whole = [spent.get(date.fromordinal(today.toordinal() - back)) for back in range(1, 8)]
    known = [usd for usd in whole if usd is not None]
    ends = today.replace(day=calendar.monthrange(today.year, today.month)[1])
    projected = None
    if so_far is not None and len(known) == len(whole):
        a_day = sum(known) / len(known)
        rest = max(0.0, a_day - spent.get(today, 0.0))
        projected = so_far + rest + a_day * (ends - today).days
    first = today.replace(day=1)
    last_month = date.fromordinal(first.toordinal() - 1).replace(day=1)
    same = [
        spent.get(date.fromordinal(last_month.toordinal() + day))
        for day in range(min(today.day, (first - last_month).days))
    ]
    known = [usd for usd in same if usd is not None]
    return {
        "so_far": so_far,
        "projected": projected,
        "before": sum(known) if len(known) == len(same) else None,
        "ends": ends.isoformat(),
    }
