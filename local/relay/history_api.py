"""Simulates the endpoints of a Claude Relay Service for past days.

By its source (release 1.1.314):

- `days` counts back from today, which is the last row and partial; there is no range. What is
  older than the relay keeps (33 days with today) comes back empty.
- Where a day's cost of a key is 0 and its tokens are not, `/api-keys-usage-trend` makes up what
  they would cost as claude-3-5-sonnet-20241022. Deleted keys are absent, names are today's.
- A query for a day without usage scans the database, twice for keys and twice for accounts, and
  is remembered for an hour.
- In `/api-keys/ID/model-stats` a plain date is midnight UTC, which is the day before west of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from local.http_server import Request, Response
from local.relay.model import MICRO, Key, Price, Usage, sum_of
from local.relay.public_api import priced
from local.relay.state import RelayState
from local.relay.wire import formatted, number, usd

DAYS_KEPT, COSTS_KEPT = 33, 30
"""Days with today; of the costs that the list of keys has."""

MODEL_STATS = re.compile(r"/admin/api-keys/([^/]+)/model-stats")
GROUPS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "claude": ("Claude账户", ("claude", "claude-console")),
    "openai": ("OpenAI账户", ("openai", "openai-responses")),
    "gemini": ("Gemini账户", ("gemini", "gemini-api")),
    "droid": ("Droid账户", ("droid",)),
    "bedrock": ("Bedrock账户", ("bedrock",)),
}
_MADE_UP = Price(3, 15, 3.75, 0.3)
_REMEMBERED_S = 3600


def api_keys_usage_trend(relay: RelayState, request: Request) -> Response:
    """Requests, tokens and rated cost of each key by day. One scan, and those of empty days."""
    relay.scans += 1
    days = _days(relay, request)
    totals: Counter[str] = Counter()
    data = []
    for day in days:
        scan_if_empty(relay, "keys", day)
        scan_if_empty(relay, "models", day)
        found = {}
        for key in relay.keys:
            usage = _kept(relay, day, key.models_in(day))
            if usage is not None:
                totals[key.id] += usage.all_tokens
                found[key.id] = _key_on_day(key, usage)
        data.append({"date": day, "apiKeys": found})
    body = {"success": True, "data": data, "granularity": "day"}
    top = [key_id for key_id, _ in totals.most_common(10)]
    return Response.of_json(body | {"topApiKeys": top, "totalApiKeys": len(totals)})


def usage_trend(relay: RelayState, request: Request) -> Response:
    """Everything of all keys by day, deleted ones too; cost at list price. No scan."""
    if request.query.get("granularity", "day") != "day":
        return Response.of_json({"error": "小时粒度查询时间范围不能超过24小时"}, 400)
    data = []
    for day in _days(relay, request):
        by_model: dict[str, Usage] = {}
        for key in relay.by_id.values() if _is_kept(relay, day) else ():
            for model, usage in key.models_in(day).items():
                by_model.setdefault(model, Usage()).add(usage)
        total = sum_of(by_model.values())
        kinds = ("input", "output", "cacheCreate", "cacheRead")
        cost = sum(
            (
                priced(model, usage)[0][kind]
                for model, usage in sorted(by_model.items())
                for kind in kinds
            ),
            0.0,
        )
        row = {
            "date": day,
            "inputTokens": total.input_tokens,
            "outputTokens": total.output_tokens,
            "requests": total.requests,
            "cacheCreateTokens": total.cache_create_tokens,
            "cacheReadTokens": total.cache_read_tokens,
            "totalTokens": total.all_tokens,
            "cost": number(cost),
            "formattedCost": formatted(cost),
        }
        data.append(row)
    return Response.of_json({"success": True, "data": data, "granularity": "day"})


def account_usage_trend(relay: RelayState, request: Request) -> Response:
    """Requests and cost at list price of each account of a group by day."""
    group = request.query.get("group", "claude")
    if group not in GROUPS:
        return Response.of_json({"success": False, "error": "Invalid account group"}, 400)
    label, platforms = GROUPS[group]
    accounts = [account for account in relay.accounts if account.platform in platforms]
    data: list[dict[str, Any]] = []
    totals: Counter[str] = Counter()
    # without an account there is nothing to look for
    for day in _days(relay, request) if accounts else ():
        scan_if_empty(relay, "accounts", day)
        scan_if_empty(relay, "account models", day)
        found = {}
        for account in accounts:
            usage = account.usage.get(day)
            if usage is not None and _is_kept(relay, day):
                totals[account.id] += usage.real_micro
                cost = usd(usage.real_micro)
                found[account.id] = {
                    "name": account.name,
                    "cost": cost,
                    "formattedCost": formatted(cost),
                    "requests": usage.requests,
                }
        data.append({"date": day, "accounts": found})
    body = {"success": True, "data": data, "granularity": "day", "group": group}
    top = [account_id for account_id, _ in totals.most_common(10)]
    return Response.of_json(
        body | {"groupLabel": label, "topAccounts": top, "totalAccounts": len(totals)}
    )


def key_model_stats(relay: RelayState, request: Request) -> Response:
    """One key's usage by model, summed over a range of days; of deleted keys as well."""
    match = MODEL_STATS.fullmatch(request.path)
    key = relay.by_id.get(match[1]) if match else None
    days = _range(relay, request)
    by_model: dict[str, Usage] = {}
    for day in days:
        scan_if_empty(relay, "models", day)
        kept = key is not None and _is_kept(relay, day)
        for model, usage in key.models_in(day).items() if kept and key is not None else ():
            by_model.setdefault(model, Usage()).add(usage)
    if not by_model:
        relay.scans += 1
    rows: list[dict[str, Any]] = [
        {
            "model": model,
            "requests": usage.requests,
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "cacheCreateTokens": usage.cache_create_tokens,
            "cacheReadTokens": usage.cache_read_tokens,
            "allTokens": usage.all_tokens,
            "costs": {"total": usd(usage.rated_micro), "real": usd(usage.real_micro)},
            "formatted": {"total": formatted(usd(usage.rated_micro))},
            "pricing": None,
            "usingDynamicPricing": False,
        }
        for model, usage in by_model.items()
    ]
    rows.sort(key=lambda row: -row["allTokens"])
    return Response.of_json({"success": True, "data": rows})


