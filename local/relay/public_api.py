"""The endpoints of a Claude Relay Service that need no login: the credential is in the body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from local.http_server import Request, Response
from local.relay.model import DEFAULT_PRICE, MICRO, PRICES, TOTAL, Key, Usage, sum_of
from local.relay.state import RelayState
from local.relay.wire import (
    error,
    formatted,
    iso,
    key_error,
    number,
    tokens,
    usd,
)

UUID = re.compile(r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}", re.IGNORECASE)
BATCH = 30


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def get_key_id(relay: RelayState, request: Request) -> Response:
    """The id of an apiKey. Activates nothing."""
    body = body_of(request)
    if not body.get("apiKey"):
        return error(400, "API Key is required", "Please provide your API Key")
    return _success({"id": _by_api_key(relay, body["apiKey"]).id})


def user_stats(relay: RelayState, request: Request) -> Response:
    """Total usage, limits, window and state of one key. Activates nothing."""
    body = body_of(request)
    key = _asked_for(relay, body, expired_too=False)
    if not key.used:
        relay.scans += 1
    by_id = bool(body.get("apiId"))
    total = key.usage_in(TOTAL)
    cost = usd(total.rated_micro)
    data = {
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "isActive": True,
        "createdAt": iso(key.created_at),
        "expiresAt": iso(key.expires_at),
        "expirationMode": "activation" if key.activation_days else "fixed",
        "isActivated": key.activated,
        "activationDays": key.activation_days,
        "activatedAt": iso(key.activated_at) or None,
        "permissions": "[]" if by_id else [],
        "usage": {"total": tokens(total) | {"cost": cost, "formattedCost": formatted(cost)}},
        "limits": _limits(relay, key, by_id=by_id),
        "accounts": {
            "claudeAccountId": None,
            "geminiAccountId": None,
            "openaiAccountId": None,
            "details": None,
        },
        "restrictions": {
            "enableModelRestriction": False,
            "restrictedModels": [],
            "enableClientRestriction": False,
            "allowedClients": [],
        },
        "serviceRates": rates_of(key),
    }
    return _success(data)


def user_model_stats(relay: RelayState, request: Request) -> Response:
    """Usage of one key by model. By apiKey it counts as a use: a waiting key is activated."""
    body = body_of(request)
    key = _asked_for(relay, body, expired_too=True)
    if not body.get("apiId"):
        key.activate(relay.clock())
    relay.scans += 1
    asked = body.get("period", "monthly")
    models = key.models_in(_period(relay, asked))
    rows = [model_row(relay, model, usage) for model, usage in models.items()]
    rows.sort(key=lambda row: -row["allTokens"])
    return Response.of_json({"success": True, "data": rows, "period": asked})


def batch_stats(relay: RelayState, request: Request) -> Response:
    """Total, daily and monthly usage of up to 30 keys; those that may not be read are left out."""
    ids = _batch_ids(request)
    invalid = [key_id for key_id in ids if not UUID.fullmatch(str(key_id))]
    if invalid:
        message = f"Invalid API IDs: {', '.join(map(str, invalid))}"
        return error(400, "Invalid API ID format", message)
    now = relay.clock()
    found = [relay.by_id[key_id] for key_id in ids if key_id in relay.by_id]
    keys = [key for key in found if key.active and not key.expired(now)]
    periods = {"usage": TOTAL, "dailyUsage": relay.day(), "monthlyUsage": relay.month()}
    individual = []
    for key in keys:
        row: dict[str, Any] = {"apiId": key.id, "name": key.name, "isActive": True}
        for name, period in periods.items():
            usage = key.usage_in(period)
            row[name] = tokens(usage) | ({} if name == "usage" else _cost(usage))
        individual.append(row)
    aggregated: dict[str, Any] = {"totalKeys": len(ids), "activeKeys": len(keys)}
    for name, period in periods.items():
        usage = sum_of(key.usage_in(period) for key in keys)
        shape = tokens(usage) | _cost(usage)
        aggregated[name] = {"requests": shape.pop("requests")} | shape
        del aggregated[name]["tokens"]
    return _success({"aggregated": aggregated, "individual": individual})


def health(relay: RelayState, _request: Request) -> Response:
    """Version, uptime in seconds and component states."""
    now = relay.clock()
    body = {
        "status": "healthy",
        "service": "claude-relay-service",
        "version": relay.release,
        "timestamp": iso(now),
        "uptime": number(now - relay.started_at),
        "memory": {"used": "34MB", "total": "37MB", "external": "4MB"},
        "components": {
            "redis": {"status": "healthy", "connected": True, "latency": "1ms"},
            "logger": {"status": "healthy", "healthy": True, "timestamp": iso(now)},
        },
        "stats": {"requests": 0, "errors": 0, "warnings": 74},
    }
    return Response.of_json(body)


def model_row(relay: RelayState, model: str, usage: Usage) -> dict[str, Any]:
    """One model's usage with its costs: `total` is real; `rated` beside it since 1.1.263."""
    costs, texts, pricing = priced(model, usage)
    row = {"model": model, "requests": usage.requests} | tokens(usage, ("tokens", "requests"))
    row |= {"costs": costs, "formatted": texts, "pricing": pricing}
    if relay.since("1.1.263"):
        costs |= {"real": costs["total"], "rated": usd(usage.rated_micro)}
        row["isLegacy"] = False
    return row


