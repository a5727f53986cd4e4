"""Tests, and what they share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
RECORDINGS: Final = ROOT / "tests" / "recordings"
RECORDED_EXPOSITION: Final = RECORDINGS / "prometheus" / "wyolet-relay.prom"
"""What a Wyolet Relay answered."""


def recorded(name: str) -> Any:
    """What a claude-relay answered: status, headers and body."""
    return json.loads((RECORDINGS / "claude-relay" / f"{name}.json").read_text("utf-8"))["response"]
