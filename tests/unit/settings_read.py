"""Settings of a plain environment, with changes, and of a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from relay_metrics import settings as module
from relay_metrics.errors import SettingsError
from relay_metrics.settings import Destination, Relay, Settings

PLAIN = {
    "RELAY_BASE_URL": "https://relay.example",
    "OTEL_EXPORT_URL": "https://greptime.example",
    "SECRET_ID": "relay-metrics",
}
SECRET = {"relay_api_id": "fb86b61d"}


def read(environment: Mapping[str, str] | None = None, secret: Any = SECRET) -> Settings:
    """Settings of the plain environment, with changes, and of a secret."""
    text = secret if secret is None or isinstance(secret, str) else json.dumps(secret)
    return module.settings(module.environment({**PLAIN, **(environment or {})}), text)


def refused(environment: Mapping[str, str] | None = None, secret: Any = SECRET) -> str:
    with pytest.raises(SettingsError) as caught:
        read(environment, secret)
    return str(caught.value)


def failures(environment: Mapping[str, str], secret: Any) -> list[SettingsError]:
    """What is wrong with all of it, or with single entries of the secret's lists."""
    try:
        given = read(environment, secret)
    except SettingsError as error:
        return [error]
    entries: tuple[Relay | Destination, ...] = (*given.relays, *given.destinations)
    return [one.wrong for one in entries if one.wrong is not None]


def wrong(environment: Mapping[str, str] | None = None, secret: Any = SECRET) -> dict[str, str]:
    """The entries of the secret's lists that are wrong, and what each says."""
    given = read(environment, secret)
    entries: tuple[Relay | Destination, ...] = (*given.relays, *given.destinations)
    return {one.name: str(one.wrong) for one in entries if one.wrong is not None}


def relay(environment: Mapping[str, str] | None = None, secret: Any = SECRET) -> Relay:
    (one,) = read(environment, secret).relays
    return one


def destination(environment: Mapping[str, str] | None = None, secret: Any = SECRET) -> Destination:
    (one,) = read(environment, secret).destinations
    return one


def listed(**changes: Any) -> dict[str, Any]:
    """A secret with a list of one relay."""
    one = {"name": "a", "base_url": "https://a.example", "api_ids": ["x"], **changes}
    return {"relays": [{key: value for key, value in one.items() if value is not None}]}


NOT_HERE = {"RELAY_BASE_URL": ""}
"""The relays are in the secret."""

CONTRACT = {
    *("RELAY_KIND", "RELAY_BASE_URL", "RELAY_NAME", "RELAY_METRICS_PERIOD", "RELAY_ENVIRONMENT"),
    *("RELAY_TIMEOUT_MS", "RELAY_MAX_RESPONSE_BYTES", "RELAY_CONCURRENCY", "RELAY_SCANS_PER_RUN"),
    *("RELAY_MAX_KEYS", "RELAY_MAX_MODELS_PER_KEY", "RELAY_UTC_OFFSET_HOURS"),
    *("SECRET_ID", "SECRET_MAX_AGE_SECONDS"),
    *("OTEL_EXPORT_URL", "GREPTIME_DATABASE", "OTEL_EXPORT_HEADERS", "OTEL_TIMEOUT_MS"),
    *("OTEL_SERVICE_NAME", "OTEL_SERVICE_NAMESPACE", "OTEL_SERVICE_VERSION"),
    *("OTEL_RESOURCE_ATTRIBUTES", "SPOOL_QUEUE_URL", "LOG_LEVEL"),
    *("RELAY_MAX_FAMILIES", "RELAY_USAGE_LOOKBACK_MINUTES", "RELAY_KEY_LABELS"),
    "RELAY_METRICS_SETTINGS",
}
