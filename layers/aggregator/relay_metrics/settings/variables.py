"""Reads the environment variables and checks their types."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from urllib.parse import unquote

from relay_metrics import catalogue
from relay_metrics.errors import SettingsError
from relay_metrics.naming import RESERVED, RESERVED_PREFIX, tag
from relay_metrics.relays import kinds
from relay_metrics.settings import headers
from relay_metrics.settings.addresses import base_address, parsed
from relay_metrics.settings.model import Environment
from relay_metrics.snapshot import Scope, well_formed

PERIODS = ("daily", "monthly", "alltime")

SETTINGS = "RELAY_METRICS_SETTINGS"
"""A variable that holds other variables, so that the stack needs no parameter for each."""

SAM_LOCAL = "AWS_SAM_LOCAL"
"""`sam local` sets this variable."""

NOT_IN_SETTINGS = {
    *(SETTINGS, "RELAY_BASE_URL", "OTEL_EXPORT_URL", "SPOOL_QUEUE_URL"),
    *("OTEL_EXPORT_HEADERS", "OTEL_RESOURCE_ATTRIBUTES", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
}
"""Variables that `SETTINGS` cannot hold: URLs, and values that may contain spaces."""

_SETTABLE = (
    *("service.name", "service.namespace", "service.version"),
    *("deployment.environment", "deployment.environment.name"),
)
"""The resource attributes of every series that `OTEL_RESOURCE_ATTRIBUTES` may set."""

_RESOURCE = (
    *(*_SETTABLE, "service.instance.id", "service.endpoint"),
    *("relay.name", "relay.kind", "relay.key.id", "relay.key.name"),
)
"""The resource attributes of every series, and of a key's."""

_OF_POINTS = frozenset(chain((catalogue.SHARD,), *catalogue.ATTRIBUTES.values()))
"""The attributes of data points, which replace the tags of a resource."""


def environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Parse the environment variables. An empty variable counts as unset.

    Args:
        variables: used in place of the process's environment.

    Raises:
        SettingsError: a variable has a wrong value.
    """
    variables = os.environ if variables is None else variables
    read = _Variables(variables)
    kind = read.choice("RELAY_KIND", tuple(kinds.KINDS), kinds.DEFAULT)
    base_url = read.text("RELAY_BASE_URL")
    export_url = read.text("OTEL_EXPORT_URL")
    typed = Environment(
        relay_kind=kind,
        relay_base_url=base_url and base_address("RELAY_BASE_URL", base_url),
        relay_name=read.text("RELAY_NAME"),
        period=read.choice("RELAY_METRICS_PERIOD", PERIODS, "monthly"),
        deployment_environment=read.text("RELAY_ENVIRONMENT"),
        relay_timeout_s=read.integer("RELAY_TIMEOUT_MS", 5000, 1, 900_000) / 1000,
        max_response_bytes=read.integer("RELAY_MAX_RESPONSE_BYTES", 8 << 20, 1, 1 << 30),
        concurrency=read.integer("RELAY_CONCURRENCY", 16, 1, 256),
        scans_per_run=read.integer("RELAY_SCANS_PER_RUN", 10, 0, 1_000_000),
        max_keys=read.integer("RELAY_MAX_KEYS", 10_000, 1, 1_000_000),
        max_models_per_key=read.integer("RELAY_MAX_MODELS_PER_KEY", 100, 1, 1_000_000),
        utc_offset_hours=read.number("RELAY_UTC_OFFSET_HOURS", 8, -14, 14),
        secret_id=read.text("SECRET_ID"),
        secret_max_age_s=read.integer("SECRET_MAX_AGE_SECONDS", 300, 0, 31_536_000),
        export_url=export_url and parsed("OTEL_EXPORT_URL", export_url).geturl(),
        database=headers.checked_value(
            "GREPTIME_DATABASE", read.text("GREPTIME_DATABASE") or "public"
        ),
        export_headers=read.headers("OTEL_EXPORT_HEADERS"),
        push_timeout_s=read.integer("OTEL_TIMEOUT_MS", 5000, 1, 900_000) / 1000,
        service_name=read.text("OTEL_SERVICE_NAME"),
        service_namespace=read.text("OTEL_SERVICE_NAMESPACE"),
        service_version=read.text("OTEL_SERVICE_VERSION"),
        resource_attributes=(attributes := read.attributes("OTEL_RESOURCE_ATTRIBUTES")),
        spool_queue_url=read.text("SPOOL_QUEUE_URL"),
        max_families=read.integer("RELAY_MAX_FAMILIES", 10_000, 1, 1_000_000),
        usage_lookback_s=60 * read.integer("RELAY_USAGE_LOOKBACK_MINUTES", 60, 5, 1440),
        key_labels=read.names("RELAY_KEY_LABELS", attributes),
        # Lambda sets it; the default is the template's `MemorySize`
        memory_mb=read.integer("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 256, 128, 1 << 20),
        log_level=read.choice(
            "LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "INFO"
        ),
        sam_local=variables.get(SAM_LOCAL, "").lower() == "true",
    )
    read.refuse_unknown()
    return typed


class _Variables:
    """Reads variables by type. A variable that is unset may be given in `SETTINGS`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._read: set[str] = set()
        self._settings: dict[str, str] = {}
        for item in variables.get(SETTINGS, "").split():
            name, equals, value = item.partition("=")
            if not equals or not re.fullmatch("[A-Z][A-Z_]*", name):
                raise SettingsError(f"{SETTINGS} must be a list of NAME=value, spaces between")
            if name in NOT_IN_SETTINGS:
                raise SettingsError(f"{SETTINGS} cannot have {name}: it is a variable of its own")
            if name in self._settings:
                raise SettingsError(f"{SETTINGS} has {name} twice")
            self._settings[name] = value

    def refuse_unknown(self) -> None:
        """Raise SettingsError if `SETTINGS` has a name that was never read."""
        known = self._read - NOT_IN_SETTINGS
        for name in self._settings:
            if name not in known:
                raise SettingsError(
                    f"{SETTINGS} has an unknown name {name}; known are {', '.join(sorted(known))}"
                )

    def text(self, name: str) -> str | None:
        self._read.add(name)
        given = self._variables.get(name, "").strip() or self._settings.get(name, "")
        return well_formed(given) or None

    def names(self, name: str, attributes: Iterable[str]) -> tuple[str, ...]:
        """Names of labels, separated by commas, without duplicates.

        A label may replace one of `attributes`, but only under the same name.
        """
        stripped = (one.strip() for one in (self.text(name) or "").split(","))
        names = tuple(dict.fromkeys(one for one in stripped if one))
        of_key = catalogue.ATTRIBUTES[Scope.KEY_INFO]
        taken = {tag(one): "" for one in (*_RESOURCE, *of_key)}
        _check_tags(name, names, {tag(one).lower(): one for one in attributes} | taken)
        return names

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(name) or default
        matching = next((one for one in allowed if one.lower() == value.lower()), None)
        if matching is None:
            raise SettingsError(f"{name} must be one of {', '.join(allowed)}")
        return matching

    def number(self, name: str, default: float, least: float, most: float) -> float:
        text = self.text(name)
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise SettingsError(f"{name} must be a number from {least:g} to {most:g}")
        return value

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        text = self.text(name)
        value = default if text is None else -1
        if text is not None and re.fullmatch(r"\+?[0-9]{1,18}", text, re.ASCII):
            value = int(text)
        if not least <= value <= most:
            raise SettingsError(f"{name} must be a whole number from {least} to {most}")
        return value

    def headers(self, name: str) -> Mapping[str, str]:
        text = self.text(name)
        if text is None:
            return {}
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise SettingsError(f"{name} must be a JSON object of header names to text") from None
        return headers.checked(name, value)

    def attributes(self, name: str) -> Mapping[str, str]:
        """Attributes as `k=v,k=v`, percent-encoded, as in OpenTelemetry's SDK specification."""
        attributes = {}
        for item in (self.text(name) or "").split(","):
            key, equals, value = item.partition("=")
            if not item.strip():
                continue
            if not equals or not key.strip():
                raise SettingsError(f"{name} must be a list of key=value, commas between")
            attributes[unquote(key.strip())] = well_formed(unquote(value.strip()))
        taken = {tag(one): "" for one in (*_RESOURCE, *_OF_POINTS)}
        _check_tags(name, attributes, taken | {tag(one): one for one in _SETTABLE})
        return attributes


def _check_tags(variable: str, names: Iterable[str], ours: Mapping[str, str]) -> None:
    """Check that GreptimeDB stores each name as a tag of its own.

    If two names were stored as one tag, one value would be lost; a name without a tag would make
    GreptimeDB refuse all series.

    Args:
        ours: the tags that series have besides, each with the name under which it may be set here
            (an empty text if it may not).

    Raises:
        SettingsError: a name has no tag of its own.
    """
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not re.search("[0-9A-Za-z]", name) or re.search(r"[\x00-\x1f\x7f]", name):
            raise SettingsError(
                f"{variable}: name {number} must have a letter or digit of ASCII, "
                "and no control character"
            )
        stored = tag(name).lower()
        if stored.startswith(RESERVED_PREFIX):
            raise SettingsError(f"{variable}: name {number} must not begin with two underscores")
        if stored in RESERVED or ours.get(stored, name) != name:
            raise SettingsError(
                f"{variable}: name {number} is stored as the tag {stored}, which is taken"
            )
        if stored in seen:
            raise SettingsError(
                f"{variable}: names {seen[stored]} and {number} are stored as one tag"
            )
        seen[stored] = number
