"""Fetching from a simulated claude-relay, run after run in one execution environment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from local.closing import Closing
from local.relay import ClaudeRelay, Key
from relay_metrics.deadline import Deadline
from relay_metrics.net.http import Client
from relay_metrics.relays import Fetched
from relay_metrics.relays.claude.run import State, fetch
from relay_metrics.relays.client import RelayClient, Shard
from relay_metrics.relays.limiter import Limiter
from relay_metrics.relays.memory import Memory
from relay_metrics.settings import environment, settings
from relay_metrics.snapshot import Number, Reading, Scope
from tests.collecting import LOGIN

NOW = 1_795_294_800.0
"""2026-11-21T21:00:00Z, a Saturday; at UTC+8 it is Sunday, five in the morning."""

STATS, MODELS, BATCH = (
    f"/apiStats/api/{name}" for name in ("user-stats", "user-model-stats", "batch-stats")
)


@dataclass(frozen=True)
class Run:
    """What came of a run, and what it cost the relay.

    Attributes:
        fetched: with what was handed over while the relay was still asked.
        handed_over: how many readings that was.
    """

    fetched: Fetched
    handed_over: int
    failures: Mapping[tuple[str, str], int]
    error: str | None
    calls: Counter[str]
    scans: int

    def readings(self, *scopes: Scope) -> list[Reading]:
        return [reading for reading in self.fetched.readings if reading.scope in scopes]

    def keys(self) -> dict[str, Reading]:
        """The keys' readings by the key's name; a name that two have fails the test."""
        found = {}
        for reading in self.readings(Scope.KEY):
            name = reading.resource["relay.key.name"]
            assert name not in found
            found[name] = reading
        return found

    def whole(self) -> set[str]:
        """The names of the keys of which more is delivered than their running totals."""
        return set(self.figures("day_resets_s"))

    def figures(self, field: str) -> dict[str, Number]:
        """A field of each key that has it, by the key's name."""
        keys = self.keys().items()
        return {name: key.fields[field] for name, key in keys if field in key.fields}

    def states(self) -> dict[str, Number]:
        """How many keys there are, by state."""
        states = self.readings(Scope.KEY_STATE)
        return {one.attributes["state"]: one.fields["keys"] for one in states}

    def of_relay(self) -> dict[str, Number]:
        """The figures of the relay at large."""
        together: dict[str, Number] = {}
        for reading in self.readings(Scope.RELAY):
            together.update(reading.fields)
        return together


class Asker(Closing):
    """Asks one relay.

    Args:
        relay: whose clock is that of the runs.
        secret: of the relay's place in the secret; an administrator's login by default.
        renewed: the same once the secret is read anew, where that differs.
        variables: of the collector.
    """

    def __init__(
        self,
        relay: ClaudeRelay,
        secret: Mapping[str, Any] = LOGIN,
        renewed: Mapping[str, Any] | None = None,
        **variables: str,
    ) -> None:
        self._relay = relay
        self._environment = environment(
            {"OTEL_EXPORT_URL": "http://127.0.0.1:1", "RELAY_TIMEOUT_MS": "60000", **variables}
        )
        self._asked, self._renewed = (
            settings(
                self._environment,
                json.dumps({"relays": [{"name": "main", "base_url": relay.url, **one}]}),
            ).relays[0]
            for one in (secret, renewed or secret)
        )
        self._kept = State()
        self._client = Client()
        self._pool = ThreadPoolExecutor(self._environment.concurrency)

    def run(self, shard: str = "1/1", answered_after_s: float = 0) -> Run:
        """A run at the relay's own instant.

        Args:
            answered_after_s: how long after it each answer comes, by the collector's clock.
        """
        relay = self._relay
        relay.calls.clear()
        relay.scans = 0
        index, _, count = shard.partition("/")
        client = RelayClient(
            self._asked,
            self._environment,
            self._client,
            self._pool,
            Limiter(self._environment.concurrency, [self._asked.name]),
            Memory(256, 1),
            Deadline.after(60),
            lambda: self._renewed,
            time_ms=round(relay.clock() * 1000),
            scheduled_s=relay.clock(),
            shard=Shard(int(index), int(count)),
            clock=lambda: int((relay.clock() + answered_after_s) * 1e9),
        )
        fetched = fetch(client, self._kept)
        fetched = fetched._replace(readings=(*client.handed_over, *fetched.readings))
        assert relay.server.errors == []
        failures = {(one.endpoint, one.type): one.count for one in client.failures}
        handed_over = len(client.handed_over)
        return Run(fetched, handed_over, failures, client.error, Counter(relay.calls), relay.scans)

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown()


def used(relay: ClaudeRelay, keys: Iterable[Key]) -> None:
    """Let each key be used once, each another amount."""
    for number, key in enumerate(keys, 1):
        relay.use(
            key,
            "claude-sonnet-4-20250514",
            requests=number,
            input_tokens=1000 * number,
            cache_read_tokens=10 * number,
        )
