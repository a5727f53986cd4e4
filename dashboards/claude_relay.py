"""*Claude Relay usage*: who spends how much, on what, and what is left."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import (
    OF_LIMIT,
    OF_PERCENT,
    OF_THE_DAY,
    REQUESTS_A_MINUTE,
    TOKENS_A_MINUTE,
    USD_AN_HOUR,
    AnyPanel,
    AnyVariable,
    Column,
    Query,
    board,
    by_day,
    choice,
    chosen_once,
    grid,
    one_of,
    over_time,
    ranking,
    single,
    text,
)
from dashboards.promql import (
    KEY,
    KEY_LEGEND,
    NAMED_KEY,
    OF_KEY,
    OF_RELAY,
    added_up,
    grown,
    growth,
    highest,
    named,
    once,
    with_info,
)

NO_DATA: Final = "No data: see the Collector dashboard"
NO_LIMIT: Final = "No key has this limit"
NO_LOGIN: Final = "No data: it takes an administrator's login to the relay"
NO_DAYS: Final = "No days: they need an administrator's login; a back-fill delivers the last 32"
NO_MODELS: Final = "No model rows: choose a longer time for Model rows"

KEYS: Final = {"relay_key_id": "", "relay_key_name": "Key", "relay_name": "Relay"}
ACCOUNT: Final = "relay_name, platform, relay_account_id, relay_account_name"
SPENDERS: Final = OF_KEY + ',relay_key_id=~"$top_spenders"'
USERS: Final = OF_KEY + ',relay_key_id=~"$top_users"'
OF_TOP_ACCOUNTS: Final = OF_RELAY + ',relay_account_id=~"$top_accounts"'
KEY_REGEX: Final = (
    r'/^(?=.*relay_key_id="(?<value>[^"]+)")(?=.*relay_key_name="(?<text>.+?)"[,}]).+$/'
)
"""A key is chosen by name and filtered by id, so that it is the same key after it was renamed."""


OF_MODEL: Final = OF_KEY + ',model=~"$model"'
CACHE_PRICES: Final = (
    "A token read from the cache costs a tenth of one that is not, one written to it a quarter "
    "more: Anthropic's prices."
)

LIMITS: Final = {
    "weekly": ("relay_weekly_opus_cost_usd", "relay_weekly_opus_cost_limit_usd"),
    "total": ("relay_cost_total_usd", "relay_total_cost_limit_usd"),
    "window": ("relay_current_window_cost_usd", "relay_rate_limit_cost_limit_usd"),
}
"""The figure that counts for each limit, and the limit."""
LIMIT_NAMES: Final = {"weekly": "week", "total": "total", "window": "window"}

# -- days of a month: the relay as a whole has a figure for a day without usage as well

OF_MONTH: Final = "[12h${__range_s}s] offset -12h"
"""From the first of a month, the start of the panel, to the end of the day in which it ends: half a
day more includes the noon of that day at any time of day."""
_DAYS_OF_MONTH: Final = (
    f"max by (relay_name) (count_over_time(relay_day_all_keys_requests{{{OF_RELAY}}}{OF_MONTH}))"
)
EVERY_DAY: Final = f"({_DAYS_OF_MONTH} > $__range_s / 86400 <= $__range_s / 86400 + 1)"

_DAYS_DELIVERED: Final = (
    f"max by (relay_name) (count_over_time(relay_day_all_keys_requests{{{OF_RELAY}}}[8d]))"
)
A_DAY_COST: Final = (
    f"{added_up('relay_day_cost_usd', '[8d]', 'relay_name')} / ({_DAYS_DELIVERED} >= 7)"
)
"""Eight days back include seven or eight complete days, at any time of day."""

_DAY_ENDS: Final = f"max by (relay_name) (relay_key_day_reset_timestamp_seconds{{{OF_RELAY}}})"
_NOON: Final = f"{_DAY_ENDS} - 43200"
DAYS_LEFT: Final = (
    f"(days_in_month({_NOON}) - day_of_month({_NOON}) + ({_DAY_ENDS} - time()) / 86400)"
)
"""Of the relay's own month: its noon is on the same date in UTC."""


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
            text(
                "input_price",
                "Input price",
                "3",
                "USD for a million input tokens, to compute what the cache saves; by default that "
                "of Claude Sonnet.",
            ),
            text(
                "label",
                "Label of keys",
                "relay_key_owner",
                "A label of relay_key_info by which cost is added up: the owner, or a tag that "
                "RELAY_KEY_LABELS names.",
            ),
            *_chosen(),
        ],
        [
            ("Spend", _spend()),
            ("Tokens", _tokens()),
            ("Limits", _limits()),
            ("Accounts and keys", _accounts()),
            ("The relay itself", _relay()),
        ],
    ).build()


