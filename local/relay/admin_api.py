"""The endpoints of a Claude Relay Service that need an administrator's session.

What the service's source says of keys, since its answers alone do not:

- A deleted key stays stored, with `isDeleted` and with `isActive` false. It is in none of these
  lists, its apiKey is unknown from then on, and by its id it answers 403 as a disabled one does.
- Disabled: `isActive` false. Expired: `expiresAt` is set and past; `isActive` stays true, and the
  dashboard counts such a key as active. Waiting for its first use: `expirationMode` is
  `"activation"` and `isActivated` is not `"true"`; `expiresAt` is `""` until then, and
  `activationDays` (text) counts `activationUnit`, days or hours.
- `/usage-stats` has every key that is not deleted, disabled and expired ones included. The
  dashboard's totals are counters of the whole relay, so they keep what deleted keys used; a relay
  whose counters were never begun sums the keys that are not deleted instead.
- `systemTimezone` of the dashboard is the offset in hours at which days, months and weeks roll.
"""

from __future__ import annotations

import math
from typing import Any

from local.http_server import Request, Response
from local.relay import account_rows
from local.relay.history_api import cost_between
from local.relay.model import TOTAL, Account, Key, Usage
from local.relay.public_api import (
    LIMITS_SINCE,
    priced,
    rates_of,
)
from local.relay.state import RelayState
from local.relay.wire import formatted, iso, number, tokens, usd

PAGE_SIZES = (10, 20, 50, 100)
COST_SORT_STATUS = {"status": "ready", "isRealTimeCalculation": True}
ZERO_USAGE = {"total": {"requests": 0, "tokens": 0, "cost": 0, "formattedCost": "$0.00"}}


def api_keys(relay: RelayState, request: Request) -> Response:
    """A page of keys, newest first: limits and state. Before 1.1.208 all of them, with usage."""
    keys = relay.newest_first()
    if not relay.since("1.1.208"):
        every = [_key_item(relay, key) | {"usage": _key_usage(relay, key)} for key in keys]
        return _success(every)
    cost_of_days = request.query.get("sortBy") == "cost" and (
        request.query.get("costTimeRange") == "custom"
    )
    costs: dict[str, float] = {}
    if cost_of_days:
        relay.scans += 1
        first, last = (request.query.get(f"cost{end}Date", "") for end in ("Start", "End"))
        costs = {key.id: cost_between(relay, key, first, last) for key in keys}
        keys = sorted(keys, key=lambda key: -costs[key.id])
    size = _int(request.query.get("pageSize"))
    size = size if size in PAGE_SIZES else 20
    pages = math.ceil(len(keys) / size)
    page = max(1, min(_int(request.query.get("page")), pages))
    start = (page - 1) * size
    items = [_key_item(relay, key) | {"usage": ZERO_USAGE} for key in keys[start : start + size]]
    if cost_of_days:
        # before the owner's name, which the relay adds last
        for item in items:
            owner = item.pop("ownerDisplayName")
            usage = item.pop("usage")
            item |= {"_cost": costs[item["id"]], "ownerDisplayName": owner, "usage": usage}
    pagination = {"page": page, "pageSize": size, "total": len(keys), "totalPages": pages}
    body = {
        "success": True,
        "data": {"items": items, "pagination": pagination, "availableTags": []}
        | ({"costSortStatus": COST_SORT_STATUS} if cost_of_days else {}),
        "timeRange": request.query.get("timeRange", "all"),
    }
    return Response.of_json(body)


def usage_stats(relay: RelayState, request: Request) -> Response:
    """Totals with cost of every key that is not deleted, in one scan."""
    relay.scans += 1
    stats = [
        {"keyId": key.id, "keyName": key.name, "usage": _key_usage(relay, key)}
        for key in relay.keys
    ]
    return _success({"period": request.query.get("period", "daily"), "stats": stats})


def usage_costs(relay: RelayState, request: Request) -> Response:
    """Cost by model over every key, deleted ones too."""
    asked = request.query.get("period", "all")
    period = {"today": relay.day(), "monthly": relay.month()}.get(asked, TOTAL)
    by_model: dict[str, Usage] = {}
    for key in relay.by_id.values():
        for model, usage in key.models_in(period).items():
            by_model.setdefault(model, Usage()).add(usage)
    kinds = ("input", "output", "cacheCreate", "cacheRead", "total")
    totals = dict.fromkeys(kinds, 0.0)
    models: list[dict[str, Any]] = []
    for model, usage in by_model.items():
        costs, texts, _ = priced(model, usage)
        for kind in kinds:
            totals[kind] += costs[kind]
        counted = {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_creation_input_tokens": usage.cache_create_tokens,
            "cache_read_input_tokens": usage.cache_read_tokens,
        }
        row = {"model": model, "requests": usage.requests, "usage": counted, "costs": costs}
        models.append(row | {"formatted": texts, "usingDynamicPricing": True})
    models.sort(key=lambda row: -row["costs"]["total"])
    total_costs: dict[str, Any] = {f"{kind}Cost": number(cost) for kind, cost in totals.items()}
    total_costs["formatted"] = {f"{kind}Cost": formatted(cost) for kind, cost in totals.items()}
    pricing = {
        "initialized": True,
        "lastUpdated": iso(relay.started_at),
        "modelCount": 222,
        "nextUpdate": iso(relay.started_at + 86_400),
    }
    data = {"period": asked, "totalCosts": total_costs, "modelCosts": models}
    return _success(data | {"pricingServiceStatus": pricing})


