"""What becomes of an exposition, as lines to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relay_metrics.relays.prometheus.exposition import read
from relay_metrics.relays.prometheus.families import assemble
from relay_metrics.snapshot import Snapshot
from tests.otlp import attributes_of, request_of

TIME_MS = 1_800_000_000_000
TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text"
RESOURCE = {"service.name": "relay-metrics", "relay.name": "wyolet"}


def snapshot_of(
    exposition: str, media_type: str = TEXT, exclude: Sequence[str] = ()
) -> tuple[Snapshot, dict[str, int]]:
    """The snapshot, written down and read back, and what was left out of it."""
    parsed = read(exposition.encode(), media_type, exclude)
    families = assemble(parsed, TIME_MS)
    snapshot = Snapshot("wyolet-relay", "wyolet", TIME_MS, RESOURCE, families=families)
    return Snapshot.load(snapshot.dump()), dict(parsed.left_out)


def delivered(exposition: str, media_type: str = TEXT, exclude: Sequence[str] = ()) -> list[str]:
    """Every data point: `KIND NAME{LABELS} VALUE from START at TIME`, what is unset left out."""
    snapshot, _ = snapshot_of(exposition, media_type, exclude)
    lines = [line for metric in metrics_of(snapshot) for line in _lines(metric)]
    assert len(lines) == snapshot.samples
    return sorted(lines)


def left_out(
    exposition: str, media_type: str = TEXT, exclude: Sequence[str] = ()
) -> dict[str, int]:
    return snapshot_of(exposition, media_type, exclude)[1]


def metrics_of(snapshot: Snapshot) -> list[Any]:
    resources = request_of(snapshot).resource_metrics
    return [metric for one in resources for scope in one.scope_metrics for metric in scope.metrics]


def _lines(metric: Any) -> Iterator[str]:
    sort = metric.WhichOneof("data")
    kind = "Counter" if sort == "sum" and metric.sum.is_monotonic else sort.capitalize()
    for point in getattr(metric, sort).data_points:
        when = f" from {_ms(point.start_time_unix_nano)}" if point.start_time_unix_nano else ""
        if point.time_unix_nano != TIME_MS * 10**6:
            when += f" at {_ms(point.time_unix_nano)}"
        yield f"{kind} {metric.name}{_labels(attributes_of(point.attributes))} {_said(point)}{when}"


def _ms(nanoseconds: int) -> int:
    ms, rest = divmod(nanoseconds, 10**6)
    assert rest == 0
    return ms


def _labels(attributes: Mapping[str, str]) -> str:
    pairs = [f'{name}="{value}"' for name, value in sorted(attributes.items())]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _said(point: Any) -> str:
    if not hasattr(point, "bucket_counts"):
        assert point.WhichOneof("value") == "as_double"
        return f"{point.as_double:g}"
    bounds = [f"{bound:g}" for bound in point.explicit_bounds] + ["inf"]
    buckets = list(zip(bounds, point.bucket_counts, strict=False))
    if not point.bucket_counts:
        buckets = [("count", point.count)]
    else:
        assert point.count == sum(point.bucket_counts)
    total = f" sum {point.sum:g}" if point.HasField("sum") else ""
    return " ".join(f"{bound}:{count}" for bound, count in buckets) + total