def of_models(metric: str) -> str:
    """A key's use of a model, once, as of its latest turn."""
    selector = f'{metric}{{{OF_KEY},model=~"$model",period=~"$period"}}'
    return f"max by ({KEY}, model, period) (last_over_time({selector}[$turn]))"


def _chosen() -> list[AnyVariable]:
    """Who is shown where not all can be: chosen for the whole of the time that is shown."""

    def highest_share(name: str, limit: tuple[str, str]) -> AnyVariable:
        cost, most = (
            f"max by (relay_key_id) (max_over_time({metric}{{{OF_KEY}}}[$__range]))"
            for metric in limit
        )
        return chosen_once(name, highest(5, f"{cost} / ({most} > 0)"), "relay_key_id")

    percent = f"relay_account_five_hour_utilization_percent{{{OF_RELAY}}}[$__range]"
    return [
        chosen_once(
            "top_spenders",
            highest(10, grown("relay_cost_total_usd", "$__range", "relay_key_id")),
            "relay_key_id",
        ),
        chosen_once(
            "top_users",
            highest(10, grown("relay_requests_total", "$__range", "relay_key_id")),
            "relay_key_id",
        ),
        *(highest_share(f"top_{limit}", metrics) for limit, metrics in LIMITS.items()),
        chosen_once(
            "top_accounts",
            highest(10, f"max by (relay_account_id) (max_over_time({percent}))"),
            "relay_account_id",
        ),
    ]


def _spend() -> list[AnyPanel]:
    return [*_money(), *_by_day(), *_by_key(), *_by_model()]


def _money() -> list[AnyPanel]:
    month = f"sum by (relay_name) ({once('relay_monthly_cost_usd')})"
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
            "Last month to the same day",
            "Rated cost of the last month from its first day to the same day as today, which is "
            "included. Empty if one of its days is missing. In the viewer's calendar: if the "
            "relay's differs by some hours, it is empty for as many hours of a day.",
            f"sum({added_up('relay_day_cost_usd', OF_MONTH, 'relay_name')} and {EVERY_DAY})",
            empty="Some of its days are missing: back-fill them",
            decimals=2,
            since="now/M",
            shifted="1M",
        ),
        single(
            "Projected month's end",
            "The cost so far, and for the rest of the relay's month the average cost of a day in "
            "the last week. Empty if one of these seven days is missing.",
            f"{month} + {A_DAY_COST} * {DAYS_LEFT}",
            empty="The last seven days are missing: back-fill them",
            decimals=2,
            legend="{{relay_name}}",
        ),
        single(
            "Burn rate",
            "USD an hour, over the last hour.",
            f"sum(increase(relay_cost_total_usd{{{OF_KEY}}}[1h]))",
            unit=f"count:{USD_AN_HOUR}",
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
    ]


