"""The upstream accounts of a claude-relay, whose rows differ from platform to platform.

Booleans and numbers are text in some of them, and what a platform does not have is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from relay_metrics import catalogue
from relay_metrics.relays.values import dig, figures, flag, instant_ms, number, text
from relay_metrics.snapshot import Number, Reading, Scope

PLATFORMS = (
    *("claude", "claude-console", "openai", "openai-responses"),
    *("gemini", "bedrock", "azure-openai", "droid", "ccr"),
)

UTILIZATION_WORTH_MS = 30 * 60_000
"""A tenth of the shorter limit's time. The relay asks the provider only when its own page does."""

_DAILY = tuple(row for row in catalogue.rows(Scope.ACCOUNT) if row.field.startswith("usage.daily."))
_QUOTA = tuple(row for row in catalogue.rows(Scope.ACCOUNT) if row.field.startswith("daily"))
_CODEX_WINDOWS: Mapping[Number, str] = {300: "five_hour", 10_080: "seven_day"}


def account(
    platform: str, row: object, time_ms: int, left_out: Callable[[str], None]
) -> Reading | None:
    """What a row of a platform's list says of an account; None where it names none.

    Args:
        time_ms: the run's instant, epoch milliseconds.
        left_out: is told the type of each value that cannot be had.
    """
    account_id = text(row.get("id")) if isinstance(row, dict) else ""
    if not isinstance(row, dict) or not account_id:
        left_out("invalid_row")
        return None
    fields: dict[str, Number] = {}
    active = flag(row.get("isActive"))
    if active is None:
        left_out("missing_field")
    else:
        # what is neither of these two the relay's own dashboard calls abnormal
        refused = row.get("status") in ("blocked", "unauthorized")
        fields["up"] = int(active and not refused)
    schedulable = flag(row.get("schedulable"))
    if schedulable is not None:
        fields["schedulable"] = int(schedulable)
    fields.update(_rate_limit(row, time_ms))
    fields.update(figures(_DAILY, row, left_out))
    if "dailyQuota" in row:
        fields.update(figures(_QUOTA, row, left_out))
    fields.update(_utilization(row, time_ms))
    attributes = {
        "platform": platform,
        "relay.account.id": account_id,
        "relay.account.name": text(row.get("name")),
    }
    return Reading(Scope.ACCOUNT, fields, attributes)


def _rate_limit(row: Mapping[str, Any], time_ms: int) -> dict[str, Number]:
    """Whether the account is limited, and for how long: of most platforms in whole minutes."""
    for name in ("rateLimitStatus", "rateLimitInfo"):
        if name in row:
            state = row[name]
            break
    else:
        return {}
    if isinstance(state, str):
        limited = {"limited": True, "normal": False, "": False}.get(state)
    else:
        limited = False if state is None else flag(dig(state, "isRateLimited"))
    if limited is None:
        return {}
    if not limited:
        return {"rate_limited": 0, "rate_limit_s": 0}
    ends_ms = instant_ms(dig(state, "rateLimitResetAt"))
    if ends_ms is not None:
        return {"rate_limited": 1, "rate_limit_s": max(0, (ends_ms - time_ms) / 1000)}
    minutes = number(dig(state, "minutesRemaining"))
    return {"rate_limited": 1} | ({} if minutes is None else {"rate_limit_s": minutes * 60})


def _utilization(row: Mapping[str, Any], time_ms: int) -> dict[str, Number]:
    """How much of the 5-hour and the 7-day limit is used, and when each resets."""
    usage = row.get("claudeUsage", row.get("codexUsage"))
    if not isinstance(usage, dict):
        return {}
    updated_ms = instant_ms(usage.get("updatedAt"))
    fresh = updated_ms is not None and time_ms - updated_ms <= UTILIZATION_WORTH_MS
    fields: dict[str, Number] = {}
    for limit, window in _windows(usage):
        percent = number(window.get("utilization", window.get("usedPercent")))
        # counted when asked, so that it is right however old the rest is, until it reads 0
        seconds = number(window.get("remainingSeconds"))
        if percent is not None and fresh and seconds != 0:
            fields[f"{limit}_percent"] = percent
        if seconds is not None and (fresh or seconds > 0):
            fields[f"{limit}_reset_s"] = seconds
    return fields


def _windows(usage: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    named = {"five_hour": usage.get("fiveHour"), "seven_day": usage.get("sevenDay")}
    for name in ("primary", "secondary"):
        window = usage.get(name)
        limit = _CODEX_WINDOWS.get(number(dig(window, "windowMinutes")) or 0)
        if limit is not None:
            named[limit] = window
    for limit, window in named.items():
        if isinstance(window, dict):
            yield limit, window
