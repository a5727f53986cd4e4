"""How a Prometheus endpoint is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay_metrics.errors import SettingsError
from relay_metrics.settings.addresses import token_values

if TYPE_CHECKING:
    from relay_metrics.settings import Relay
    from relay_metrics.settings.secret import Keys


@dataclass(frozen=True)
class WyoletAccess:
    """Where the exposition is, and what of it is not wanted.

    Attributes:
        metrics_path: with its leading slash and its query.
        metric_exclude: patterns (`go_*`) of family names that are left out.
    """

    metrics_path: str = "/metrics"
    metric_exclude: tuple[str, ...] = ()

    @property
    def credentials(self) -> bool:
        """None but in the headers, which every kind can have."""
        return False

    @property
    def timed(self) -> bool:
        """None: an exposition says what is now."""
        return False

    @property
    def secrets(self) -> Iterator[str]:
        """What may be a token in the query."""
        yield from token_values(self.metrics_path)


def access(relay: Relay) -> WyoletAccess:
    """The access of a Prometheus endpoint."""
    if not isinstance(relay.access, WyoletAccess):
        raise TypeError(f"relay {relay.name} is no Prometheus endpoint")
    return relay.access


def of_one(_secret: Keys) -> WyoletAccess:
    """The access of the environment's one relay."""
    return WyoletAccess()


def of_listed(read: Keys) -> WyoletAccess:
    """The access of an entry of `relays`.

    Raises:
        SettingsError: its path is none.
    """
    metrics_path = read.text("metrics_path") or "/metrics"
    if not re.fullmatch(r"/[\x21-\x7e]*", metrics_path):
        raise SettingsError(f"metrics_path in {read.where} must begin with /")
    return WyoletAccess(metrics_path, read.texts("metric_exclude"))
