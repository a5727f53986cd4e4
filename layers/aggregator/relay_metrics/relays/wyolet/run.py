"""Scrapes a Prometheus endpoint: a Wyolet Relay or any other.

Only a Wyolet Relay has the usage API, for which an administrator's token is needed, and takes the
start of its counters from the process start time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay_metrics.errors import RelayError
from relay_metrics.relays import Fetched
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.prometheus.scrape import scrape
from relay_metrics.relays.wyolet.settings import access

if TYPE_CHECKING:
    from relay_metrics.relays.wyolet.administrator import Known


class State:
    """What the runtime keeps of relays with usage, by their names."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}


def fetch(client: RelayClient, state: State) -> Fetched:
    """Scrape the relay's `metrics_path`, and its usage API if the settings give access to it."""
    if not access(client.relay).usage:
        return _exposition(client)
    # not imported for endpoints without usage
    from relay_metrics.relays.wyolet import administrator

    known = state.known.setdefault(client.relay.name, administrator.Known())
    return administrator.fetch(client, known, lambda: _exposition(client))


def _exposition(client: RelayClient) -> Fetched:
    """Scrape the exposition once.

    If that fails, or a line is malformed, there are no families and the client counts the failure.
    """
    of_relay = access(client.relay)
    try:
        families = scrape(client, of_relay.metrics_path, of_relay.metric_exclude)
    except RelayError as error:
        client.failed(error)
        return Fetched(up=False)
    return Fetched(up=True, families=families)
