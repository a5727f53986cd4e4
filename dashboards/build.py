"""The dashboards and the files that they are written to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import claude_relay, collector, wyolet_relay

FOLDER: Final = Path(__file__).parent


def dashboards() -> Mapping[str, Dashboard]:
    """Each dashboard by the name of its file."""
    return {
        "claude-relay.json": claude_relay.dashboard(),
        "wyolet-relay.json": wyolet_relay.dashboard(),
        "collector.json": collector.dashboard(),
    }


def written(dashboard: Dashboard) -> str:
    """A dashboard as Grafana imports it."""
    text = json.dumps(
        dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return text + "\n"
