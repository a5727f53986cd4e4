"""What the store holds of the latest runs, read by SQL run after run, as the page shows it."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from local.relay.exposition import Histogram
from local.sql import TABLE_NOT_FOUND, Database, Row, SqlError, literal

RUNS: Final = 240
"""As many of them are shown."""

TURN_MS: Final = 3_600_000
"""For so long a key's use of a model is shown: with many keys they are asked for it in turn."""

TOKENS: Final[Mapping[str, str]] = {
    "input": "relay_input_tokens_total",
    "output": "relay_output_tokens_total",
    "cache write": "relay_cache_create_tokens_total",
    "cache read": "relay_cache_read_tokens_total",
}
_OF_KEYS: Final[Mapping[str, str]] = {
    "today": "relay_daily_cost_usd",
    "limit": "relay_daily_cost_limit_usd",
    "month": "relay_monthly_cost_usd",
    "requests": "relay_daily_requests",
    "tokens": "relay_daily_tokens",
}
_OF_MODELS: Final[Mapping[str, str]] = {
    "cost": "relay_model_cost_usd",
    "tokens": "relay_model_tokens",
    "requests": "relay_model_requests",
}
_OF_RUNS: Final[Mapping[str, str]] = {
    "up": "relay_up",
    "samples": "relay_scrape_samples",
    "seconds": "relay_scrape_duration_seconds",
}
_QUANTILES: Final[Mapping[str, float]] = {"p50": 0.5, "p99": 0.99}

Figures = dict[str, Any]


class History:
    """The latest runs.

    Args:
        database: that the collector pushes to.
        environment: the `deployment.environment` that tells these runs from others there.
        since_ms: when the first of them begins, epoch milliseconds.
    """

    def __init__(self, database: Database, environment: str, since_ms: int) -> None:
        self._database = database
        self._environment = environment
        self._read_until_ms = since_ms - 1
        self._lock = threading.Lock()
        self._runs: list[int] = []
        self._spent: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
        self._tokens: dict[int, dict[str, float]] = {}
        self._quantiles: dict[int, dict[str, float]] = {}
        self._buckets: dict[float, float] = {}
        self._uses: dict[tuple[str, ...], tuple[int, float]] = {}
        self._latest: Figures = {"keys": [], "models": [], "relays": []}

    def read(self) -> None:
        """Read what has come since the last time.

        Raises:
            SqlError: the store does not answer.
        """
        of_keys = {name: self._rows(metric) for name, metric in _OF_KEYS.items()}
        of_models = {name: self._rows(metric) for name, metric in _OF_MODELS.items()}
        of_runs = {name: self._rows(metric) for name, metric in _OF_RUNS.items()}
        of_tokens = {kind: self._rows(metric) for kind, metric in TOKENS.items()}
        errors = self._rows("relay_scrape_errors")
        overhead = self._rows("relay_overhead_seconds_bucket")
        times = sorted({row["greptime_timestamp"] for row in of_runs["up"]})
        if not times:
            return
        with self._lock:
            for row in of_keys["today"]:
                self._spent[_key(row)][row["greptime_timestamp"]] = row["greptime_value"]
            for time_ms in times:
                self._tokens[time_ms] = {
                    kind: sum(row["greptime_value"] for row in _at(rows, time_ms))
                    for kind, rows in of_tokens.items()
                }
                if buckets := _buckets(_at(overhead, time_ms)):
                    self._quantiles[time_ms] = _quantiles(self._buckets, buckets)
                    self._buckets = buckets
            self._take_uses(of_models, times[-1])
            self._latest = {
                "keys": _keys(of_keys, times[-1]),
                "models": _models(self._uses),
                "relays": _relays(of_runs, errors, times[-1]),
            }
            self._runs += times
            self._read_until_ms = times[-1]
            self._forget()

    def figures(self) -> Figures:
        """All that the page shows; times are epoch seconds, what is missing is None."""
        with self._lock:
            grown = [
                {kind: _growth(self._tokens, before, after, kind) for kind in TOKENS}
                for before, after in zip(self._runs, self._runs[1:], strict=False)
            ]
            return {
                **self._latest,
                "times": [time_ms / 1000 for time_ms in self._runs],
                "keys": [
                    {**key, "spent": [self._spent[_key(key)].get(at) for at in self._runs]}
                    for key in self._latest["keys"]
                ],
                "tokens": {kind: [None, *(one[kind] for one in grown)] for kind in TOKENS},
                "overhead": {
                    name: [self._quantiles.get(time_ms, {}).get(name) for time_ms in self._runs]
                    for name in _QUANTILES
                },
            }

    def _rows(self, metric: str) -> Sequence[Row]:
        since = datetime.fromtimestamp(self._read_until_ms / 1000, UTC)
        after = since.isoformat(sep=" ", timespec="milliseconds")
        try:
            return self._database.query(
                f"SELECT * FROM {metric}"  # noqa: S608 - a metric's name, and literals
                f" WHERE deployment_environment = {literal(self._environment)}"
                f" AND greptime_timestamp > {literal(after)}"
            )
        except SqlError as error:
            # a table is there from its first sample on
            if error.code == TABLE_NOT_FOUND:
                return []
            raise

    def _take_uses(self, of_models: Mapping[str, Sequence[Row]], now_ms: int) -> None:
        """Keep a key's use of a model until its next turn comes, or would have long come."""
        for what, rows in of_models.items():
            for row in sorted(rows, key=lambda row: int(row["greptime_timestamp"])):
                use = (row["model"], what, *_key(row))
                self._uses[use] = row["greptime_timestamp"], row["greptime_value"]
        self._uses = {use: told for use, told in self._uses.items() if told[0] > now_ms - TURN_MS}

    def _forget(self) -> None:
        gone, self._runs = self._runs[:-RUNS], self._runs[-RUNS:]
        for time_ms in gone:
            self._tokens.pop(time_ms, None)
            self._quantiles.pop(time_ms, None)
            for by_run in self._spent.values():
                by_run.pop(time_ms, None)


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    """What tells a key from all others, also after it was renamed."""
    return row["relay_name"], row["relay_key_id"]


