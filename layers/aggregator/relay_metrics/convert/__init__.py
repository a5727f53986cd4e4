"""From a snapshot to OpenTelemetry metrics: pure, without clock, network or environment."""

from __future__ import annotations

from opentelemetry.sdk.metrics.export import MetricsData

from relay_metrics.convert import readings, scrape
from relay_metrics.convert.points import Points
from relay_metrics.snapshot import Snapshot

__all__ = ["convert"]


def convert(snapshot: Snapshot) -> MetricsData:
    """All series of a snapshot, one `ResourceMetrics` a resource.

    The same snapshot gives the same metrics, whenever and wherever it is read.
    """
    points = Points(snapshot.resource, snapshot.time_ms)
    readings.convert(snapshot.readings, points)
    if snapshot.families:
        # a run that asks claude-relays alone need not import it
        from relay_metrics.convert import exposition

        exposition.convert(snapshot.families, snapshot.resource, points)
    if snapshot.scrape is not None:
        scrape.convert(snapshot.scrape, snapshot.time_ms, points)
    return points.data()
