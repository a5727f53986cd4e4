"""The dry run: fetches and converts, pushes nothing, and answers with the data points."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from relay_metrics.convert import convert
from relay_metrics.deadline import Deadline
from relay_metrics.entry.event import Event
from relay_metrics.observability import redacted
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.scrape import ScrapeResult, scrape_all, unasked

MAX_ANSWER_BYTES = 5_500_000
"""Lambda accepts an answer of 6 MB, including the spaces that its runtime puts into the JSON."""

_RESERVE_S = 2.0
"""Kept for building the answer."""


def dry_run(runtime: Runtime, event: Event, seconds: float) -> dict[str, Any]:
    """Return the data points that a run would push.

    Args:
        seconds: the time that the invocation has left.

    Returns:
        `{relays: […], metrics: [{name, kind, unit, points: [{resource, attributes, value,
        time}]}]}`: the report's relays, and every data point. If that is more than Lambda can
        answer with, the last points are left out and `remark` says how many.
    """
    invocation = Invocation(runtime)
    if invocation.settings.unfilled:
        return {"relays": unasked(invocation.settings), "metrics": []}
    metrics: dict[tuple[str, str], dict[str, Any]] = {}
    samples: dict[str, int] = {}
    lock = threading.Lock()

    def show(result: ScrapeResult) -> None:
        with lock:
            samples[result.relay.name] = 0
            for part in chain(convert(result.snapshot), convert(result.timed)):
                for shown, points in _shown(part.data):
                    metric = metrics.setdefault((shown["name"], shown["kind"]), shown)
                    metric["points"] += points
                samples[result.relay.name] += part.points

    deadline = Deadline.after(max(seconds - _RESERVE_S, seconds / 2))
    results = scrape_all(runtime, invocation, event, deadline, show)
    answer: dict[str, Any] = {
        "relays": [result.report(samples[result.relay.name]) for result in results],
        "metrics": [
            {**metric, "points": redacted(metric["points"])} for metric in metrics.values()
        ],
    }
    return _cut(answer)


def _shown(data: bytes) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    for resource in ExportMetricsServiceRequest.FromString(data).resource_metrics:
        attributes = _texts(resource.resource.attributes)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points = [
                    {
                        "resource": attributes,
                        "attributes": _texts(point.attributes),
                        "value": _value(point),
                        "time": _time(point.time_unix_nano),
                    }
                    for point in getattr(metric, str(metric.WhichOneof("data"))).data_points
                ]
                yield (
                    {"name": metric.name, "kind": _kind(metric), "unit": metric.unit, "points": []},
                    points,
                )


def _texts(attributes: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in attributes}


def _kind(metric: Any) -> str:
    kind = str(metric.WhichOneof("data"))
    return "monotonic sum" if kind == "sum" and metric.sum.is_monotonic else kind


def _value(point: Any) -> Any:
    if not hasattr(point, "bucket_counts"):
        return _figure(getattr(point, point.WhichOneof("value")))
    return {
        "count": point.count,
        "sum": _figure(point.sum if point.HasField("sum") else None),
        "bounds": [_figure(bound) for bound in point.explicit_bounds],
        "counts": list(point.bucket_counts),
    }


def _figure(value: float | None) -> Any:
    """A number as a JSON value; infinities, which JSON has not, as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _time(nanoseconds: int) -> str:
    at = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return at.isoformat(timespec="milliseconds")


def _cut(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without the points that exceed `MAX_ANSWER_BYTES`."""
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
