"""Every metric that we define: a metric exists because it has a row here.

The conversion, the documentation, the naming test and the dashboards come from these rows. The
names and meanings of the former Compose stack are kept; for every row GreptimeDB's table has
exactly the row's name.

Metrics of a Prometheus endpoint keep the endpoint's own names and have no rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from relay_metrics.snapshot import Number, Scope

REQUESTS = "{request}"
TOKENS = "{token}"
USD = "{USD}"
KEYS = "{key}"
FLAG = "{flag}"
SECONDS = "s"
MINUTES = "min"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that we define.

    Attributes:
        name: of the metric, and of its table in GreptimeDB.
        scope: what it is told of; with it come the attributes of its points.
        unit: UCUM, an annotation in braces for what is counted.
        description: one sentence.
        field: the path of the relay's field, or the name of what a run knows of itself.
        source: the endpoint whose answer has that field.
        null: what null means there; None where null is no value and is left out.
        running: a total that only grows: a monotonic cumulative Sum. All others are Gauges.
    """

    name: str
    scope: Scope
    unit: str
    description: str
    field: str
    source: str
    null: Number | None = None
    running: bool = False


ATTRIBUTES: Mapping[Scope, tuple[str, ...]] = MappingProxyType(
    {
        Scope.RUN: (),
        Scope.FAILURE: ("endpoint", "error.type"),
        Scope.KEY: (),
        Scope.MODEL: ("model", "period"),
    }
)
"""The attributes that a scope's points have beside those of their resource."""

_RUN = "the run itself"
_STATS = "user-stats"
_MODELS = "user-model-stats"
_BATCH = "batch-stats"


def _total(name: str, unit: str, description: str, field: str, running: bool = True) -> Metric:
    path = f"usage.total.{field}"
    return Metric(name, Scope.KEY, unit, description, path, _STATS, running=running)


def _limit(name: str, unit: str, description: str, field: str, null: Number | None = 0) -> Metric:
    return Metric(name, Scope.KEY, unit, description, f"limits.{field}", _STATS, null)


def _period(name: str, unit: str, description: str, field: str) -> Metric:
    return Metric(name, Scope.KEY, unit, description, field, _BATCH)


def _model(name: str, unit: str, description: str, field: str) -> Metric:
    return Metric(name, Scope.MODEL, unit, description, field, _MODELS)


METRICS: tuple[Metric, ...] = (
    # every relay, whatever happened
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
        "How long it took to ask the relay everything",
        "duration_s",
        _RUN,
    ),
    Metric(
        "relay_scrape_samples",
        Scope.RUN,
        "{sample}",
        "Data points made of what the relay answered",
        "samples",
        _RUN,
    ),
    Metric(
        "relay_last_success_timestamp_seconds",
        Scope.RUN,
        SECONDS,
        "The latest run in which the relay was up, seconds since 1970",
        "last_success_s",
        _RUN,
    ),
    Metric(
        "relay_stats_staleness_seconds",
        Scope.RUN,
        SECONDS,
        "Time since the latest run in which the relay was up",
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
        "Keys that were asked for and gave no stats in this run",
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
    # as a Sum it would be stored as relay_cost_usd_total
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
    ),
    _limit(
        "relay_current_window_tokens",
        TOKENS,
        "Tokens counted in the active rate-limit window",
        "currentWindowTokens",
    ),
    _limit(
        "relay_current_window_cost_usd",
        USD,
        "USD cost accumulated in the active rate-limit window",
        "currentWindowCost",
    ),
    _limit(
        "relay_current_window_seconds_remaining",
        SECONDS,
        "Seconds remaining in the active rate-limit window",
        "windowRemainingSeconds",
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
        null=None,
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
        null=None,
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
    # a key's use of a model in the configured period
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
)


@cache
def rows(scope: Scope, source: str | None = None) -> tuple[Metric, ...]:
    """The metrics that are told of one kind of thing, in the order of the catalogue.

    Args:
        source: only those whose field is in that endpoint's answer.
    """
    return tuple(
        metric for metric in METRICS if metric.scope is scope and source in (None, metric.source)
    )