def _by_day() -> list[AnyPanel]:
    # half a day back it is after a noon whose day is over: two windows of seven such days, whatever
    # the time of day. A key that is new in the later one has risen by all of it
    later, earlier = (
        added_up("relay_day_cost_usd", window, KEY)
        for window in ("[7d] offset 12h", "[7d] offset 7d12h")
    )
    risen = f"({later} - {earlier}) or {later}"
    thirty_days = with_info(added_up("relay_day_cost_usd", "[30d]", KEY), OF_KEY)
    return [
        by_day(
            "Spend by day",
            "Rated cost of each of the relay's own days that are over.",
            Query(added_up("relay_day_cost_usd", OF_THE_DAY, "relay_name"), "{{relay_name}}"),
            empty=NO_DAYS,
        ),
        by_day(
            "Cost by model by day",
            "Real cost of each model, at list price, for the days of a back-fill with `models`.",
            Query(added_up("relay_day_model_cost_usd", OF_THE_DAY, "model", OF_MODEL), "{{model}}"),
            empty="No days by model: back-fill them with MODELS=1",
        ),
        ranking(
            "Biggest risers",
            "How many USD more a key cost in the last seven complete days than in the seven "
            "before; the ten keys with the largest rise.",
            Query(highest(10, f"{with_info(risen, OF_KEY)} > 0"), KEY_LEGEND),
            empty="No key costs more than the week before, or its days are missing",
            decimals=2,
        ),
        ranking(
            "Last 30 days by key",
            "Rated cost of the days that are over, the twenty highest, by the names that keys have "
            "now: keys that were deleted since are left out.",
            Query(highest(20, thirty_days), KEY_LEGEND),
            empty=NO_DAYS,
            decimals=2,
        ),
        ranking(
            "Last 30 days by label",
            "Rated cost of the days that are over by the *Label of keys* chosen above, as keys "
            "have it now. Without a name: keys that lack it.",
            Query(f"sum by (relay_name, $label) ({thirty_days})", "{{$label}}"),
            empty=NO_DAYS,
            decimals=2,
        ),
        ranking(
            "Spent this month by key",
            "Rated cost since the relay's own first of the month, the twenty highest.",
            Query(highest(20, named("relay_monthly_cost_usd")), KEY_LEGEND),
            empty=NO_DATA,
            decimals=2,
        ),
    ]


def _by_key() -> list[AnyPanel]:
    cost, requests, tokens = (
        grown(metric, "1h", of=SPENDERS)
        for metric in ("relay_cost_total_usd", "relay_requests_total", "relay_tokens_total")
    )
    return [
        over_time(
            "Spend by key",
            "USD an hour of the ten keys that spent most in the time shown.",
            [
                Query(
                    f"3600 * {growth('relay_cost_total_usd', '$__rate_interval', of=SPENDERS)}",
                    KEY_LEGEND,
                )
            ],
            rate=USD_AN_HOUR,
            empty=NO_DATA,
            stacked=True,
        ),
        over_time(
            "Spent today by key",
            "Cost of the day, for the ten keys that spent most in the time shown; it falls to 0 at "
            "the relay's own midnight.",
            [Query(named("relay_daily_cost_usd", of=SPENDERS), KEY_LEGEND)],
            empty=NO_DATA,
        ),
        over_time(
            "Cost a request",
            "Of the ten keys that spent most in the time shown, over the hour before.",
            [Query(f"{cost} / ({requests} > 0)", KEY_LEGEND)],
            unit="currencyUSD",
            empty=NO_DATA,
            decimals=4,
        ),
        over_time(
            "Cost a million tokens",
            "Tokens of all kinds, of the ten keys that spent most in the time shown, over the hour "
            "before.",
            [Query(f"1000000 * {cost} / ({tokens} > 0)", KEY_LEGEND)],
            unit="currencyUSD",
            empty=NO_DATA,
            decimals=2,
        ),
    ]


def _by_model() -> list[AnyPanel]:
    by_model = f"sum by (model, period) ({of_models('relay_model_cost_usd')})"
    legend = "{{model}} · {{period}}"
    return [
        over_time(
            "Cost by model over time",
            "Real cost of each model in the period so far, by the price list; it falls to 0 "
            "where a period begins.",
            [Query(by_model, legend)],
            empty=NO_MODELS,
            stacked=True,
        ),
        ranking(
            "Cost by model",
            "Real cost of each model in the period, by the price list: the sums differ from the "
            "rated ones.",
            Query(highest(20, by_model), legend),
            empty=NO_MODELS,
            decimals=2,
        ),
    ]


