"""The kind `wyolet-relay`: a Wyolet Relay, or any other Prometheus endpoint."""

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
    address="RELAY_BASE_URL, or base_url and metrics_path in the secret",
    hints={
        "401": (
            "it wants another credential: headers (relay_headers) for the exposition, admin_token "
            "(relay_admin_token) for the usage"
        ),
        "403": (
            "it, or a proxy in front of it, does not let this request in: headers (relay_headers) "
            "for the exposition, admin_token (relay_admin_token) for the usage"
        ),
        "404": "nothing is there: is the exposition at another metrics_path, or port?",
    },
)
