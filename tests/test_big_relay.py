"""A relay with ten thousand keys: every total in the store, and what that costs the relay."""

from __future__ import annotations

from collections import Counter

from local.greptimedb import GreptimeDB
from local.relay import ClaudeRelay, many_keys
from local.relay.demo import ADMIN
from relay_metrics.collect import collect
from relay_metrics.entry.event import Event
from relay_metrics.runtime import Runtime
from tests.collecting import LOGIN, Provider

KEYS = 10_000
LATENCY_S = 0.01
NOON_S = 1_795_752_000
"""An hour of the relay's day at which the day before is delivered."""


def test_ten_thousand_keys() -> None:
    keys = many_keys(KEYS)
    with (
        ClaudeRelay(keys, clock=lambda: NOON_S, admin=ADMIN, latency_s=LATENCY_S) as relay,
        GreptimeDB() as database,
    ):
        relay.tick()
        runtime = Runtime(
            {
                "SECRET_ID": "relay-metrics",
                "RELAY_BASE_URL": relay.url,
                "OTEL_EXPORT_URL": database.url,
                "OTEL_TIMEOUT_MS": "300000",  # the store shares this process
                "RELAY_TIMEOUT_MS": "60000",
            },
            Provider({f"relay_{name}": text for name, text in LOGIN.items()}),
            clock=lambda: NOON_S * 10**9,
        )
        report = collect(runtime, Event.of({}), seconds=900)
        assert relay.server.errors == []

        (delivered,) = report["relays"]
        (destination,) = report["destinations"]
        assert (delivered["up"], delivered["error"], destination["error"]) == (True, None, None)
        assert destination["pushed"] == delivered["samples"] > 20 * KEYS

        for table, attribute in {
            "relay_requests_total": "requests",
            "relay_tokens_total": "all_tokens",
            "relay_cost_total_usd": "rated_usd",
            "relay_cache_read_tokens_total": "cache_read_tokens",
        }.items():
            rows = database.sql(f"SELECT relay_key_id, greptime_value FROM {table}")
            assert len(rows) == KEYS
            stored = {row["relay_key_id"]: row["greptime_value"] for row in rows}
            assert stored == {key.id: getattr(key.usage_in(), attribute) for key in keys}, table

        limited = sum(key.limits.rate_limit_window > 0 and bool(key.models) for key in keys)
        assert relay.scans == 10
        assert relay.calls == Counter(
            {
                "/web/auth/login": 1,
                "/admin/api-keys": KEYS // 100,
                "/admin/usage-stats": 1,
                "/admin/dashboard": 1,
                "/admin/concurrency": 1,
                "/admin/temp-unavailable": 1,
                "/admin/usage-costs": 1,
                # the dashboard does not know of these two, and to list the second one is a scan
                "/admin/azure-openai-accounts": 1,
                "/admin/gemini-api-accounts": 1,
                "/admin/usage-trend": 1,
                "/health": 1,
                "/apiStats/api/batch-stats": -(-KEYS // 30),
                "/apiStats/api/user-stats": limited,
                "/apiStats/api/user-model-stats": 4,
            }
        )
