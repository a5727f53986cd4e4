"""The environment and the secret, parsed once into frozen settings.

This is the only reader of `os.environ`. Messages name the variable or the key and say what is
allowed; none shows a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relay_metrics.errors import SettingsError
from relay_metrics.settings.addresses import token_values
from relay_metrics.settings.destinations import DEFAULT_DESTINATION, destinations_of
from relay_metrics.settings.headers import credentials_in
from relay_metrics.settings.model import (
    Destination,
    Environment,
    Relay,
    Settings,
)
from relay_metrics.settings.relays import keys_of_one_relay, relays_of
from relay_metrics.settings.secret import Keys, document
from relay_metrics.settings.variables import PERIODS, environment

__all__ = [
    "DEFAULT_DESTINATION",
    "PERIODS",
    "Destination",
    "Environment",
    "Relay",
    "Settings",
    "environment",
    "settings",
]

_SECRET = ("greptime_username", "greptime_password", "relays", "destinations")


def settings(environment: Environment, secret: str | None, *, asks_relays: bool = True) -> Settings:
    """The environment and the text of the secret, as settings.

    Args:
        secret: the secret's one JSON object; None where no secret is configured.
        asks_relays: whether relays are needed; else there are none where theirs are wrong.

    Raises:
        SettingsError: a variable or a key of the secret is missing, unknown or wrong.
    """
    read = Keys("the secret", document(secret), (*_SECRET, *keys_of_one_relay()))
    warnings: list[str] = []
    try:
        relays = relays_of(environment, read)
    except SettingsError:
        if asks_relays:
            raise
        relays = ()
    destinations = destinations_of(environment, read, warnings)
    _no_twins("relay", relays)
    _no_twins("destination", destinations)
    hidden = {*_hidden(relays, destinations), *credentials_in(environment.export_headers)}
    return Settings(environment, relays, destinations, frozenset(hidden), tuple(warnings))


def _no_twins(what: str, named: Sequence[Relay | Destination]) -> None:
    seen: dict[str, int] = {}
    for at, one in enumerate(named):
        if one.name in seen:
            raise SettingsError(
                f"two {what}s have one name (number {seen[one.name] + 1} and {at + 1}): "
                "give each a name of its own"
            )
        seen[one.name] = at


def _hidden(relays: Sequence[Relay], destinations: Sequence[Destination]) -> Iterator[str]:
    """Every value that is a credential, or from which one can be read."""
    for relay in relays:
        yield from credentials_in(relay.headers)
        yield from relay.access.secrets
    for destination in destinations:
        yield from credentials_in(destination.headers)
        yield from token_values(destination.url)
