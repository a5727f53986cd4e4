"""Logs, and the CloudWatch metrics that the alarms need.

Every line passes through `redact`, so that no credential is logged even if a library's exception
or a server's answer repeats one.
"""

from __future__ import annotations

import html
import json
import logging
import re
import threading
from base64 import b64encode
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from aws_lambda_powertools import Logger

NAMESPACE = "RelayMetrics"
HIDDEN = "***"

_SHORT = 4
"""Secrets shorter than this are only hidden as whole words; within words they would garble text."""

_hidden: set[str] = set()
_short: set[str] = set()
_lock = threading.Lock()


def hide(secrets: Iterable[str]) -> None:
    """Hide these texts in all output from now on, also in their escaped and encoded forms."""
    with _lock:
        for secret in secrets:
            if secret:
                (_short if len(secret) < _SHORT else _hidden).update(_forms(secret))


def _forms(secret: str) -> set[str]:
    """A text as it is, and as written in JSON, in a URL, in HTML and in base64."""
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe="", errors="replace"),
        quote(secret, errors="replace"),
        html.escape(secret),
        b64encode(secret.encode("utf-8", "replace")).decode(),
    }


def redact(text: str, user: str = "") -> str:
    """A text with all hidden secrets replaced by `HIDDEN`.

    Args:
        user: a user's name to hide as well, as a whole word; in all output, a name like `admin`
            would garble addresses.
    """
    with _lock:
        words = _short | _forms(user) if user else _short
        found = sorted((one for one in _hidden if one in text), key=len, reverse=True)
        short = sorted((one for one in words if one in text), key=len, reverse=True)
    for secret in found:
        text = text.replace(secret, HIDDEN)
    for secret in short:
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text


def redacted(value: Any) -> Any:
    """A JSON value with `redact` applied to its texts, but not to its keys."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redacted(one) for one in value]
    if isinstance(value, dict):
        return {name: redacted(one) for name, one in value.items()}
    return value


def _serialised(line: dict[str, Any]) -> str:
    text = json.dumps(line, ensure_ascii=False, default=str)
    if redact(text) == text:
        return text
    # Redact value by value: if a secret is the word `true`, say, the line must stay valid JSON.
    return json.dumps(redacted(json.loads(text)), ensure_ascii=False)


# The service is POWERTOOLS_SERVICE_NAME, which is the stack's name, so that the logs of two stacks
# in one account can be distinguished. The level comes from the settings later: with LOG_LEVEL,
# Powertools would raise on an invalid level while importing.
logger = Logger(level="INFO", json_serializer=_serialised, use_rfc3339=True)
if logger.service == "service_undefined":  # Powertools' default without POWERTOOLS_SERVICE_NAME
    logger.service = "relay-metrics"
    logger.append_keys(service=logger.service)

for _library in ("botocore", "urllib3"):
    # Their lines can hold requests and answers, and our own errors say what is needed of them.
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)


def count(metric: str, value: int) -> None:
    """Write a CloudWatch metric into the log (EMF) if `value` is above 0.

    A custom metric costs more per month than all of the computing. There are two, `RelaysDown` and
    `PointsRejected`, and they are only written in minutes in which they are not 0.
    """
    if value > 0:
        from aws_lambda_powertools import Metrics  # most runs do not need it
        from aws_lambda_powertools.metrics import MetricUnit

        metrics = Metrics(namespace=NAMESPACE, service=logger.service)
        metrics.add_metric(name=metric, unit=MetricUnit.Count, value=value)
        metrics.flush_metrics()
