"""Write docs/metrics.md, the list of all metrics, from the catalogue.

python -m scripts.metrics_reference
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from relay_metrics.catalogue import ATTRIBUTES, EVERY_RUN, METRICS, TIMED, Metric
from relay_metrics.snapshot import Scope

FILE: Final = Path(__file__).parents[1] / "docs" / "metrics.md"

HEAD: Final = """\
# Metrics

*Written by `make docs` after `layers/aggregator/relay_metrics/catalogue.py`: change that.*

Every metric that relay-metrics defines. GreptimeDB's table has the metric's name, `greptime_value`
(a float), `greptime_timestamp` (the time of the run, in milliseconds; both are
[default names](greptimedb.md#what-the-columns-are-called)) and the labels below as
columns; a `.` in a label's name is a `_` there and in PromQL. The metrics of a Prometheus endpoint
keep the endpoint's own names: see [prometheus.md](prometheus.md). Questions that take more than
one metric are in [queries.md](queries.md).

Every series has `service.name`, `service.namespace`, `service.version`, `service.instance.id`,
`service.endpoint` (the relay's base URL), `deployment.environment`, `deployment.environment.name`,
`relay.name` and `relay.kind`, and what `OTEL_RESOURCE_ATTRIBUTES` adds. Series of a key also have
`relay.key.id` and `relay.key.name`. A renamed key continues as a new series, and a query sees both
within its lookback; the examples therefore count a key once, by `relay.key.id`.

A *running total* is a monotonic cumulative Sum: it only grows from the key's creation on, unless
an administrator resets it. All others are Gauges: limits, and figures that start over with their
day, month, week or window.

What the relay did not send is left out, never sent as 0. A limit of 0 means that there is none.

Below each table are example queries, one for each form that its metrics need. Replace the name of
the metric to query another one of the table.
"""

_A_DAY: Final = (
    "With an administrator's login, for days that are over. The timestamp is noon of the day in "
    "the relay's calendar: see [backfill.md](backfill.md). The only resource attributes are "
    "`relay.name`, `relay.kind` and, for a key, `relay.key.id`."
)

SECTIONS: Final[Mapping[Scope, tuple[str, str]]] = {
    Scope.RUN: (
        "The run",
        (
            "For each relay of any kind, in every run. With several shards, each shard sends these "
            "metrics for its own run, with the attribute `shard` of its event (`2/4`): take the "
            "minimum of `relay_up`, and the sum of samples and counts."
        ),
    ),
    Scope.FAILURE: ("What failed in the run", "Only if there were failures."),
    Scope.KEY: ("An API key", "For each key of a Claude Relay Service."),
    Scope.MODEL: (
        "A key's use of a model",
        "In the period of `RELAY_METRICS_PERIOD`, which is in the label `period`.",
    ),
    Scope.RELAY: ("A relay at large", "With an administrator's login."),
    Scope.KEY_STATE: ("Keys by state", "With an administrator's login."),
    Scope.ACCOUNT_STATE: ("Accounts by state", "With an administrator's login."),
    Scope.ACCOUNT_FAMILY: (
        "An upstream account's limit of a family of models",
        "With an administrator's login.",
    ),
    Scope.ALL_KEYS_MODEL: (
        "The use that all keys made of a model",
        "With an administrator's login, in the period of `RELAY_METRICS_PERIOD`.",
    ),
    Scope.BUILD: ("A relay's release", "With an administrator's login."),
    Scope.ACCOUNT: ("An upstream account", "With an administrator's login."),
    Scope.DAY_KEY: ("A key's day", f"{_A_DAY} Deleted keys are missing."),
    Scope.DAY_MODEL: ("A key's day with a model", f"{_A_DAY} Only by a back-fill with `models`."),
    Scope.DAY_ACCOUNT: (
        "An account's day",
        f"{_A_DAY} `platform` is the relay's group of accounts.",
    ),
    Scope.DAY_RELAY: ("A relay's day", _A_DAY),
    Scope.KEY_INFO: (
        "What a key is called",
        (
            "In every run, with the labels that `RELAY_KEY_LABELS` names. Queries join it with the "
            "sums of minutes and days."
        ),
    ),
    Scope.USAGE: ("Whether usage came", "For a Wyolet Relay with an administrator's token."),
    Scope.USAGE_MODEL: (
        "A minute's use of a model",
        (
            "For a Wyolet Relay with an administrator's token. The timestamp is the start of the "
            "minute; the only resource attributes are `relay.name` and `relay.kind`."
        ),
    ),
    Scope.USAGE_KEY: (
        "A minute's use by a key",
        (
            "For a Wyolet Relay with an administrator's token. The timestamp is the start of the "
            "minute; the only resource attributes are `relay.name`, `relay.kind` and "
            "`relay.key.id`."
        ),
    ),
    Scope.HOST_KEY: (
        "An upstream key",
        "For a Wyolet Relay with an administrator's token.",
    ),
}
OF_DAYS: Final = (Scope.DAY_KEY, Scope.DAY_MODEL, Scope.DAY_ACCOUNT, Scope.DAY_RELAY)

KEY: Final = ("relay_name", "relay_key_id")
_OF_KEYS: Final = (
    *(Scope.KEY, Scope.MODEL, Scope.DAY_KEY, Scope.DAY_MODEL),
    *(Scope.KEY_INFO, Scope.USAGE_KEY),
)
_OF_SHARDS: Final = {
    "relay_up": "min",
    **dict.fromkeys(
        (
            "relay_scrape_samples",
            "relay_keys_failed",
            "relay_keys_left_out",
            "relay_models_left_out",
        ),
        "sum",
    ),
}
"""How the runs of several shards are combined; all other metrics by their maximum."""
_SHARED: Final = {"relay_requests_total": '{relay_kind="claude-relay"}'}
"""Selects our metric where a Wyolet Relay has one of the same name."""


def label(attribute: str) -> str:
    """The label and column of an attribute.

    >>> label("error.type")
    'error_type'
    """
    return attribute.replace(".", "_")


def identity(metric: Metric) -> tuple[str, ...]:
    """The labels that identify what a series is about, without names, which may change."""
    names = [label(attribute) for attribute in ATTRIBUTES[metric.scope]]
    unnamed = [name for name in names if not name.endswith("_name")]
    return (*(KEY if metric.scope in _OF_KEYS else KEY[:1]), *unnamed)


def promql(metric: Metric) -> str:
    """An example query in PromQL, as far as GreptimeDB supports it."""
    selector = metric.name + _SHARED.get(metric.name, "")
    by = ", ".join(identity(metric))
    if metric.scope is Scope.FAILURE:
        return f"sum by ({by}) (sum_over_time({selector}[1h]))"
    if metric.scope in OF_DAYS:
        return f"sum by ({by}) (sum_over_time({selector}[30d]))"
    if metric.running:
        return f"sum by ({by}) (increase({selector}[1d]))"
    if metric.scope in TIMED:
        return f"sum by ({by}) (sum_over_time({selector}[1d]))"
    if metric.fresh != EVERY_RUN:
        selector = f"last_over_time({selector}[1h])"
    if metric.name == "relay_last_success_timestamp_seconds":
        return f"time() - max by ({by}) (max_over_time({selector}[1d]))"
    latest = f"{_OF_SHARDS.get(metric.name, 'max')} by ({by}) ({selector})"
    if metric.scope is Scope.MODEL:
        return f"sum by (model, period) ({latest})"
    if metric.name.endswith("_timestamp_seconds"):
        return f"{latest} - time()"
    return latest


def sql(metric: Metric) -> str:
    """An example query in SQL that GreptimeDB and its local stand-in both support."""
    by = ", ".join(identity(metric))
    where = f"FROM {metric.name}\nWHERE "
    if metric.name in _SHARED:
        where += "relay_kind = 'claude-relay'\n  AND "
    if metric.scope is Scope.FAILURE:
        return (
            f"SELECT {by}, sum(greptime_value) AS errors\n"
            f"{where}greptime_timestamp > now() - INTERVAL '1 hour'\n"
            f"GROUP BY {by}"
        )
    if metric.name == "relay_up":
        return (
            f"SELECT {by}, min(greptime_value) AS up\n"
            f"{where}greptime_timestamp > now() - INTERVAL '5 minutes'\n"
            f"GROUP BY {by}"
        )
    if metric.scope in OF_DAYS:
        return (
            f"SELECT {by}, sum(greptime_value) AS in_30_days\n"
            f"{where}greptime_timestamp > now() - INTERVAL '30 days'\n"
            f"GROUP BY {by}"
        )
    if metric.running:
        return (
            f"SELECT {by}, max(greptime_value) - min(greptime_value) AS grown\n"
            f"{where}greptime_timestamp > now() - INTERVAL '1 day'\n"
            f"GROUP BY {by}"
        )
    if metric.scope in TIMED:
        return (
            f"SELECT {by}, sum(greptime_value) AS used\n"
            f"{where}greptime_timestamp > now() - INTERVAL '1 day'\n"
            f"GROUP BY {by}"
        )
    names = [label(name) for name in ATTRIBUTES[metric.scope] if name.endswith(".name")]
    if metric.scope in (Scope.KEY, Scope.MODEL):
        names = ["relay_key_name"]
    shown = ", ".join([*identity(metric), *names])
    inner = where.replace("\n", "\n  ")
    return (
        f"SELECT {shown}, greptime_value\n"
        "FROM (\n"
        "  SELECT *, row_number() OVER (\n"
        f"    PARTITION BY {by}\n"
        "    ORDER BY greptime_timestamp DESC\n"
        "  ) AS place\n"
        f"  {inner}greptime_timestamp > now() - INTERVAL '1 hour'\n"
        ") AS latest\n"
        "WHERE place = 1"
    )


def reference() -> str:
    """The text of docs/metrics.md."""
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for scope, (title, of) in SECTIONS.items():
        metrics = [metric for metric in METRICS if metric.scope is scope]
        attributes = ", ".join(f"`{name}`" for name in ATTRIBUTES[scope]) or "none"
        yield f"## {title}\n\n{of} Attributes of its points: {attributes}.\n"
        yield "| metric | kind | unit | meaning | from | how fresh |"
        yield "|---|---|---|---|---|---|"
        yield from map(_row, metrics)
        yield ""
        yield from _examples(metrics)


def _row(metric: Metric) -> str:
    null = "" if metric.null is None else f"; null means {metric.null}"
    return (
        f'| <a id="{metric.name}"></a>`{metric.name}` | {_kind(metric)} | `{metric.unit}` '
        f"| {metric.description} | `{metric.field}` of {metric.source}{null} | {metric.fresh} |"
    )


def _examples(metrics: Iterable[Metric]) -> Iterator[str]:
    """An example query for each form that the metrics of a section need."""
    forms: dict[tuple[str, ...], Metric] = {}
    for metric in metrics:
        form = (text.replace(metric.name, "METRIC") for text in (promql(metric), sql(metric)))
        forms.setdefault(tuple(form), metric)
    shown: set[str] = set()
    for (in_promql, in_sql), metric in forms.items():
        if in_promql not in shown:
            yield f"```promql\n{promql(metric)}\n```\n"
        if in_sql not in shown:
            yield f"```sql\n{sql(metric)}\n```\n"
        shown |= {in_promql, in_sql}


def _kind(metric: Metric) -> str:
    return "running total" if metric.running else "gauge"


if __name__ == "__main__":
    FILE.write_text(reference(), "utf-8")
