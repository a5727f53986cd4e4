"""The catalogue: one row for every metric that this project defines.

Conversion, documentation, tests of the names, and dashboards use these rows. The names and meanings
of the Compose stack are kept. The table in GreptimeDB has exactly the name of the row.

Metrics of a Prometheus endpoint keep the endpoint's own names and have no rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from relay_metrics.snapshot import Number, Scope

REQUESTS = "{request}"
TOKENS = "{token}"
USD = "{USD}"
KEYS = "{key}"
ACCOUNTS = "{account}"
PERCENT = "{percent}"
FLAG = "{flag}"
SECONDS = "s"
MINUTES = "min"

EVERY_RUN = "every run"


class Metric(NamedTuple):
    """A metric.

    Attributes:
        name: the name of the metric and of its table in GreptimeDB.
        scope: the kind of thing that it describes, which also sets the attributes of its points.
        unit: UCUM; what is counted is an annotation in braces.
        description: one sentence.
        field: the path of the field in the relay's answer, or a name for values of the run itself.
        source: the endpoint whose answer has the field.
        null: the value that a null in the answer stands for; None if null is left out.
        running: whether it is a total that only grows and becomes a monotonic cumulative Sum; all
            other metrics are Gauges.
        fresh: how often the value is updated.
        also: other endpoints that have the same figure.
        spent_of: for usage of a limit, the field of that limit.
    """

    name: str
    scope: Scope
    unit: str
    description: str
    field: str
    source: str
    null: Number | None = None
    running: bool = False
    fresh: str = EVERY_RUN
    also: tuple[str, ...] = ()
    spent_of: str = ""


SHARD = "shard"
"""The attribute of the points of a run and its failures, if there are several shards."""

ATTRIBUTES: Mapping[Scope, tuple[str, ...]] = MappingProxyType(
    {
        Scope.RUN: (),
        Scope.FAILURE: ("endpoint", "error.type"),
        Scope.KEY: (),
        Scope.MODEL: ("model", "period"),
        Scope.RELAY: (),
        Scope.KEY_STATE: ("state",),
        Scope.ACCOUNT_STATE: ("platform", "state"),
        Scope.ACCOUNT: ("platform", "relay.account.id", "relay.account.name"),
        Scope.ACCOUNT_FAMILY: (
            *("platform", "relay.account.id", "relay.account.name"),
            "model.family",
        ),
        Scope.BUILD: ("version",),
        Scope.ALL_KEYS_MODEL: ("model", "period"),
        Scope.DAY_KEY: (),
        Scope.DAY_MODEL: ("model",),
        Scope.DAY_ACCOUNT: ("platform", "relay.account.id"),
        Scope.DAY_RELAY: (),
        Scope.KEY_INFO: ("relay.key.state", "relay.key.owner"),
        Scope.USAGE: (),
        Scope.USAGE_MODEL: ("model",),
        Scope.USAGE_KEY: (),
        Scope.HOST_KEY: ("relay.host_key.id", "relay.host_key.name"),
    }
)
"""The attributes of the data points of each scope, in addition to those of the resource."""

TIMED = frozenset({Scope.USAGE_MODEL, Scope.USAGE_KEY})
"""The scopes whose points have timestamps of their own: sums of minutes, to be added up."""

KEY_STATES = ("active", "waiting", "disabled", "expired")
"""The states of a key. `waiting` is for its first use, at which its validity starts."""

ACCOUNT_STATES: Mapping[str, str] = MappingProxyType(
    {
        "normal": "normal",
        "abnormal": "abnormal",
        "paused": "paused",
        "rateLimited": "rate_limited",
        "unavailable": "unavailable",
    }
)
"""The states of an account, by their names in the relay's dashboard, which lacks `unavailable`."""

_RUN = "the run itself"
_STATS = "user-stats"
_MODELS = "user-model-stats"
_BATCH = "batch-stats"
_CALENDAR = "the relay's calendar"
_KEYS = "admin/api-keys"
_USAGE = "admin/usage-stats"
_DASHBOARD = "admin/dashboard"
_CONCURRENCY = "admin/concurrency"
_HEALTH = "health"
_COSTS = "admin/usage-costs"
_UNAVAILABLE = "admin/temp-unavailable"
_ACCOUNTS = "admin/*-accounts"

