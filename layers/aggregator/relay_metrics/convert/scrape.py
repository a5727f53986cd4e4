"""How the run went for a relay, as the metrics that every relay has."""

from __future__ import annotations

from relay_metrics import catalogue
from relay_metrics.convert.points import Points
from relay_metrics.snapshot import Number, Scope, Scrape


def convert(scrape: Scrape, time_ms: int, points: Points) -> None:
    """Those of the relay at large; what is not known, and a count of nothing, is left out."""
    known: dict[str, Number] = {
        "up": int(scrape.up),
        "duration_s": scrape.duration_s,
        "samples": scrape.samples,
    }
    if scrape.last_success_ms is not None:
        known["last_success_s"] = scrape.last_success_ms / 1000
        known["staleness_s"] = (time_ms - scrape.last_success_ms) / 1000
    for field in ("keys_failed", "keys_left_out", "models_left_out"):
        if count := getattr(scrape, field):
            known[field] = count
    of_relay = points.of()
    for metric in catalogue.rows(Scope.RUN):
        if metric.field in known:
            of_relay.add(metric, known[metric.field])
    for metric in catalogue.rows(Scope.FAILURE):
        for failure in scrape.failures:
            of_relay.add(
                metric,
                failure.count,
                {"endpoint": failure.endpoint, "error.type": failure.type},
            )
