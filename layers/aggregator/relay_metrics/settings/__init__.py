"""Parses the environment variables and the secret, once, into frozen settings.

This is the only package that reads `os.environ`. Error messages name the variable or key and say
what is allowed; none shows a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relay_metrics.errors import SettingsError, Unfilled
from relay_metrics.settings.addresses import token_values
from relay_metrics.settings.destinations import DEFAULT_DESTINATION, destinations_of
from relay_metrics.settings.headers import basic_user, credentials_in
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
    "basic_user",
    "environment",
    "settings",
    "usable",
]

_SECRET = ("greptime_username", "greptime_password", "relays", "destinations")


def settings(environment: Environment, secret: str | None, *, asks_relays: bool = True) -> Settings:
    """Make settings of the environment and the text of the secret.

    Args:
        secret: the text of the secret, one JSON object; None if no secret is configured.
        asks_relays: whether the relays are needed; if not, wrong settings of relays are no error,
            and there are no relays then.

    Raises:
        SettingsError: a variable or a key of the secret is missing, unknown or wrong. A wrong entry
            of `relays` or `destinations` does not raise: the error is in its attribute `wrong`.
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
    """The placeholders that keep a run from starting, and any other problems beside them.

    A placeholder keeps a run from starting if it is the default destination's, or if every relay
    has one. Any other is only a failure of that relay or destination.
    """
    still = [one.wrong for one in destinations if one.name == DEFAULT_DESTINATION]
    still += [one.wrong for one in relays] if all(_placeholder(one.wrong) for one in relays) else []
    found = [*problems, *(error for error in still if _placeholder(error))]
    return tuple(map(str, found)) if any(map(_placeholder, found)) else ()


def _placeholder(error: SettingsError | None) -> bool:
    return isinstance(error, Unfilled)


def _hidden(relays: Sequence[Relay], destinations: Sequence[Destination]) -> Iterator[str]:
    """Every value that is a credential or holds one."""
    for relay in relays:
        yield from credentials_in(relay.headers)
        yield from relay.access.secrets
    for destination in destinations:
        yield from credentials_in(destination.headers)
        yield from token_values(destination.url)