def dashboard(relay: RelayState, _request: Request) -> Response:
    """Totals of keys, accounts and usage. Three scans."""
    relay.scans += 3
    now = relay.clock()
    by_platform = {name: _states(relay, name) for name in DASHBOARD_PLATFORMS}
    accounts = {
        state: sum(states[state] for states in by_platform.values())
        for state in ("total", "normal", "abnormal", "paused", "rateLimited")
    }
    claude = [by_platform["claude"], by_platform["claude-console"]]
    gemini = by_platform["gemini"]
    ever, today = relay.usage_of_all(TOTAL), relay.usage_of_all(relay.day())
    minutes = max(1.0, (now - relay.started_at) / 60)
    data = {
        "overview": {
            "totalApiKeys": len(relay.keys),
            "activeApiKeys": sum(key.active for key in relay.keys),
            "totalAccounts": accounts["total"],
            "normalAccounts": accounts["normal"],
            "abnormalAccounts": accounts["abnormal"],
            "pausedAccounts": accounts["paused"],
            "rateLimitedAccounts": accounts["rateLimited"],
            "accountsByPlatform": by_platform,
            "activeAccounts": accounts["normal"],
            "totalClaudeAccounts": sum(states["total"] for states in claude),
            "activeClaudeAccounts": sum(states["normal"] for states in claude),
            "rateLimitedClaudeAccounts": sum(states["rateLimited"] for states in claude),
            "totalGeminiAccounts": gemini["total"],
            "activeGeminiAccounts": gemini["normal"],
            "rateLimitedGeminiAccounts": gemini["rateLimited"],
            "totalTokensUsed": ever.all_tokens,
            "totalRequestsUsed": ever.requests,
            "totalInputTokensUsed": ever.input_tokens,
            "totalOutputTokensUsed": ever.output_tokens,
            "totalCacheCreateTokensUsed": ever.cache_create_tokens,
            "totalCacheReadTokensUsed": ever.cache_read_tokens,
            "totalAllTokensUsed": ever.all_tokens,
        },
        "recentActivity": {
            "apiKeysCreatedToday": 0,
            "requestsToday": today.requests,
            "tokensToday": today.input_tokens + today.output_tokens,
            "inputTokensToday": today.input_tokens,
            "outputTokensToday": today.output_tokens,
            "cacheCreateTokensToday": today.cache_create_tokens,
            "cacheReadTokensToday": today.cache_read_tokens,
        },
        "systemAverages": {
            "rpm": number(round(today.requests / minutes, 2)),
            "tpm": number(round(today.all_tokens / minutes, 2)),
        },
        "realtimeMetrics": {
            "rpm": number(round(today.requests / minutes, 2)),
            "tpm": number(round(today.all_tokens / minutes, 2)),
            "windowMinutes": 5,
            "isHistorical": False,
        },
        "systemHealth": {
            "redisConnected": True,
            "claudeAccountsHealthy": any(states["normal"] for states in claude),
            "geminiAccountsHealthy": gemini["normal"] > 0,
            "droidAccountsHealthy": by_platform["droid"]["normal"] > 0,
            "uptime": number(now - relay.started_at),
        },
        "systemTimezone": number(relay.utc_offset_hours),
    }
    return _success(data)


def concurrency(relay: RelayState, _request: Request) -> Response:
    """Requests under way and waiting, by key. One scan; beside `success`, not under `data`."""
    relay.scans += 1
    now_ms = relay.clock() * 1000
    status = []
    for key in relay.keys:
        active = relay.active_requests.get(key.id, 0)
        queued = relay.queued_requests.get(key.id, 0)
        if not active and not queued:
            continue
        leases = [
            {"requestId": f"{key.id}-{n}", "expireAt": iso((now_ms + 60_000) / 1000)}
            for n in range(active)
        ]
        entry = {"apiKeyId": key.id, "key": f"concurrency:{key.id}", "activeCount": active}
        status.append(entry | {"expiredCount": 0, "activeRequests": leases, "queueCount": queued})
    summary = {
        "totalKeys": len(status),
        "totalActiveRequests": sum(relay.active_requests.get(key.id, 0) for key in relay.keys),
        "totalExpiredRequests": 0,
        "totalQueuedRequests": sum(relay.queued_requests.get(key.id, 0) for key in relay.keys),
    }
    return Response.of_json({"success": True, "summary": summary, "concurrencyStatus": status})