_DAYS: Mapping[Scope, str] = MappingProxyType(
    {
        Scope.DAY_KEY: "admin/api-keys-usage-trend",
        Scope.DAY_MODEL: "admin/api-keys/*/model-stats",
        Scope.DAY_ACCOUNT: "admin/account-usage-trend",
        Scope.DAY_RELAY: "admin/usage-trend",
    }
)

_WHEN_OVER = "when the relay's day is over, and once more before its next noon; or by a back-fill"
_OF_USED = "every run; without a login, for keys that were never used, in turn"
_IN_TURN = "in turn, key after key, as many as RELAY_SCANS_PER_RUN allows in a run"
_SCANS = "every run, if RELAY_SCANS_PER_RUN leaves room for it"
_OF_PROVIDER = "when the relay asks the provider; left out once that is 30 minutes old"


_TIMESERIES = "api/usage/timeseries"
_HOST_KEY_HEALTH = "api/host-keys/by-id/ID/health"

_OF_A_MINUTE = "once the minute is over, and again: see relays.md"


def _total(name: str, unit: str, description: str, field: str, running: bool = True) -> Metric:
    path = f"usage.total.{field}"
    # the rows of batch-stats have no cost
    also = (_USAGE,) if field == "cost" else (_USAGE, _BATCH)
    return Metric(name, Scope.KEY, unit, description, path, _STATS, running=running, also=also)


def _limit(
    name: str,
    unit: str,
    description: str,
    field: str,
    *,
    null: Number | None = 0,
    fresh: str = _OF_USED,
    spent_of: str = "",
) -> Metric:
    path, spent_of = f"limits.{field}", spent_of and f"limits.{spent_of}"
    # the list of keys has the limits, but not their usage
    also = () if spent_of else (_KEYS,)
    return Metric(
        name,
        Scope.KEY,
        unit,
        description,
        path,
        _STATS,
        null,
        fresh=fresh,
        also=also,
        spent_of=spent_of,
    )


def _period(name: str, unit: str, description: str, field: str) -> Metric:
    return Metric(name, Scope.KEY, unit, description, field, _BATCH)


def _instant(name: str, description: str, field: str) -> Metric:
    return Metric(name, Scope.KEY, SECONDS, description, field, _CALENDAR, fresh=_OF_USED)


def _model(name: str, unit: str, description: str, field: str) -> Metric:
    return Metric(name, Scope.MODEL, unit, description, field, _MODELS, fresh=_IN_TURN)


def _all_keys(name: str, unit: str, description: str, field: str) -> Metric:
    path = f"overview.{field}"
    return Metric(
        name, Scope.RELAY, unit, description, path, _DASHBOARD, running=True, fresh=_SCANS
    )


def _day(scope: Scope, name: str, unit: str, description: str, field: str) -> Metric:
    return Metric(name, scope, unit, description, field, _DAYS[scope], fresh=_WHEN_OVER)


def _account(
    name: str,
    unit: str,
    description: str,
    field: str,
    fresh: str = EVERY_RUN,
    *,
    running: bool = False,
) -> Metric:
    return Metric(
        name, Scope.ACCOUNT, unit, description, field, _ACCOUNTS, running=running, fresh=fresh
    )


def _account_total(name: str, unit: str, description: str, field: str) -> Metric:
    path = f"usage.total.{field}"
    return _account(f"relay_account_{name}_total", unit, description, path, running=True)


def _all_keys_model(name: str, unit: str, description: str, field: str) -> Metric:
    name = f"relay_all_keys_model_{name}"
    return Metric(name, Scope.ALL_KEYS_MODEL, unit, description, field, _COSTS)


