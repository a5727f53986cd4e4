"""Converts a scrape record to the metrics that every relay has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from relay_metrics import catalogue
from relay_metrics.convert.points import Points
from relay_metrics.snapshot import Number, Scope, Scrape


def convert(scrape: Scrape, time_ms: int, points: Points) -> None:
    """Add the points of a scrape record."""
    of_relay = points.of(scrape.resource)
    for metric, value, attributes in points_of(scrape, time_ms):
        of_relay.add(metric, value, attributes)


def points_of(
    scrape: Scrape, time_ms: int
) -> Iterator[tuple[catalogue.Metric, Number, Mapping[str, str]]]:
    """Each metric with its value and attributes; unknown values and counts of 0 are left out."""
    shard = {catalogue.SHARD: scrape.shard} if scrape.shard else {}
    known: dict[str, Number] = {"up": int(scrape.up)}
    if scrape.duration_s is not None:
        known["duration_s"] = scrape.duration_s
    if scrape.samples is not None:
        known["samples"] = scrape.samples
    if scrape.last_success_ms is not None:
        known["last_success_s"] = scrape.last_success_ms / 1000
        known["staleness_s"] = (time_ms - scrape.last_success_ms) / 1000
    for field in ("keys_failed", "keys_left_out", "models_left_out"):
        if count := getattr(scrape, field):
            known[field] = count
    for metric in catalogue.rows(Scope.RUN):
        if metric.field in known:
            yield metric, known[metric.field], shard
    for metric in catalogue.rows(Scope.FAILURE):
        for failure in scrape.failures:
            attributes = {"endpoint": failure.endpoint, "error.type": failure.type, **shard}
            yield metric, failure.count, attributes
