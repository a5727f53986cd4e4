"""What the demo shows: figures read from the store by SQL, and what the relays counted themselves.

The statements are plain enough for GreptimeDB and for DuckDB, which stands in for it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from local.relay import ClaudeRelay, WyoletRelay, WyoletUsage
from local.relay.exposition import Histogram
from local.relay.model import TOTAL
from local.relay.wyolet_usage import Usage
from local.sql import Database, Row, literal

KEYS: Final = """
SELECT r.greptime_timestamp, r.relay_name, r.relay_key_id, r.relay_key_name,
       r.greptime_value AS requests, t.greptime_value AS tokens, c.greptime_value AS cost_usd
FROM relay_requests_total r
LEFT JOIN relay_tokens_total t USING (relay_name, relay_key_id, greptime_timestamp)
LEFT JOIN relay_cost_total_usd c USING (relay_name, relay_key_id, greptime_timestamp)
WHERE r.relay_kind = 'claude-relay' AND {these_runs}
ORDER BY r.greptime_timestamp, r.relay_name, r.greptime_value DESC"""

MODELS: Final = """
SELECT r.greptime_timestamp, r.relay_name, r.relay_key_id, r.relay_key_name, r.model, r.period,
       r.greptime_value AS requests, t.greptime_value AS tokens, c.greptime_value AS cost_usd
FROM relay_model_requests r
LEFT JOIN relay_model_tokens t USING (relay_name, relay_key_id, model, period, greptime_timestamp)
LEFT JOIN relay_model_cost_usd c USING (relay_name, relay_key_id, model, period, greptime_timestamp)
WHERE {these_runs}
ORDER BY r.greptime_timestamp, r.relay_name, r.relay_key_name, r.greptime_value DESC"""

OVERHEAD: Final = """
SELECT r.greptime_timestamp, r.relay_name, r.source, r.le, r.greptime_value
FROM relay_overhead_seconds_bucket r
WHERE {these_runs}
ORDER BY r.greptime_timestamp, r.source"""

HEALTH: Final = """
SELECT r.greptime_timestamp, r.relay_name, r.relay_kind, r.greptime_value AS up,
       s.greptime_value AS samples, d.greptime_value AS seconds
FROM relay_up r
LEFT JOIN relay_scrape_samples s USING (relay_name, greptime_timestamp)
LEFT JOIN relay_scrape_duration_seconds d USING (relay_name, greptime_timestamp)
WHERE {these_runs}
ORDER BY r.greptime_timestamp, r.relay_name"""

DAYS: Final = """
SELECT r.greptime_timestamp, r.relay_key_id, r.greptime_value AS requests,
       t.greptime_value AS tokens, c.greptime_value AS cost_usd
FROM relay_day_requests r
JOIN relay_day_tokens t USING (relay_name, relay_key_id, greptime_timestamp)
JOIN relay_day_cost_usd c USING (relay_name, relay_key_id, greptime_timestamp)
WHERE r.relay_name = 'claude'"""

USED: Final = """
SELECT {of}, greptime_timestamp, greptime_value
FROM relay_usage_by_{what}_{figure}
WHERE relay_name = 'wyolet'"""

Counted = Mapping[tuple[str, ...], float]
"""Figures by what they describe, for example `("requests", KEY_ID)`."""


@dataclass(frozen=True)
class Stored:
    """What the store holds of some runs, oldest first.

    Attributes:
        instants: of the runs, in milliseconds.
    """

    instants: tuple[int, ...]
    keys: tuple[Row, ...]
    models: tuple[Row, ...]
    overhead: tuple[Row, ...]
    health: tuple[Row, ...]

    def at(self, rows: tuple[Row, ...], run: int) -> list[Row]:
        """The rows of one run among some rows."""
        return [row for row in rows if row["greptime_timestamp"] == self.instants[run]]

    def counted(self, run: int) -> Counted:
        """The figures of one run that the relays know as well."""
        figures: dict[tuple[str, ...], float] = {}
        for row in self.at(self.keys, run):
            for what in ("requests", "tokens", "cost_usd"):
                figures[what, row["relay_key_id"]] = row[what]
        for row in self.at(self.models, run):
            for what in ("requests", "tokens", "cost_usd"):
                figures[f"model {what}", row["relay_key_id"], row["model"]] = row[what]
        for row in self.at(self.overhead, run):
            bound = f"{float(row['le']):g}"
            figures["overhead", row["source"], bound] = row["greptime_value"]
        return figures

    def overheads(self, run: int) -> dict[str, Histogram]:
        """The overhead by source since the run before, or since the start for the first run."""
        before = self._buckets(run - 1) if run else {}
        histograms = {}
        for source, buckets in self._buckets(run).items():
            earlier = before.get(source, {})
            grown = {bound: count - earlier.get(bound, 0) for bound, count in buckets.items()}
            anew = min(grown.values()) < 0  # the relay has started anew
            histograms[source] = Histogram.of_cumulative(buckets if anew else grown)
        return histograms

    def _buckets(self, run: int) -> dict[str, dict[float, float]]:
        buckets: dict[str, dict[float, float]] = defaultdict(dict)
        for row in self.at(self.overhead, run):
            buckets[row["source"]][float(row["le"])] = row["greptime_value"]
        return buckets


def stored(database: Database, since_ms: int, environment: str) -> Stored:
    """What the store holds of the runs since an instant, with the label `RELAY_ENVIRONMENT`.

    Raises:
        SqlError: the store does not answer.
    """
    since = datetime.fromtimestamp(since_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
    these_runs = (
        f"r.deployment_environment = {literal(environment)}"
        f" AND r.greptime_timestamp >= {literal(since)}"
    )

    def rows(sql: str) -> tuple[Row, ...]:
        # a relay without models has no table of them
        return tuple(database.query_if_there(sql.format(these_runs=these_runs)))

    health = rows(HEALTH)
    instants = tuple(sorted({row["greptime_timestamp"] for row in health}))
    return Stored(instants, rows(KEYS), rows(MODELS), rows(OVERHEAD), health)


def counted(claude: ClaudeRelay, wyolet: WyoletRelay, period: str = "monthly") -> Counted:
    """What the simulated relays have counted themselves by now.

    Of a key that is disabled or has expired only its running totals are counted.

    Args:
        period: of the model rows, as `RELAY_METRICS_PERIOD` has it.
    """
    current = {"daily": claude.day(), "alltime": TOTAL}.get(period.lower(), claude.month())
    figures: dict[tuple[str, ...], float] = {}
    with claude.lock:
        for key in claude.keys:
            total = key.usage_in()
            figures["requests", key.id] = total.requests
            figures["tokens", key.id] = total.all_tokens
            figures["cost_usd", key.id] = total.rated_usd
            if not key.active or key.expired(claude.clock()):
                continue
            for model, usage in key.models_in(current).items():
                figures["model requests", key.id, model] = usage.requests
                figures["model tokens", key.id, model] = usage.all_tokens
                figures["model cost_usd", key.id, model] = usage.real_usd
    with wyolet.lock:
        for source, histogram in wyolet.histograms["relay_overhead_seconds"].items():
            cumulative = 0
            bounds = (*histogram.bounds, math.inf)
            for bound, count in zip(bounds, histogram.counts, strict=True):
                cumulative += count
                figures["overhead", source, f"{bound:g}"] = cumulative
    return figures


@dataclass(frozen=True)
class Day:
    """A key's day that is over, as the store has it."""

    requests: float
    tokens: float
    cost_usd: float


