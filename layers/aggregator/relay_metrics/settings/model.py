"""The types of the settings, all frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from relay_metrics.errors import SettingsError
from relay_metrics.relays.kinds import Access


class Environment(NamedTuple):
    """The environment variables, typed; times in seconds, sizes in bytes unless named otherwise.

    Attributes:
        sam_local: whether this runs in a container of `sam local`, not in Lambda.
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
    """A relay and its access.

    Attributes:
        base_url: without a trailing slash.
        resource: the resource attributes of all its series.
        access: the credentials and options of its kind.
        wrong: the error in its entry of the secret, because of which it cannot be scraped; None if
            there is none. With an error, the base URL may be empty.
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
        headers: including the credentials.
        overwrites: whether it keeps the last write of one series and timestamp, so that figures
            with timestamps of their own can be sent again.
        wrong: the error in its entry of the secret, because of which nothing can be pushed to it;
            None if there is none. With an error, the URL may be empty.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_pem: str | None = field(default=None, repr=False)
    overwrites: bool = False
    wrong: SettingsError | None = None


@dataclass(frozen=True)
class Settings:
    """All settings of a run.

    Attributes:
        secrets: every value that must not appear in any output.
        warnings: sentences on corrected settings, for the log.
        unfilled: sentences on the placeholders of a newly created stack that must be filled in
            before a run can start; empty if it can.
    """

    environment: Environment
    relays: tuple[Relay, ...]
    destinations: tuple[Destination, ...]
    secrets: frozenset[str] = field(repr=False)
    warnings: tuple[str, ...] = ()
    unfilled: tuple[str, ...] = ()

    @property
    def faulty(self) -> bool:
        """Whether something of the secret cannot be used, so that reading it again may help."""
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
    """The entry of the secret, or None if it is wrong or missing."""
    return None if entry is None or entry.wrong is not None else entry
