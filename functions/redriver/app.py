"""The redriver: messages of the spool in, those that come back out."""

from __future__ import annotations

from typing import Any

from relay_metrics.entry.handler import Handler
from relay_metrics.redrive import redrive

_handler = Handler(redrive)


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Deliver what the spool holds."""
    return _handler(event, context)
