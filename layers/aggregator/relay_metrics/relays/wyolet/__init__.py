"""A Wyolet Relay, or any other Prometheus endpoint."""

from __future__ import annotations

from relay_metrics.relays.kinds import OwnKeys, RelayKind
from relay_metrics.relays.wyolet import settings

KIND = RelayKind(
    one=OwnKeys(
        settings.of_one,
        takes="relay_headers and relay_admin_token",
        credentials=("relay_admin_token",),
    ),
    listed=OwnKeys(
        settings.of_listed,
        takes="headers and admin_token",
        credentials=("admin_token",),
        options=("usage", "metrics_path", "metric_exclude"),
    ),
    sharded=False,
)
