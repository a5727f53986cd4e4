"""Scrapes a Prometheus endpoint; the answer is parsed block by block as it arrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay_metrics.errors import Unauthorised
from relay_metrics.families import Family
from relay_metrics.observability import logger
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.prometheus.exposition import Bounds, Exposition, NoExposition, Reader
from relay_metrics.relays.prometheus.families import assemble

# The text format is preferred: with OpenMetrics, a Go client renames counters without _total.
ACCEPT = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"


def scrape(client: RelayClient, path: str, exclude: Sequence[str]) -> tuple[Family, ...]:
    """The families of an endpoint. The client counts samples that are left out.

    Args:
        path: the path with its leading slash and its query.
        exclude: patterns of the names of families that are left out.

    Raises:
        RelayError: the request failed, or the answer is not an exposition.
    """
    endpoint = path.partition("?")[0].strip("/") or "/"

    def ask(headers: Mapping[str, str]) -> Exposition:
        given = any(name.lower() == "accept" for name in headers)
        sent = headers if given else {**headers, "Accept": ACCEPT}
        bounds = Bounds.of(client.environment.max_families, client.environment.memory_mb)
        with client.stream(path, endpoint=endpoint, headers=sent) as answer:
            reader = Reader(answer.media_type, exclude, bounds)
            try:
                for block in answer.blocks():
                    reader.feed(block)
                return reader.end()
            except NoExposition as error:
                raise client.invalid(endpoint, error.type, str(error)) from None

    try:
        exposition = ask(client.relay.headers)
    except Unauthorised:
        exposition = ask(client.renewed().headers)
    families = assemble(exposition, client.time_ms)
    for type, count in exposition.left_out.items():
        client.left_out(endpoint, type, count)
        if type in ("too_many_families", "too_many_samples"):
            logger.warning(
                "more than RELAY_MAX_FAMILIES or the memory allows: the rest is left out",
                extra={"relay": client.relay.name, type: count},
            )
    return families