def priced(model: str, usage: Usage) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Costs by kind of token, the same as text, and the prices, of one model's usage."""
    price = PRICES.get(model, DEFAULT_PRICE)
    cache_write = number(usage.cache_create_tokens * price.cache_write / MICRO)
    costs = {
        "input": number(usage.input_tokens * price.input / MICRO),
        "output": number(usage.output_tokens * price.output / MICRO),
        "cacheCreate": cache_write,
        "cacheWrite": cache_write,
        "cacheRead": number(usage.cache_read_tokens * price.cache_read / MICRO),
        "ephemeral5m": 0,
        "ephemeral1h": 0,
        "total": usd(usage.real_micro),
    }
    texts = {name: formatted(cost) for name, cost in costs.items()}
    texts["total"] = f"${costs['total']:.6f}"
    pricing = {
        "input": number(price.input),
        "output": number(price.output),
        "cacheWrite": number(price.cache_write),
        "cacheRead": number(price.cache_read),
    }
    return costs, texts, pricing


def rates_of(key: Key) -> dict[str, float]:
    """A key's own rates by service; none where it is charged by the price list."""
    return {} if key.rate == 1 else {"claude": key.rate, "codex": key.rate, "gemini": key.rate}


def body_of(request: Request) -> Mapping[str, Any]:
    """The body as a JSON object; whatever else it is, is an empty one."""
    try:
        body = request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def weekly_micro(relay: RelayState, key: Key, *, own_week: bool = True) -> int:
    """Rated cost of this week: all Claude models, before 1.1.262 those with opus in the name."""
    limits = key.limits
    week = (
        relay.week(limits.weekly_reset_day, limits.weekly_reset_hour) if own_week else relay.week()
    )
    wanted = "claude" if relay.since("1.1.262") else "opus"
    models = key.models_in(week).items()
    return sum(usage.rated_micro for model, usage in models if wanted in model)


