"""An empty VictoriaMetrics is filled with 32 days, and queries over days show the relay's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from local.relay import ClaudeRelay, living_relay
from tests.backfilling import LOGIN, Backfiller
from tests.e2e.victoriametrics import VictoriaMetrics, installed
from tests.queries import blocks

PROMQL = {
    where.partition(": ")[2].partition(".")[0]: text
    for where, text in blocks("promql")
    if where.startswith("docs/queries.md")
}


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ClaudeRelay, VictoriaMetrics]]:
    now = time.time()
    folder = tmp_path_factory.mktemp("victoriametrics") / "days"
    flags = ("-retentionPeriod=100d", "-dedup.minScrapeInterval=1ms", *PROMETHEUS_NAMES)
    with (
        VictoriaMetrics(installed(), folder, *flags) as database,
        living_relay(clock=lambda: now) as relay,
        Backfiller(relay, secret=LOGIN, also=f"{database.url}/opentelemetry/v1/metrics") as filler,
    ):
        for _ in range(2):  # telling it again changes nothing
            report = filler.run({"models": True})
            assert [one["error"] for one in report["destinations"]] == [None, None]
            assert report["next"] is None
        yield relay, database


PROMETHEUS_NAMES = ("-opentelemetry.usePrometheusNaming",)


def midnight_after(relay: ClaudeRelay, day: str) -> float:
    """The end of a day of the relay's, epoch seconds."""
    begins = datetime.fromisoformat(f"{day}T00:00:00+00:00") + timedelta(days=1)
    return begins.timestamp() - relay.utc_offset_hours * 3600


def days_over(relay: ClaudeRelay) -> list[str]:
    today = datetime.fromisoformat(relay.day())
    return [f"{today - timedelta(days=back):%Y-%m-%d}" for back in range(32, 0, -1)]


def value(database: VictoriaMetrics, promql: str, at: float) -> float:
    return sum(float(one["value"][1]) for one in database.query(promql, time=f"{at:.0f}"))


def test_each_days_spend_is_the_relays_own(filled: tuple[ClaudeRelay, VictoriaMetrics]) -> None:
    relay, database = filled
    for day in days_over(relay):
        at = midnight_after(relay, day)
        rated = sum(key.usage_in(day).rated_usd for key in relay.keys)
        real = sum(key.usage_in(day).real_usd for key in relay.keys)
        assert value(database, PROMQL["11"], at) == pytest.approx(rated, rel=1e-6)
        assert value(database, PROMQL["12"], at) == pytest.approx(real, rel=1e-6)


def test_the_last_week_and_all_that_was_told(
    filled: tuple[ClaudeRelay, VictoriaMetrics],
) -> None:
    relay, database = filled
    week = days_over(relay)[-7:]
    at = midnight_after(relay, week[-1])
    rated = sum(key.usage_in(day).rated_usd for key in relay.keys for day in week)
    assert value(database, PROMQL["13"], at) == pytest.approx(rated / 7 * 30, rel=1e-6)
    requests = sum(relay.usage_of_all(day).requests for day in days_over(relay))
    promql = "sum(sum_over_time(relay_day_all_keys_requests[33d]))"
    assert value(database, promql, at) == requests


def test_no_record_of_a_run_is_there(filled: tuple[ClaudeRelay, VictoriaMetrics]) -> None:
    _, database = filled
    names = {labels["__name__"] for labels, _, _ in database.series()}
    assert names
    assert all(name.startswith("relay_day_") for name in names)
