"""From a snapshot to data points: a pure function."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
from hypothesis import given

from relay_metrics import convert as package
from relay_metrics.catalogue import ATTRIBUTES, rows
from relay_metrics.convert import convert, record_points
from relay_metrics.families import Family, FamilyType, Series
from relay_metrics.snapshot import (
    Failure,
    Reading,
    Scope,
    Scrape,
    Snapshot,
)
from tests.otlp import points, request_of
from tests.unit.snapshots import TIME_MS, snapshots

AT = "at 2027-01-15T08:00:00.000Z"


def delivered(*readings: Reading, scrape: Scrape | None = None) -> list[str]:
    """The data points of a relay's readings."""
    snapshot = Snapshot("claude-relay", "main", TIME_MS, {"relay.name": "main"}, scrape, readings)
    return points([request_of(snapshot)])


# -- readings


def test_a_reading_fills_the_rows_of_its_scope() -> None:
    key = {"relay.key.id": "k1"}
    fields = {"usage.total.requests": 40, "usage.total.cost": 0.5}
    assert delivered(Reading(Scope.KEY, fields, {}, key, TIME_MS - 1000)) == [
        (
            '{relay.key.id="k1", relay.name="main"} counter relay_requests_total {request}'
            f"  40 from 2027-01-15T07:59:59.000Z {AT}"
        ),
        f'{{relay.key.id="k1", relay.name="main"}} gauge relay_cost_total_usd {{USD}}  0.5 {AT}',
    ]


@pytest.mark.parametrize("scope", sorted({*ATTRIBUTES} - {Scope.RUN, Scope.FAILURE}))
def test_every_field_of_the_catalogue_becomes_its_row(scope: Scope) -> None:
    attributes = dict.fromkeys(ATTRIBUTES[scope], "x")
    lines = delivered(Reading(scope, {row.field: 7 for row in rows(scope)}, attributes))
    labels = ", ".join(f'{name}="x"' for name in sorted(attributes))
    assert lines == sorted(
        f'{{relay.name="main"}} {"counter" if row.running else "gauge"} {row.name} {row.unit}'
        f"  {f'{{{labels}}} ' if labels else ''}7 {AT}"
        for row in rows(scope)
    )


def test_a_field_that_is_not_there_makes_no_point() -> None:
    assert delivered(Reading(Scope.KEY, {})) == []


def test_zero_makes_a_point() -> None:
    (line,) = delivered(Reading(Scope.KEY, {"limits.dailyCostLimit": 0}))
    assert line.endswith(f"gauge relay_daily_cost_limit_usd {{USD}}  0 {AT}")


def test_an_empty_attribute_is_left_out() -> None:
    (line,) = delivered(Reading(Scope.MODEL, {"requests": 1}, {"model": "a/b:c", "period": ""}))
    assert line.endswith(f'  {{model="a/b:c"}} 1 {AT}')


# -- the run


def test_a_run_that_went_well() -> None:
    assert delivered(scrape=Scrape(True, 0.25, 66, TIME_MS)) == [
        f'{{relay.name="main"}} gauge {metric}  {value} {AT}'
        for metric, value in (
            ("relay_last_success_timestamp_seconds s", "1800000000.0"),
            ("relay_scrape_duration_seconds s", "?"),
            ("relay_scrape_samples {sample}", "66"),
            ("relay_stats_staleness_seconds s", "0.0"),
            ("relay_up {flag}", "1"),
        )
    ]


def test_a_run_that_failed_and_no_success_is_known() -> None:
    failures = (Failure("user-stats", "500", 2), Failure("batch-stats", "timeout"))
    lines = delivered(scrape=Scrape(False, 0.25, failures=failures, keys_failed=3))
    assert lines == [
        f'{{relay.name="main"}} gauge {metric}  {value} {AT}'
        for metric, value in (
            ("relay_keys_failed {key}", "3"),
            ("relay_scrape_duration_seconds s", "?"),
            (
                "relay_scrape_errors {error}",
                '{endpoint="batch-stats", error.type="timeout"} 1',
            ),
            ("relay_scrape_errors {error}", '{endpoint="user-stats", error.type="500"} 2'),
            ("relay_scrape_samples {sample}", "0"),
            ("relay_up {flag}", "0"),
        )
    ]


