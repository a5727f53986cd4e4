"""The destinations: the default one, and those of the secret."""

from __future__ import annotations

from collections.abc import Iterator

from relay_metrics.errors import SettingsError
from relay_metrics.settings.addresses import otlp_endpoint
from relay_metrics.settings.headers import over, with_basic
from relay_metrics.settings.model import Destination, Environment
from relay_metrics.settings.secret import Keys

DEFAULT_DESTINATION = "default"
_DESTINATION = ("name", "url", "headers", "username", "password", "ca_pem", "overwrites")


def destinations_of(
    environment: Environment, secret: Keys, warnings: list[str]
) -> tuple[Destination, ...]:
    """The default destination, where there is one, and those of the secret.

    Args:
        warnings: is told of what was corrected.

    Raises:
        SettingsError: there is none, or something of one is wrong.
    """
    destinations = tuple(_destinations(environment, secret, warnings))
    if not destinations:
        raise SettingsError(
            "OTEL_EXPORT_URL is not set, and the secret has no destinations: "
            "give the URL of GreptimeDB, https://HOST"
        )
    return destinations


def _destinations(
    environment: Environment, secret: Keys, warnings: list[str]
) -> Iterator[Destination]:
    credentials = secret.basic("greptime_username", "greptime_password")
    if environment.export_url is not None:
        headers = {"X-Greptime-DB-Name": environment.database}
        yield Destination(
            DEFAULT_DESTINATION,
            otlp_endpoint("OTEL_EXPORT_URL", environment.export_url, warnings),
            with_basic(over(headers, environment.export_headers), credentials),
            overwrites=True,
        )
    for at, one in enumerate(secret.listed("destinations")):
        read = Keys(f"destinations[{at}] of the secret", one, _DESTINATION)
        yield Destination(
            read.needed("name"),
            otlp_endpoint(f"url in {read.where}", read.needed("url"), warnings),
            with_basic(read.headers("headers"), read.basic("username", "password")),
            read.certificates("ca_pem"),
            read.flag("overwrites"),
        )
