"""The access of a claude-relay: keys, or an administrator's login."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from relay_metrics.errors import SettingsError

if TYPE_CHECKING:
    from relay_metrics.settings import Relay
    from relay_metrics.settings.secret import Keys


@dataclass(frozen=True)
class KeyCredential:
    """A configured key: its id, or the API key itself."""

    api_id: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @property
    def configured(self) -> str:
        """The id or key, whichever is configured."""
        return self.api_id or self.api_key or ""


@dataclass(frozen=True)
class Login:
    """The user name and password of an administrator."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True)
class ClaudeAccess:
    """The configured keys, and the login with which all keys are found."""

    keys: tuple[KeyCredential, ...] = ()
    login: Login | None = None

    @property
    def credentials(self) -> bool:
        """Always True: a claude-relay needs a credential."""
        return True

    @property
    def timed(self) -> bool:
        """Whether there are figures of past days, which need a login."""
        return self.login is not None

    @property
    def secrets(self) -> Iterator[str]:
        """The API keys and the administrator's password. An id is not a secret."""
        yield from (key.api_key for key in self.keys if key.api_key)
        if self.login:
            yield self.login.password


def access(relay: Relay) -> ClaudeAccess:
    """The access of a claude-relay."""
    return cast("ClaudeAccess", relay.access)  # made by this module's own kind


def of_one(secret: Keys) -> ClaudeAccess:
    """The access of the environment's one relay. If there are an id and a key, the id is used.

    Raises:
        SettingsError: there is no credential.
    """
    api_id, api_key = secret.text("relay_api_id"), secret.text("relay_api_key")
    login = secret.pair("relay_admin_username", "relay_admin_password")
    if not (api_id or api_key or login):
        raise SettingsError(
            "the secret has no credential for the relay: give relay_api_id, relay_api_key, "
            "or relay_admin_username with relay_admin_password"
        )
    keys = (KeyCredential(api_id, None if api_id else api_key),) if api_id or api_key else ()
    return ClaudeAccess(keys, login and Login(*login))


def of_listed(read: Keys) -> ClaudeAccess:
    """The access of an entry of `relays`.

    Raises:
        SettingsError: there is no credential.
    """
    ids, api_keys = read.texts("api_ids"), read.texts("api_keys")
    login = read.pair("admin_username", "admin_password")
    if not (ids or api_keys or login):
        raise SettingsError(
            f"{read.where} has no credential: give api_ids, api_keys, "
            "or admin_username with admin_password"
        )
    by_id = tuple(KeyCredential(api_id=one) for one in ids)
    by_key = tuple(KeyCredential(api_key=one) for one in api_keys)
    return ClaudeAccess(by_id + by_key, login and Login(*login))
