"""Fetch and convert, push nothing: what a run would send, in a form for people."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from opentelemetry.sdk.metrics.export import Gauge, HistogramDataPoint, MetricsData, Sum

from relay_metrics.convert import convert
from relay_metrics.deadline import Deadline
from relay_metrics.entry.event import Event
from relay_metrics.observability import redacted
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.scrape import ScrapeResult, scrape_all

MAX_ANSWER_BYTES = 5_500_000
"""Lambda takes an answer of 6 MB, which the runtime writes with spaces that are counted here."""

_SPOOL_NOTHING_S = 2.0


def dry_run(runtime: Runtime, event: Event, seconds: float) -> dict[str, Any]:
    """What a run would send.

    Args:
        seconds: what the invocation has left.

    Returns:
        `{relays: […], metrics: [{name, kind, unit, points: [{resource, attributes, value,
        time}]}]}`: the report's relays, and every data point. Where that is more than Lambda
        answers with, the last points are left out, and `remark` says how many.
    """
    invocation = Invocation(runtime)
    metrics: dict[tuple[str, str], dict[str, Any]] = {}
    samples: dict[str, int] = {}
    lock = threading.Lock()

    def show(result: ScrapeResult) -> None:
        converted = [convert(result.snapshot), convert(result.timed)]
        with lock:
            samples[result.relay.name] = 0
            for shown, points in (one for data in converted for one in _shown(data)):
                metric = metrics.setdefault((shown["name"], shown["kind"]), shown)
                metric["points"] += points
                samples[result.relay.name] += len(points)

    deadline = Deadline.after(max(seconds - _SPOOL_NOTHING_S, seconds / 2))
    results = scrape_all(runtime, invocation, event, deadline, show)
    answer: dict[str, Any] = {
        "relays": [result.report(samples[result.relay.name]) for result in results],
        "metrics": [
            {**metric, "points": redacted(metric["points"])} for metric in metrics.values()
        ],
    }
    return _cut(answer)


def _shown(data: MetricsData) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    for resource in data.resource_metrics:
        attributes = dict(resource.resource.attributes)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points = [
                    {
                        "resource": attributes,
                        "attributes": dict(point.attributes or {}),
                        "value": _value(point),
                        "time": _time(point.time_unix_nano),
                    }
                    for point in metric.data.data_points
                ]
                kind = _kind(metric.data)
                yield (
                    {"name": metric.name, "kind": kind, "unit": metric.unit, "points": []},
                    points,
                )


def _kind(data: object) -> str:
    if isinstance(data, Gauge):
        return "gauge"
    if isinstance(data, Sum):
        return "monotonic sum" if data.is_monotonic else "sum"
    return "histogram"


def _value(point: Any) -> Any:
    if isinstance(point, HistogramDataPoint):
        return {
            "count": point.count,
            "sum": _figure(point.sum),
            "bounds": [_figure(bound) for bound in point.explicit_bounds],
            "counts": list(point.bucket_counts),
        }
    return _figure(point.value)


def _figure(value: float | None) -> Any:
    """A number as JSON has it; infinities, which it has not, as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _time(nanoseconds: int) -> str:
    at = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return at.isoformat(timespec="milliseconds")


def _cut(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without the points for which there is no room."""
    bare = {**answer, "metrics": [{**one, "points": []} for one in answer["metrics"]]}
    room = MAX_ANSWER_BYTES - len(json.dumps(bare))
    left_out = 0
    for metric in answer["metrics"]:
        sizes = [len(json.dumps(point)) + 2 for point in metric["points"]]
        kept = 0
        for size in sizes:
            if size > room:
                break
            room -= size
            kept += 1
        left_out += len(sizes) - kept
        del metric["points"][kept:]
    if left_out:
        answer["remark"] = (
            f"{left_out} data points are left out here: Lambda answers with 6 MB at most. "
            "Choose fewer relays, or a shard, in the event"
        )
    return answer