def days(database: Database, claude: ClaudeRelay) -> dict[tuple[str, str], Day]:
    """The simulated relay's days that the store holds, by date and key.

    Raises:
        SqlError: the store does not answer.
    """
    ahead_s = 3600 * claude.utc_offset_hours
    found = {}
    for row in database.query(DAYS):
        noon = datetime.fromtimestamp(row["greptime_timestamp"] / 1000 + ahead_s, UTC)
        at = (noon.date().isoformat(), row["relay_key_id"])
        found[at] = Day(row["requests"], row["tokens"], row["cost_usd"])
    return found


@dataclass
class Use:
    """What the minutes of a model or a key in the store add up to, and what the relay counted."""

    name: str
    usd: float = 0.0
    requests: float = 0.0
    own_usd: float = 0.0
    own_requests: float = 0.0


def used(database: Database, usage: WyoletUsage, what: str, asked_at: Sequence[float]) -> list[Use]:
    """The simulated Wyolet Relay's use by `model` or by `key`, the dearest first.

    A request is counted when it ends, in the minute of its start, so the relay's own count of a
    minute still grows: it has to be equal at one of `asked_at`. Only minutes that the store holds
    are compared.

    Args:
        asked_at: when the relay was asked, by its own clock.

    Raises:
        SqlError: the store does not answer.
    """
    column = {"model": "model", "key": "relay_key_id"}[what]
    stored: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for figure in ("cost_usd", "requests"):
        for row in database.query(USED.format(of=column, what=what, figure=figure)):
            at = (row[column] or "", row["greptime_timestamp"] // 60_000)
            stored[at][figure] = row["greptime_value"]
    ids = {key.hash: key.id for key in usage.keys}
    events: dict[tuple[str, int], list[Usage]] = defaultdict(list)
    for event in usage.events():
        name = event.model if what == "model" else ids.get(event.relay_key_hash, "")
        events[name, int(event.ts // 60)].append(event)
    names = {key.id: key.name for key in usage.keys}
    found: dict[str, Use] = {}
    for (name, minute), held in stored.items():
        use = found.setdefault(name, Use(names.get(name, name) or "without a key"))
        use.usd += held["cost_usd"]
        use.requests += held["requests"]
        counted = [_counted(events[name, minute], at) for at in asked_at]
        own = next((one for one in counted if one[1] == held["requests"]), counted[-1])
        use.own_usd += own[0]
        use.own_requests += own[1]
    return sorted(found.values(), key=lambda one: -one.usd)


def _counted(events: Iterable[Usage], at: float) -> tuple[float, int]:
    """USD and requests of those that had ended by then."""
    ended = [one for one in events if one.written <= at]
    return sum(one.cost_nanos or 0 for one in ended) / 1e9, len(ended)


@dataclass
class Comparison:
    """How the store's figures and the relays' compare.

    Attributes:
        equal: how many are the same.
        different: a sentence on each that is not.
    """

    equal: int = 0
    different: list[str] = field(default_factory=list)

    def hold(self, what: str, counts: float | None, holds: float | None) -> None:
        """Compare one figure."""
        # a float goes through JSON and protobuf unchanged, but the relay's sums are its own
        if counts is not None and holds is not None and math.isclose(counts, holds, rel_tol=1e-6):
            self.equal += 1
        else:
            self.different.append(f"{what}: the relay counts {counts}, the store holds {holds}")

    def add(self, run: int, own: Counted, in_store: Counted) -> None:
        """Compare one run's figures, both ways."""
        for what in sorted(own.keys() | in_store.keys()):
            self.hold(f"run {run + 1}, {' '.join(what)}", own.get(what), in_store.get(what))