def _tokens() -> list[AnyPanel]:
    kinds = {
        "input": "relay_input_tokens_total",
        "output": "relay_output_tokens_total",
        "cache write": "relay_cache_create_tokens_total",
        "cache read": "relay_cache_read_tokens_total",
    }

    def all_keys(function: str, window: str) -> tuple[str, str, str]:
        read, fresh, write = (
            f"sum({function}({kinds[kind]}{{{OF_KEY}}}[{window}]))"
            for kind in ("cache read", "input", "cache write")
        )
        return read, fresh, write

    read, fresh, write = all_keys("rate", "$__rate_interval")
    was_read, _, was_written = all_keys("increase", "$__range")
    return [
        over_time(
            "Tokens by kind",
            "Tokens a minute.",
            [
                Query(f"60 * sum(rate({metric}{{{OF_KEY}}}[$__rate_interval]))", kind)
                for kind, metric in kinds.items()
            ],
            rate=TOKENS_A_MINUTE,
            empty=NO_DATA,
            stacked=True,
        ),
        over_time(
            "Requests by key",
            "Requests a minute of the ten keys that were busiest in the time shown.",
            [
                Query(
                    f"60 * {growth('relay_requests_total', '$__rate_interval', of=USERS)}",
                    KEY_LEGEND,
                )
            ],
            rate=REQUESTS_A_MINUTE,
            empty=NO_DATA,
            stacked=True,
        ),
        over_time(
            "Cache hit share",
            "Of all tokens that went in, how many were read from the cache; and how much of the "
            f"input's price that saved. {CACHE_PRICES}",
            [
                Query(f"{read} / ({read} + {fresh} + {write})", "read from the cache"),
                Query(
                    f"(0.9 * {read} - 0.25 * {write}) / ({read} + {fresh} + {write})",
                    "saved of the input's price",
                ),
            ],
            unit="percentunit",
            empty=NO_DATA,
            most=1,
        ),
        single(
            "Saved by the cache",
            "In the time shown, at the *Input price* chosen above: an estimate, as models differ "
            f"in price. {CACHE_PRICES}",
            f"(0.9 * {was_read} - 0.25 * {was_written}) * $input_price / 1000000",
            unit="currencyUSD",
            empty=NO_DATA,
            decimals=2,
        ),
        ranking(
            "Tokens by model",
            "Tokens of each model in the period.",
            Query(
                highest(20, f"sum by (model, period) ({of_models('relay_model_tokens')})"),
                "{{model}} · {{period}}",
            ),
            empty=NO_MODELS,
            width=6,
        ),
    ]


def used(cost: str, limit: str, of: str = OF_KEY) -> str:
    """The share of a limit that is used; no share where the limit is 0, which means none."""
    return f"{named(cost, of=of)} / ({named(limit, of=of)} > 0)"


