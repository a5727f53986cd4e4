"""An empty VictoriaMetrics is filled with 32 days, and queries over days show the relay's own.

Then one run of the collector delivers what is now, and the panels of *Claude Relay usage* that are
made of days show what follows from both. It is half past nine on 2 May 2025 at the relay, whose
clock is eight hours ahead of UTC: the whole of April was delivered, and the last of March.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from dashboards.claude_relay import A_DAY_COST
from local.relay import ClaudeRelay, Key, living_relay
from tests.backfilling import Backfiller
from tests.collecting import LOGIN
from tests.e2e.victoriametrics import VictoriaMetrics, installed
from tests.queries import blocks, filled_in, panels

pytestmark = pytest.mark.e2e

NOW = datetime(2025, 5, 2, 1, 30, tzinfo=UTC).timestamp()
PROMETHEUS_NAMES = ("-opentelemetry.usePrometheusNaming",)
PROMQL = {
    where.partition(": ")[2].partition(".")[0]: text
    for where, text in blocks("promql")
    if where.startswith("docs/queries.md")
}


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ClaudeRelay, VictoriaMetrics]]:
    folder = tmp_path_factory.mktemp("victoriametrics") / "days"
    flags = ("-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms", *PROMETHEUS_NAMES)
    with (
        VictoriaMetrics(installed(), folder, *flags) as database,
        living_relay(clock=lambda: NOW, now=NOW) as relay,
        Backfiller(relay, secret=LOGIN, also=f"{database.url}/opentelemetry/v1/metrics") as filler,
    ):
        for _ in range(2):  # delivering it again changes nothing
            report = filler.run({"models": True})
            assert [one["error"] for one in report["destinations"]] == [None, None]
            assert report["next"] is None
        names = {labels["__name__"] for labels, _, _ in database.series()}
        assert names
        # it leaves no record of a run
        assert all(name.startswith("relay_day_") for name in names)
        assert filler.act({})["relays"][0]["up"]
        yield relay, database


def midnight_after(relay: ClaudeRelay, day: str) -> float:
    """The end of a day of the relay's, epoch seconds."""
    begins = datetime.fromisoformat(f"{day}T00:00:00+00:00") + timedelta(days=1)
    return begins.timestamp() - relay.utc_offset_hours * 3600


def days_over(relay: ClaudeRelay) -> list[str]:
    today = date.fromisoformat(relay.day())
    return [f"{today - timedelta(days=back)}" for back in range(32, 0, -1)]


def value(database: VictoriaMetrics, promql: str, at: float) -> float:
    return sum(float(one["value"][1]) for one in database.query(promql, time=f"{at:.0f}"))


def rated(relay: ClaudeRelay, *days: str) -> float:
    return sum(key.usage_in(day).rated_usd for key in relay.keys for day in days)


def panel_query(title: str, **chosen: str) -> str:
    [panel] = [one for one in panels("claude-relay.json") if one["title"] == title]
    return filled_in(panel["targets"][0]["expr"], **chosen)


def test_each_days_spend_is_the_relays_own(filled: tuple[ClaudeRelay, VictoriaMetrics]) -> None:
    relay, database = filled
    for day in days_over(relay):
        at = midnight_after(relay, day)
        real = sum(key.usage_in(day).real_usd for key in relay.keys)
        assert value(database, PROMQL["11"], at) == pytest.approx(rated(relay, day), rel=1e-6)
        assert value(database, PROMQL["12"], at) == pytest.approx(real, rel=1e-6)


def test_the_bar_of_a_day_is_that_days(filled: tuple[ClaudeRelay, VictoriaMetrics]) -> None:
    relay, database = filled
    models = {model for key in relay.keys for model in key.models_in("2025-04")}
    assert len(models) > 3
    for day in days_over(relay):
        # at the midnight that it begins with, of the relay's calendar as of UTC's
        for begins in (midnight_after(relay, day) - 86_400, utc(day)):
            bar = value(database, panel_query("Spend by day"), begins)
            assert bar == pytest.approx(rated(relay, day), rel=1e-6)
    day = days_over(relay)[-3]
    found = database.query(panel_query("Cost by model by day"), time=f"{utc(day):.0f}")
    by_model = {one["metric"]["model"]: float(one["value"][1]) for one in found}
    own = {
        model: sum(
            key.models_in(day)[model].real_usd for key in relay.keys if model in key.models_in(day)
        )
        for model in models
    }
    assert by_model == pytest.approx({model: usd for model, usd in own.items() if usd}, rel=1e-6)


