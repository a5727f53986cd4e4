"""A day of two demo relays, collected every minute by the real collector into two stores.

All of it goes into a VictoriaMetrics, which answers PromQL; every half hour, and each of the last
five minutes, also into the stand-in of GreptimeDB, which answers SQL and takes longer to write.

The day is always the same one, so that the figures are: 2025-05-31T04:00Z to 2025-06-01T04:00Z. On
the relay's own clock that is noon to noon, and at its midnight a month begins. In it a key is
renamed, the relay fails for a while, so do one key's stats, and one run has bounds that leave a key
out. At its end an upstream key of the Wyolet Relay is down.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from local.closing import Closing
from local.greptimedb import GreptimeDB
from local.http_server import Fault, Request
from local.relay import Key, Usage, WyoletRelay, WyoletUsage, for_demo
from relay_metrics.entry.actions import act
from relay_metrics.runtime import Runtime
from tests.collecting import LOGIN, Provider
from tests.e2e.victoriametrics import VictoriaMetrics

BEGIN: Final = datetime(2025, 5, 31, 4, tzinfo=UTC).timestamp()
MINUTES: Final = 24 * 60
END: Final = BEGIN + 60 * MINUTES

RENAMED: Final = MINUTES - 30
"""The minute in which a key gets another name."""
RELAY_FAILS: Final = range(MINUTES - 150, MINUTES - 145)
BOUNDED: Final = MINUTES - 200
KEY_FAILS: Final = range(MINUTES - 45, MINUTES - 40)
LIMITED_FOR_S: Final = 3000
TOKEN: Final = "token-of-the-day"


@dataclass(frozen=True)
class Totals:
    """What the relays had counted by the end of a minute; `percent` of accounts' 5-hour limits."""

    keys: dict[str, Usage]
    requests: dict[tuple[str, str], int]
    overhead: list[int]
    keys_down: dict[str, int]
    percent: dict[str, float]


class DemoDay(Closing):
    """The day, over, until it is closed.

    Attributes:
        claude, wyolet, usage: the relays as they are at the end.
        victoriametrics, greptimedb: what they were collected into.
        by_minute: what they had counted, a minute after the other.
        renamed: the key that got another name, and the name that it had.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        self.now = BEGIN
        self.by_minute: list[Totals] = []
        with ExitStack() as parts:
            clock = self._clock
            self.claude = parts.enter_context(for_demo(clock=clock))
            self.usage = WyoletUsage(clock, token=TOKEN, per_minute=1.0)
            self.wyolet = parts.enter_context(WyoletRelay(clock=clock, usage=self.usage))
            self.greptimedb = parts.enter_context(GreptimeDB())
            self.victoriametrics = parts.enter_context(
                VictoriaMetrics(
                    binary,
                    folder,
                    "-opentelemetry.usePrometheusNaming",
                    "-retentionPeriod=100y",
                    "-dedup.minScrapeInterval=1ms",
                )
            )
            self._prepare()
            self._live()
            self._parts = parts.pop_all()

    def _clock(self) -> float:
        return self.now

    def _prepare(self) -> None:
        """Limits that such a day nearly uses up, and an account that is limited at its end."""
        alpha, beta, self.failing = self.claude.keys
        self.renamed = (beta, beta.name)
        alpha.limits.daily_cost_limit = 180
        alpha.limits.weekly_opus_cost_limit = 250
        alpha.limits.rate_limit_cost = 8
        [gemini] = [one for one in self.claude.accounts if one.platform == "gemini"]
        gemini.rate_limited_until = END + LIMITED_FOR_S

    def _live(self) -> None:
        often, seldom = self._collector(both=False), self._collector(both=True)
        bounded = self._collector(both=True, RELAY_MAX_KEYS="2", RELAY_MAX_MODELS_PER_KEY="2")
        for minute in range(1, MINUTES + 1):
            self.now += 60
            self.claude.tick()
            self.wyolet.tick()
            if minute == RENAMED:
                self.renamed[0].name += " & co"
            if minute == MINUTES - 10:
                self.usage.cool_down(self.usage.host_keys[0], 60 * 20)
            self.claude.fault = self._fault_in(minute)
            both = minute % 30 == 0 or minute > MINUTES - 5 or minute in (*RELAY_FAILS, *KEY_FAILS)
            collector = bounded if minute == BOUNDED else seldom if both else often
            event = {"time": datetime.fromtimestamp(self.now, UTC).isoformat()}
            report = act(collector, event, 600.0)
            assert {one["error"] for one in report["destinations"]} == {None}
            assert all(one["up"] for one in report["relays"]) is (minute not in RELAY_FAILS)
            self.by_minute.append(self._totals())
        self.victoriametrics.get("/internal/force_flush")

    def _collector(self, *, both: bool, **more: str) -> Runtime:
        secret = {
            "relays": [
                {"name": "claude", "kind": "claude-relay", "base_url": self.claude.url, **LOGIN},
                {
                    "name": "wyolet",
                    "kind": "wyolet-relay",
                    "base_url": self.wyolet.url,
                    "admin_token": TOKEN,
                },
            ],
            "destinations": [
                {
                    "name": "victoriametrics",
                    "url": f"{self.victoriametrics.url}/opentelemetry/v1/metrics",
                    "overwrites": True,
                }
            ],
        }
        variables = {
            "SECRET_ID": "demo",
            "LOG_LEVEL": "CRITICAL",
            "RELAY_ENVIRONMENT": "demo",
            "RELAY_KEY_LABELS": "team",
            # a machine that has much to do is no fault of the day's
            "RELAY_TIMEOUT_MS": "60000",
            "OTEL_TIMEOUT_MS": "60000",
        }
        variables |= more
        if both:
            variables["OTEL_EXPORT_URL"] = self.greptimedb.url
        return Runtime(variables, Provider(secret), clock=lambda: int(self.now * 1e9))

    def _fault_in(self, minute: int) -> Callable[[Request], Fault | None] | None:
        def of_key(request: Request) -> Fault | None:
            its = request.path.endswith("user-stats") and self.failing.id.encode() in request.body
            return Fault(status=500) if its else None

        if minute in RELAY_FAILS:
            return lambda _: Fault(status=503)
        return of_key if minute in KEY_FAILS else None

    def _totals(self) -> Totals:
        buckets = [
            histogram.counts
            for histogram in self.wyolet.histograms["relay_overhead_seconds"].values()
        ]
        return Totals(
            keys={key.id: _copy(key) for key in self.claude.keys},
            requests=dict(self.wyolet.requests),
            overhead=[sum(counts) for counts in zip(*buckets, strict=True)],
            keys_down=dict(self.wyolet.keys_down),
            percent={
                one.id: one.quota.five_hour_percent
                for one in self.claude.accounts
                if one.quota is not None and one.quota.watched
            },
        )

    def ago(self, minutes: int) -> Totals:
        """What the relays had counted so many minutes before the end."""
        return self.by_minute[-1 - minutes]

    def close(self) -> None:
        """End what was started."""
        self._parts.close()


def _copy(key: Key) -> Usage:
    total = Usage()
    total.add(key.usage_in())
    return total
