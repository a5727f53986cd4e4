"""Write docs/metrics.md: every metric that we define, out of the catalogue.

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
`relay.name` and `relay.kind`, and what `OTEL_RESOURCE_ATTRIBUTES` adds. A key's have besides
`relay.key.id` and `relay.key.name`. A key that is renamed goes on as a new series, and for as long
as a query looks back both are seen: so the examples count a key once, by `relay.key.id`.

A *running total* is a monotonic cumulative Sum: it only grows, from the key's creation on, unless
an administrator resets it. All others are Gauges: they start over with their day, month, week or
window, or are limits.

What the relay did not send is left out, never sent as 0. A limit of 0 means that there is none.

Below each table is a query of each form that its metrics are asked in, with one of them as an
example: put another one's name in its place.
"""

_A_DAY: Final = (
    "With an administrator's login, of days that are over, stamped with noon of the relay's day: "
    "see [backfill.md](backfill.md). Of resource attributes they have `relay.name`, `relay.kind` "
    "and, of a key, `relay.key.id` alone."
)

SECTIONS: Final[Mapping[Scope, tuple[str, str]]] = {
    Scope.RUN: (
        "The run",
        (
            "Of each relay of each kind, whatever happened. Where shards share the work, each "
            "tells its own run, with the attribute `shard` as its event has it (`2/4`): the "
            "smallest `relay_up` is the relay's, and samples and counts are added up."
        ),
    ),
    Scope.FAILURE: ("What failed in the run", "Only where there was something."),
    Scope.KEY: ("An API key", "Of each key of a Claude Relay Service."),
    Scope.MODEL: (
        "A key's use of a model",
        "In the period of `RELAY_METRICS_PERIOD`, which is the label `period`.",
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
    Scope.DAY_KEY: ("A key's day", f"{_A_DAY} Keys that are not deleted."),
    Scope.DAY_MODEL: ("A key's day with a model", f"{_A_DAY} By a back-fill with `models` alone."),
    Scope.DAY_ACCOUNT: ("An account's day", f"{_A_DAY} `platform` is the relay's group of it."),
    Scope.DAY_RELAY: ("A relay's day", _A_DAY),
    Scope.KEY_INFO: (
        "What a key is called",
        (
            "In every run; besides, the labels that `RELAY_KEY_LABELS` names. Sums of minutes and "
            "days are joined with it."
        ),
    ),
    Scope.USAGE: ("Whether usage is told", "Of a Wyolet Relay with an administrator's token."),
    Scope.USAGE_MODEL: (
        "A minute's use of a model",
        (
            "Of a Wyolet Relay with an administrator's token. Its time is the minute's beginning; "
            "the resource has `relay.name` and `relay.kind` alone."
        ),
    ),
    Scope.USAGE_KEY: (
        "A minute's use by a key",
        (
            "Of a Wyolet Relay with an administrator's token. Its time is the minute's beginning; "
            "the resource has `relay.name`, `relay.kind` and `relay.key.id` alone."
        ),
    ),
    Scope.HOST_KEY: (
        "An upstream key",
        "Of a Wyolet Relay with an administrator's token.",
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
"""How the runs of several shards go together, where not as the largest."""
_SHARED: Final = {"relay_requests_total": '{relay_kind="claude-relay"}'}
"""What tells a metric from a Wyolet Relay's of the same name."""


def label(attribute: str) -> str:
    """An attribute's name as a label and a column.

    >>> label("error.type")
    'error_type'
    """
    return attribute.replace(".", "_")


def identity(metric: Metric) -> tuple[str, ...]:
    """The labels that tell what a series is of, whatever it is called by now."""
    names = [label(attribute) for attribute in ATTRIBUTES[metric.scope]]
    unnamed = [name for name in names if not name.endswith("_name")]
    return (*(KEY if metric.scope in _OF_KEYS else KEY[:1]), *unnamed)


def promql(metric: Metric) -> str:
    """An example query, within what GreptimeDB's PromQL can."""
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
    """An example query in what GreptimeDB's and the local stand-in's SQL have in common."""
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
    """A query of each form that the metrics of a section are asked in, with one of them."""
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
