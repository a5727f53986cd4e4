"""Converts a snapshot to OTLP. Pure: it uses no clock, network or environment."""

from __future__ import annotations

from collections.abc import Iterator

from relay_metrics.convert import readings, scrape
from relay_metrics.convert.parts import Part, encoded
from relay_metrics.convert.points import Points
from relay_metrics.snapshot import Snapshot

__all__ = ["Part", "convert", "record_points"]

READINGS_AT_ONCE = 200
"""How many readings make a part. A reading has 1 to 40 data points, so a part is some hundred kB,
and only so many objects of the SDK exist at a time."""


def convert(snapshot: Snapshot) -> Iterator[Part]:
    """All series of a snapshot, in the order of its things: readings, then series of families.

    The same snapshot always gives the same bytes. Within a part, the points of one resource are in
    one `ResourceMetrics`. The repeated `relay_up` of a copied scrape record is in the first part
    and is not counted in its points.

    Raises:
        EncodingError: a figure cannot be encoded in OTLP.
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
        # not imported in runs with claude-relays only
        from relay_metrics.convert import exposition

        yield from exposition.convert(snapshot)


def record_points(snapshot: Snapshot) -> int:
    """How many data points a snapshot's scrape record gives; 0 for a copy that repeats `up`."""
    if snapshot.scrape is None or snapshot.scrape.carried:
        return 0
    return sum(1 for _ in scrape.points_of(snapshot.scrape, snapshot.time_ms))
