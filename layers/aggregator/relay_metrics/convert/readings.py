"""Converts readings to the metrics of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable

from relay_metrics import catalogue
from relay_metrics.convert.points import Points
from relay_metrics.snapshot import Reading


def convert(readings: Iterable[Reading], points: Points) -> None:
    """One data point for each field of each reading."""
    for reading in readings:
        of_resource = points.of(reading.resource)
        attributes = {name: value for name, value in reading.attributes.items() if value}
        for metric in catalogue.rows(reading.scope):
            value = reading.fields.get(metric.field)
            if value is not None:
                of_resource.add(metric, value, attributes, reading.start_ms, reading.time_ms)
