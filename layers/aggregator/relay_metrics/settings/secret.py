"""Reads the keys of the secret's JSON objects, with checks of their types."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any

from relay_metrics.errors import SettingsError, Unfilled
from relay_metrics.settings import headers
from relay_metrics.snapshot import well_formed

PLACEHOLDER = "REPLACE_ME"
"""The template writes this into a new secret; a value with it counts as not filled in."""


def document(secret: str | None) -> Any:
    """Parse the secret's one JSON object; an empty object if no secret is configured.

    Raises:
        SettingsError: it is no JSON object.
    """
    if secret is None:
        return {}
    try:
        # Files written by Windows PowerShell have a byte order mark, which `file://` keeps; on
        # Windows it may read them in its code page.
        if secret.startswith("\xef\xbb\xbf"):
            secret = secret.encode("cp1252").decode()
        value = json.loads(secret.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        raise SettingsError("the secret must be one JSON object; it is not JSON") from None
    if not isinstance(value, dict):
        raise SettingsError("the secret must be one JSON object; it is other JSON")
    return value


class Keys:
    """The keys of one JSON object of the secret. An empty value counts as unset.

    Args:
        where: the name of the object in error messages.
        known: the keys that it may have.

    Raises:
        SettingsError: it has an unknown key. Every method raises it if a value is wrong.
    """

    def __init__(self, where: str, value: Any, known: tuple[str, ...]) -> None:
        if not isinstance(value, dict):
            raise SettingsError(f"{where} must be a JSON object")
        for key in value:
            if key not in known:
                raise SettingsError(
                    f"{where} has an unknown key {well_formed(key)[:64]!r}; "
                    f"known are {', '.join(sorted(known))}"
                )
        self.where = where
        self._value = value

    def has(self, key: str) -> bool:
        """Whether the key has a value that is not empty."""
        return self._value.get(key) not in (None, "", [], {})

    def text(self, key: str) -> str | None:
        """Text, stripped and well-formed; None if it is unset."""
        value = self._value.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise SettingsError(f"{key} in {self.where} must be text")
        return well_formed(value.strip()) or None

    def needed(self, key: str) -> str:
        """Text, which must be set."""
        value = self.text(key)
        if value is None:
            raise SettingsError(f"{key} is missing in {self.where}")
        return value

    def listed(self, key: str) -> list[Any]:
        """A list of any values."""
        value = self._value.get(key)
        if value in (None, ""):
            return []
        if not isinstance(value, list):
            raise SettingsError(f"{key} in {self.where} must be a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, without duplicates."""
        texts = self.listed(key)
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise SettingsError(f"{key} in {self.where} must be a list of text")
        return tuple(dict.fromkeys(well_formed(text.strip()) for text in texts))

    def flag(self, key: str) -> bool:
        """True or false; False if it is unset."""
        value = self._value.get(key)
        if value in (None, ""):
            return False
        if not isinstance(value, bool):
            raise SettingsError(f"{key} in {self.where} must be true or false")
        return value

    def headers(self, key: str) -> Mapping[str, str]:
        """HTTP headers."""
        value = self._value.get(key)
        return {} if value in (None, "") else headers.checked(f"{key} in {self.where}", value)

    def pair(self, first: str, second: str) -> tuple[str, str] | None:
        """Two texts that must both be set or both be unset."""
        one, other = self.text(first), self.text(second)
        if one is None and other is None:
            return None
        if one is None or other is None:
            missing, given = (first, second) if one is None else (second, first)
            raise SettingsError(f"{missing} is missing in {self.where}: it goes with {given}")
        return one, other

    def basic(self, username: str, password: str) -> tuple[str, str] | None:
        """User name and password for basic authentication. The name has no colon (RFC 7617)."""
        credentials = self.pair(username, password)
        if credentials is not None and ":" in credentials[0]:
            raise SettingsError(f"{username} in {self.where} must not have a colon")
        return credentials

    def certificates(self, key: str) -> str | None:
        """Certificates in PEM form; None if they are unset."""
        pem = self.text(key)
        if pem is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
            except (ssl.SSLError, ValueError, TypeError):
                raise SettingsError(
                    f"{key} in {self.where} must be certificates in PEM form"
                ) from None
        return pem

    def filled_in(self, *keys: str) -> None:
        """Check that none of these keys (without arguments: no key) still has the placeholder.

        Raises:
            Unfilled: some have; the message names them.
        """
        left = [key for key in keys or self._value if _has_placeholder(self._value.get(key))]
        if left:
            which, be, them, s = " and ".join(left), "is", "it", ""
            if len(left) > 1:
                be, them, s = "are", "them", "s"
            raise Unfilled(
                f"{which} in {self.where} still {be} the placeholder {PLACEHOLDER}: "
                f"fill {them} in, or remove the key{s}"
            )


def _has_placeholder(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    texts = inner if isinstance(value, dict | list) else [value]
    return any(isinstance(text, str) and PLACEHOLDER in text for text in texts)
