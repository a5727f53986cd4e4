"""The kind `claude-relay`: a Claude Relay Service, its keys and its accounts."""

from __future__ import annotations

from relay_metrics.relays.claude import settings
from relay_metrics.relays.kinds import OwnKeys, RelayKind

KIND = RelayKind(
    one=OwnKeys(
        settings.of_one,
        takes="relay_api_id, relay_api_key, or relay_admin_username with relay_admin_password",
        credentials=(
            "relay_api_id",
            "relay_api_key",
            "relay_admin_username",
            "relay_admin_password",
        ),
    ),
    listed=OwnKeys(
        settings.of_listed,
        takes="api_ids, api_keys, or admin_username with admin_password",
        credentials=("api_ids", "api_keys", "admin_username", "admin_password"),
    ),
    sharded=True,
    hints={
        "401": "the relay does not accept the credential: compare it with the relay's own page",
        "403": (
            "the key is disabled or expired: enable it at the relay, or take it out of the secret"
        ),
        "404": (
            "the relay does not know the key's id, or the base URL has a path that it should not"
        ),
    },
)