def cost_between(relay: RelayState, key: Key, first: str, last: str) -> float:
    """What a key was charged from one day to another, as the relay stored it."""
    days = (day for day in _back(relay, COSTS_KEPT) if first <= day <= last)
    return usd(sum(key.usage_in(day).rated_micro for day in days))


def scan_if_empty(relay: RelayState, index: str, day: str) -> None:
    """Count the scan that reading the index of a day takes if the index is empty."""
    if index in ("keys", "models"):
        used = any(day in key.totals for key in relay.by_id.values())
    else:
        used = any(day in account.usage for account in relay.accounts)
    now = relay.clock()
    name = f"{index}:{day}"
    if (used and _is_kept(relay, day)) or relay.known_empty.get(name, 0) > now:
        return
    relay.scans += 1
    relay.known_empty[name] = now + _REMEMBERED_S


def _days(relay: RelayState, request: Request) -> list[str]:
    text = request.query.get("days", "")
    count = int(text) if text.isdigit() else 7
    return list(reversed(_back(relay, count)))


def _back(relay: RelayState, count: int) -> list[str]:
    today = datetime.fromisoformat(relay.day())
    return [f"{today - timedelta(days=back):%Y-%m-%d}" for back in range(count)]


def _is_kept(relay: RelayState, day: str) -> bool:
    return day >= _back(relay, DAYS_KEPT)[-1]


def _kept(relay: RelayState, day: str, models: Mapping[str, Usage]) -> Usage | None:
    return sum_of(models.values()) if models and _is_kept(relay, day) else None


def _key_on_day(key: Key, usage: Usage) -> dict[str, Any]:
    cost = usd(usage.rated_micro)
    if cost == 0 and usage.all_tokens > 0:
        cost = (
            usage.input_tokens * _MADE_UP.input
            + usage.output_tokens * _MADE_UP.output
            + usage.cache_create_tokens * _MADE_UP.cache_write
            + usage.cache_read_tokens * _MADE_UP.cache_read
        ) / MICRO
    return {
        "name": key.name,
        "tokens": usage.all_tokens,
        "requests": usage.requests,
        "cost": number(cost),
        "formattedCost": formatted(cost),
    }


def _range(relay: RelayState, request: Request) -> Iterable[str]:
    query: Callable[[str], str | None] = request.query.get
    first, last = query("startDate"), query("endDate")
    if query("period") != "custom" or not first or not last:
        return [relay.day()]
    begin, end = (datetime.fromisoformat(text) for text in (first, last))
    begin, end = (one if one.tzinfo else one.replace(tzinfo=UTC) for one in (begin, end))
    count = int((end - begin) // timedelta(days=1)) + 1
    return [relay.day((begin + timedelta(days=n)).timestamp()) for n in range(count)]
