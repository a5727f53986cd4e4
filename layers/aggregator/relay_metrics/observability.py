"""The one place for logs and for the metrics that alarms need.

Whatever is written passes through `redact`, so that a credential is not seen even where a
library's exception or a server's echo holds one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from aws_lambda_powertools import Logger

NAMESPACE = "RelayMetrics"
HIDDEN = "***"

_SHORTEST = 4
"""A shorter text is no credential, and to hide it would garble every line."""

_hidden: set[str] = set()
_lock = threading.Lock()


def hide(secrets: Iterable[str]) -> None:
    """From now on, these texts are not seen in any output, nor in their escaped forms."""
    with _lock:
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                escaped = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
                _hidden.update({secret, quote(secret, safe=""), *escaped})


def redact(text: str) -> str:
    """A text without what is hidden."""
    with _lock:
        found = sorted((one for one in _hidden if one in text), key=len, reverse=True)
    for secret in found:
        text = text.replace(secret, HIDDEN)
    return text


def redacted(value: Any) -> Any:
    """A JSON value without what is hidden in its texts; the names of its keys stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redacted(one) for one in value]
    if isinstance(value, dict):
        return {name: redacted(one) for name, one in value.items()}
    return value


def _serialised(line: dict[str, Any]) -> str:
    return redact(json.dumps(line, ensure_ascii=False, default=str))


# Its service is POWERTOOLS_SERVICE_NAME, the stack's name: two stacks in one account differ in it.
logger = Logger(json_serializer=_serialised, use_rfc3339=True)


def count(metric: str, value: int) -> None:
    """Write a metric into the log for CloudWatch to find (EMF); nothing where there is nothing.

    A custom metric costs more a month than all the computing, so there are two, `RelaysDown` and
    `PointsRejected`, and only in the minutes that have any.
    """
    if value > 0:
        from aws_lambda_powertools import Metrics  # most runs have no need of it
        from aws_lambda_powertools.metrics import MetricUnit

        metrics = Metrics(namespace=NAMESPACE, service=logger.service)
        metrics.add_metric(name=metric, unit=MetricUnit.Count, value=value)
        metrics.flush_metrics()
