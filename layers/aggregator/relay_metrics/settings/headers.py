"""HTTP headers: what they may be, how they go together, and what in them must not be seen."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from relay_metrics.errors import SettingsError

_OPEN = ("x-greptime-db-name", "x-greptime-otlp-")
"""Headers of GreptimeDB that hold no credential; `x-greptime-auth` does."""

_FRAMING = frozenset(
    {
        *("connection", "content-length", "expect", "keep-alive", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)
"""They say how a request is sent, which is not for configuration to say."""


def checked(where: str, value: Any) -> Mapping[str, str]:
    """A JSON value as headers.

    Args:
        where: how a message names it.

    Raises:
        SettingsError: it is no JSON object of text, or has what no HTTP header can have.
    """
    if not isinstance(value, dict):
        raise SettingsError(f"{where} must be a JSON object of header names to text")
    for name in value:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", name):
            raise SettingsError(f"{where} has a name that no HTTP header can have")
        if name.lower() in _FRAMING:
            raise SettingsError(f"{where} cannot have {name.lower()}: the request itself needs it")
    return {name: checked_value(where, text) for name, text in value.items()}


def checked_value(where: str, text: Any) -> str:
    """The value of a header, without space around it: ASCII, which all servers read alike.

    Others are read as Latin-1 by some and as UTF-8 by others (RFC 9110, 5.5).

    Raises:
        SettingsError: it is not valid.
    """
    if not isinstance(text, str) or not re.fullmatch(r"[\t\x20-\x7e]*", text):
        raise SettingsError(f"{where} has a value that no HTTP header can have")
    return text.strip()


def over(headers: Mapping[str, str], more: Mapping[str, str]) -> Mapping[str, str]:
    """Headers with more of them, which win whatever their case."""
    named = {name.lower() for name in more}
    return {**{name: text for name, text in headers.items() if name.lower() not in named}, **more}


def with_basic(
    headers: Mapping[str, str], credentials: tuple[str, str] | None
) -> Mapping[str, str]:
    """Headers with a user's name and password, where there is one, as basic authentication."""
    if credentials is None:
        return headers
    token = b64encode(":".join(credentials).encode()).decode()
    return over(headers, {"Authorization": f"Basic {token}"})


def credentials_in(headers: Mapping[str, str]) -> Iterator[str]:
    """Every value that may be a credential, and what can be read from it.

    To hide the name of the database would garble every line that has the word `public`.
    """
    for name, value in headers.items():
        if value and not name.lower().startswith(_OPEN):
            yield value
            scheme, _, token = value.partition(" ")
            if token and scheme.lower() in ("basic", "bearer"):
                yield token
            if scheme.lower() == "basic":
                yield from _passwords(token)


def _passwords(token: str) -> Iterator[str]:
    try:
        _, _, password = b64decode(token, validate=True).decode().partition(":")
    except ValueError:
        return
    if password:
        yield password
