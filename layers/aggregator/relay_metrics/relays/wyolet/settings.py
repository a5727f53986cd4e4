"""How a Prometheus endpoint is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from relay_metrics.errors import SettingsError
from relay_metrics.settings.addresses import token_values

if TYPE_CHECKING:
    from relay_metrics.settings import Relay
    from relay_metrics.settings.secret import Keys


@dataclass(frozen=True)
class WyoletAccess:
    """Where the exposition is, what of it is not wanted, and whether there is usage to ask for.

    Attributes:
        metrics_path: with its leading slash and its query.
        metric_exclude: patterns (`go_*`) of family names that are left out.
        usage: whether the usage API is asked.
        admin_token: what it is asked with; None where a proxy adds it.
    """

    metrics_path: str = "/metrics"
    metric_exclude: tuple[str, ...] = ()
    usage: bool = False
    admin_token: str | None = field(default=None, repr=False)

    @property
    def credentials(self) -> bool:
        """The administrator's token, beside the headers, which every kind can have."""
        return self.admin_token is not None

    @property
    def timed(self) -> bool:
        """Those of minutes, which the usage API tells."""
        return self.usage

    @property
    def secrets(self) -> Iterator[str]:
        """The token, and what may be one in the query."""
        yield from token_values(self.metrics_path)
        if self.admin_token:
            yield self.admin_token


def access(relay: Relay) -> WyoletAccess:
    """The access of a Prometheus endpoint."""
    return cast("WyoletAccess", relay.access)  # made by this module's own kind


def of_one(secret: Keys) -> WyoletAccess:
    """The access of the environment's one relay.

    Raises:
        SettingsError: the token is none.
    """
    token = _token(secret, "relay_admin_token")
    return WyoletAccess(usage=token is not None, admin_token=token)


def of_listed(read: Keys) -> WyoletAccess:
    """The access of an entry of `relays`.

    Raises:
        SettingsError: its path, or the token, is none.
    """
    metrics_path = read.text("metrics_path") or "/metrics"
    if not re.fullmatch(r"/[\x21-\x7e]*", metrics_path):
        raise SettingsError(f"metrics_path in {read.where} must begin with /")
    token = _token(read, "admin_token")
    usage = read.flag("usage") or token is not None
    return WyoletAccess(metrics_path, read.texts("metric_exclude"), usage, token)


def _token(read: Keys, key: str) -> str | None:
    token = read.text(key)
    if token is not None and not re.fullmatch(r"[\x21-\x7e]+", token):
        raise SettingsError(f"{key} in {read.where} has a character that no token has")
    return token
