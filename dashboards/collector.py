"""*Collector*: do the runs come, how long do they take, what fails, how much do they bring."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import AnyPanel, Query, Steps, board, choice, over_time, single

OF: Final = 'relay_name=~"$relay"'
BY: Final = "relay_name, relay_kind"
LEGEND: Final = "{{relay_name}}"

NO_RUNS: Final = "No runs: is the schedule enabled, does the collector fail?"
STALE: Final[Steps] = ((300, "orange"), (900, "red"))


def dashboard() -> Dashboard:
    """The dashboard."""
    return board(
        "Collector",
        "relay-metrics-collector",
        "Health of relay-metrics itself: its runs, by relay.",
        [choice("relay", "Relay", "label_values(relay_up, relay_name)")],
        [("Now", _now()), ("Runs", _runs()), ("What was left out", _left_out())],
    ).build()


def _now() -> list[AnyPanel]:
    return [
        single(
            "Up",
            "Relays that answered and accepted the credential in their latest run.",
            f"min by ({BY}) (relay_up{{{OF}}})",
            flag=("down", "up"),
            empty=NO_RUNS,
            legend=LEGEND,
            width=8,
        ),
        single(
            "Since the latest success",
            "How old the freshest figures of each relay are.",
            "time() - max by (relay_name) "
            f"(max_over_time(relay_last_success_timestamp_seconds{{{OF}}}[1d]))",
            unit="s",
            empty=NO_RUNS,
            steps=STALE,
            legend=LEGEND,
            width=8,
        ),
        single(
            "Up in the last day",
            "Share of the runs in which the relay was up.",
            f"avg by (relay_name) (avg_over_time(relay_up{{{OF}}}[1d]))",
            unit="percentunit",
            empty=NO_RUNS,
            legend=LEGEND,
            decimals=2,
            width=8,
        ),
    ]


def _runs() -> list[AnyPanel]:
    return [
        over_time(
            "Up",
            "1 where the relay answered and accepted the credential.",
            [Query(f"min by ({BY}) (relay_up{{{OF}}})", LEGEND)],
            empty=NO_RUNS,
            most=1,
        ),
        over_time(
            "Freshness",
            "Time since the latest run in which the relay was up.",
            [
                Query(
                    "time() - max by (relay_name) "
                    f"(max_over_time(relay_last_success_timestamp_seconds{{{OF}}}[1d]))",
                    LEGEND,
                )
            ],
            unit="s",
            empty=NO_RUNS,
            steps=STALE,
        ),
        over_time(
            "Duration",
            "How long it took to ask each relay everything.",
            [Query(f"max by ({BY}) (relay_scrape_duration_seconds{{{OF}}})", LEGEND)],
            empty=NO_RUNS,
        ),
        over_time(
            "Samples",
            "Data points made of what each relay answered in a run.",
            [Query(f"sum by ({BY}) (relay_scrape_samples{{{OF}}})", LEGEND)],
            empty=NO_RUNS,
        ),
        over_time(
            "Errors",
            "Requests that failed and values that were left out, by endpoint and type.",
            [
                Query(
                    "sum by (relay_name, endpoint, error_type) "
                    f"(sum_over_time(relay_scrape_errors{{{OF}}}[$__interval]))",
                    "{{relay_name}} · {{endpoint}} · {{error_type}}",
                )
            ],
            empty="No errors",
            bars=True,
        ),
        over_time(
            "Usage answered",
            "1 if a Wyolet Relay answered with its usage by model and by key.",
            [Query(f"max by ({BY}) (relay_usage_up{{{OF}}})", LEGEND)],
            empty="No relay is asked for its usage",
            most=1,
        ),
        over_time(
            "Runs",
            "Runs of each relay in an hour: 60 with the schedule of a minute.",
            [Query(f"max by ({BY}) (count_over_time(relay_up{{{OF}}}[1h]))", LEGEND)],
            empty=NO_RUNS,
        ),
    ]


def _left_out() -> list[AnyPanel]:
    return [
        over_time(
            "Keys delivered",
            "Keys with stats.",
            [
                Query(
                    "count by (relay_name) (max by (relay_name, relay_key_id) "
                    f'(relay_requests_total{{relay_kind="claude-relay",{OF}}}))',
                    LEGEND,
                )
            ],
            empty="No keys",
            width=8,
        ),
        over_time(
            "Keys failed",
            "Keys that were asked for and gave no stats.",
            [Query(f"max by ({BY}) (relay_keys_failed{{{OF}}})", LEGEND)],
            empty="No key failed",
            bars=True,
            width=8,
        ),
        over_time(
            "Beyond the bounds",
            "Keys beyond RELAY_MAX_KEYS and model rows beyond RELAY_MAX_MODELS_PER_KEY.",
            [
                Query(f"max by ({BY}) (relay_keys_left_out{{{OF}}})", f"keys · {LEGEND}"),
                Query(f"max by ({BY}) (relay_models_left_out{{{OF}}})", f"models · {LEGEND}"),
            ],
            empty="Nothing was left out",
            width=8,
        ),
    ]
