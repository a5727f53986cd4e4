"""The data of the page: the current day in the store, read by SQL after each run."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from local.page import outlook, usage
from local.page.series import Identity, Series, rates
from local.relay.exposition import Histogram
from local.sql import Database, Row, literal

RUNS: Final = 300
"""The most runs that are shown, spread over the time."""

SPAN_MS: Final = 86_400_000
"""The length of the time that is shown."""

TURN_MS: Final = 3_600_000
"""How long a key's use of a model is shown: with many keys, a run asks for only some of them."""

RATE_MS: Final = 600_000
"""Rates and quantiles are computed over this time before each run."""

DAYS: Final = 31

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
_OVERHEAD: Final = "relay_overhead_seconds_bucket"
_READ: Final = (
    *(*TOKENS.values(), *_OF_KEYS.values(), *_OF_MODELS.values(), *_OF_RUNS.values()),
    *(*outlook.OF_KEYS, *outlook.OF_ACCOUNTS, _OVERHEAD),
)
_DAY_RESETS: Final = "relay_key_day_reset_timestamp_seconds"
_QUANTILES: Final[Mapping[str, float]] = {"p50": 0.5, "p99": 0.99}

Figures = dict[str, Any]


class History:
    """The day so far.

    Args:
        database: that the collector pushes to.
        environment: the `deployment.environment` that only these runs have there.
        since_ms: when the first of them begins, epoch milliseconds.
    """

    def __init__(self, database: Database, environment: str, since_ms: int) -> None:
        self._database = database
        self._environment = environment
        self._read_until_ms = since_ms - 1
        self._lock = threading.Lock()
        self._runs: list[int] = []
        self._series = {metric: Series() for metric in _READ}
        self._errors: dict[str, float] = {}
        self._days: Sequence[Row] = ()
        self._usage: Figures = usage.figures(self._database.query_if_there, (), 0)

    def read(self) -> None:
        """Read what has come since the last time.

        Raises:
            SqlError: the store does not answer.
        """
        read = {metric: self._rows(metric) for metric in self._series}
        errors = self._rows("relay_scrape_errors")
        days = self._days_there()
        times = sorted({row["greptime_timestamp"] for row in read[_OF_RUNS["up"]]})
        if not times:
            return
        used = usage.figures(
            self._database.query_if_there, _wyolet(read[_OF_RUNS["up"]]), times[-1] / 1000
        )
        with self._lock:
            self._usage = used
            for metric, rows in read.items():
                self._series[metric].add(rows)
            self._errors = defaultdict(float)
            for row in _at(errors, times[-1]):
                self._errors[row["relay_name"]] += row["greptime_value"]
            self._days = days
            self._runs += times
            self._read_until_ms = times[-1]
            self._forget()

    def figures(self) -> Figures:
        """All that the page shows; times are epoch seconds, what is missing is None."""
        with self._lock:
            keys = self._keys()
            return {
                "times": [time_ms / 1000 for time_ms in self._runs],
                "keys": keys,
                "models": self._models(),
                "relays": self._relays(),
                "tokens": {
                    kind: self._grown(self._series[metric], per_s=60)
                    for kind, metric in TOKENS.items()
                },
                "overhead": self._overhead(),
                "days": self._by_day(keys),
                "usage": self._usage,
                **outlook.limits(self._series, self._runs),
            }

    def _rows(self, metric: str) -> Sequence[Row]:
        since = datetime.fromtimestamp(self._read_until_ms / 1000, UTC)
        return self._database.query_if_there(
            f"SELECT * FROM {metric}"  # noqa: S608 - a metric's name, and literals
            f" WHERE deployment_environment = {literal(self._environment)}"
            f" AND greptime_timestamp > {_literal(since)}"
        )

    def _days_there(self) -> Sequence[Row]:
        return self._database.query_if_there(
            "SELECT relay_name, relay_key_id, greptime_timestamp, greptime_value"  # noqa: S608 - an instant
            f" FROM relay_day_cost_usd WHERE greptime_timestamp > {_literal(_days_since())}"
        )

    def _forget(self) -> None:
        """Keep the runs of the span; if they are too many, drop those closest to others."""
        runs = [run for run in self._runs if run > self._runs[-1] - SPAN_MS]
        while len(runs) > RUNS:
            gaps = (after - before for before, after in zip(runs, runs[2:], strict=False))
            closest = min(enumerate(gaps, start=1), key=lambda gap: gap[1])[0]
            del runs[closest]
        if gone := set(self._runs) - set(runs):
            for series in self._series.values():
                series.forget(gone, self._runs[-1] - TURN_MS)
        self._runs = runs

    def _grown(self, series: Series, per_s: float) -> list[float | None]:
        """How fast the sum of some totals grows, from run to run."""
        each = [rates(values, self._runs, RATE_MS) for values in series.values()]
        return [_sum((one[run] for one in each), per_s) for run in range(len(self._runs))]

    def _overhead(self) -> Figures:
        """Quantiles of the overhead over all sources, in seconds, by run."""
        grown: list[dict[float, float]] = [defaultdict(float) for _ in self._runs]
        for (*_, le), values in self._series[_OVERHEAD].items():
            for run, rate in zip(grown, rates(values, self._runs, RATE_MS), strict=True):
                if rate is not None:
                    run[float(le)] += 1000 * rate
        return {
            name: [_quantile(run, share) for run in grown] for name, share in _QUANTILES.items()
        }

    def _keys(self) -> list[Figures]:
        """Each key's latest figures, the one that has spent most today first."""
        latest = self._runs[-1] if self._runs else 0
        spent = self._series[_OF_KEYS["today"]]
        keys = []
        for key in dict.fromkeys(key for name in _OF_KEYS.values() for key in self._series[name]):
            now = {what: self._series[name].at(key, latest) for what, name in _OF_KEYS.items()}
            if any(value is not None for value in now.values()):
                by_run = [spent.at(key, time_ms) for time_ms in self._runs]
                label = spent.label(key, "relay_key_name") or key[1]
                named = {"relay_name": key[0], "relay_key_id": key[1], "name": label}
                keys.append({**named, **now, "spent": by_run})
        return sorted(keys, key=lambda key: -(key["today"] or 0))

    def _models(self) -> list[Figures]:
        """Each model's figures over all keys, the dearest first; `rate` is USD an hour by run."""
        models: dict[str, Figures] = {}
        grown: dict[str, list[list[float | None]]] = defaultdict(list)
        latest = self._runs[-1] if self._runs else 0
        for what, metric in _OF_MODELS.items():
            series = self._series[metric]
            for use in series:
                name = use[2]
                value = series.lately(use, latest, TURN_MS)
                if value is not None:
                    figures = models.setdefault(name, {"name": name, **dict.fromkeys(_OF_MODELS)})
                    figures[what] = (figures[what] or 0) + value
                if what == "cost":
                    grown[name].append(rates(series[use], self._runs, RATE_MS))
        for name, figures in models.items():
            figures["rate"] = [
                _sum((one[run] for one in grown[name]), 3600) for run in range(len(self._runs))
            ]
        return sorted(models.values(), key=lambda model: -(model["cost"] or 0))

    def _relays(self) -> list[Figures]:
        latest = self._runs[-1] if self._runs else 0
        up = self._series[_OF_RUNS["up"]]
        return [
            {
                "name": relay[0],
                "kind": up.label(relay, "relay_kind"),
                **{what: self._series[name].at(relay, latest) for what, name in _OF_RUNS.items()},
                "errors": self._errors.get(relay[0], 0),
                "took": [self._series[_OF_RUNS["seconds"]].at(relay, run) for run in self._runs],
            }
            for relay in sorted(up)
            if up.at(relay, latest) is not None
        ]

    def _by_day(self, keys: Sequence[Figures]) -> Figures:
        """What each key spent on each of the last days, today so far included.

        Returns `{dates, keys: [{name, values}], month}`: dates of the relay's own calendar as text;
        `month` as `outlook.month` has it, empty where today is not known.
        """
        resets = [value for key in keys if (value := self._latest(_DAY_RESETS, key)) is not None]
        if not resets:
            return {"dates": [], "keys": [], "month": {}}
        # the relay's day ends at the same time for all its keys
        today = datetime.fromtimestamp(resets[0], UTC) - timedelta(days=1)
        offset = timedelta(seconds=-(resets[0] % 86_400) % 86_400)
        if offset > timedelta(hours=14):
            offset -= timedelta(days=1)
        last = (today + offset).date()
        dates = [last - timedelta(days=back) for back in reversed(range(DAYS))]
        spent: dict[Identity, dict[str, float]] = defaultdict(dict)
        relays = {key["relay_name"] for key in keys}
        for row in self._days:
            if row["relay_name"] in relays:
                noon = datetime.fromtimestamp(row["greptime_timestamp"] / 1000, UTC) + offset
                at = (row["relay_name"], row["relay_key_id"])
                spent[at][noon.date().isoformat()] = row["greptime_value"]
        names: dict[Identity, str] = {
            (key["relay_name"], key["relay_key_id"]): key["name"] for key in keys
        }
        for key in keys:
            if key["today"] is not None:
                spent[key["relay_name"], key["relay_key_id"]][last.isoformat()] = key["today"]
        shown = [date.isoformat() for date in dates]
        listed: list[Figures] = [
            {
                "name": names.get(identity, f"deleted key {identity[1][:8]}"),
                "values": [by_day.get(date) for date in shown],
            }
            for identity, by_day in spent.items()
        ]
        listed.sort(key=lambda one: -(_sum(one["values"], 1) or 0))
        total = {
            date: usd
            for date in dates
            if (usd := _sum((by_day.get(date.isoformat()) for by_day in spent.values()), 1))
            is not None
        }
        month = [key["month"] for key in keys]
        return {"dates": shown, "keys": listed, "month": outlook.month(last, total, _sum(month, 1))}

    def _latest(self, metric: str, key: Mapping[str, Any]) -> float | None:
        identity = key["relay_name"], key["relay_key_id"]
        return self._series[metric].at(identity, self._runs[-1])


def _wyolet(up: Iterable[Row]) -> list[str]:
    """The names of the Wyolet Relays among some runs."""
    return sorted({row["relay_name"] for row in up if row["relay_kind"] == "wyolet-relay"})


def _days_since() -> datetime:
    return datetime.now(UTC) - timedelta(days=DAYS + 1)


def _literal(instant: datetime) -> str:
    return literal(instant.isoformat(sep=" ", timespec="milliseconds"))


def _sum(values: Iterable[float | None], factor: float) -> float | None:
    """The sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return factor * math.fsum(known) if known else None


def _at(rows: Iterable[Row], time_ms: int) -> list[Row]:
    return [row for row in rows if row["greptime_timestamp"] == time_ms]


def _quantile(growth: Mapping[float, float], share: float) -> float | None:
    """A quantile of what was observed, in seconds; None where nothing was.

    Args:
        growth: of the cumulative counts, by upper bound.
    """
    histogram = Histogram.of_cumulative(growth)
    return histogram.quantile(share) if histogram.count else None
