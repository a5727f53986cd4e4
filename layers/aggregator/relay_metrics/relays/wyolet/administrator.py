"""What a relay tells its administrator beside its exposition: usage, keys, upstream keys."""

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
from relay_metrics.relays.wyolet.usage import Memory, Usage

_SUMMARY = "api/usage/summary"
_ASKED_OF_PODS = 4


@dataclass
class Known:
    """What earlier runs know of one relay; none of it is needed."""

    usage: Memory = field(default_factory=Memory)
    host_keys: HostKeys = field(default_factory=HostKeys)


def fetch(client: RelayClient, known: Known, exposition: Callable[[], Fetched]) -> Fetched:
    """All that the relay says, asked side by side."""
    scraped: list[Fetched] = []
    usage = Usage(client, known.usage)
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
    """What a check says of how the relay keeps its usage."""
    remarks = []
    if memory.slow:
        remarks.append(
            Remark(
                "its usage takes more than a second to answer, and is asked for every ten minutes",
                "the file backend is read whole for each question: move the relay's usage to "
                "Postgres or ClickHouse",
            )
        )
    # a day that is over but for late events, asked on connections of their own
    end_ms = client.time_ms // MINUTE_MS * MINUTE_MS - 3_600_000
    query = urlencode({"from": instant(end_ms - 86_400_000), "to": instant(end_ms)})
    told: list[str] = []

    def ask() -> str:
        return repr(get(client, f"/{_SUMMARY}?{query}", _SUMMARY).get("rows"))

    client.together([Request(_SUMMARY, ask, told.append) for _ in range(_ASKED_OF_PODS)])
    if len(set(told)) > 1:
        remarks.append(
            Remark(
                "it answers one question about its usage in different ways",
                "several pods with the file backend know a part of the usage each: move the "
                "relay's usage to Postgres or ClickHouse, or ask one pod",
            )
        )
    return remarks
