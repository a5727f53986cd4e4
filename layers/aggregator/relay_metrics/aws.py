"""Configuration and error text that all calls to AWS share."""

from __future__ import annotations

from botocore.config import Config

CONFIG = Config(connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 2})
"""Short time-outs and one retry, so that a call to AWS leaves time for the rest of the run."""


def error_code(error: BaseException) -> str:
    """The error code of AWS. Its message is not used: it may repeat what the request held."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", type(error).__name__))
    return type(error).__name__
