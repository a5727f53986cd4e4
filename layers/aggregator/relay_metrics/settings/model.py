"""The frozen settings that everything else is handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from relay_metrics.errors import SettingsError
from relay_metrics.relays.kinds import Access


class Environment(NamedTuple):
    """The variables of the contract; times in seconds, sizes in bytes.

    Attributes:
        sam_local: whether this is a container of `sam local` and no Lambda.
    """

    relay_kind: str
    relay_base_url: str | None
    relay_name: str | None
    period: str
    deployment_environment: str | None
    relay_timeout_s: float
    max_response_bytes: int
    concurrency: int
    scans_per_run: int
    max_keys: int
    max_models_per_key: int
    utc_offset_hours: float
    secret_id: str | None
    secret_max_age_s: int
    export_url: str | None
    database: str
    export_headers: Mapping[str, str]
    push_timeout_s: float
    service_name: str | None
    service_namespace: str | None
    service_version: str | None
    resource_attributes: Mapping[str, str]
    spool_queue_url: str | None
    max_families: int
    usage_lookback_s: int
    key_labels: tuple[str, ...]
    memory_mb: int
    log_level: str
    sam_local: bool

    def __repr__(self) -> str:
        return "Environment()"  # the headers may hold a credential


@dataclass(frozen=True)
class Relay:
    """A relay, and what it takes to ask it.

    Attributes:
        base_url: without a slash at its end.
        resource: the attributes that everything of this relay has.
        access: what its kind needs to ask it.
        wrong: what is wrong with its entry in the secret, so that it cannot be asked; None where
            it can. The base URL may be empty then.
    """

    name: str
    kind: str
    base_url: str
    resource: Mapping[str, str]
    access: Access
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_pem: str | None = field(default=None, repr=False)
    wrong: SettingsError | None = None


@dataclass(frozen=True)
class Destination:
    """An OTLP/HTTP metrics endpoint.

    Attributes:
        headers: with the credentials in it.
        overwrites: whether it keeps the last write of one series and time, so that figures with a
            time of their own can be told again.
        wrong: what is wrong with its entry in the secret, so that nothing can be pushed to it; None
            where it can. The URL may be empty then.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_pem: str | None = field(default=None, repr=False)
    overwrites: bool = False
    wrong: SettingsError | None = None


@dataclass(frozen=True)
class Settings:
    """Everything that a run is told.

    Attributes:
        secrets: every value that must not be seen in any output.
        warnings: what was corrected, for the log.
        unfilled: what has to be filled in before anything can be done: the placeholders of a stack
            that was just made. Empty where a run can begin.
    """

    environment: Environment
    relays: tuple[Relay, ...]
    destinations: tuple[Destination, ...]
    secrets: frozenset[str] = field(repr=False)
    warnings: tuple[str, ...] = ()
    unfilled: tuple[str, ...] = ()

    @property
    def faulty(self) -> bool:
        """Whether a newer secret could be better: something of this one cannot be used."""
        entries: tuple[Relay | Destination, ...] = (*self.relays, *self.destinations)
        return bool(self.unfilled) or any(one.wrong is not None for one in entries)

    def relay(self, name: str) -> Relay | None:
        """The relay of that name."""
        return next((relay for relay in self.relays if relay.name == name), None)

    def destination(self, name: str) -> Destination | None:
        """The destination of that name."""
        return next((one for one in self.destinations if one.name == name), None)


Entry = TypeVar("Entry", Relay, Destination)


def usable(entry: Entry | None) -> Entry | None:
    """An entry of the secret with which something can be done; None where it is wrong or gone."""
    return None if entry is None or entry.wrong is not None else entry