def utc(day: str) -> float:
    return datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()


def test_where_the_month_ends(filled: tuple[ClaudeRelay, VictoriaMetrics]) -> None:
    relay, database = filled
    eight = days_over(relay)[-8:]
    today = date.fromisoformat(relay.day())
    so_far = rated(relay, "2025-05")
    left_today = (midnight_after(relay, relay.day()) - NOW) / 86_400
    days_left = calendar.monthrange(today.year, today.month)[1] - today.day + left_today
    # it is before noon: of the last eight times 24 hours eight noons are delivered
    expected = so_far + rated(relay, *eight) / 8 * days_left
    found = value(database, panel_query("Projected month's end"), NOW)
    assert found == pytest.approx(expected, rel=1e-6)
    assert value(database, PROMQL["13"], NOW) == pytest.approx(expected, rel=1e-6)
    # in the evening seven of them are
    evening = midnight_after(relay, relay.day()) - 3600
    assert value(database, PROMQL["11"], evening) == 0
    found = value(database, filled_in(A_DAY_COST), evening)
    assert found == pytest.approx(rated(relay, *eight[1:]) / 7, rel=1e-6)


def test_the_last_month_to_the_same_day(filled: tuple[ClaudeRelay, VictoriaMetrics]) -> None:
    relay, database = filled
    own = rated(relay, "2025-04-01", "2025-04-02")
    for first in (midnight_after(relay, "2025-04-30"), utc("2025-05-01")):
        # as Grafana asks with the panel's time `now/M`, shifted by a month of 30 days
        query = panel_query("Last month to the same day", __range_s=f"{NOW - first:.0f}")
        assert value(database, query, NOW - 30 * 86_400) == pytest.approx(own, rel=1e-6)
        # the month before that was not delivered
        assert database.query(query, time=f"{NOW - 61 * 86_400:.0f}") == []


def test_days_against_those_of_the_month_before(
    filled: tuple[ClaudeRelay, VictoriaMetrics],
) -> None:
    relay, database = filled
    first, last = days_over(relay)[0], days_over(relay)[-1]  # 31 days lie between
    at = midnight_after(relay, last)
    of_a_day = PROMQL["14"].replace("[7d]", "[1d]").replace("== 7", "== 1")
    found = value(database, of_a_day, at)
    assert found == pytest.approx(rated(relay, last) / rated(relay, first), rel=1e-6)
    # seven days, six of the earlier ones were not delivered
    assert database.query(PROMQL["14"], time=f"{at:.0f}") == []


def test_who_rose_most_in_a_week(filled: tuple[ClaudeRelay, VictoriaMetrics]) -> None:
    relay, database = filled
    days = days_over(relay)[:-15:-1]

    def risen(key: Key) -> float:
        later, earlier = (
            sum(key.usage_in(day).rated_usd for day in week) for week in (days[:7], days[7:])
        )
        return later - earlier

    own = {key.name: risen(key) for key in relay.keys if risen(key) > 0}
    found = database.query(panel_query("Biggest risers"), time=f"{NOW:.0f}")
    shown = {one["metric"]["relay_key_name"]: float(one["value"][1]) for one in found}
    assert len(shown) > 1
    assert shown == pytest.approx(own, rel=1e-6)


def test_who_spent_most_in_thirty_days(filled: tuple[ClaudeRelay, VictoriaMetrics]) -> None:
    relay, database = filled
    days = days_over(relay)
    # before the relay's noon thirty times 24 hours begin and end with a day that is over
    own = {key.name: sum(key.usage_in(day).rated_usd for day in days[-30:]) for key in relay.keys}
    found = database.query(panel_query("Last 30 days by key"), time=f"{NOW:.0f}")
    shown = {one["metric"]["relay_key_name"]: float(one["value"][1]) for one in found}
    assert shown == pytest.approx({name: own[name] for name in shown}, rel=1e-6)
    assert {name for name, usd in own.items() if usd} <= shown.keys()
    by_label = panel_query("Last 30 days by label", label="relay_key_name")
    assert value(database, by_label, NOW) == pytest.approx(sum(own.values()), rel=1e-6)


def test_all_that_was_delivered_is_there(filled: tuple[ClaudeRelay, VictoriaMetrics]) -> None:
    relay, database = filled
    requests = sum(relay.usage_of_all(day).requests for day in days_over(relay))
    promql = "sum(sum_over_time(relay_day_all_keys_requests[33d]))"
    assert value(database, promql, midnight_after(relay, days_over(relay)[-1])) == requests