def _at(rows: Iterable[Row], time_ms: int) -> list[Row]:
    return [row for row in rows if row["greptime_timestamp"] == time_ms]


def _growth(
    by_run: Mapping[int, Mapping[str, float]], before: int, after: int, kind: str
) -> float | None:
    """How much a total grew from a run to the next; None where it was reset, or a key is gone."""
    grown = by_run[after][kind] - by_run[before][kind]
    return grown if grown >= 0 else None


def _keys(of_keys: Mapping[str, Sequence[Row]], time_ms: int) -> list[Figures]:
    """Each key's latest figures, the one that has spent most today first."""
    keys: dict[tuple[str, str], Figures] = {}
    for what, rows in of_keys.items():
        for row in _at(rows, time_ms):
            identity = {name: row[name] for name in ("relay_name", "relay_key_id")}
            name = row.get("relay_key_name") or row["relay_key_id"]
            key = keys.setdefault(_key(row), {**identity, "name": name, **dict.fromkeys(of_keys)})
            key[what] = row["greptime_value"]
    return sorted(keys.values(), key=lambda key: -(key["today"] or 0))


def _models(uses: Mapping[tuple[str, ...], tuple[int, float]]) -> list[Figures]:
    """Each model's figures over all keys, the dearest first."""
    models: dict[str, Figures] = {}
    for (model, what, *_), (_, value) in uses.items():
        figures = models.setdefault(model, {"name": model, **dict.fromkeys(_OF_MODELS)})
        figures[what] = (figures[what] or 0) + value
    return sorted(models.values(), key=lambda model: -(model["cost"] or 0))


def _relays(
    of_runs: Mapping[str, Sequence[Row]], errors: Sequence[Row], time_ms: int
) -> list[Figures]:
    relays: dict[str, Figures] = {}
    for what, rows in of_runs.items():
        for row in _at(rows, time_ms):
            relay = relays.setdefault(
                row["relay_name"],
                {"name": row["relay_name"], "kind": row["relay_kind"], **dict.fromkeys(of_runs)},
            )
            relay[what] = row["greptime_value"]
    for name, relay in relays.items():
        failed = [row for row in _at(errors, time_ms) if row["relay_name"] == name]
        relay["errors"] = sum(row["greptime_value"] for row in failed)
    return [relays[name] for name in sorted(relays)]


def _buckets(rows: Iterable[Row]) -> dict[float, float]:
    """Cumulative counts by upper bound, over all sources."""
    buckets: dict[float, float] = defaultdict(float)
    for row in rows:
        buckets[float(row["le"])] += row["greptime_value"]
    return dict(buckets)


def _quantiles(before: Mapping[float, float], after: Mapping[float, float]) -> dict[str, float]:
    """Quantiles of what was observed since the run before, in seconds."""
    bounds = sorted(after)
    grown = [after[bound] - before.get(bound, 0) for bound in bounds]
    histogram = Histogram([bound for bound in bounds if math.isfinite(bound)])
    histogram.counts = [
        round(count - below) for count, below in zip(grown, [0, *grown], strict=False)
    ]
    if not histogram.count:
        return {}
    return {name: histogram.quantile(share) for name, share in _QUANTILES.items()}
