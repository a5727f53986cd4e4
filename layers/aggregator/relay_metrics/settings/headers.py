"""HTTP headers of the settings: checks them, merges them, and finds the credentials in them."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from relay_metrics.errors import SettingsError

_OPEN = re.compile("accept|x-greptime-(?:db-name|hints|otlp-.*)")
"""Headers that hold no credential; of GreptimeDB's, `x-greptime-auth` does."""

AUTHENTICATING = ("authorization", "x-greptime-auth")
"""Headers that hold a destination's credential, in lower case."""

_FRAMING = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "keep-alive"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""Headers that describe how a request or its answer is sent. The HTTP client sets them, never the
settings."""

_STRATEGY = "x-greptime-otlp-metric-translation-strategy"
_STRATEGIES = (
    *("UnderscoreEscapingWithSuffixes", "UnderscoreEscapingWithoutSuffixes"),
    *("NoUTF8EscapingWithSuffixes", "NoTranslation"),
)
"""The values that GreptimeDB knows, in this case; it refuses every request with another one."""


def checked(where: str, value: Any) -> Mapping[str, str]:
    """Read headers from a JSON value.

    Args:
        where: the name of the setting in error messages.

    Raises:
        SettingsError: it is no JSON object of text, or a name or value is not valid in HTTP.
    """
    if not isinstance(value, dict):
        raise SettingsError(f"{where} must be a JSON object of header names to text")
    for name in value:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", name):
            raise SettingsError(f"{where} has a name that no HTTP header can have")
        if name.lower() in _FRAMING:
            raise SettingsError(f"{where} cannot have {name.lower()}: the request itself needs it")
    headers = {name: checked_value(where, text) for name, text in value.items()}
    for name, text in headers.items():
        if name.lower() == _STRATEGY and text not in _STRATEGIES:
            raise SettingsError(f"{_STRATEGY} in {where} must be one of {', '.join(_STRATEGIES)}")
    return headers


def checked_value(where: str, text: Any) -> str:
    """The value of a header, stripped. Only ASCII is allowed, which all servers read alike.

    Some servers read other characters as Latin-1, some as UTF-8 (RFC 9110, 5.5).

    Raises:
        SettingsError: it is not valid.
    """
    if not isinstance(text, str) or not re.fullmatch(r"[\t\x20-\x7e]*", text):
        raise SettingsError(f"{where} has a value that no HTTP header can have")
    return text.strip()


def merged(headers: Mapping[str, str], more: Mapping[str, str]) -> Mapping[str, str]:
    """`headers` with `more`, which replaces headers of the same name in any case."""
    named = {name.lower() for name in more}
    return {**{name: text for name, text in headers.items() if name.lower() not in named}, **more}


def with_basic(
    headers: Mapping[str, str], credentials: tuple[str, str] | None
) -> Mapping[str, str]:
    """Headers with an `Authorization` for user name and password, if they are given."""
    if credentials is None:
        return headers
    token = b64encode(":".join(credentials).encode()).decode()
    return merged(headers, {"Authorization": f"Basic {token}"})


def basic_user(headers: Mapping[str, str]) -> str:
    """The user name of a basic credential among the headers; empty if there is none."""
    for name, value in headers.items():
        scheme, _, token = value.partition(" ")
        if name.lower() in AUTHENTICATING and scheme.lower() == "basic":
            return _basic(token)[0]
    return ""


def credentials_in(headers: Mapping[str, str]) -> Iterator[str]:
    """Every value that may be a credential, and the token or password in it.

    The name of the database is left out: hiding it would garble every log line with `public`.
    """
    for name, value in headers.items():
        if value and not _OPEN.fullmatch(name.lower()):
            yield value
            scheme, _, token = value.partition(" ")
            if token and scheme.lower() in ("basic", "bearer"):
                yield token
            if scheme.lower() == "basic" and (password := _basic(token)[1]):
                yield password


def _basic(token: str) -> tuple[str, str]:
    """The user name and the password of a basic credential; empty if it is malformed."""
    try:
        user, _, password = b64decode(token, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return user, password
