"""From a snapshot to OTLP: pure, without clock, network or environment."""

from __future__ import annotations

from collections.abc import Iterator

from relay_metrics.convert import readings, scrape
from relay_metrics.convert.parts import Part, encoded
from relay_metrics.convert.points import Points
from relay_metrics.snapshot import Snapshot

__all__ = ["Part", "convert", "record_points"]

READINGS_AT_ONCE = 200
"""So that a part is some hundred kB, and no more than that stands as the SDK's objects at a time.
A reading is 1 to 40 data points."""


def convert(snapshot: Snapshot) -> Iterator[Part]:
    """All series of a snapshot, in the order of its things: readings, then series of families.

    The same snapshot gives the same bytes, whenever and wherever it is read. Points of one resource
    are in one `ResourceMetrics` within a part. What is carried of a scrape record is in the first
    part and not counted in its points.

    Raises:
        EncodingError: a figure has no place in OTLP.
    """
    for start in range(0, len(snapshot.readings) or 1, READINGS_AT_ONCE):
        some = snapshot.readings[start : start + READINGS_AT_ONCE]
        points = Points(snapshot.resource, snapshot.time_ms)
        readings.convert(some, points)
        carried = 0
        if start == 0 and snapshot.scrape is not None:
            scrape.convert(snapshot.scrape, snapshot.time_ms, points)
            carried = int(snapshot.scrape.carried)
        if part := encoded(points.data(), things=len(some), carried=carried):
            yield part
    if snapshot.families:
        # a run that asks claude-relays alone need not import it
        from relay_metrics.convert import exposition

        yield from exposition.convert(snapshot)


def record_points(snapshot: Snapshot) -> int:
    """How many data points of a snapshot are of its scrape record; what is carried is not."""
    if snapshot.scrape is None or snapshot.scrape.carried:
        return 0
    return sum(1 for _ in scrape.points_of(snapshot.scrape, snapshot.time_ms))
