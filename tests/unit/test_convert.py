"""From a snapshot to data points: a pure function."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

from relay_metrics import convert as package
from relay_metrics.catalogue import ATTRIBUTES, METRICS, rows
from relay_metrics.convert import convert
from relay_metrics.deliver.push import Encoded
from relay_metrics.snapshot import Failure, Reading, Scope, Scrape, Snapshot
from tests.otlp import points
from tests.unit.snapshots import TIME_MS, snapshots

AT = "at 2027-01-15T08:00:00.000Z"


def told(*readings: Reading, scrape: Scrape | None = None) -> list[str]:
    """The data points of a relay's readings."""
    snapshot = Snapshot("claude-relay", "main", TIME_MS, {"relay.name": "main"}, scrape, readings)
    return points([encode_metrics(convert(snapshot))])


# -- readings


def test_a_reading_fills_the_rows_of_its_scope() -> None:
    key = {"relay.key.id": "k1"}
    fields = {"usage.total.requests": 40, "usage.total.cost": 0.5}
    assert told(Reading(Scope.KEY, fields, {}, key, TIME_MS - 1000)) == [
        (
            '{relay.key.id="k1", relay.name="main"} counter relay_requests_total {request}'
            f"  40 from 2027-01-15T07:59:59.000Z {AT}"
        ),
        f'{{relay.key.id="k1", relay.name="main"}} gauge relay_cost_total_usd {{USD}}  0.5 {AT}',
    ]


@pytest.mark.parametrize("scope", sorted({*ATTRIBUTES} - {Scope.RUN, Scope.FAILURE}))
def test_every_field_of_the_catalogue_becomes_its_row(scope: Scope) -> None:
    attributes = dict.fromkeys(ATTRIBUTES[scope], "x")
    lines = told(Reading(scope, {row.field: 7 for row in rows(scope)}, attributes))
    labels = ", ".join(f'{name}="x"' for name in sorted(attributes))
    assert lines == sorted(
        f'{{relay.name="main"}} {"counter" if row.running else "gauge"} {row.name} {row.unit}'
        f"  {f'{{{labels}}} ' if labels else ''}7 {AT}"
        for row in rows(scope)
    )


def test_a_field_that_is_not_there_makes_no_point() -> None:
    assert told(Reading(Scope.KEY, {})) == []


def test_zero_makes_a_point() -> None:
    (line,) = told(Reading(Scope.KEY, {"limits.dailyCostLimit": 0}))
    assert line.endswith(f"gauge relay_daily_cost_limit_usd {{USD}}  0 {AT}")


def test_an_empty_attribute_is_left_out() -> None:
    (line,) = told(Reading(Scope.MODEL, {"requests": 1}, {"model": "a/b:c", "period": ""}))
    assert line.endswith(f'  {{model="a/b:c"}} 1 {AT}')


# -- the run


def test_a_run_that_went_well() -> None:
    assert told(scrape=Scrape(True, 0.25, 66, TIME_MS)) == [
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
    lines = told(scrape=Scrape(False, 0.25, failures=failures, keys_failed=3))
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


def test_staleness_is_the_time_since_the_latest_success() -> None:
    lines = told(scrape=Scrape(False, 0.25, last_success_ms=TIME_MS - 90_500))
    stale = [line for line in lines if "staleness" in line]
    assert stale == [f'{{relay.name="main"}} gauge relay_stats_staleness_seconds s  90.5 {AT}']


def test_the_duration_is_what_was_measured() -> None:
    snapshot = Snapshot("claude-relay", "main", TIME_MS, {"a": "b"}, Scrape(True, 0.25))
    ((metrics,),) = [
        [scope.metrics for scope in one.scope_metrics] for one in convert(snapshot).resource_metrics
    ]
    (duration,) = [one for one in metrics if one.name == "relay_scrape_duration_seconds"]
    assert [point.value for point in _points(duration)] == [0.25]


def _points(metric: Any) -> Any:
    return metric.data.data_points


def test_a_shard_that_is_not_the_first_says_nothing_of_the_run() -> None:
    names = {row.name for row in METRICS if row.scope in (Scope.RUN, Scope.FAILURE)}
    lines = told(Reading(Scope.KEY, {"usage.total.requests": 1}))
    assert not [line for line in lines if any(name in line for name in names)]


# -- all of it


@given(snapshots)
def test_nothing_is_lost_on_the_way_to_a_request(snapshot: Snapshot) -> None:
    encoded = Encoded.of(convert(snapshot))
    of_the_run = points([encode_metrics(convert(_without_answers(snapshot)))])
    assert encoded.points == snapshot.samples + len(of_the_run)


def _without_answers(snapshot: Snapshot) -> Snapshot:
    return Snapshot(
        snapshot.kind, snapshot.relay, snapshot.time_ms, snapshot.resource, snapshot.scrape
    )


@given(snapshots)
def test_the_same_snapshot_gives_the_same_bytes(snapshot: Snapshot) -> None:
    once = encode_metrics(convert(snapshot)).SerializeToString()
    again = encode_metrics(convert(Snapshot.load(snapshot.dump()))).SerializeToString()
    assert once == again


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
        known = ("relay_metrics.convert", "relay_metrics.snapshot", "relay_metrics.catalogue")
        assert all(name.startswith(known) or name == "relay_metrics" for name in ours), path.name
