"""A Prometheus endpoint: Wyolet Relay's, or any other.

Nothing but the start of a process's counters is particular to Wyolet Relay.
"""

from __future__ import annotations

from relay_metrics.errors import RelayError
from relay_metrics.relays import Fetched
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.prometheus.scrape import scrape
from relay_metrics.relays.wyolet.settings import access


class State:
    """Nothing is kept of an endpoint."""


def fetch(client: RelayClient, _state: State) -> Fetched:
    """Scrape the relay's `metrics_path`, once.

    A scrape that fails, or of which one line is malformed, is counted in the conversation and
    delivers no family; so is what was left out of one that did not.
    """
    of_relay = access(client.relay)
    try:
        families = scrape(client, of_relay.metrics_path, of_relay.metric_exclude)
    except RelayError as error:
        client.failed(error)
        return Fetched(up=False)
    return Fetched(up=True, families=families)
