"""*Wyolet Relay*: traffic and errors, whose time it is, saturation, keys that die."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import (
    OF_THE_DAY,
    OF_THE_HOUR,
    TOKENS_A_MINUTE,
    USD_AN_HOUR,
    AnyPanel,
    Column,
    Query,
    Steps,
    board,
    by_day,
    choice,
    chosen_once,
    grid,
    over_time,
    ranking,
    single,
    text,
)
from dashboards.promql import KEY, KEY_LEGEND, added_up, highest, with_info

OF_RELAY: Final = 'relay_kind="wyolet-relay",relay_name=~"$relay"'
OF_SOURCE: Final = OF_RELAY + ',source=~"$source"'
RATE: Final = "$__rate_interval"

OF_MODEL: Final = OF_RELAY + ',model=~"$model"'
OF_ANY_KEY: Final = OF_RELAY + ',relay_key_id=~".+"'
OF_TOP_KEYS: Final = OF_RELAY + ',relay_key_id=~"$top_keys"'
OF_THE_RANGE: Final = "[$__range]"

NO_USAGE: Final = "No usage: it takes an administrator's token for the relay"
NO_DATA: Final = "No data: is a relay of kind wyolet-relay configured?"
PROMISE_S: Final = 0.010
"""The promised p99 of the overhead."""
PROMISE: Final[Steps] = ((PROMISE_S, "red"),)
ERRORS: Final[Steps] = ((0.01, "orange"), (0.05, "red"))


COST_OF_MODELS: Final = "relay_usage_by_model_cost_usd"
COST_OF_KEYS: Final = "relay_usage_by_key_cost_usd"


def dashboard() -> Dashboard:
    """The dashboard."""
    return board(
        "Wyolet Relay",
        "relay-metrics-wyolet",
        "Cost, tokens, traffic, latency and saturation of Wyolet Relays, as they report them.",
        [
            choice(
                "relay", "Relay", 'label_values(relay_up{relay_kind="wyolet-relay"}, relay_name)'
            ),
            choice(
                "source", "Source", f"label_values(relay_inflight_requests{{{OF_RELAY}}}, source)"
            ),
            choice(
                "model",
                "Model",
                f"query_result({added_up(COST_OF_MODELS, OF_THE_RANGE, 'model', OF_RELAY)})",
                regex=r'/\bmodel="([^"]+)"/',
            ),
            text(
                "label",
                "Label of keys",
                "team",
                "A label of the relay's keys that RELAY_KEY_LABELS names: cost is added up by it.",
            ),
            chosen_once(
                "top_keys",
                highest(10, added_up(COST_OF_KEYS, OF_THE_RANGE, "relay_key_id", OF_ANY_KEY)),
                "relay_key_id",
            ),
        ],
        [
            ("Cost", _cost()),
            ("Traffic and errors", _traffic()),
            ("Whose time is it?", _time()),
            ("Saturation", _saturation()),
            ("Keys dying", _keys()),
        ],
    ).build()


def quantile(
    share: float, metric: str, by: str = "", window: str = RATE, of: str = OF_SOURCE
) -> str:
    """A quantile of a histogram, in seconds."""
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{of}}}[{window}])))"
    )


def errors(status: str, window: str = RATE) -> str:
    """The share of requests that end with a class of status."""
    return (
        f'sum(rate(relay_requests_total{{{OF_SOURCE},status=~"{status}"}}[{window}])) / '
        f"sum(rate(relay_requests_total{{{OF_SOURCE}}}[{window}]))"
    )


def slow(window: str = RATE) -> str:
    """The share of requests whose overhead breaks the promise."""
    return (
        f'1 - sum(rate(relay_overhead_seconds_bucket{{{OF_SOURCE},le="0.01"}}[{window}])) / '
        f"sum(rate(relay_overhead_seconds_count{{{OF_SOURCE}}}[{window}]))"
    )


def _of_models(figure: str, window: str, by: str = "") -> str:
    """Of the minutes that a time is made of, the sum."""
    return added_up(f"relay_usage_by_model_{figure}", window, by, OF_MODEL)


def _cost() -> list[AnyPanel]:
    hour = OF_THE_HOUR
    by_key = added_up(COST_OF_KEYS, OF_THE_RANGE, KEY, OF_RELAY)
    top_keys = added_up(COST_OF_KEYS, hour, KEY, OF_TOP_KEYS)
    of_label = "sum by (relay_name, $label) ({})".format
    unpriced, failed = (
        added_up(f"relay_usage_by_model_{figure}", hour, "relay_name, model", OF_MODEL)
        for figure in ("unpriced_requests", "errors")
    )
    cost, requests = (_of_models(figure, hour, "model") for figure in ("cost_usd", "requests"))
    tokens = {
        kind: _of_models(f"{name}_tokens", hour)
        for kind, name in (
            ("input", "input"),
            ("output", "output"),
            ("cache write", "cache_create"),
            ("cache read", "cache_read"),
        )
    }
    read, all_input = (
        tokens["cache read"],
        f"({tokens['cache read']} + {tokens['input']} + {tokens['cache write']})",
    )
    by_kind = " + ".join(
        _of_models(f"{name}_tokens", hour, "model")
        for name in ("input", "output", "cache_create", "cache_read")
    )
    says = "A minute is delivered once it is over, and again: see docs/relays.md."
    return [
        single(
            "Cost",
            f"In the time shown, by the prices of then. {says}",
            _of_models("cost_usd", OF_THE_RANGE),
            empty=NO_USAGE,
            decimals=2,
        ),
        single(
            "Cost of an hour",
            "USD an hour, over the last hour.",
            _of_models("cost_usd", hour),
            unit=f"count:{USD_AN_HOUR}",
            empty=NO_USAGE,
            decimals=2,
        ),
        single(
            "Requests",
            "That reached an upstream in the time shown.",
            _of_models("requests", OF_THE_RANGE),
            empty=NO_USAGE,
        ),
        single(
            "Without a price",
            "Requests of the time shown that the relay could not price, those that failed aside: "
            "what it says of cost is too little where there are any.",
            f"{_of_models('unpriced_requests', OF_THE_RANGE)} - "
            f"{_of_models('errors', OF_THE_RANGE)}",
            empty=NO_USAGE,
            steps=((1, "orange"),),
        ),
        over_time(
            "Cost by model",
            "USD an hour, over the hour before.",
            [Query(cost, "{{model}}")],
            rate=USD_AN_HOUR,
            empty=NO_USAGE,
            stacked=True,
        ),
        by_day(
            "Cost by model by day",
            "USD of each day, by the viewer's calendar.",
            Query(_of_models("cost_usd", OF_THE_DAY, "model"), "{{model}}"),
            empty=NO_USAGE,
        ),
        over_time(
            "Cost by key over time",
            "USD an hour, over the hour before, of the ten keys that cost most in the time shown. "
            "The names are those at that time; figures of a back-fill from before have none.",
            [Query(with_info(top_keys, OF_RELAY), KEY_LEGEND)],
            rate=USD_AN_HOUR,
            empty=NO_USAGE,
            stacked=True,
        ),
        ranking(
            "Cost by key",
            "USD in the time shown, the twenty highest, by the names that keys have now.",
            Query(highest(20, with_info(by_key, OF_RELAY)), KEY_LEGEND),
            empty=NO_USAGE,
            decimals=2,
        ),
        over_time(
            "Cost by label over time",
            "USD an hour, over the hour before, by the *Label of keys* chosen above. Without a "
            "name: keys that lack the label.",
            [
                Query(
                    of_label(with_info(added_up(COST_OF_KEYS, hour, KEY, OF_RELAY), OF_RELAY)),
                    "{{$label}}",
                )
            ],
            rate=USD_AN_HOUR,
            empty=NO_USAGE,
            stacked=True,
        ),
        ranking(
            "Cost by label",
            "USD in the time shown by the *Label of keys* chosen above, by what keys have now. "
            "Without a name: keys that lack the label.",
            Query(of_label(with_info(by_key, OF_RELAY)), "{{$label}}"),
            empty=NO_USAGE,
            decimals=2,
        ),
        over_time(
            "Cost a request",
            "By model, over the hour before.",
            [Query(f"{cost} / ({requests} > 0)", "{{model}}")],
            unit="currencyUSD",
            empty=NO_USAGE,
            decimals=4,
        ),
        over_time(
            "Cost a million tokens",
            "Tokens of all kinds by model, over the hour before.",
            [Query(f"1000000 * {cost} / (({by_kind}) > 0)", "{{model}}")],
            unit="currencyUSD",
            empty=NO_USAGE,
            decimals=2,
        ),
        over_time(
            "Tokens by kind",
            "Tokens a minute, over the hour before.",
            [Query(f"{query} / 60", kind) for kind, query in tokens.items()],
            rate=TOKENS_A_MINUTE,
            empty=NO_USAGE,
            stacked=True,
        ),
        over_time(
            "Cache hit share",
            "Of all tokens that went in over the hour before, how many were read from the cache.",
            [Query(f"{read} / {all_input}", "read from the cache")],
            unit="percentunit",
            empty=NO_USAGE,
            most=1,
        ),
        over_time(
            "Requests without a price",
            "Requests of the last hour that did not fail but have no price, so that their cost is "
            "missing.",
            [Query(f"{unpriced} - {failed}", "{{model}} · {{relay_name}}")],
            empty=NO_USAGE,
            bars=True,
        ),
    ]


def _traffic() -> list[AnyPanel]:
    return [
        single(
            "Requests a second",
            "Over the last five minutes.",
            f"sum(rate(relay_requests_total{{{OF_SOURCE}}}[5m]))",
            unit="reqps",
            empty=NO_DATA,
            decimals=2,
            width=6,
        ),
        single(
            "Server errors",
            "Share of requests that ended with 5xx in the last hour.",
            errors("5xx", "1h"),
            unit="percentunit",
            empty="No request failed",
            steps=ERRORS,
            decimals=2,
            width=6,
        ),
        single(
            "Overhead, p99",
            "The relay's own time, p99 over the last hour. The promise is less than 10 ms.",
            quantile(0.99, "relay_overhead_seconds", window="1h"),
            unit="s",
            empty=NO_DATA,
            steps=PROMISE,
            decimals=1,
            width=6,
        ),
        single(
            "Slower than 10 ms",
            "Share of requests with more than 10 ms of overhead in the last hour. The promise "
            "leaves 1 %.",
            slow("1h"),
            unit="percentunit",
            empty=NO_DATA,
            steps=((0.01, "red"),),
            decimals=2,
            width=6,
        ),
        over_time(
            "Requests by status",
            "Requests a second by class of status.",
            [
                Query(
                    f"sum by (status) (rate(relay_requests_total{{{OF_SOURCE}}}[{RATE}]))",
                    "{{status}}",
                )
            ],
            unit="reqps",
            empty=NO_DATA,
            stacked=True,
        ),
        over_time(
            "Errors",
            "Share of requests by class of status.",
            [Query(errors("5xx"), "5xx"), Query(errors("4xx"), "4xx")],
            unit="percentunit",
            empty="No request failed",
        ),
        over_time(
            "Requests by source",
            "Requests a second by runner.",
            [
                Query(
                    f"sum by (source) (rate(relay_requests_total{{{OF_SOURCE}}}[{RATE}]))",
                    "{{source}}",
                )
            ],
            unit="reqps",
            empty=NO_DATA,
            stacked=True,
            width=24,
        ),
    ]


def _time() -> list[AnyPanel]:
    overhead = "relay_overhead_seconds"
    return [
        over_time(
            "Overhead",
            "The relay's own time: all of it minus the upstream's. The promise is a p99 below "
            "10 ms, the dashed line.",
            [
                Query(quantile(share, overhead), f"p{round(100 * share)}")
                for share in (0.99, 0.95, 0.5)
            ],
            unit="s",
            empty=NO_DATA,
            steps=PROMISE,
        ),
        over_time(
            "Overhead, p99 by source",
            "The relay's own time, by runner.",
            [Query(quantile(0.99, overhead, "source"), "{{source}}")],
            unit="s",
            empty=NO_DATA,
            steps=PROMISE,
        ),
        over_time(
            "Latency",
            "From end to end, the upstream's time included.",
            [
                Query(quantile(share, "relay_request_seconds"), f"p{round(100 * share)}")
                for share in (0.99, 0.95, 0.5)
            ],
            unit="s",
            empty=NO_DATA,
        ),
        over_time(
            "The relay's share of the time",
            "Overhead of all the time that requests took.",
            [
                Query(
                    f"sum(rate(relay_overhead_seconds_sum{{{OF_SOURCE}}}[{RATE}])) / "
                    f"sum(rate(relay_request_seconds_sum{{{OF_SOURCE}}}[{RATE}]))",
                    "overhead",
                )
            ],
            unit="percentunit",
            empty=NO_DATA,
        ),
        over_time(
            "Admission and post-flight, p99",
            "Accept to hand-off (auth, rate limit, choice of key), and the observers' fan-out "
            "after a request.",
            [
                Query(quantile(0.99, "relay_admission_seconds"), "admission"),
                Query(quantile(0.99, "relay_post_flight_seconds", of=OF_RELAY), "post-flight"),
            ],
            unit="s",
            empty=NO_DATA,
        ),
        over_time(
            "Slower than 10 ms",
            "Share of requests with more than 10 ms of overhead. The promise leaves 1 %, the "
            "dashed line.",
            [Query(slow(), "slower")],
            unit="percentunit",
            empty=NO_DATA,
            steps=((0.01, "red"),),
        ),
    ]


def _saturation() -> list[AnyPanel]:
    by_kind = "relay_name, kind"
    lost = f"relay_records_lost_total{{{OF_RELAY}}}"
    return [
        over_time(
            "Open requests",
            "By runner; a stream counts until its body closes.",
            [
                Query(
                    f"sum by (source) (relay_inflight_requests{{{OF_SOURCE}}})",
                    "{{source}}",
                )
            ],
            empty=NO_DATA,
            stacked=True,
            width=8,
        ),
        over_time(
            "Events waiting",
            "In the emitter's queues: the leading sign of lost records.",
            [Query(f"max by ({by_kind}) (relay_emit_queue_depth{{{OF_RELAY}}})", "{{kind}}")],
            empty=NO_DATA,
            width=8,
        ),
        over_time(
            "Records lost",
            "Background records dropped because a queue was full: a hole in billing or audit.",
            [
                Query(
                    f"sum by ({by_kind}) (increase({lost}[{RATE}]))",
                    "{{kind}}",
                )
            ],
            empty="No record was lost",
            bars=True,
            width=8,
        ),
        over_time(
            "Memory",
            "Resident memory of the relay's process.",
            [
                Query(
                    f"max by (relay_name) (process_resident_memory_bytes{{{OF_RELAY}}})",
                    "{{relay_name}}",
                )
            ],
            unit="bytes",
            empty="The relay exports no process metrics",
            width=8,
        ),
        over_time(
            "CPU",
            "Processors that the relay's process keeps busy.",
            [
                Query(
                    f"sum by (relay_name) (rate(process_cpu_seconds_total{{{OF_RELAY}}}[{RATE}]))",
                    "{{relay_name}}",
                )
            ],
            empty="The relay exports no process metrics",
            width=8,
        ),
        over_time(
            "Goroutines",
            "Of the relay's process; a steady rise is a leak.",
            [Query(f"max by (relay_name) (go_goroutines{{{OF_RELAY}}})", "{{relay_name}}")],
            empty="The relay exports no Go metrics",
            width=8,
        ),
    ]


def _keys() -> list[AnyPanel]:
    went_down = f"relay_provider_keys_down_total{{{OF_RELAY}}}"
    key = "relay_name, relay_host_key_id, relay_host_key_name"
    up = f"max by ({key}) (relay_host_key_up{{{OF_RELAY}}})"
    cooldown = f"max by ({key}) (relay_host_key_cooldown_seconds_remaining{{{OF_RELAY}}})"
    return [
        grid(
            "Provider keys now",
            "Whether the relay gives requests to each, and when it is tried again.",
            {"relay_host_key_id": "", "relay_host_key_name": "Key", "relay_name": "Relay"},
            [
                Column("In use", up, flag=("down", "yes")),
                Column("Tried again in", f"{cooldown} > 0"),
            ],
            empty=NO_USAGE,
        ),
        over_time(
            "Provider keys going down",
            "How often a key was put into cooldown, by reason. Transitions, not keys that are down "
            "now.",
            [
                Query(
                    f"sum by (relay_name, reason) (increase({went_down}[{RATE}]))",
                    "{{reason}} · {{relay_name}}",
                )
            ],
            empty="No provider key went down",
            bars=True,
        ),
        ranking(
            "Provider keys gone down in the last day",
            "By reason: auth is a key that needs a person.",
            Query(
                f"sum by (relay_name, reason) (increase({went_down}[1d]))",
                "{{reason}} · {{relay_name}}",
            ),
            empty="No provider key went down",
        ),
    ]
