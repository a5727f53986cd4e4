"""A Wyolet Relay, or any other Prometheus endpoint."""

from __future__ import annotations

from relay_metrics.relays.kinds import OwnKeys, RelayKind
from relay_metrics.relays.wyolet import settings

KIND = RelayKind(
    one=OwnKeys(settings.of_one, takes="relay_headers"),
    listed=OwnKeys(settings.of_listed, takes="headers", options=("metrics_path", "metric_exclude")),
    sharded=False,
)