def _minutes(of: str, scope: Scope) -> Iterator[Metric]:
    """The metrics of a Wyolet Relay's usage in a minute, by model or by key."""
    suffix = {
        Scope.USAGE_MODEL: "in a minute with a model",
        Scope.USAGE_KEY: "in a minute by a key",
    }[scope]
    for figure, unit, what, field in (
        ("requests", REQUESTS, "Requests that reached an upstream", "requests"),
        ("errors", REQUESTS, "Requests that failed", "error_count"),
        ("unpriced_requests", REQUESTS, "Requests without a price, errors among them", "unpriced"),
        ("input_tokens", TOKENS, "Input tokens", "tokens.input"),
        ("output_tokens", TOKENS, "Output tokens", "tokens.output"),
        ("cache_create_tokens", TOKENS, "Cache create tokens", "tokens.cache_creation"),
        ("cache_read_tokens", TOKENS, "Cache read tokens", "tokens.cache_read"),
        ("cost_usd", USD, "USD cost by the prices of then", "cost_usd"),
    ):
        null = 0 if unit == TOKENS else None
        yield Metric(
            f"relay_usage_by_{of}_{figure}",
            scope,
            unit,
            f"{what} {suffix}",
            field,
            _TIMESERIES,
            null,
            fresh=_OF_A_MINUTE,
        )


