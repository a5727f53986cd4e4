"""Reads the destinations: the default one, and those of the secret."""

from __future__ import annotations

from typing import Any

from relay_metrics.errors import SettingsError, Unfilled
from relay_metrics.settings.addresses import otlp_endpoint
from relay_metrics.settings.headers import merged, with_basic
from relay_metrics.settings.model import Destination, Environment
from relay_metrics.settings.secret import Keys
from relay_metrics.snapshot import well_formed

DEFAULT_DESTINATION = "default"
_CREDENTIALS = ("greptime_username", "greptime_password")
_DESTINATION = ("name", "url", "headers", "username", "password", "ca_pem", "overwrites")


def destinations_of(
    environment: Environment, secret: Keys, warnings: list[str]
) -> tuple[Destination, ...]:
    """The default destination, if it is configured, and those of the secret.

    A wrong entry of the secret's list becomes a destination with the error in `wrong`.

    Args:
        warnings: a sentence is appended for each correction.

    Raises:
        SettingsError: no destination is configured, or the default one is wrong.
    """
    destinations: dict[str, Destination] = {}
    if environment.export_url is not None:
        destinations[DEFAULT_DESTINATION] = _default(
            environment, environment.export_url, secret, warnings
        )
    listed = secret.listed("destinations")
    for at, value in enumerate(listed):
        where = f"destinations[{at}]"
        one = _listed(where, value, warnings)
        if one.name in destinations:
            twin = SettingsError(f"{where} of the secret has the name of one before it")
            one = Destination(where, "", wrong=twin)
        destinations[one.name] = one
    if not destinations:
        secret.filled_in(*_CREDENTIALS)
        nor_listed = environment.secret_id and ", and the secret has no destinations"
        raise SettingsError(
            f"OTEL_EXPORT_URL is not set{nor_listed or ''}: "
            "give the URL of GreptimeDB, https://HOST"
        )
    return tuple(destinations.values())


def _default(environment: Environment, url: str, secret: Keys, warnings: list[str]) -> Destination:
    endpoint = otlp_endpoint("OTEL_EXPORT_URL", url, warnings)
    try:
        secret.filled_in(*_CREDENTIALS)
    except Unfilled as error:
        return Destination(DEFAULT_DESTINATION, endpoint, overwrites=True, wrong=error)
    headers = merged({"X-Greptime-DB-Name": environment.database}, environment.export_headers)
    credentials = secret.basic(*_CREDENTIALS)
    return Destination(
        DEFAULT_DESTINATION, endpoint, with_basic(headers, credentials), overwrites=True
    )


def _listed(where: str, value: Any, warnings: list[str]) -> Destination:
    try:
        read = Keys(f"{where} of the secret", value, _DESTINATION)
        read.filled_in()
        return Destination(
            read.needed("name"),
            otlp_endpoint(f"url in {read.where}", read.needed("url"), warnings),
            with_basic(read.headers("headers"), read.basic("username", "password")),
            read.certificates("ca_pem"),
            read.flag("overwrites"),
        )
    except SettingsError as error:
        name = value.get("name") if isinstance(value, dict) else None
        named = well_formed(name.strip()) if isinstance(name, str) else ""
        return Destination(named or where, "", wrong=error)
