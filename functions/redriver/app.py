"""The redriver function. Its code is in the layer's module `relay_metrics.redrive`."""

from __future__ import annotations

from typing import Any

from relay_metrics.entry.handler import Handler
from relay_metrics.redrive import redrive

_handler = Handler(redrive)


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Deliver the messages of the spool; the answer has those that failed."""
    return _handler(event, context)
