"""The one place for logs and for the metrics that alarms need.

Whatever is written passes through `redact`, so that a credential is not seen even where a
library's exception or a server's echo holds one.
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
"""What is shorter is hidden where it stands alone: to hide it within words would garble them."""

_hidden: set[str] = set()
_short: set[str] = set()
_lock = threading.Lock()


def hide(secrets: Iterable[str]) -> None:
    """From now on, these texts are not seen in any output, nor in the forms that echoes have."""
    with _lock:
        for secret in secrets:
            if secret:
                (_short if len(secret) < _SHORT else _hidden).update(_forms(secret))


def _forms(secret: str) -> set[str]:
    """A text as it is, in JSON, in a URL, in HTML, and in base64."""
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe="", errors="replace"),
        quote(secret, errors="replace"),
        html.escape(secret),
        b64encode(secret.encode("utf-8", "replace")).decode(),
    }


def redact(text: str) -> str:
    """A text without what is hidden."""
    with _lock:
        found = sorted((one for one in _hidden if one in text), key=len, reverse=True)
        short = sorted((one for one in _short if one in text), key=len, reverse=True)
    for secret in found:
        text = text.replace(secret, HIDDEN)
    for secret in short:
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
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
    text = json.dumps(line, ensure_ascii=False, default=str)
    if redact(text) == text:
        return text
    # by its values: a secret that is `true`, say, must not make the line something else than JSON
    return json.dumps(redacted(json.loads(text)), ensure_ascii=False)


# Its service is POWERTOOLS_SERVICE_NAME, the stack's name: two stacks in one account differ in it.
# Its level is set from the settings: Powertools would fail the import over an invalid LOG_LEVEL.
logger = Logger(level="INFO", json_serializer=_serialised, use_rfc3339=True)
if logger.service == "service_undefined":  # Powertools' word for where that is not set
    logger.service = "relay-metrics"
    logger.append_keys(service=logger.service)

for _library in ("botocore", "urllib3"):
    # Their lines can hold what was sent or answered, and what matters of it is in our errors.
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)


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
