"""A Prometheus endpoint: Wyolet Relay's, or any other.

Nothing but the start of a process's counters is particular to Wyolet Relay.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay_metrics.errors import RelayError, Unauthorised
from relay_metrics.net.http import Answer
from relay_metrics.relays import Fetched
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.prometheus.exposition import MalformedExposition, read
from relay_metrics.relays.prometheus.families import assemble
from relay_metrics.relays.wyolet.settings import access
from relay_metrics.snapshot import Family

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
    if not answer.body.strip():
        raise client.invalid(endpoint, "empty", "answered 200 with an empty body")
    if answer.media_type == "text/html" or answer.body.lstrip().startswith(b"<"):
        raise client.invalid(endpoint, "html", "answered 200 with HTML")
    try:
        exposition = read(answer.body, answer.media_type, access(client.relay).metric_exclude)
    except MalformedExposition as error:
        message = f"answered 200 with an exposition of which {error}"
        raise client.invalid(endpoint, "malformed", message) from None
    families = assemble(exposition, client.time_ms)
    for type, count in exposition.left_out.items():
        client.left_out(endpoint, type, count)
    return families


def _scraped(client: RelayClient, endpoint: str) -> Answer:
    def ask(headers: Mapping[str, str]) -> Answer:
        sent = {**headers, "Accept": ACCEPT}
        return client.ask("GET", access(client.relay).metrics_path, endpoint=endpoint, headers=sent)

    try:
        return ask({})
    except Unauthorised:
        return ask(client.renewed().headers)
