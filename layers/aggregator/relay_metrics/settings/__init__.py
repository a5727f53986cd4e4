"""The environment and the secret, parsed once into frozen settings.

This is the only reader of `os.environ`. Messages name the variable or the key and say what is
allowed; none shows a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relay_metrics.errors import SettingsError, Unfilled
from relay_metrics.settings.addresses import token_values
from relay_metrics.settings.destinations import DEFAULT_DESTINATION, destinations_of
from relay_metrics.settings.headers import credentials_in
from relay_metrics.settings.model import (
    Destination,
    Environment,
    Relay,
    Settings,
    usable,
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
    "usable",
]

_SECRET = ("greptime_username", "greptime_password", "relays", "destinations")


def settings(environment: Environment, secret: str | None, *, asks_relays: bool = True) -> Settings:
    """The environment and the text of the secret, as settings.

    Args:
        secret: the secret's one JSON object; None where no secret is configured.
        asks_relays: whether relays are needed; else there are none where theirs are wrong.

    Raises:
        SettingsError: a variable or a key of the secret is missing, unknown or wrong. An entry of
            `relays` or `destinations` that is wrong raises nothing: it says so itself.
    """
    read = Keys("the secret", document(secret), (*_SECRET, *keys_of_one_relay()))
    warnings: list[str] = []
    problems: list[SettingsError] = []
    relays: tuple[Relay, ...] = ()
    destinations: tuple[Destination, ...] = ()
    try:
        relays = relays_of(environment, read)
    except SettingsError as error:
        problems += [error] if asks_relays else []
    try:
        destinations = destinations_of(environment, read, warnings)
    except SettingsError as error:
        problems.append(error)
    unfilled = _unfilled(relays if asks_relays else (), destinations, problems)
    if problems and not unfilled:
        raise problems[0]
    hidden = {*_hidden(relays, destinations), *credentials_in(environment.export_headers)}
    return Settings(environment, relays, destinations, frozenset(hidden), tuple(warnings), unfilled)


def _unfilled(
    relays: Sequence[Relay], destinations: Sequence[Destination], problems: Sequence[SettingsError]
) -> tuple[str, ...]:
    """What has to be filled in before anything can be done, and what else is wrong beside.

    That are placeholders for the default destination or for every relay. One for another
    destination, or for one relay of several, is a failure of that one.
    """
    still = [one.wrong for one in destinations if one.name == DEFAULT_DESTINATION]
    still += [one.wrong for one in relays] if all(_placeholder(one.wrong) for one in relays) else []
    found = [*problems, *(error for error in still if _placeholder(error))]
    return tuple(map(str, found)) if any(map(_placeholder, found)) else ()


def _placeholder(error: SettingsError | None) -> bool:
    return isinstance(error, Unfilled)


def _hidden(relays: Sequence[Relay], destinations: Sequence[Destination]) -> Iterator[str]:
    """Every value that is a credential, or from which one can be read."""
    for relay in relays:
        yield from credentials_in(relay.headers)
        yield from relay.access.secrets
    for destination in destinations:
        yield from credentials_in(destination.headers)
        yield from token_values(destination.url)
