"""*Claude Relay usage*: who spends how much, on what, and what is left."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import (
    OF_LIMIT,
    OF_PERCENT,
    AnyPanel,
    Column,
    Query,
    board,
    choice,
    grid,
    one_of,
    over_time,
    ranking,
    single,
)
from dashboards.promql import (
    KEY,
    KEY_LEGEND,
    OF_KEY,
    OF_RELAY,
    growth,
    highest,
    named,
    once,
)

NO_DATA: Final = "No data: see the Collector dashboard"
NO_LIMIT: Final = "No key has this limit"
NO_LOGIN: Final = "No data: it takes an administrator's login to the relay"
NO_MODELS: Final = "No model rows: choose a longer time for Model rows"

KEYS: Final = {"relay_key_id": "", "relay_key_name": "Key", "relay_name": "Relay"}
ACCOUNT: Final = "relay_name, platform, relay_account_id, relay_account_name"
KEY_REGEX: Final = (
    r'/^(?=.*relay_key_id="(?<value>[^"]+)")(?=.*relay_key_name="(?<text>.+?)"[,}]).+$/'
)
"""A key is chosen by name and filtered by id, so that it is the same key after it was renamed."""


def dashboard() -> Dashboard:
    """The dashboard."""
    return board(
        "Claude Relay usage",
        "relay-metrics-claude",
        "Spend, tokens, limits and accounts of Claude Relay Services, as relay-metrics delivers "
        "them.",
        [
            choice(
                "relay", "Relay", 'label_values(relay_up{relay_kind="claude-relay"}, relay_name)'
            ),
            choice(
                "key",
                "Key",
                "query_result(max by (relay_key_id, relay_key_name) "
                f"(last_over_time(relay_requests_total{{{OF_RELAY}}}[1h])))",
                regex=KEY_REGEX,
            ),
            choice("model", "Model", f"label_values(relay_model_requests{{{OF_RELAY}}}, model)"),
            choice("period", "Period of models", "label_values(relay_model_requests, period)"),
            one_of(
                "turn",
                "Model rows",
                ("1h", "15m", "3h", "12h", "1d"),
                "How far to look back for a key's use of models. Keys are asked for it in turn: "
                "with many of them a round takes long.",
            ),
        ],
        [
            ("Spend", _spend()),
            ("Tokens", _tokens()),
            ("Limits", _limits()),
            ("Accounts and keys", _accounts()),
        ],
    ).build()


def of_models(metric: str) -> str:
    """A key's use of a model, once, as of its latest turn."""
    selector = f'{metric}{{{OF_KEY},model=~"$model",period=~"$period"}}'
    return f"max by ({KEY}, model, period) (last_over_time({selector}[$turn]))"


def _spend() -> list[AnyPanel]:
    return [
        single(
            "Spent today",
            "Rated cost since the relay's own midnight.",
            f"sum({once('relay_daily_cost_usd')})",
            empty=NO_DATA,
            decimals=2,
        ),
        single(
            "Spent this month",
            "Rated cost since the relay's own first of the month.",
            f"sum({once('relay_monthly_cost_usd')})",
            empty=NO_DATA,
            decimals=2,
        ),
        single(
            "Burn rate",
            "USD an hour, over the last hour.",
            f"sum(increase(relay_cost_total_usd{{{OF_KEY}}}[1h]))",
            empty=NO_DATA,
            decimals=2,
        ),
        single(
            "Requests today",
            "Requests since the relay's own midnight.",
            f"sum({once('relay_daily_requests')})",
            empty=NO_DATA,
        ),
        single(
            "Tokens today",
            "Tokens of all kinds since the relay's own midnight.",
            f"sum({once('relay_daily_tokens')})",
            empty=NO_DATA,
        ),
        single(
            "Keys",
            "Keys with stats in the last five minutes.",
            f"count({once('relay_requests_total')})",
            empty=NO_DATA,
        ),
        over_time(
            "Spend by key",
            "USD an hour of the ten keys that spend most.",
            [
                Query(
                    highest(10, f"3600 * {growth('relay_cost_total_usd', '$__rate_interval')}"),
                    KEY_LEGEND,
                )
            ],
            empty=NO_DATA,
            stacked=True,
        ),
        over_time(
            "Spent today by key",
            "What each of the ten highest keys has spent of its day; it falls to 0 at the relay's "
            "own midnight.",
            [Query(highest(10, named("relay_daily_cost_usd")), KEY_LEGEND)],
            empty=NO_DATA,
        ),
        ranking(
            "Spent this month by key",
            "Rated cost since the relay's own first of the month, the twenty highest.",
            Query(highest(20, named("relay_monthly_cost_usd")), KEY_LEGEND),
            empty=NO_DATA,
        ),
        ranking(
            "Cost by model",
            "Real cost of each model in the period, by the price list: the sums differ from the "
            "rated ones.",
            Query(
                highest(20, f"sum by (model, period) ({of_models('relay_model_cost_usd')})"),
                "{{model}} · {{period}}",
            ),
            empty=NO_MODELS,
        ),
    ]


