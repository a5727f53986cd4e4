"""The collector function. Its code is in the layer's package `relay_metrics`."""

from __future__ import annotations

from typing import Any

from relay_metrics.entry.actions import act, unset
from relay_metrics.entry.handler import Handler

_handler = Handler(act, unset)


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Run the action that the event asks for; `events/` has an event for each action."""
    return _handler(event, context)