def test_the_duration_is_what_was_measured() -> None:
    snapshot = Snapshot("claude-relay", "main", TIME_MS, {"a": "b"}, Scrape(True, 0.25))
    (resource,) = request_of(snapshot).resource_metrics
    (scope,) = resource.scope_metrics
    (duration,) = [one for one in scope.metrics if one.name == "relay_scrape_duration_seconds"]
    assert [point.as_double for point in duration.gauge.data_points] == [0.25]


def test_a_shard_delivers_its_own_run() -> None:
    failures = (Failure("user-stats", "500"),)
    scrape = Scrape(True, 0.25, 66, TIME_MS, failures, 1, 2, 3, shard="2/4")
    whole, of_shard = delivered(scrape=scrape._replace(shard="")), delivered(scrape=scrape)
    assert len(of_shard) == len(whole) == 9
    assert all('shard="2/4"' in line for line in of_shard)
    assert not any("shard" in line for line in whole)


# -- all of it


@given(snapshots)
def test_nothing_is_lost_on_the_way_to_a_request(snapshot: Snapshot) -> None:
    parts = list(convert(snapshot))
    delivered = snapshot.samples + record_points(snapshot)
    assert sum(part.points for part in parts) == delivered
    assert len(points([request_of(snapshot)])) == delivered
    assert sum(part.things for part in parts) == len(snapshot)


@given(snapshots)
def test_what_is_carried_is_delivered_and_not_counted(snapshot: Snapshot) -> None:
    rest = snapshot.part(1, len(snapshot)) if len(snapshot) > 1 else snapshot.only(())
    parts = list(convert(rest))
    assert sum(part.points for part in parts) == rest.samples
    lines = points([request_of(rest)])
    assert len(lines) == rest.samples + (snapshot.scrape is not None)
    of_the_run = [line for line in lines if "gauge relay_up {flag}" in line]
    assert (of_the_run != []) == (snapshot.scrape is not None)


def test_no_part_holds_more_readings_than_are_encoded_at_once() -> None:
    readings = [
        Reading(Scope.KEY, {"usage.total.requests": at}, {}, {"relay.key.id": str(at)})
        for at in range(450)
    ]
    snapshot = Snapshot("claude-relay", "main", TIME_MS, {}, Scrape(True, 0.25), readings)
    assert [part.things for part in convert(snapshot)] == [200, 200, 50]
    assert [part.points for part in convert(snapshot)] == [203, 200, 50]


def histogram(name: str, series: int) -> Family:
    buckets = ((1.0, 1), (math.inf, 2))
    return Family.of(
        name,
        FamilyType.HISTOGRAM,
        "",
        tuple(
            Series({"n": str(at)}, buckets=buckets, sum=1.5, count=2, time_ms=at + 1)
            for at in range(series)
        ),
    )


def test_a_histogram_stays_together_and_two_of_one_table_never_do() -> None:
    families = [
        histogram("a", 1500),
        histogram("b", 1500),
        histogram("a:c", 1),
        histogram("a_c", 1),
    ]
    parts = list(convert(Snapshot("wyolet-relay", "w", TIME_MS, {}, families=families)))
    assert [(part.things, sorted(part.histograms)) for part in parts] == [
        (3000, ["a", "b"]),
        (1, ["a_c"]),
        (1, ["a_c"]),
    ]


def test_a_histogram_larger_than_a_part_is_in_several_that_say_so() -> None:
    families = [histogram("a", 4500)]
    parts = list(convert(Snapshot("wyolet-relay", "w", TIME_MS, {}, families=families)))
    assert [part.things for part in parts] == [4096, 404]
    assert {part.histograms for part in parts} == {frozenset({"a"})}


@given(snapshots)
def test_the_same_snapshot_gives_the_same_bytes(snapshot: Snapshot) -> None:
    assert list(convert(snapshot)) == list(convert(Snapshot.load(snapshot.dump())))


def test_it_knows_neither_clock_nor_network_nor_environment() -> None:
    foreign = {"time", "datetime", "os", "random", "socket", "requests", "urllib", "logging"}
    for path in Path(package.__file__).parent.glob("*.py"):
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
        }
        assert not foreign & {name.partition(".")[0] for name in imported}, path.name
        ours = {name for name in imported if name.startswith("relay_metrics")}
        names = ("catalogue", "convert", "errors", "families", "naming", "snapshot")
        known = tuple(f"relay_metrics.{name}" for name in names)
        assert all(name.startswith(known) or name == "relay_metrics" for name in ours), path.name
