"""The access of a Prometheus endpoint: path, filters, and the token of the usage API."""

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
    """The access of a Prometheus endpoint.

    Attributes:
        metrics_path: the path of the exposition, with its leading slash and its query.
        metric_exclude: patterns (`go_*`) of the names of families that are left out.
        usage: whether the usage API is scraped.
        admin_token: the token for the usage API; None if a proxy adds it.
    """

    metrics_path: str = "/metrics"
    metric_exclude: tuple[str, ...] = ()
    usage: bool = False
    admin_token: str | None = field(default=None, repr=False)

    @property
    def credentials(self) -> bool:
        """Whether there is a token. The headers, which any kind can have, are not counted here."""
        return self.admin_token is not None

    @property
    def timed(self) -> bool:
        """Whether there are the minutes of the usage API."""
        return self.usage

    @property
    def secrets(self) -> Iterator[str]:
        """The administrator's token, and values of the query that may be one."""
        yield from token_values(self.metrics_path)
        if self.admin_token:
            yield self.admin_token


def access(relay: Relay) -> WyoletAccess:
    """The access of a Prometheus endpoint."""
    return cast("WyoletAccess", relay.access)  # made by this module's own kind


def of_one(secret: Keys) -> WyoletAccess:
    """The access of the environment's one relay.

    Raises:
        SettingsError: the token is not valid.
    """
    token = _token(secret, "relay_admin_token")
    return WyoletAccess(usage=token is not None, admin_token=token)


def of_listed(read: Keys) -> WyoletAccess:
    """The access of an entry of `relays`.

    Raises:
        SettingsError: the path or the token is not valid.
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