def window_figures(relay: RelayState, key: Key) -> dict[str, Any]:
    """The rate-limit window, in the order in which user-stats has it."""
    now = relay.clock()
    window = key.open_window(now)
    if window is None:
        # 0 says that a window was there and ended, null that none has begun.
        ended = bool(key.limits.rate_limit_window and key.window)
        return {
            "currentWindowRequests": 0,
            "currentWindowTokens": 0,
            "currentWindowCost": 0,
            "windowStartTime": None,
            "windowEndTime": None,
            "windowRemainingSeconds": 0 if ended else None,
        }
    end_ms = window.start_ms + key.limits.rate_limit_window * 60_000
    return {
        "currentWindowRequests": window.requests,
        "currentWindowTokens": window.tokens,
        "currentWindowCost": usd(window.cost_micro),
        "windowStartTime": window.start_ms,
        "windowEndTime": end_ms,
        "windowRemainingSeconds": int((end_ms - now * 1000) // 1000),
    }


def _limits(relay: RelayState, key: Key, *, by_id: bool) -> dict[str, Any]:
    limits = key.limits
    values: dict[str, Any] = {
        "tokenLimit": limits.token_limit,
        "concurrencyLimit": limits.concurrency_limit,
        "rateLimitWindow": limits.rate_limit_window,
        "rateLimitRequests": limits.rate_limit_requests,
        "rateLimitCost": number(limits.rate_limit_cost),
        "dailyCostLimit": number(limits.daily_cost_limit),
        "totalCostLimit": number(limits.total_cost_limit),
        "weeklyOpusCostLimit": number(limits.weekly_opus_cost_limit),
        "weeklyResetDay": limits.weekly_reset_day,
        "weeklyResetHour": limits.weekly_reset_hour,
    }
    window = window_figures(relay, key)
    current = {name: window.pop(name) for name in list(window) if name.startswith("current")}
    values |= current | {
        "currentDailyCost": usd(key.usage_in(relay.day()).rated_micro),
        "currentTotalCost": usd(key.usage_in(TOTAL).rated_micro),
        "weeklyOpusCost": usd(weekly_micro(relay, key, own_week=by_id)),
    }
    values |= window
    return {name: value for name, value in values.items() if _has(relay, name)}


LIMITS_SINCE = {
    "windowStartTime": "1.1.99",
    "windowEndTime": "1.1.99",
    "windowRemainingSeconds": "1.1.99",
    "rateLimitCost": "1.1.122",
    "currentWindowCost": "1.1.122",
    "totalCostLimit": "1.1.146",
    "currentTotalCost": "1.1.146",
    "weeklyOpusCostLimit": "1.1.147",
    "weeklyOpusCost": "1.1.147",
    "weeklyResetDay": "1.1.281",
    "weeklyResetHour": "1.1.281",
}


def _has(relay: RelayState, field: str) -> bool:
    return relay.since(LIMITS_SINCE.get(field, "0"))


def _period(relay: RelayState, asked: object) -> str:
    if asked == "daily":
        return relay.day()
    if asked == "alltime" and relay.since("1.1.263"):
        return TOTAL
    return relay.month()


def _asked_for(relay: RelayState, body: Mapping[str, Any], *, expired_too: bool) -> Key:
    """The key of a body with apiId or apiKey; an id wins. Raises RefusedError."""
    key_id, api_key = body.get("apiId"), body.get("apiKey")
    if not key_id:
        if not api_key:
            message = "Please provide your API Key or API ID"
            raise RefusedError(error(400, "API Key or ID is required", message))
        return _by_api_key(relay, api_key)
    if not isinstance(key_id, str) or not UUID.fullmatch(key_id):
        raise RefusedError(error(400, "Invalid API ID format", "API ID must be a valid UUID"))
    key = relay.by_id.get(key_id)
    if key is None:
        raise RefusedError(error(404, "API key not found", "The specified API key does not exist"))
    if not key.active:
        raise RefusedError(key_error("API key is disabled", key, "已被禁用"))
    if key.expired(relay.clock()) and not expired_too:
        raise RefusedError(key_error("API key has expired", key, "已过期"))
    return key


def _by_api_key(relay: RelayState, api_key: object) -> Key:
    if not isinstance(api_key, str) or not 10 <= len(api_key) <= 512:
        raise RefusedError(error(400, "Invalid API key format", "API key format is invalid"))
    if not api_key.startswith("cr_"):
        raise RefusedError(error(401, "Invalid API key", "Invalid API key format"))
    key = relay.key_of(api_key)
    if key is None:
        raise RefusedError(error(401, "Invalid API key", "API key not found"))
    if not key.active:
        raise RefusedError(error(401, "Invalid API key", f'API Key "{key.name}" 已被禁用'))
    if key.expired(relay.clock()):
        raise RefusedError(error(401, "Invalid API key", f'API Key "{key.name}" 已过期'))
    return key


def _batch_ids(request: Request) -> list[Any]:
    ids = body_of(request).get("apiIds")
    if not isinstance(ids, list) or not ids:
        raise RefusedError(error(400, "Invalid input", "API IDs array is required"))
    if len(ids) > BATCH:
        message = f"Maximum {BATCH} API keys can be queried at once"
        raise RefusedError(error(400, "Too many keys", message))
    return ids


def _cost(usage: Usage) -> dict[str, Any]:
    cost = usd(usage.rated_micro)
    return {"cost": cost, "formattedCost": formatted(cost)}


def _success(data: object) -> Response:
    return Response.of_json({"success": True, "data": data})