def _tokens() -> list[AnyPanel]:
    kinds = {
        "input": "relay_input_tokens_total",
        "output": "relay_output_tokens_total",
        "cache write": "relay_cache_create_tokens_total",
        "cache read": "relay_cache_read_tokens_total",
    }
    read, fresh, write = (
        f"sum(rate({kinds[kind]}{{{OF_KEY}}}[$__rate_interval]))"
        for kind in ("cache read", "input", "cache write")
    )
    return [
        over_time(
            "Tokens by kind",
            "Tokens a minute.",
            [
                Query(f"60 * sum(rate({metric}{{{OF_KEY}}}[$__rate_interval]))", kind)
                for kind, metric in kinds.items()
            ],
            empty=NO_DATA,
            stacked=True,
        ),
        over_time(
            "Cache hit share",
            "Of all tokens that went in, how many were read from the cache.",
            [Query(f"{read} / ({read} + {fresh} + {write})", "read from the cache")],
            unit="percentunit",
            empty=NO_DATA,
            most=1,
        ),
        over_time(
            "Requests by key",
            "Requests a minute of the ten busiest keys.",
            [
                Query(
                    highest(10, f"60 * {growth('relay_requests_total', '$__rate_interval')}"),
                    KEY_LEGEND,
                )
            ],
            empty=NO_DATA,
            stacked=True,
        ),
        ranking(
            "Tokens by model",
            "Tokens of each model in the period.",
            Query(
                highest(20, f"sum by (model, period) ({of_models('relay_model_tokens')})"),
                "{{model}} · {{period}}",
            ),
            empty=NO_MODELS,
        ),
    ]


def used(cost: str, limit: str) -> str:
    """The share of a limit that is used; no share where the limit is 0, which means none."""
    return f"{named(cost)} / ({named(limit)} > 0)"


def left(cost: str, limit: str) -> str:
    """What remains of a limit; nothing where the limit is 0, which means none."""
    return f"({named(limit)} > 0) - {named(cost)}"


def reached(cost: str, limit: str, rate: str, end: str = "") -> str:
    """When a limit will be reached, as Grafana has instants: in milliseconds.

    Args:
        rate: USD a second.
        end: the instant at which the cost starts over: no answer where the limit is not reached
            before.
    """
    instant = f"time() + ({left(cost, limit)}) / ({rate} > 0)"
    return f"1000 * (({instant}) < ({end}))" if end else f"1000 * ({instant})"


def _limits() -> list[AnyPanel]:
    daily = ("relay_daily_cost_usd", "relay_daily_cost_limit_usd")
    weekly = ("relay_weekly_opus_cost_usd", "relay_weekly_opus_cost_limit_usd")
    total = ("relay_cost_total_usd", "relay_total_cost_limit_usd")
    window = ("relay_current_window_cost_usd", "relay_rate_limit_cost_limit_usd")
    requests = ("relay_current_window_requests", "relay_rate_limit_requests_limit")
    return [
        ranking(
            "Daily limit used",
            "Share of the daily cost limit that is spent, the twenty highest.",
            Query(highest(20, used(*daily)), KEY_LEGEND),
            unit="percentunit",
            empty=NO_LIMIT,
            steps=OF_LIMIT,
            most=1,
        ),
        over_time(
            "Limits used",
            "Share of the weekly limit on Claude models, of the total limit, and of the window's "
            "cost, the five highest of each.",
            [
                Query(highest(5, used(*weekly)), f"week: {KEY_LEGEND}"),
                Query(highest(5, used(*total)), f"total: {KEY_LEGEND}"),
                Query(highest(5, used(*window)), f"window: {KEY_LEGEND}"),
            ],
            unit="percentunit",
            empty=NO_LIMIT,
            steps=OF_LIMIT,
        ),
        grid(
            "What remains",
            "Of each limit that a key has. A limit of 0 means none, and has no cell.",
            KEYS,
            [
                Column("Day left", left(*daily), decimals=2),
                Column("Day used", used(*daily), "percentunit", OF_LIMIT),
                Column("Week left", left(*weekly), decimals=2),
                Column("Week used", used(*weekly), "percentunit", OF_LIMIT),
                Column("Total left", left(*total), decimals=2),
                Column("Total used", used(*total), "percentunit", OF_LIMIT),
                Column("Window left", left(*window), decimals=2),
                Column("Window requests left", left(*requests)),
                Column(
                    "Window ends in", f"{named('relay_current_window_seconds_remaining')} > 0", "s"
                ),
            ],
            empty=NO_LIMIT,
        ),
        grid(
            "When limits will be reached",
            "At the burn rate of the last hour for the day, of the last six hours for the week, of "
            "the last day for the total, of the last 15 minutes for the window. No cell: no limit, "
            "or not before the day, the week or the window is over.",
            KEYS,
            [
                Column(
                    "Daily limit reached",
                    reached(
                        *daily,
                        growth("relay_cost_total_usd", "1h"),
                        named("relay_key_day_reset_timestamp_seconds"),
                    ),
                    "dateTimeFromNow",
                ),
                Column(
                    "Weekly limit reached",
                    reached(
                        *weekly,
                        growth("relay_weekly_opus_cost_usd", "6h"),
                        named("relay_key_week_reset_timestamp_seconds"),
                    ),
                    "dateTimeFromNow",
                ),
                Column(
                    "Total limit reached",
                    reached(*total, growth("relay_cost_total_usd", "1d")),
                    "dateTimeFromNow",
                ),
                Column(
                    "Window limit reached",
                    reached(
                        *window,
                        growth("relay_current_window_cost_usd", "15m"),
                        f"time() + {named('relay_current_window_seconds_remaining')}",
                    ),
                    "dateTimeFromNow",
                ),
                Column(
                    "Day starts over",
                    f"1000 * {named('relay_key_day_reset_timestamp_seconds')}",
                    "dateTimeFromNow",
                ),
                Column(
                    "Week starts over",
                    f"1000 * {named('relay_key_week_reset_timestamp_seconds')}",
                    "dateTimeFromNow",
                ),
                Column(
                    "Key expires",
                    f"1000 * {named('relay_key_expiry_timestamp_seconds', '1h')}",
                    "dateTimeFromNow",
                ),
            ],
            empty=NO_DATA,
        ),
    ]


