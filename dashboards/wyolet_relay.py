"""*Wyolet Relay*: traffic and errors, whose time it is, saturation, keys that die."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import AnyPanel, Query, Steps, board, choice, over_time, ranking, single

OF_RELAY: Final = 'relay_kind="wyolet-relay",relay_name=~"$relay"'
OF_SOURCE: Final = OF_RELAY + ',source=~"$source"'
RATE: Final = "$__rate_interval"

NO_DATA: Final = "No data: is a relay of kind wyolet-relay configured?"
PROMISE_S: Final = 0.010
"""The promised p99 of the overhead."""
PROMISE: Final[Steps] = ((PROMISE_S, "red"),)
ERRORS: Final[Steps] = ((0.01, "orange"), (0.05, "red"))


def dashboard() -> Dashboard:
    """The dashboard."""
    return board(
        "Wyolet Relay",
        "relay-metrics-wyolet",
        "Traffic, latency and saturation of Wyolet Relays, as their /metrics tell them.",
        [
            choice(
                "relay", "Relay", 'label_values(relay_up{relay_kind="wyolet-relay"}, relay_name)'
            ),
            choice(
                "source", "Source", f"label_values(relay_inflight_requests{{{OF_RELAY}}}, source)"
            ),
        ],
        [
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
    return [
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