def accounts(relay: RelayState, request: Request) -> Response:
    """The list of the platform in the path."""
    platform = request.path.removeprefix("/admin/").removesuffix("-accounts")
    if platform in account_rows.SCANNED:
        of_platform = [one for one in relay.accounts if one.platform == platform]
        today = relay.day()
        relay.scans += 1 + sum(not one.usage.get(today, Usage()).requests for one in of_platform)
    return _success(account_rows.rows(relay, platform))


def temp_unavailable(relay: RelayState, _request: Request) -> Response:
    """The accounts that are out of service after a failure of their provider. No scan."""
    now = relay.clock()
    data = {}
    for account in relay.accounts:
        until = account.unavailable_until
        if until is not None and now < until:
            left = int(until - now)
            data[f"{account.platform}:{account.id}"] = {
                "accountId": account.id,
                "accountType": account.platform,
                "statusCode": 529,
                "errorType": "overload",
                "markedAt": iso(until - 600),
                "ttl": left,
                "remainingSeconds": left,
            }
    return _success(data)


# azure-openai is in none of the dashboard's platforms before releases later than 1.1.314.
DASHBOARD_PLATFORMS = (
    *("claude", "claude-console", "gemini", "bedrock"),
    *("openai", "ccr", "openai-responses", "droid"),
)


def _states(relay: RelayState, platform: str) -> dict[str, int]:
    states = dict.fromkeys(("total", "normal", "abnormal", "paused", "rateLimited"), 0)
    now = relay.clock()
    for account in relay.accounts:
        if account.platform == platform:
            states["total"] += 1
            states[_state(account, now)] += 1
    return states


def _state(account: Account, now: float) -> str:
    if not account.active or account.status in ("blocked", "unauthorized"):
        return "abnormal"
    if not account.schedulable:
        return "paused"
    return "rateLimited" if account.rate_limited(now) else "normal"


def _key_item(relay: RelayState, key: Key) -> dict[str, Any]:
    """A key's limits and state: some figures are text, as the relay's list has them."""
    limits = key.limits
    item = {
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "apiKey": key.api_key.removeprefix("cr_")[::-1],
        "tokenLimit": limits.token_limit,
        "concurrencyLimit": str(limits.concurrency_limit),
        "rateLimitWindow": limits.rate_limit_window,
        "rateLimitRequests": limits.rate_limit_requests,
        "rateLimitCost": number(limits.rate_limit_cost),
        "isActive": key.active,
        "claudeAccountId": "",
        "claudeConsoleAccountId": "",
        "geminiAccountId": "",
        "openaiAccountId": "",
        "azureOpenaiAccountId": "",
        "bedrockAccountId": "",
        "droidAccountId": "",
        "permissions": "[]",
        "enableModelRestriction": False,
        "restrictedModels": [],
        "enableClientRestriction": False,
        "allowedClients": [],
        "dailyCostLimit": number(limits.daily_cost_limit),
        "totalCostLimit": number(limits.total_cost_limit),
        "weeklyOpusCostLimit": f"{number(limits.weekly_opus_cost_limit)}",
        "tags": key.tags,
        "activationDays": str(key.activation_days),
        "activationUnit": "days",
        "expirationMode": "activation" if key.activation_days else "fixed",
        "isActivated": "true" if key.activated else "false",
        "activatedAt": iso(key.activated_at),
        "createdAt": iso(key.created_at),
        "lastUsedAt": iso(key.last_used_at),
        "expiresAt": iso(key.expires_at),
        "createdBy": "admin",
        "userId": "",
        "userUsername": key.owner,
        "icon": "",
        "serviceRates": rates_of(key),
        "weeklyResetDay": str(limits.weekly_reset_day),
        "weeklyResetHour": str(limits.weekly_reset_hour),
        "enableOpenAIResponsesCodexAdaptation": True,
        "enableOpenAIResponsesPayloadRules": False,
        "openaiResponsesPayloadRules": [],
        "ownerDisplayName": key.owner or "Admin",
    }
    for name, release in LIMITS_SINCE.items():
        if not relay.since(release):
            item.pop(name, None)
    return item


def _key_usage(relay: RelayState, key: Key) -> dict[str, Any]:
    ever = key.usage_in(TOTAL)
    days = max(1, math.ceil((relay.clock() - key.created_at) / 86_400))
    cost = usd(ever.rated_micro)
    shape = tokens(ever)
    return {
        "total": {"requests": shape.pop("requests")} | shape | {"cost": cost},
        "daily": _core(key.usage_in(relay.day())),
        "monthly": _core(key.usage_in(relay.month())),
        "averages": {
            "rpm": number(round(ever.requests / days / 1440, 2)),
            "tpm": number(round((ever.input_tokens + ever.output_tokens) / days / 1440, 2)),
        },
        "totalCost": cost,
    }


def _core(usage: Usage) -> dict[str, int]:
    # Without cache tokens, unlike the total beside it.
    return {"requests": usage.requests, "tokens": usage.input_tokens + usage.output_tokens}


def _int(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0


def _success(data: object) -> Response:
    return Response.of_json({"success": True, "data": data})