METRICS: tuple[Metric, ...] = (
    # every relay, in every run
    Metric(
        "relay_up",
        Scope.RUN,
        FLAG,
        "Whether the relay answered and accepted the credential",
        "up",
        _RUN,
    ),
    Metric(
        "relay_scrape_duration_seconds",
        Scope.RUN,
        SECONDS,
        "How long all requests to the relay took together",
        "duration_s",
        _RUN,
    ),
    Metric(
        "relay_scrape_samples",
        Scope.RUN,
        "{sample}",
        "Data points made of the relay's answers",
        "samples",
        _RUN,
    ),
    Metric(
        "relay_last_success_timestamp_seconds",
        Scope.RUN,
        SECONDS,
        "The time of the run, seconds since 1970; only if the relay was up",
        "last_success_s",
        _RUN,
    ),
    Metric(
        "relay_stats_staleness_seconds",
        Scope.RUN,
        SECONDS,
        "How old the relay's figures are at the time of the run; only if the relay was up",
        "staleness_s",
        _RUN,
    ),
    Metric(
        "relay_scrape_errors",
        Scope.FAILURE,
        "{error}",
        "Requests that failed and values that were left out in this run",
        "count",
        _RUN,
    ),
    Metric(
        "relay_keys_failed",
        Scope.RUN,
        KEYS,
        "Keys whose stats were requested in this run without success",
        "keys_failed",
        _RUN,
    ),
    Metric(
        "relay_keys_left_out",
        Scope.RUN,
        KEYS,
        "Keys beyond RELAY_MAX_KEYS, which are not delivered",
        "keys_left_out",
        _RUN,
    ),
    Metric(
        "relay_models_left_out",
        Scope.RUN,
        "{row}",
        "Model rows beyond RELAY_MAX_MODELS_PER_KEY, which are not delivered",
        "models_left_out",
        _RUN,
    ),
    # a key
    _total(
        "relay_requests_total",
        REQUESTS,
        "Total requests processed by the relay API key",
        "requests",
    ),
    _total(
        "relay_tokens_total",
        TOKENS,
        "Total tokens consumed by the relay API key",
        "allTokens",
    ),
    # a Gauge: as a Sum, GreptimeDB would store it as relay_cost_usd_total
    _total(
        "relay_cost_total_usd",
        USD,
        "Total USD cost attributed to the relay API key",
        "cost",
        running=False,
    ),
    _total(
        "relay_input_tokens_total",
        TOKENS,
        "Input tokens consumed by the relay API key",
        "inputTokens",
    ),
    _total(
        "relay_output_tokens_total",
        TOKENS,
        "Output tokens consumed by the relay API key",
        "outputTokens",
    ),
    _total(
        "relay_cache_create_tokens_total",
        TOKENS,
        "Cache create tokens consumed by the relay API key",
        "cacheCreateTokens",
    ),
    _total(
        "relay_cache_read_tokens_total",
        TOKENS,
        "Cache read tokens consumed by the relay API key",
        "cacheReadTokens",
    ),
    _limit(
        "relay_current_window_requests",
        REQUESTS,
        "Requests counted in the active rate-limit window",
        "currentWindowRequests",
        spent_of="rateLimitWindow",
    ),
    _limit(
        "relay_current_window_tokens",
        TOKENS,
        "Tokens counted in the active rate-limit window",
        "currentWindowTokens",
        spent_of="rateLimitWindow",
    ),
    _limit(
        "relay_current_window_cost_usd",
        USD,
        "USD cost accumulated in the active rate-limit window",
        "currentWindowCost",
        spent_of="rateLimitCost",
    ),
    _limit(
        "relay_current_window_seconds_remaining",
        SECONDS,
        "Seconds remaining in the active rate-limit window",
        "windowRemainingSeconds",
        spent_of="rateLimitWindow",
    ),
    _limit(
        "relay_rate_limit_requests_limit",
        REQUESTS,
        "Maximum requests allowed per rate-limit window",
        "rateLimitRequests",
    ),
    _limit(
        "relay_rate_limit_window_minutes",
        MINUTES,
        "Length of the rate-limit window in minutes",
        "rateLimitWindow",
    ),
    _limit(
        "relay_rate_limit_cost_limit_usd",
        USD,
        "USD cost threshold for the active rate-limit window",
        "rateLimitCost",
    ),
    _limit(
        "relay_daily_cost_usd",
        USD,
        "USD cost incurred during the current day",
        "currentDailyCost",
        spent_of="dailyCostLimit",
        null=None,
        fresh=EVERY_RUN,
    ),
    _limit(
        "relay_daily_cost_limit_usd",
        USD,
        "USD cost ceiling configured for the current day",
        "dailyCostLimit",
    ),
    _limit(
        "relay_total_cost_limit_usd",
        USD,
        "Overall USD cost ceiling for the relay API key",
        "totalCostLimit",
    ),
    _limit(
        "relay_weekly_opus_cost_usd",
        USD,
        "USD spent on Opus tier usage in the current week",
        "weeklyOpusCost",
        spent_of="weeklyOpusCostLimit",
        null=None,
        fresh=_OF_USED + "; with a login, for used keys only if they have a weekly limit",
    ),
    _limit(
        "relay_weekly_opus_cost_limit_usd",
        USD,
        "USD cost ceiling for Opus tier usage in the current week",
        "weeklyOpusCostLimit",
    ),
    _limit(
        "relay_token_limit",
        TOKENS,
        "Total token limit configured for the relay API key",
        "tokenLimit",
    ),
    _limit(
        "relay_concurrency_limit",
        REQUESTS,
        "Maximum concurrent requests allowed for the relay API key",
        "concurrencyLimit",
    ),
    _period(
        "relay_daily_requests",
        REQUESTS,
        "Requests by the relay API key during the current day",
        "dailyUsage.requests",
    ),
    _period(
        "relay_daily_tokens",
        TOKENS,
        "Tokens consumed by the relay API key during the current day",
        "dailyUsage.allTokens",
    ),
    _period(
        "relay_monthly_requests",
        REQUESTS,
        "Requests by the relay API key during the current month",
        "monthlyUsage.requests",
    ),
    _period(
        "relay_monthly_tokens",
        TOKENS,
        "Tokens consumed by the relay API key during the current month",
        "monthlyUsage.allTokens",
    ),
    _period(
        "relay_monthly_cost_usd",
        USD,
        "USD cost incurred by the relay API key during the current month",
        "monthlyUsage.cost",
    ),
    Metric(
        "relay_key_last_used_timestamp_seconds",
        Scope.KEY,
        SECONDS,
        "When the relay API key was last used, seconds since 1970; left out if it never was",
        "last_used_s",
        _KEYS,
    ),
    Metric(
        "relay_key_active_requests",
        Scope.KEY,
        REQUESTS,
        "Running requests of the relay API key, if it has a concurrency limit",
        "active",
        _CONCURRENCY,
        fresh=_SCANS,
    ),
    _instant(
        "relay_key_expiry_timestamp_seconds",
        "When the relay API key expires, seconds since 1970; left out if it does not",
        "expires_s",
    ),
    _instant(
        "relay_key_day_reset_timestamp_seconds",
        "When the relay API key's next day begins, seconds since 1970",
        "day_resets_s",
    ),
    _instant(
        "relay_key_week_reset_timestamp_seconds",
        "When the relay API key's next week begins, seconds since 1970",
        "week_resets_s",
    ),
    # a key's usage of a model in the configured period
    _model(
        "relay_model_requests",
        REQUESTS,
        "Requests for a specific model by the relay API key",
        "requests",
    ),
    _model(
        "relay_model_tokens",
        TOKENS,
        "Tokens consumed for a specific model by the relay API key",
        "allTokens",
    ),
    _model(
        "relay_model_input_tokens",
        TOKENS,
        "Input tokens consumed for a specific model by the relay API key",
        "inputTokens",
    ),
    _model(
        "relay_model_output_tokens",
        TOKENS,
        "Output tokens consumed for a specific model by the relay API key",
        "outputTokens",
    ),
    _model(
        "relay_model_cache_create_tokens",
        TOKENS,
        "Cache create tokens consumed for a specific model by the relay API key",
        "cacheCreateTokens",
    ),
    _model(
        "relay_model_cache_read_tokens",
        TOKENS,
        "Cache read tokens consumed for a specific model by the relay API key",
        "cacheReadTokens",
    ),
    _model(
        "relay_model_cost_usd",
        USD,
        "USD cost for a specific model by the relay API key",
        "costs.total",
    ),
    _model(
        "relay_model_rated_cost_usd",
        USD,
        "USD cost for a specific model at the relay's and the key's rates",
        "costs.rated",
    ),
    # a relay as a whole
    Metric(
        "relay_api_keys",
        Scope.KEY_STATE,
        KEYS,
        "API keys that the relay has, by state",
        "keys",
        _KEYS,
    ),
    Metric(
        "relay_accounts",
        Scope.ACCOUNT_STATE,
        ACCOUNTS,
        "Upstream accounts that the relay has, by platform and state",
        "accounts",
        _DASHBOARD,
    ),
    Metric(
        "relay_active_requests",
        Scope.RELAY,
        REQUESTS,
        "Running requests of keys that have a concurrency limit",
        "active",
        _CONCURRENCY,
        fresh=_SCANS,
    ),
    Metric(
        "relay_queued_requests",
        Scope.RELAY,
        REQUESTS,
        "Requests that wait at the relay because of their key's concurrency limit",
        "summary.totalQueuedRequests",
        _CONCURRENCY,
        fresh=_SCANS,
    ),
    Metric(
        "relay_uptime_seconds",
        Scope.RELAY,
        SECONDS,
        "Time since the relay's process started",
        "uptime",
        _HEALTH,
    ),
    _all_keys(
        "relay_all_keys_requests_total",
        REQUESTS,
        "Total requests by all API keys that the relay ever had",
        "totalRequestsUsed",
    ),
    _all_keys(
        "relay_all_keys_tokens_total",
        TOKENS,
        "Total tokens consumed by all API keys that the relay ever had",
        "totalAllTokensUsed",
    ),
    _all_keys(
        "relay_all_keys_input_tokens_total",
        TOKENS,
        "Input tokens consumed by all API keys that the relay ever had",
        "totalInputTokensUsed",
    ),
    _all_keys(
        "relay_all_keys_output_tokens_total",
        TOKENS,
        "Output tokens consumed by all API keys that the relay ever had",
        "totalOutputTokensUsed",
    ),
    _all_keys(
        "relay_all_keys_cache_create_tokens_total",
        TOKENS,
        "Cache create tokens consumed by all API keys that the relay ever had",
        "totalCacheCreateTokensUsed",
    ),
    _all_keys(
        "relay_all_keys_cache_read_tokens_total",
        TOKENS,
        "Cache read tokens consumed by all API keys that the relay ever had",
        "totalCacheReadTokensUsed",
    ),
    Metric(
        "relay_build_info",
        Scope.BUILD,
        FLAG,
        "Always 1; the label has the release of the relay",
        "info",
        _HEALTH,
    ),
    Metric(
        "relay_redis_connected",
        Scope.RELAY,
        FLAG,
        "Whether the relay is connected to its Redis",
        "redis_connected",
        _HEALTH,
    ),
    Metric(
        "relay_redis_latency_seconds",
        Scope.RELAY,
        SECONDS,
        "How long the relay's Redis took to answer it",
        "redis_latency_s",
        _HEALTH,
    ),
    # the usage of a model by all keys
    _all_keys_model(
        "requests", REQUESTS, "Requests for a specific model by all API keys", "requests"
    ),
    _all_keys_model(
        "input_tokens",
        TOKENS,
        "Input tokens consumed for a specific model by all API keys",
        "usage.input_tokens",
    ),
    _all_keys_model(
        "output_tokens",
        TOKENS,
        "Output tokens consumed for a specific model by all API keys",
        "usage.output_tokens",
    ),
    _all_keys_model(
        "cache_create_tokens",
        TOKENS,
        "Cache create tokens consumed for a specific model by all API keys",
        "usage.cache_creation_input_tokens",
    ),
    _all_keys_model(
        "cache_read_tokens",
        TOKENS,
        "Cache read tokens consumed for a specific model by all API keys",
        "usage.cache_read_input_tokens",
    ),
    _all_keys_model(
        "cost_usd",
        USD,
        "USD cost for a specific model by all API keys, at list price",
        "costs.total",
    ),
    # an upstream account
    _account(
        "relay_account_up",
        FLAG,
        "Whether the account is active, neither blocked nor unauthorised, nor out of service",
        "up",
    ),
    _account(
        "relay_account_schedulable",
        FLAG,
        "Whether the relay may give requests to the account",
        "schedulable",
    ),
    _account(
        "relay_account_rate_limited",
        FLAG,
        "Whether the provider rate-limits the account now",
        "rate_limited",
    ),
    _account(
        "relay_account_rate_limit_seconds_remaining",
        SECONDS,
        "Seconds until the account's rate limit ends, 0 if there is none",
        "rate_limit_s",
    ),
    Metric(
        "relay_account_unavailable_seconds_remaining",
        Scope.ACCOUNT,
        SECONDS,
        "Seconds until an account that failed is used again, 0 if it is in service",
        "unavailable_s",
        _UNAVAILABLE,
    ),
    _account(
        "relay_account_overloaded",
        FLAG,
        "Whether the relay considers the account overloaded",
        "overloaded",
    ),
    _account_total("requests", REQUESTS, "Total requests that the account served", "requests"),
    _account_total("tokens", TOKENS, "Total tokens that the account served", "allTokens"),
    _account_total("input_tokens", TOKENS, "Input tokens that the account served", "inputTokens"),
    _account_total(
        "output_tokens", TOKENS, "Output tokens that the account served", "outputTokens"
    ),
    _account_total(
        "cache_create_tokens",
        TOKENS,
        "Cache create tokens that the account served",
        "cacheCreateTokens",
    ),
    _account_total(
        "cache_read_tokens",
        TOKENS,
        "Cache read tokens that the account served",
        "cacheReadTokens",
    ),
    _account(
        "relay_account_active_tasks",
        "{task}",
        "Running tasks of the account, if it has a limit on them",
        "active_tasks",
    ),
    _account(
        "relay_account_task_limit",
        "{task}",
        "How many tasks of the account may run at once, 0 for no limit",
        "maxConcurrentTasks",
    ),
    _account(
        "relay_account_subscription_expiry_timestamp_seconds",
        SECONDS,
        "When the account's subscription ends, seconds since 1970; left out if it is not known",
        "subscription_expires_s",
    ),
    _account(
        "relay_account_token_expiry_timestamp_seconds",
        SECONDS,
        "When the account's token expires, seconds since 1970; the relay renews it before",
        "token_expires_s",
    ),
    _account(
        "relay_account_daily_requests",
        REQUESTS,
        "Requests that the account served during the current day",
        "usage.daily.requests",
    ),
    _account(
        "relay_account_daily_tokens",
        TOKENS,
        "Tokens that the account served during the current day",
        "usage.daily.allTokens",
    ),
    _account(
        "relay_account_daily_cost_usd",
        USD,
        "USD cost that the account incurred during the current day, at list price",
        "usage.daily.cost",
    ),
    _account(
        "relay_account_daily_quota_usd",
        USD,
        "USD that the account may cost per day, 0 for no quota",
        "dailyQuota",
    ),
    _account(
        "relay_account_daily_quota_used_usd",
        USD,
        "Used part of the account's daily quota in USD",
        "quota_used",
    ),
    _account(
        "relay_account_five_hour_utilization_percent",
        PERCENT,
        "How much of the account's 5-hour limit is used, 0 to 100",
        "five_hour_percent",
        fresh=_OF_PROVIDER,
    ),
    _account(
        "relay_account_five_hour_reset_seconds_remaining",
        SECONDS,
        "Seconds until the account's 5-hour limit resets",
        "five_hour_reset_s",
    ),
    _account(
        "relay_account_seven_day_utilization_percent",
        PERCENT,
        "How much of the account's 7-day limit is used, 0 to 100",
        "seven_day_percent",
        fresh=_OF_PROVIDER,
    ),
    _account(
        "relay_account_seven_day_reset_seconds_remaining",
        SECONDS,
        "Seconds until the account's 7-day limit resets",
        "seven_day_reset_s",
    ),
    _account(
        "relay_account_seven_day_opus_utilization_percent",
        PERCENT,
        "How much of the account's 7-day limit for one family of models is used, 0 to 100",
        "seven_day_opus_percent",
        fresh=_OF_PROVIDER,
    ),
    _account(
        "relay_account_seven_day_opus_reset_seconds_remaining",
        SECONDS,
        "Seconds until the account's 7-day limit for one family of models resets",
        "seven_day_opus_reset_s",
    ),
    Metric(
        "relay_account_model_rate_limited",
        Scope.ACCOUNT_FAMILY,
        FLAG,
        "Whether the provider rate-limits the account for a family of models",
        "rate_limited",
        _ACCOUNTS,
    ),
    Metric(
        "relay_account_model_rate_limit_seconds_remaining",
        Scope.ACCOUNT_FAMILY,
        SECONDS,
        "Seconds until that rate limit ends, 0 if there is none",
        "rate_limit_s",
        _ACCOUNTS,
    ),
    _day(
        Scope.DAY_KEY,
        "relay_day_requests",
        REQUESTS,
        "Requests of the API key on a day that is over",
        "requests",
    ),
    _day(
        Scope.DAY_KEY,
        "relay_day_tokens",
        TOKENS,
        "Tokens of all kinds that the API key used on a day that is over",
        "tokens",
    ),
    _day(
        Scope.DAY_KEY,
        "relay_day_cost_usd",
        USD,
        "Rated USD cost of the API key on a day that is over",
        "cost",
    ),
    _day(
        Scope.DAY_MODEL,
        "relay_day_model_requests",
        REQUESTS,
        "Requests of the API key to the model on a day that is over",
        "requests",
    ),
    _day(
        Scope.DAY_MODEL,
        "relay_day_model_input_tokens",
        TOKENS,
        "Input tokens of the API key with the model on a day that is over",
        "inputTokens",
    ),
    _day(
        Scope.DAY_MODEL,
        "relay_day_model_output_tokens",
        TOKENS,
        "Output tokens of the API key with the model on a day that is over",
        "outputTokens",
    ),
    _day(
        Scope.DAY_MODEL,
        "relay_day_model_cache_create_tokens",
        TOKENS,
        "Cache creation tokens of the API key with the model on a day that is over",
        "cacheCreateTokens",
    ),
    _day(
        Scope.DAY_MODEL,
        "relay_day_model_cache_read_tokens",
        TOKENS,
        "Cache read tokens of the API key with the model on a day that is over",
        "cacheReadTokens",
    ),
    _day(
        Scope.DAY_MODEL,
        "relay_day_model_cost_usd",
        USD,
        "Real USD cost of the API key with the model on a day that is over",
        "costs.real",
    ),
    _day(
        Scope.DAY_MODEL,
        "relay_day_model_rated_cost_usd",
        USD,
        "Rated USD cost of the API key with the model on a day that is over",
        "costs.total",
    ),
    _day(
        Scope.DAY_ACCOUNT,
        "relay_day_account_requests",
        REQUESTS,
        "Requests that the account served on a day that is over",
        "requests",
    ),
    _day(
        Scope.DAY_ACCOUNT,
        "relay_day_account_cost_usd",
        USD,
        "USD cost of the account at list price on a day that is over",
        "cost",
    ),
    _day(
        Scope.DAY_RELAY,
        "relay_day_all_keys_requests",
        REQUESTS,
        "Requests of all API keys, deleted ones too, on a day that is over",
        "requests",
    ),
    _day(
        Scope.DAY_RELAY,
        "relay_day_all_keys_tokens",
        TOKENS,
        "Tokens of all kinds of all API keys, deleted ones too, on a day that is over",
        "totalTokens",
    ),
    _day(
        Scope.DAY_RELAY,
        "relay_day_all_keys_input_tokens",
        TOKENS,
        "Input tokens of all API keys, deleted ones too, on a day that is over",
        "inputTokens",
    ),
    _day(
        Scope.DAY_RELAY,
        "relay_day_all_keys_output_tokens",
        TOKENS,
        "Output tokens of all API keys, deleted ones too, on a day that is over",
        "outputTokens",
    ),
    _day(
        Scope.DAY_RELAY,
        "relay_day_all_keys_cache_create_tokens",
        TOKENS,
        "Cache creation tokens of all API keys, deleted ones too, on a day that is over",
        "cacheCreateTokens",
    ),
    _day(
        Scope.DAY_RELAY,
        "relay_day_all_keys_cache_read_tokens",
        TOKENS,
        "Cache read tokens of all API keys, deleted ones too, on a day that is over",
        "cacheReadTokens",
    ),
    _day(
        Scope.DAY_RELAY,
        "relay_day_all_keys_list_cost_usd",
        USD,
        "USD cost of all API keys at list price on a day that is over",
        "cost",
    ),
    # names of keys, for the sums of minutes and days, which only have the ids
    Metric(
        "relay_key_info",
        Scope.KEY_INFO,
        FLAG,
        "Always 1; the labels have the key's name, owner and state, and chosen labels of its own",
        "info",
        "admin/api-keys",
        also=("api/relay-keys",),
    ),
    # the usage of a Wyolet Relay
    Metric(
        "relay_usage_up",
        Scope.USAGE,
        FLAG,
        "Whether the relay answered with its usage by model and by key",
        "up",
        _TIMESERIES,
    ),
    *_minutes("model", Scope.USAGE_MODEL),
    *_minutes("key", Scope.USAGE_KEY),
    # an upstream key of a Wyolet Relay
    Metric(
        "relay_host_key_up",
        Scope.HOST_KEY,
        FLAG,
        "Whether the relay gives requests to the upstream key: its breaker is closed",
        "up",
        _HOST_KEY_HEALTH,
    ),
    Metric(
        "relay_host_key_cooldown_seconds_remaining",
        Scope.HOST_KEY,
        SECONDS,
        "Seconds until the upstream key is tried again, 0 if it is in use",
        "cooldown_s",
        _HOST_KEY_HEALTH,
    ),
)


@cache
def rows(scope: Scope, source: str | None = None) -> tuple[Metric, ...]:
    """The metrics of one scope, in the order of the catalogue.

    Args:
        source: an endpoint; if given, only metrics whose field is in its answer.
    """
    return tuple(
        metric for metric in METRICS if metric.scope is scope and source in (None, metric.source)
    )


@cache
def answered_by(scope: Scope, endpoint: str) -> tuple[Metric, ...]:
    """The metrics of one scope whose figures an endpoint has, as their `source` or in `also`."""
    return tuple(metric for metric in rows(scope) if endpoint in (metric.source, *metric.also))
