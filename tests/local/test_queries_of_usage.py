"""The queries over a Wyolet Relay's usage of docs/queries.md give the relay's own numbers."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from local.greptimedb import GreptimeDB
from local.relay import WyoletRelay, WyoletUsage
from local.sql import Database
from tests.collecting import Collector
from tests.queries import blocks

SQL = {
    where.partition(": ")[2].partition(".")[0]: text
    for where, text in blocks("sql")
    if where.startswith("docs/queries.md")
}


def test_cost_by_model_by_key_and_by_label() -> None:
    now = time.time() // 60 * 60
    usage = WyoletUsage(lambda: now, token="t")
    with GreptimeDB() as database, WyoletRelay(clock=lambda: now, usage=usage) as relay:
        variables = {
            "RELAY_KIND": "wyolet-relay",
            "RELAY_BASE_URL": relay.url,
            "RELAY_KEY_LABELS": "team",
            "OTEL_EXPORT_URL": database.url,
        }
        secret = {"relay_admin_token": "t"}
        with Collector(variables, secret, secret) as collector:
            instant = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
            report = collector.run(instant).report
        assert report["destinations"][0]["error"] is None
        asked = Database(database.url, "public", None)
        by_model = asked.query(SQL["16"])
        by_key = asked.query(SQL["17"])
        month = f"{time.strftime('%Y-%m-01', time.gmtime(now))} 00:00:00"
        after = f"(TIMESTAMP '{month}' + INTERVAL '1 month')"
        books = asked.query(SQL["18"].replace("now()", after))
    own: Counter[str] = Counter()
    this_month: Counter[tuple[str, str]] = Counter()
    day = now // 86_400 * 86_400
    for one in usage.events():
        # the last hour, and all of the day before, as far as it is within a day
        if now - 3600 <= one.ts < now or max(day - 86_400, now - 86_400) <= one.ts < day:
            own[one.model] += one.cost_nanos or 0
            own[one.relay_key_hash] += one.cost_nanos or 0
            if time.gmtime(one.ts).tm_mon == time.gmtime(now).tm_mon:
                priced = one.cost_nanos is not None
                this_month["usd", one.relay_key_hash] += one.cost_nanos or 0
                this_month["requests", one.relay_key_hash] += 1
                this_month["unpriced", one.relay_key_hash] += not priced and not one.failed
    assert {row["model"]: row["usd"] for row in by_model} == pytest.approx(
        {row["model"]: own[row["model"]] / 1e9 for row in by_model}
    )
    assert {(row["team"] or "", row["relay_key_name"]): row["usd"] for row in by_key} == (
        pytest.approx(
            {(key.labels.get("team", ""), key.name): own[key.hash] / 1e9 for key in usage.keys}
        )
    )
    ids = {key.id: key.hash for key in usage.keys}
    assert {row["relay_key_name"] for row in books} >= {key.name for key in usage.keys}
    for row in books:
        key_hash = ids.get(row["relay_key_id"], "")
        assert row["usd"] == pytest.approx(this_month["usd", key_hash] / 1e9)
        assert row["requests"] == this_month["requests", key_hash]
        assert row["unpriced"] == this_month["unpriced", key_hash]
