"""The families of a Prometheus endpoint, under their own names."""

from __future__ import annotations

from collections.abc import Iterable

from relay_metrics.convert.points import GAUGE, Points, RUNNING
from relay_metrics.snapshot import Family, FamilyType


def convert(families: Iterable[Family], points: Points) -> None:
    """The data points of each series."""
    of_endpoint = points.of()
    for family in families:
        for series in family.series:
            if series.value is not None:
                kind = RUNNING if family.type is FamilyType.COUNTER else GAUGE
                of_endpoint.number(
                    kind,
                    family.name,
                    series.value,
                    series.labels,
                    description=family.help,
                    time_ms=series.time_ms,
                    start_ms=series.start_ms,
                )
