"""What the calls to AWS have in common."""

from __future__ import annotations

from botocore.config import Config

CONFIG = Config(connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 2})
"""For calls that must leave time for the rest of the run."""


def word_for(error: BaseException) -> str:
    """AWS's word for what went wrong; its sentence may repeat what it was sent."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", type(error).__name__))
    return type(error).__name__
