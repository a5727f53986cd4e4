"""Scrapes a Wyolet Relay with an administrator's token: exposition, usage, keys, upstream keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from relay_metrics.relays import Fetched, Remark
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.phases import Request
from relay_metrics.relays.wyolet.host_keys import HOST_KEYS, HostKeys
from relay_metrics.relays.wyolet.timeseries import MINUTE_MS, get, instant
from relay_metrics.relays.wyolet.usage import Memory, UsageScrape

_SUMMARY = "api/usage/summary"
_SAME_REQUESTS = 4
"""How often a check sends one request, to find pods that answer it differently."""


@dataclass
class Known:
    """What the runtime keeps of one relay. Results do not depend on it."""

    usage: Memory = field(default_factory=Memory)
    host_keys: HostKeys = field(default_factory=HostKeys)


def fetch(client: RelayClient, known: Known, exposition: Callable[[], Fetched]) -> Fetched:
    """Scrape the exposition and the usage API, with concurrent requests.

    Args:
        exposition: scrapes the relay's `metrics_path`.
    """
    scraped: list[Fetched] = []
    usage = UsageScrape(client, known.usage)
    first: list[Request[Any]] = [Request("metrics", exposition, scraped.append), *usage.requests()]
    if usage.longer or not known.host_keys.read:
        first.append(Request(HOST_KEYS, lambda: known.host_keys.ask(client), known.host_keys.take))
    client.together(first)
    client.together(usage.more_requests())
    timed = usage.timed()
    readings = (*usage.readings(), *known.host_keys.readings(client))
    (fetched,) = scraped or (Fetched(up=False),)
    return fetched._replace(
        readings=readings,
        timed=timed,
        taken=usage.taken,
        keys_left_out=known.usage.names.left_out,
        remarks=tuple(_remarks(client, known.usage)) if client.checking else (),
    )


def _remarks(client: RelayClient, memory: Memory) -> list[Remark]:
    """The remarks of a check on how the relay stores its usage."""
    remarks = []
    if memory.slow:
        remarks.append(
            Remark(
                "its usage takes more than a second to answer, and is asked for every ten minutes",
                "the file backend is read whole for each question: move the relay's usage to "
                "Postgres or ClickHouse",
            )
        )
    # The same request several times at once, so that each has a connection of its own and may
    # reach another pod. The day ends an hour ago: its figures hardly change any more.
    end_ms = client.time_ms // MINUTE_MS * MINUTE_MS - 3_600_000
    query = urlencode({"from": instant(end_ms - 86_400_000), "to": instant(end_ms)})
    answers: list[str] = []

    def ask() -> str:
        return repr(get(client, f"/{_SUMMARY}?{query}", _SUMMARY).get("rows"))

    client.together([Request(_SUMMARY, ask, answers.append) for _ in range(_SAME_REQUESTS)])
    if len(set(answers)) > 1:
        remarks.append(
            Remark(
                "it answers one question about its usage in different ways",
                "several pods with the file backend know a part of the usage each: move the "
                "relay's usage to Postgres or ClickHouse, or ask one pod",
            )
        )
    return remarks
