"""The account lists of a Claude Relay Service: one row an account, shaped by its platform.

The rows of claude-console and openai-responses are as recorded; the others are as the service's
source (its account services and admin routes, releases around 1.1.314) composes them. What a
reader has to know, all of it under `GET /admin/PLATFORM-accounts`, `{"success": true, "data": []}`:

==================  ========  ===========  ================================  =====================
list                isActive  schedulable  rate limit                        usage beside daily
==================  ========  ===========  ================================  =====================
claude              bool      bool         rateLimitStatus, may be null      total, averages,
                                                                             sessionWindow or null
claude-console      bool      bool         rateLimitInfo                     total, averages
openai              bool      bool         rateLimitStatus, rateLimitResetAt  total, monthly
openai-responses    bool      bool         rateLimitStatus                   total, monthly
gemini              *string*  bool         rateLimitStatus                   total, averages
bedrock             bool      bool         none, and no status either        total, averages
azure-openai        bool      bool         none                              total, averages
droid               string    bool         rateLimitStatus, a string         total, averages
ccr                 bool      bool         rateLimitInfo                     total, averages
==================  ========  ===========  ================================  =====================

- Rate limit: `{isRateLimited: bool, rateLimitedAt: ISO 8601 or null, minutesRemaining: int}`,
  whole minutes; of openai besides `rateLimitResetAt` (ISO 8601 or null) and `status`
  (`"normal"`, `"limited"`); of console and ccr besides `minutesSinceRateLimit`.
- `status`: `active`, `rate_limited`, `unauthorized`, `blocked`, `error`, `quota_exceeded`,
  `account_overloaded`, `temp_error`, … The dashboard calls an account abnormal where it is not
  active or its status is blocked or unauthorized, else paused where it is not schedulable, else
  rate-limited, else normal.
- `usage.daily`: `{requests, tokens, inputTokens, outputTokens, cacheCreateTokens,
  cacheReadTokens, allTokens, cost}`, numbers, the relay's own day, cost in USD by the price list.
  `tokens` leaves cache tokens out, `allTokens` is all of them. `total` has no cost.
- `dailyQuota`, `dailyUsage`: USD, 0 means no quota; numbers for claude-console and ccr, *strings*
  for openai-responses; `quotaStoppedAt` null or `""` while it is not used up; the day is the
  relay's, at `quotaResetTime` (`"HH:mm"`). `maxConcurrentTasks`, `activeTaskCount` (console).
- `claudeUsage` (claude, of an OAuth account that was ever asked for; else null): `{updatedAt:
  ISO 8601, fiveHour, sevenDay, sevenDayOpus}`, each `{utilization, resetsAt, remainingSeconds}`.
  `utilization` is percent, 0 to 100, a number or null. `resetsAt` is the provider's own text, with
  microseconds and +00:00, or absent. `remainingSeconds` is computed when asked, so it is right
  even where `updatedAt` is old, until it reads 0; null without `resetsAt`. sevenDayOpus has been
  the Sonnet limit since the provider renamed it.
- `sessionWindow` (claude): `{hasActiveWindow, windowStart, windowEnd: ISO 8601 or null, progress:
  percent, remainingTime: *minutes* or null, lastRequestTime}`: the relay's own five hours.
- `codexUsage` (openai; null before the first answer): `{updatedAt, primary, secondary,
  primaryOverSecondaryPercent}`, both `{usedPercent: 0 to 100, resetAfterSeconds, windowMinutes,
  resetAt: ISO 8601, remainingSeconds}`, each number or null. primary is the 5-hour window
  (windowMinutes 300) and secondary the 7-day one (10080) as a rule, so read `windowMinutes`;
  `resetAfterSeconds` counts from `updatedAt`, `remainingSeconds` from now. Releases later than
  1.1.314 answer `{updatedAt, limits: [{limitId, primary, secondary}]}` instead.
- What is not converted is text, as Redis has it: `priority`, `rateLimitDuration`,
  `disableAutoProtection` of openai, openai-responses, gemini, azure-openai and droid.
- `expiresAt` is the subscription's, `tokenExpiresAt` the OAuth token's (claude: epoch
  milliseconds as text; else ISO 8601): neither says whether the account works.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from local.relay.model import FIVE_HOURS_S, SEVEN_DAYS_S, TOTAL, Account, Quota, Usage
from local.relay.state import RelayState
from local.relay.wire import iso, number, tokens, usd

NO_SUBSCRIPTION: dict[str, Any] = {
    "subscriptionExpiresAt": None,
    "tokenExpiresAt": None,
    "groupInfos": [],
}


def rows(relay: RelayState, platform: str) -> list[dict[str, Any]]:
    """The list of one platform."""
    render = PLATFORMS[platform]
    return [render(relay, account) for account in relay.accounts if account.platform == platform]


def _claude(relay: RelayState, account: Account) -> dict[str, Any]:
    now = relay.clock()
    return {
        "id": account.id,
        "name": account.name,
        "description": "",
        "email": "d***o@example.com",
        "isActive": account.active,
        "proxy": None,
        "status": account.status,
        "errorMessage": "",
        "accountType": "shared",
        "priority": 50,
        "platform": "claude",
        "authType": "oauth" if account.quota else "setup-token",
        "createdAt": iso(account.created_at),
        "lastUsedAt": iso(account.last_used_at),
        "lastRefreshAt": iso(account.created_at),
        "expiresAt": None,
        "scopes": ["user:inference", "user:profile"] if account.quota else ["user:inference"],
        "hasRefreshToken": True,
        "subscriptionInfo": None,
        "rateLimitStatus": _rate_limit(account, now),
        "opusRateLimitStatus": {
            "isRateLimited": False,
            "rateLimitedAt": None,
            "minutesRemaining": 0,
        },
        "sessionWindow": _session_window(account, now),
        "claudeUsage": _claude_usage(account.quota, now) if account.quota else None,
        "schedulable": account.schedulable,
        "autoStopOnWarning": False,
        "fiveHourAutoStopped": False,
        "fiveHourStoppedAt": None,
        "useUnifiedUserAgent": False,
        "useUnifiedClientId": False,
        "unifiedClientId": "",
        "stoppedReason": None,
        "extInfo": None,
        "maxConcurrency": 0,
        "interceptWarmup": False,
        **NO_SUBSCRIPTION,
        "tokenExpiresAt": str(int((now + 8 * 3600) * 1000)),
        "usage": _with_averages(relay, account) | {"sessionWindow": None},
    }


def _console(relay: RelayState, account: Account) -> dict[str, Any]:
    return _with_quota(relay, account) | {
        "supportedModels": {},
        "maxConcurrentTasks": 5,
        "activeTaskCount": 0,
        "disableAutoProtection": False,
        "interceptWarmup": False,
        **NO_SUBSCRIPTION,
        "usage": _with_averages(relay, account),
    }


def _ccr(relay: RelayState, account: Account) -> dict[str, Any]:
    usage = _with_averages(relay, account)
    row = _with_quota(relay, account) | NO_SUBSCRIPTION | {"usage": usage}
    now, until = relay.clock(), account.rate_limited_until
    limited = until is not None and account.rate_limited(now)
    left_ms = int((until - now) * 1000) if until is not None and limited else 0
    row["rateLimitInfo"] = {
        "isRateLimited": limited,
        "rateLimitedAt": iso(account.rate_limited_at) if limited else None,
        "rateLimitExpireAt": iso(until) if limited else None,
        "remainingTimeMs": left_ms,
        "remainingTimeMinutes": math.ceil(left_ms / 60_000),
    }
    return row


def _with_quota(relay: RelayState, account: Account) -> dict[str, Any]:
    now = relay.clock()
    limit = _rate_limit(account, now)
    limited_for_s = now - account.rate_limited_at if account.rate_limited_at is not None else 0
    return {
        "id": account.id,
        "platform": account.platform,
        "name": account.name,
        "description": "",
        "apiUrl": "https://api.example.com",
        "priority": 50,
        "supportedModels": [],
        "userAgent": "claude-cli/1.0.69 (external, cli)",
        "rateLimitDuration": 60,
        "isActive": account.active,
        "proxy": None,
        "accountType": "shared",
        "createdAt": iso(account.created_at),
        "lastUsedAt": iso(account.last_used_at),
        "status": account.status,
        "errorMessage": "",
        "rateLimitInfo": {
            "isRateLimited": limit["isRateLimited"],
            "rateLimitedAt": limit["rateLimitedAt"],
            "minutesSinceRateLimit": int(limited_for_s // 60) if limit["isRateLimited"] else 0,
            "minutesRemaining": limit["minutesRemaining"],
        },
        "schedulable": account.schedulable,
        "expiresAt": None,
        "dailyQuota": number(account.daily_quota_usd),
        "dailyUsage": _spent_today(relay, account),
        "lastResetDate": relay.day(),
        "quotaResetTime": "00:00",
        "quotaStoppedAt": None,
    }


def _openai_responses(relay: RelayState, account: Account) -> dict[str, Any]:
    return {
        "errorMessage": "",
        "platform": "openai-responses",
        "userAgent": "",
        "status": account.status,
        "baseApi": "https://api.example.com/v1",
        "rateLimitedAt": iso(account.rate_limited_at),
        "createdAt": iso(account.created_at),
        "quotaStoppedAt": "",
        "dailyUsage": f"{_spent_today(relay, account)}",
        "priority": "50",
        "dailyQuota": f"{number(account.daily_quota_usd)}",
        "rateLimitDuration": "60",
        "providerEndpoint": "responses",
        "schedulable": account.schedulable,
        "quotaResetTime": "00:00",
        "apiKey": "***",
        "id": account.id,
        "name": account.name,
        "lastResetDate": relay.day(),
        "accountType": "shared",
        "subscriptionExpiresAt": None,
        "lastUsedAt": iso(account.last_used_at),
        "disableAutoProtection": "false",
        "proxy": "",
        "description": "",
        "rateLimitStatus": _rate_limit(account, relay.clock()),
        "isActive": account.active,
        "expiresAt": None,
        **NO_SUBSCRIPTION,
        "boundApiKeysCount": 0,
        "usage": _with_month(relay, account),
    }


def _openai(relay: RelayState, account: Account) -> dict[str, Any]:
    now = relay.clock()
    limited = account.rate_limited(now)
    return _stored(relay, account) | {
        "planType": "pro",
        "isActive": account.active,
        "openaiOauth": "[ENCRYPTED]",
        "rateLimitStatus": {
            "status": "limited" if limited else "normal",
            **_rate_limit(account, now),
            "rateLimitResetAt": iso(account.rate_limited_until) if limited else None,
        },
        "codexUsage": _codex_usage(account.quota, now) if account.quota else None,
        "usage": _with_month(relay, account),
    }


def _gemini(relay: RelayState, account: Account) -> dict[str, Any]:
    return _stored(relay, account) | {
        "geminiOauth": "[ENCRYPTED]",
        "rateLimitStatus": _rate_limit(account, relay.clock()),
        "usage": _with_averages(relay, account),
    }


def _droid(relay: RelayState, account: Account) -> dict[str, Any]:
    return _stored(relay, account) | {
        "platform": "droid",
        "endpointType": "anthropic",
        "apiKeyCount": 0,
        "boundApiKeysCount": 0,
        "rateLimitStatus": "limited" if account.rate_limited(relay.clock()) else "",
        "usage": _with_averages(relay, account),
    }


def _azure(relay: RelayState, account: Account) -> dict[str, Any]:
    row = _stored(relay, account)
    for name in ("accessToken", "refreshToken", "hasRefreshToken", "scopes"):
        del row[name]
    return row | {
        "platform": "azure-openai",
        "isActive": account.active,
        "azureEndpoint": "https://example.openai.azure.com",
        "deploymentName": "gpt-5",
        "supportedModels": ["gpt-5"],
        "usage": _with_averages(relay, account),
    }


def _bedrock(relay: RelayState, account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "description": "",
        "region": "us-east-1",
        "defaultModel": "us.anthropic.claude-sonnet-4-20250514-v1:0",
        "isActive": account.active,
        "accountType": "shared",
        "priority": 50,
        "schedulable": account.schedulable,
        "credentialType": "access_key",
        "expiresAt": None,
        "createdAt": iso(account.created_at),
        "updatedAt": iso(account.created_at),
        "type": "bedrock",
        "platform": "bedrock",
        "hasCredentials": True,
        **NO_SUBSCRIPTION,
        "usage": _with_averages(relay, account),
    }


def _gemini_api(relay: RelayState, account: Account) -> dict[str, Any]:
    usage = _with_averages(relay, account)
    row = _stored(relay, account) | {"platform": "gemini-api", "isActive": account.active}
    for name in ("accessToken", "refreshToken", "hasRefreshToken", "scopes"):
        del row[name]
    return row | {"rateLimitStatus": _rate_limit(account, relay.clock()), "usage": usage}


SCANNED = frozenset(("openai-responses", "gemini-api", "droid"))
"""Platforms whose list scans the database, once more for each account without a request today."""

PLATFORMS: Mapping[str, Callable[[RelayState, Account], dict[str, Any]]] = {
    "claude": _claude,
    "claude-console": _console,
    "openai": _openai,
    "openai-responses": _openai_responses,
    "gemini": _gemini,
    "gemini-api": _gemini_api,
    "bedrock": _bedrock,
    "azure-openai": _azure,
    "droid": _droid,
    "ccr": _ccr,
}


def _stored(relay: RelayState, account: Account) -> dict[str, Any]:
    """What Redis has of an account, as text, with the few fields that every list converts."""
    return {
        "id": account.id,
        "name": account.name,
        "description": "",
        "accountType": "shared",
        "priority": "50",
        "rateLimitDuration": "60",
        "isActive": "true" if account.active else "false",
        "status": account.status,
        "schedulable": account.schedulable,
        "createdAt": iso(account.created_at),
        "updatedAt": iso(account.created_at),
        "lastUsedAt": iso(account.last_used_at),
        "accessToken": "[ENCRYPTED]",
        "refreshToken": "[ENCRYPTED]",
        "expiresAt": None,
        **NO_SUBSCRIPTION,
        "tokenExpiresAt": iso(relay.clock() + 8 * 3600),
        "scopes": [],
        "hasRefreshToken": True,
    }


def _rate_limit(account: Account, now: float) -> dict[str, Any]:
    until = account.rate_limited_until
    if until is None or not account.rate_limited(now):
        return {"isRateLimited": False, "rateLimitedAt": None, "minutesRemaining": 0}
    return {
        "isRateLimited": True,
        "rateLimitedAt": iso(account.rate_limited_at),
        "minutesRemaining": math.ceil((until - now) / 60),
    }


def _session_window(account: Account, now: float) -> dict[str, Any]:
    if account.last_used_at is None:
        return {
            "hasActiveWindow": False,
            "windowStart": None,
            "windowEnd": None,
            "progress": 0,
            "remainingTime": None,
            "lastRequestTime": None,
        }
    start = account.last_used_at // 3600 * 3600
    end = start + FIVE_HOURS_S
    active = now < end
    return {
        "hasActiveWindow": active,
        "windowStart": iso(start),
        "windowEnd": iso(end),
        "progress": round((now - start) / FIVE_HOURS_S * 100) if active else 100,
        "remainingTime": round((end - now) / 60) if active else 0,
        "lastRequestTime": iso(account.last_used_at),
    }


def _claude_usage(quota: Quota, now: float) -> dict[str, Any]:
    def window(percent: float, resets_at: float) -> dict[str, Any]:
        instant = datetime.fromtimestamp(resets_at, UTC)
        return {
            "utilization": number(percent),
            "resetsAt": instant.isoformat(timespec="microseconds"),
            "remainingSeconds": max(0, math.floor(resets_at - now)),
        }

    return {
        "updatedAt": iso(quota.updated_at),
        "fiveHour": window(quota.five_hour_percent, quota.five_hour_resets_at),
        "sevenDay": window(quota.seven_day_percent, quota.seven_day_resets_at),
        # Without resetsAt, as a field that is undefined in JavaScript is left out of the JSON.
        "sevenDayOpus": {"utilization": None, "remainingSeconds": None},
    }


def _codex_usage(quota: Quota, now: float) -> dict[str, Any]:
    def window(percent: float, resets_at: float, length_s: int) -> dict[str, Any]:
        return {
            "usedPercent": number(percent),
            "resetAfterSeconds": max(0, round(resets_at - quota.updated_at)),
            "windowMinutes": length_s // 60,
            "resetAt": iso(resets_at),
            "remainingSeconds": max(0, round(resets_at - now)),
        }

    return {
        "updatedAt": iso(quota.updated_at),
        "primary": window(quota.five_hour_percent, quota.five_hour_resets_at, FIVE_HOURS_S),
        "secondary": window(quota.seven_day_percent, quota.seven_day_resets_at, SEVEN_DAYS_S),
        "primaryOverSecondaryPercent": 0,
    }


def _tokens(usage: Usage) -> dict[str, Any]:
    return {**tokens(usage), "tokens": usage.input_tokens + usage.output_tokens}


def _in(account: Account, period: str) -> Usage:
    return account.usage.get(period) or Usage()


def _spent_today(relay: RelayState, account: Account) -> float:
    return usd(_in(account, relay.day()).real_micro)


def _daily(relay: RelayState, account: Account) -> dict[str, Any]:
    return _tokens(_in(account, relay.day())) | {"cost": _spent_today(relay, account)}


def _with_averages(relay: RelayState, account: Account) -> dict[str, Any]:
    total = _in(account, TOTAL)
    days = max(1, math.ceil((relay.clock() - account.created_at) / 86_400))
    return {
        "daily": _daily(relay, account),
        "total": _tokens(total),
        "averages": {
            "rpm": number(round(total.requests / days / 1440, 2)),
            "tpm": number(round(total.all_tokens / days / 1440, 2)),
            "dailyRequests": round(total.requests / days),
            "dailyTokens": round(total.all_tokens / days),
        },
    }


def _with_month(relay: RelayState, account: Account) -> dict[str, Any]:
    usage = {
        "daily": _daily(relay, account),
        "total": _tokens(_in(account, TOTAL)),
        "monthly": _tokens(_in(account, relay.month())),
    }
    # These lists write requests first.
    return {period: {"requests": row.pop("requests")} | row for period, row in usage.items()}
