"""The collector with the event's own time for its clock.

With it the demo collects the hours that its simulated relays have behind them. Nothing else is
different from `functions/collector`: the same actions, layer and variables.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from relay_metrics.entry.actions import act
from relay_metrics.runtime import Runtime

_now = {"ns": 0}
_runtime = Runtime(clock=lambda: _now["ns"])


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Do what an event asks for, as of its `time`."""
    _now["ns"] = round(datetime.fromisoformat(event["time"]).timestamp() * 1e9)
    return act(_runtime, event, context.get_remaining_time_in_millis() / 1000)
