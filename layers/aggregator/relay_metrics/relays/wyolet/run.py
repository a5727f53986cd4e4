"""A Prometheus endpoint: Wyolet Relay's, or any other.

Nothing but the start of a process's counters is particular to Wyolet Relay.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay_metrics.errors import RelayError, Unauthorised
from relay_metrics.families import Family
from relay_metrics.net.http import Answer
from relay_metrics.relays import Fetched
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.prometheus.exposition import Bounds, NoExposition, read
from relay_metrics.relays.prometheus.families import assemble
from relay_metrics.relays.wyolet.settings import access

# The text format first: with OpenMetrics a Go client would rename counters without _total.
ACCEPT = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"


class State:
    """Nothing is kept of an endpoint."""


def fetch(client: RelayClient, _state: State) -> Fetched:
    """Scrape the relay's `metrics_path`, once.

    A scrape that fails, or of which one line is malformed, is counted in the conversation and
    delivers no family; so is what was left out of one that did not.
    """
    endpoint = access(client.relay).metrics_path.partition("?")[0].strip("/") or "/"
    try:
        return Fetched(up=True, families=_families(client, endpoint))
    except RelayError as error:
        client.failed(error)
        return Fetched(up=False)


def _families(client: RelayClient, endpoint: str) -> tuple[Family, ...]:
    answer = _scraped(client, endpoint)
    bounds = Bounds.of(client.environment.max_families, client.environment.memory_mb)
    try:
        excluded = access(client.relay).metric_exclude
        exposition = read(answer.body, answer.media_type, excluded, bounds)
    except NoExposition as error:
        raise client.invalid(endpoint, error.type, str(error)) from None
    families = assemble(exposition, client.time_ms)
    for type, count in exposition.left_out.items():
        client.left_out(endpoint, type, count)
    return families


def _scraped(client: RelayClient, endpoint: str) -> Answer:
    def ask(headers: Mapping[str, str]) -> Answer:
        given = any(name.lower() == "accept" for name in headers)
        sent = headers if given else {**headers, "Accept": ACCEPT}
        return client.ask("GET", access(client.relay).metrics_path, endpoint=endpoint, headers=sent)

    try:
        return ask(client.relay.headers)
    except Unauthorised:
        return ask(client.renewed().headers)