def left(cost: str, limit: str) -> str:
    """The rest of a limit; empty if the limit is 0, which means none."""
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
    weekly, total, window = LIMITS["weekly"], LIMITS["total"], LIMITS["window"]
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
            "cost; of each the five keys that used most of it in the time shown.",
            [
                Query(
                    used(*metrics, of=f'{OF_KEY},relay_key_id=~"$top_{limit}"'),
                    f"{LIMIT_NAMES[limit]}: {KEY_LEGEND}",
                )
                for limit, metrics in LIMITS.items()
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


def _exhausted(window: str, over: str) -> str:
    """When a window of an account will be used up, in milliseconds; empty if it resets first."""
    used = f"relay_account_{window}_utilization_percent"
    rate = f"max by ({ACCOUNT}) (rate({used}{{{OF_RELAY}}}[{over}]))"
    instant = f"time() + (100 - {_of_accounts(used)}) / ({rate} > 0)"
    end = f"time() + {_of_accounts(f'relay_account_{window}_reset_seconds_remaining')}"
    return f"1000 * (({instant}) < ({end}))"


ACCOUNT_COLUMNS: Final = {
    "relay_account_id": "",
    "relay_account_name": "Account",
    "platform": "Platform",
    "relay_name": "Relay",
}


def _accounts() -> list[AnyPanel]:
    legend = "{{relay_account_name}} · {{platform}}"
    unavailable = _of_accounts("relay_account_unavailable_seconds_remaining")
    limited = _of_accounts("relay_account_rate_limit_seconds_remaining")
    windows = [
        over_time(
            f"{name} limit used",
            f"Use of the account's {name} window as the provider reports it, for the ten accounts "
            "whose 5-hour window was used most in the time shown.",
            [
                Query(
                    f"max by ({ACCOUNT}) "
                    f"(relay_account_{window}_utilization_percent{{{OF_TOP_ACCOUNTS}}})",
                    legend,
                )
            ],
            empty=NO_LOGIN,
            steps=OF_PERCENT,
            most=100,
        )
        for name, window in (("5-hour", "five_hour"), ("7-day", "seven_day"))
    ]
    return [
        grid(
            "Out of service now",
            "Accounts that get no requests, and for how long yet. No cell: not for that reason.",
            ACCOUNT_COLUMNS,
            [
                Column("Down", f"{_of_accounts('relay_account_up')} == 0", flag=("down", "up")),
                Column("Failed: back in", f"{unavailable} > 0"),
                Column("Rate-limited: back in", f"{limited} > 0"),
                Column(
                    "Overloaded",
                    f"{_of_accounts('relay_account_overloaded')} == 1",
                    flag=("no", "overloaded"),
                ),
                Column(
                    "Schedulable",
                    f"{_of_accounts('relay_account_schedulable')} == 0",
                    flag=("paused", "yes"),
                ),
            ],
            empty="Every account is in service, or it takes an administrator's login",
        ),
        *windows,
        grid(
            "Accounts",
            "Each upstream account as of now. The time when a window is exhausted is computed "
            "from the rate of the last hour, or of the last six hours for 7 days. No cell: there "
            "is no such limit, it resets first, or the relay does not say.",
            ACCOUNT_COLUMNS,
            [
                Column("Up", _of_accounts("relay_account_up"), flag=("down", "up")),
                Column(
                    "Schedulable", _of_accounts("relay_account_schedulable"), flag=("no", "yes")
                ),
                Column("Rate-limited for", f"{limited} > 0"),
                Column(
                    "5 hours used",
                    _of_accounts("relay_account_five_hour_utilization_percent"),
                    steps=OF_PERCENT,
                ),
                Column("5 hours exhausted", _exhausted("five_hour", "1h"), "dateTimeFromNow"),
                Column(
                    "5-hour limit resets in",
                    _of_accounts("relay_account_five_hour_reset_seconds_remaining"),
                ),
                Column(
                    "7 days used",
                    _of_accounts("relay_account_seven_day_utilization_percent"),
                    steps=OF_PERCENT,
                ),
                Column("7 days exhausted", _exhausted("seven_day", "6h"), "dateTimeFromNow"),
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
            "Running requests, and requests that wait because of their key's concurrency limit.",
            [
                Query(f"sum({_at_large('relay_active_requests', 'relay_name')})", "under way"),
                Query(f"sum({_at_large('relay_queued_requests', 'relay_name')})", "waiting"),
            ],
            empty=NO_LOGIN,
            width=8,
        ),
    ]


def _relay() -> list[AnyPanel]:
    latency = f"max by (relay_name) (relay_redis_latency_seconds{{{OF_RELAY}}})"
    used = f"max by ({NAMED_KEY}) (relay_key_last_used_timestamp_seconds{{{OF_KEY}}})"
    return [
        single(
            "Release",
            "1 for each release that a relay is of.",
            f"max by (relay_name, version) (relay_build_info{{{OF_RELAY}}})",
            empty=NO_LOGIN,
            legend="{{relay_name}} · {{version}}",
        ),
        single(
            "Redis",
            "Whether the relay is connected to its Redis.",
            f"max by (relay_name) (relay_redis_connected{{{OF_RELAY}}})",
            empty=NO_LOGIN,
            flag=("down", "connected"),
            legend="{{relay_name}}",
        ),
        over_time(
            "Latency of its Redis",
            "How long the relay's Redis took to answer it.",
            [Query(latency, "{{relay_name}}")],
            empty=NO_LOGIN,
            width=6,
        ),
        ranking(
            "Longest unused",
            "How long ago each key was used last, the twenty that it is longest of.",
            Query(f"time() - bottomk(20, {used})", KEY_LEGEND),
            unit="s",
            empty=NO_DATA,
            width=6,
        ),
    ]
