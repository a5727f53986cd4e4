"""How a claude-relay is asked: by keys, or as an administrator."""

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
    """How one key is asked for: by its id, or by the key itself."""

    api_id: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @property
    def configured(self) -> str:
        """What is configured, id or key."""
        return self.api_id or self.api_key or ""


@dataclass(frozen=True)
class Login:
    """An administrator."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True)
class ClaudeAccess:
    """The keys that are asked for, and the administrator who is told of all others."""

    keys: tuple[KeyCredential, ...] = ()
    login: Login | None = None

    @property
    def credentials(self) -> bool:
        """Always: there is no claude-relay without one."""
        return True

    @property
    def timed(self) -> bool:
        """Those of days, which an administrator is told."""
        return self.login is not None

    @property
    def secrets(self) -> Iterator[str]:
        """The keys, and the administrator's password. An id is none."""
        yield from (key.api_key for key in self.keys if key.api_key)
        if self.login:
            yield self.login.password


def access(relay: Relay) -> ClaudeAccess:
    """The access of a claude-relay."""
    return cast("ClaudeAccess", relay.access)  # made by this module's own kind


def of_one(secret: Keys) -> ClaudeAccess:
    """The access of the environment's one relay. An id wins over a key.

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
