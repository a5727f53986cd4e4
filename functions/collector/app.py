"""The collector: an event in, a report out. What it does is in the layer's `relay_metrics`."""

from __future__ import annotations

from typing import Any

from relay_metrics.entry.actions import act, unset
from relay_metrics.entry.handler import Handler

_handler = Handler(act, unset)


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Collect, check or dry-run, as the event says; see `events/`."""
    return _handler(event, context)
