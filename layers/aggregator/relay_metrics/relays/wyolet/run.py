"""A Prometheus endpoint: Wyolet Relay's, or any other.

Particular to Wyolet Relay are the start of a process's counters, and its usage, where an
administrator's token is given.
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
    """What is kept of relays whose usage is asked for, by their names."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}


def fetch(client: RelayClient, state: State) -> Fetched:
    """Scrape the relay's `metrics_path`, and ask for its usage where the settings say so."""
    if not access(client.relay).usage:
        return _exposition(client)
    # a run of other endpoints need not import it
    from relay_metrics.relays.wyolet import administrator

    known = state.known.setdefault(client.relay.name, administrator.Known())
    return administrator.fetch(client, known, lambda: _exposition(client))


def _exposition(client: RelayClient) -> Fetched:
    """Scrape the relay, once.

    A scrape that fails, or of which one line is malformed, is counted by the client and
    delivers no family; so is what was left out of one that did not.
    """
    of_relay = access(client.relay)
    try:
        families = scrape(client, of_relay.metrics_path, of_relay.metric_exclude)
    except RelayError as error:
        client.failed(error)
        return Fetched(up=False)
    return Fetched(up=True, families=families)