def _of_accounts(metric: str) -> str:
    return f"max by ({ACCOUNT}) ({metric}{{{OF_RELAY}}})"


def _at_large(metric: str, by: str) -> str:
    # asked for where RELAY_SCANS_PER_RUN leaves room, so not in every run
    return f"max by ({by}) (last_over_time({metric}{{{OF_RELAY}}}[15m]))"


def _accounts() -> list[AnyPanel]:
    legend = "{{relay_account_name}} · {{platform}}"
    return [
        over_time(
            "Accounts by state",
            "Upstream accounts of all platforms.",
            [
                Query(
                    "sum by (state) "
                    f"({_at_large('relay_accounts', 'relay_name, platform, state')})",
                    "{{state}}",
                )
            ],
            empty=NO_LOGIN,
            stacked=True,
            width=8,
        ),
        over_time(
            "Keys by state",
            "Keys of the relay; `waiting` ones start their time with their first use.",
            [
                Query(
                    f"sum by (state) (max by (relay_name, state) (relay_api_keys{{{OF_RELAY}}}))",
                    "{{state}}",
                )
            ],
            empty=NO_LOGIN,
            stacked=True,
            width=8,
        ),
        over_time(
            "Requests under way",
            "At the relay, and those that wait for their key's concurrency limit.",
            [
                Query(f"sum({_at_large('relay_active_requests', 'relay_name')})", "under way"),
                Query(f"sum({_at_large('relay_queued_requests', 'relay_name')})", "waiting"),
            ],
            empty=NO_LOGIN,
            width=8,
        ),
        ranking(
            "5-hour limit used",
            "What the provider says of each account, the twenty highest.",
            Query(highest(20, _of_accounts("relay_account_five_hour_utilization_percent")), legend),
            empty=NO_LOGIN,
            steps=OF_PERCENT,
            most=100,
        ),
        ranking(
            "7-day limit used",
            "What the provider says of each account, the twenty highest.",
            Query(highest(20, _of_accounts("relay_account_seven_day_utilization_percent")), legend),
            empty=NO_LOGIN,
            steps=OF_PERCENT,
            most=100,
        ),
        grid(
            "Accounts",
            "Each upstream account as of now. No cell: no such limit, or the relay does not say.",
            {
                "relay_account_id": "",
                "relay_account_name": "Account",
                "platform": "Platform",
                "relay_name": "Relay",
            },
            [
                Column("Up", _of_accounts("relay_account_up"), flag=("down", "up")),
                Column(
                    "Schedulable", _of_accounts("relay_account_schedulable"), flag=("no", "yes")
                ),
                Column(
                    "Rate-limited for",
                    f"{_of_accounts('relay_account_rate_limit_seconds_remaining')} > 0",
                ),
                Column(
                    "5-hour limit resets in",
                    _of_accounts("relay_account_five_hour_reset_seconds_remaining"),
                ),
                Column(
                    "7-day limit resets in",
                    _of_accounts("relay_account_seven_day_reset_seconds_remaining"),
                ),
                Column("Requests today", _of_accounts("relay_account_daily_requests")),
                Column("Cost today", _of_accounts("relay_account_daily_cost_usd"), decimals=2),
                Column(
                    "Quota used",
                    f"{_of_accounts('relay_account_daily_quota_used_usd')} / "
                    f"({_of_accounts('relay_account_daily_quota_usd')} > 0)",
                    "percentunit",
                    OF_LIMIT,
                ),
            ],
            empty=NO_LOGIN,
        ),
    ]
