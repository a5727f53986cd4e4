"""Reads the upstream accounts of a claude-relay. Their rows differ from platform to platform.

Some platforms send booleans and numbers as text, and omit fields that they do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from relay_metrics import catalogue
from relay_metrics.relays.values import dig, figures, flag, instant_ms, number, text
from relay_metrics.snapshot import Number, Reading, Scope

PLATFORMS = (
    *("claude", "claude-console", "openai", "openai-responses"),
    *("gemini", "gemini-api", "bedrock", "azure-openai", "droid", "ccr"),
)

SCANNED = frozenset(("openai-responses", "gemini-api", "droid"))
"""The platforms whose list makes the relay scan its database: once, and once more for each account
without a request on the current day."""

UTILIZATION_WORTH_MS = 30 * 60_000
"""How old a utilization may be: a tenth of the duration of the shorter limit. The relay updates it
only when its web page asks for it."""

_DAILY = tuple(row for row in catalogue.rows(Scope.ACCOUNT) if row.field.startswith("usage.daily."))
_TOTALS = tuple(
    row for row in catalogue.rows(Scope.ACCOUNT) if row.field.startswith("usage.total.")
)
_QUOTA = tuple(row for row in catalogue.rows(Scope.ACCOUNT) if row.field == "dailyQuota")
_CODEX_WINDOWS: Mapping[Number, str] = {300: "five_hour", 10_080: "seven_day"}
_REFUSED = ("blocked", "unauthorized")


class Account(NamedTuple):
    """An account in the list of its platform.

    Attributes:
        state: one of `catalogue.ACCOUNT_STATES`; None if the row does not say.
        families: readings of its limits by family of models.
    """

    id: str
    reading: Reading
    state: str | None
    families: tuple[Reading, ...] = ()

    def out_for(self, seconds: Number | None) -> Account:
        """The account with the relay's information on accounts that are out of service.

        Args:
            seconds: until it is used again; 0 if it is in service, None if they are unknown.
        """
        fields = dict(self.reading.fields)
        if seconds is not None:
            fields["unavailable_s"] = seconds
        if seconds == 0:
            return self._replace(reading=self.reading._replace(fields=fields))
        if "up" in fields:
            fields["up"] = 0
        state = self.state if self.state == "abnormal" else "unavailable"
        return self._replace(reading=self.reading._replace(fields=fields), state=state)

    def without_up(self) -> Account:
        """The account if nothing tells whether it is out of service: it may still be down."""
        fields = {
            name: one for name, one in self.reading.fields.items() if (name, one) != ("up", 1)
        }
        return self._replace(reading=self.reading._replace(fields=fields))


def account(
    platform: str,
    row: object,
    time_ms: int,
    left_out: Callable[[str], None],
    elapsed_s: int = 0,
) -> Account | None:
    """Read an account from a row of its platform's list; None if the row has no id.

    Args:
        time_ms: the time of the run, epoch milliseconds.
        left_out: called with the type of each value that is missing or invalid.
        elapsed_s: the seconds from the time of the run to the answer.
    """
    account_id = text(row.get("id")) if isinstance(row, dict) else ""
    if not isinstance(row, dict) or not account_id:
        left_out("invalid_row")
        return None
    fields: dict[str, Number] = {}
    limit = _rate_limit(platform, row, time_ms, elapsed_s)
    fields.update(limit)
    active, schedulable = flag(row.get("isActive")), flag(row.get("schedulable"))
    # A console account that is rate-limited is neither active nor schedulable until the limit ends.
    only_limited = row.get("status") == "rate_limited" and bool(limit.get("rate_limited"))
    state = None
    if active is None:
        left_out("missing_field")
    else:
        # The relay's own dashboard calls all other accounts abnormal.
        works = (active or only_limited) and row.get("status") not in _REFUSED
        fields["up"] = int(works)
        state = "normal" if works else "abnormal"
        if works and not only_limited and schedulable is False:
            state = "paused"
        elif works and limit.get("rate_limited"):
            state = "rate_limited"
    if schedulable is not None:
        fields["schedulable"] = int(schedulable)
    daily = _usage(row, left_out)
    fields.update(daily)
    if "dailyQuota" in row:
        # The row's own dailyUsage is never updated on some platforms, and that of yesterday on
        # another.
        fields.update(figures(_QUOTA, row, left_out))
        if "usage.daily.cost" in daily:
            fields["quota_used"] = daily["usage.daily.cost"]
    fields.update(_more(row))
    fields.update(_utilization(row, time_ms, elapsed_s))
    attributes = {
        "platform": platform,
        "relay.account.id": account_id,
        "relay.account.name": text(row.get("name")),
    }
    reading = Reading(Scope.ACCOUNT, fields, attributes, start_ms=instant_ms(row.get("createdAt")))
    families = _families(row, attributes, time_ms, elapsed_s)
    return Account(account_id, reading, state, tuple(families))


def idle(row: object) -> bool:
    """Whether an account had no request on the current day."""
    return number(dig(row, "usage.daily.requests")) == 0


def _usage(row: Mapping[str, Any], left_out: Callable[[str], None]) -> dict[str, Number]:
    """The usage of the day and the running totals, without zeros that the relay made up.

    If the relay cannot read an account's usage, it answers zeros, and totals without some fields.
    Totals of 0 of an account that was used are left out as well.
    """
    daily = figures(_DAILY, row, left_out)
    if not isinstance(dig(row, "usage.total"), dict):
        return daily
    totals = figures(_TOTALS, row, left_out)
    if any(totals.values()):
        return daily | totals
    used = bool(text(row.get("lastUsedAt")))
    if used:
        left_out("zero_of_used")
    if len(totals) < len(_TOTALS):
        return daily if any(daily.values()) else {}
    return daily if used else daily | totals


def _more(row: Mapping[str, Any]) -> dict[str, Number]:
    """The fields that only some platforms have."""
    fields: dict[str, Number] = {}
    overloaded = flag(dig(row, "overloadStatus.isOverloaded"))
    if overloaded is not None:
        fields["overloaded"] = int(overloaded)
    most, tasks = number(row.get("maxConcurrentTasks")), number(row.get("activeTaskCount"))
    if most is not None:
        fields["maxConcurrentTasks"] = most
        if tasks is not None and most > 0:  # the relay counts tasks only if there is a limit
            fields["active_tasks"] = tasks
    subscription = instant_ms(row.get("subscriptionExpiresAt")) or instant_ms(row.get("expiresAt"))
    token = instant_ms(row.get("tokenExpiresAt"))
    if subscription is not None:
        fields["subscription_expires_s"] = subscription / 1000
    if token is not None:
        fields["token_expires_s"] = token / 1000
    return fields


def _families(
    row: Mapping[str, Any], attributes: Mapping[str, str], time_ms: int, elapsed_s: int
) -> Iterable[Reading]:
    limits = row.get("modelRateLimitStatus")
    for family, state in limits.items() if isinstance(limits, dict) else ():
        limited = flag(dig(state, "isRateLimited"))
        if limited is not None:
            fields = {"rate_limited": int(limited), **_seconds(limited, state, time_ms, elapsed_s)}
            named = {**attributes, "model.family": text(family)}
            yield Reading(Scope.ACCOUNT_FAMILY, fields, named)


def _rate_limit(
    platform: str, row: Mapping[str, Any], time_ms: int, elapsed_s: int
) -> dict[str, Number]:
    """Whether the account is rate-limited, and for how long; most platforms give whole minutes."""
    for name in ("rateLimitStatus", "rateLimitInfo"):
        if name in row:
            state = row[name]
            break
    else:
        if platform != "azure-openai":
            return {}
        state = None  # this platform sends the field only while the account is limited
    if isinstance(state, str):
        limited = {"limited": True, "normal": False, "": False}.get(state)
    else:
        limited = False if state is None else flag(dig(state, "isRateLimited"))
    if limited is None:
        return {}
    return {"rate_limited": int(limited), **_seconds(limited, state, time_ms, elapsed_s)}


def _seconds(limited: bool, state: object, time_ms: int, elapsed_s: int) -> dict[str, Number]:
    """The seconds from the time of the run until a limit ends."""
    if not limited:
        return {"rate_limit_s": 0}
    for name in ("rateLimitResetAt", "rateLimitExpireAt", "resetAt"):
        ends_ms = instant_ms(dig(state, name))
        if ends_ms is not None:
            return {"rate_limit_s": max(0, (ends_ms - time_ms) / 1000)}
    for name, unit_s in (("remainingTimeMs", 0.001), ("minutesRemaining", 60)):
        left = number(dig(state, name))
        if left is not None:
            return {"rate_limit_s": left * unit_s + elapsed_s}
    return {}


def _utilization(row: Mapping[str, Any], time_ms: int, elapsed_s: int) -> dict[str, Number]:
    """The utilization of the 5-hour and the 7-day limit in percent, and the seconds until reset."""
    usage = row.get("claudeUsage", row.get("codexUsage"))
    if not isinstance(usage, dict):
        return {}
    updated_ms = instant_ms(usage.get("updatedAt"))
    fresh = updated_ms is not None and time_ms - updated_ms <= UTILIZATION_WORTH_MS
    fields: dict[str, Number] = {}
    for limit, window in _windows(usage):
        percent = number(window.get("utilization", window.get("usedPercent")))
        # The relay computes the seconds for each answer. They are right even if the utilization is
        # old, unless they are 0.
        seconds = number(window.get("remainingSeconds"))
        if percent is not None and fresh and seconds != 0:
            fields[f"{limit}_percent"] = percent
        if seconds is not None and (fresh or seconds > 0):
            fields[f"{limit}_reset_s"] = seconds + (elapsed_s if seconds > 0 else 0)
    return fields


def _windows(usage: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    named: dict[str, Any] = {"five_hour": usage.get("fiveHour"), "seven_day": usage.get("sevenDay")}
    named["seven_day_opus"] = usage.get("sevenDayOpus")
    for name in ("primary", "secondary"):
        window = usage.get(name)
        limit = _CODEX_WINDOWS.get(number(dig(window, "windowMinutes")) or 0)
        if limit is not None:
            named[limit] = window
    for limit, window in named.items():
        if isinstance(window, dict):
            yield limit, window
