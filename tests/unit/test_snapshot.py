"""A snapshot is written down, read back, and split, without a change to the series of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_metrics.errors import SnapshotError
from relay_metrics.families import Family, FamilyType, Series
from relay_metrics.snapshot import (
    SCHEMA,
    Failure,
    Reading,
    Scope,
    Scrape,
    Snapshot,
    well_formed,
)
from tests import RECORDINGS
from tests.otlp import points, request_of
from tests.unit.snapshots import TIME_MS, snapshots

WHOLE = Snapshot(
    "claude-relay",
    'main "β"',
    TIME_MS,
    {"service.name": "relay-metrics"},
    Scrape(True, 0.25, 3, TIME_MS, (Failure("user-stats", "500", 2),), 1, 2, 3),
    (
        Reading(Scope.KEY, {"usage.total.requests": 1, "usage.total.cost": 0.5}, {}, {"a": "b"}, 7),
        Reading(Scope.MODEL, {"requests": 2}, {"model": "a/b:c", "period": "daily"}),
    ),
    (
        Family.of("up", FamilyType.GAUGE, "", (Series({}, 1.0), Series({"a": "b"}, math.inf))),
        Family.of(
            "seconds",
            FamilyType.HISTOGRAM,
            "How long",
            (Series({}, buckets=((0.5, 1), (math.inf, 2)), sum=3.5, count=2, start_ms=5),),
        ),
        Family.of(
            "wait",
            FamilyType.SUMMARY,
            "",
            (Series({}, quantiles=(("0.5", -math.inf),), sum=1.0, count=2.0, time_ms=9),),
        ),
    ),
)


RECORDED = RECORDINGS / "snapshots/schema-1.json"


def test_a_histogram_of_sum_and_count_alone() -> None:
    series = Series({"a": "b"}, sum=3.5, count=2.0)
    families = [Family.of("seconds", FamilyType.HISTOGRAM, "", (series,))]
    snapshot = Snapshot("wyolet-relay", "w", 1, {}, families=families)
    assert list(Snapshot.load(snapshot.dump()).families[0].series) == [series]


def delivered(*parts: Snapshot) -> list[str]:
    """The data points of what a snapshot, or its parts, are converted to."""
    return points(map(request_of, parts))


# -- written and read


def test_written_it_is_json_with_its_schema() -> None:
    written = json.loads(WHOLE.dump())
    assert written["schema"] == SCHEMA
    assert (written["kind"], written["relay"]) == ("claude-relay", 'main "β"')
    assert written["time_ms"] == TIME_MS


@given(snapshots)
def test_it_is_read_as_it_was_written(snapshot: Snapshot) -> None:
    read = Snapshot.load(snapshot.dump())
    assert read.dump() == snapshot.dump()
    assert replace(read, families=()) == replace(snapshot, families=())


def test_whole_and_broken_numbers_stay_what_they_are() -> None:
    fields = {"a": 1, "b": 1.0, "c": 2**63 - 1, "d": -0.0, "e": 5e-324}
    snapshot = Snapshot("claude-relay", "a", 1, {}, readings=(Reading(Scope.KEY, fields),))
    (read,) = Snapshot.load(snapshot.dump()).readings
    assert repr(read.fields) == repr(fields)


@given(st.binary() | st.text().map(str.encode))
def test_what_is_no_snapshot_is_an_error(data: bytes) -> None:
    with pytest.raises(SnapshotError):
        Snapshot.load(data)


def changed(path: str, value: Any) -> bytes:
    """The whole snapshot with another value at a path."""
    written = json.loads(WHOLE.dump())
    holder = written
    *before, last = path.split(".")
    for name in before:
        holder = holder[int(name)] if isinstance(holder, list) else holder[name]
    holder[int(last) if isinstance(holder, list) else last] = value
    return json.dumps(written).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("relay", None),
        ("time_ms", "1"),
        ("time_ms", True),
        ("time_ms", 2**70),
        ("resource", ["service.name"]),
        ("resource", {"service.name": 7}),
        ("scrape.up", 1),
        ("scrape.duration_s", "1"),
        ("scrape.failures.0.count", 1.5),
        ("scrape.failures", None),
        ("scrape", []),
        ("readings", 7),
        ("readings.0", {"scope": "key"}),
        ("readings.0.0", "secret"),
        ("readings.0.1", {"usage.total.requests": True}),
        ("readings.0.1", {"usage.total.requests": "1"}),
        ("readings.0.1", {"usage.total.requests": math.nan}),
        ("readings.0.1", {"usage.total.requests": 2**70}),
        ("readings.1.2", {"model": None}),
        ("readings.0.4", "2026"),
        ("families.0.type", "gaugehistogram"),
        ("families.0.labels", 'a="b"'),
        ("families.0.labels.0", 'a="b'),
        ("families.0.labels.0", 7),
        ("families.0.labels.0", 'a="b"'),
        ("families.0.values", {"a": 1}),
        ("families.0.values.0", "1"),
        ("families.0.values.0", math.nan),
        ("families.0.values", [1.0]),
        ("families.1.starts", [5, 6]),
        ("families.1.starts", [-5]),
        ("families.1.starts.0", 2**70),
        ("families.1.values", [1.0, 2.0]),
        ("families.1.layout", [1]),
        ("families.1.layout", [-1]),
        ("families.1.layouts", [[1]]),
        ("families.2.layouts", [[0.5]]),
        ("families.2.layouts", [None]),
    ],
)
def test_a_damaged_one_is_an_error(path: str, value: Any) -> None:
    with pytest.raises(SnapshotError, match=r"^the snapshot is damaged \([A-Za-z]+\)$"):
        Snapshot.load(changed(path, value))


@pytest.mark.parametrize("missing", ["kind", "relay", "time_ms", "resource"])
def test_one_without_a_field_is_an_error(missing: str) -> None:
    written = json.loads(WHOLE.dump())
    del written[missing]
    with pytest.raises(SnapshotError):
        Snapshot.load(json.dumps(written).encode())


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, "1", None])
def test_one_of_another_schema_is_not_read(schema: object) -> None:
    with pytest.raises(SnapshotError, match="schema"):
        Snapshot.load(changed("schema", schema))


def test_a_message_of_the_first_schema_makes_the_same_series() -> None:
    first = Snapshot.load(RECORDED.read_bytes())
    assert json.loads(RECORDED.read_bytes())["schema"] == 1
    assert delivered(first) == delivered(WHOLE)
    assert json.loads(first.dump())["schema"] == SCHEMA


def test_deeply_nested_json_is_an_error() -> None:
    with pytest.raises(SnapshotError):
        Snapshot.load(b"[" * 100_000)


# -- counted


def test_samples_are_the_data_points() -> None:
    assert WHOLE.samples == 2 + 1 + 2 + 1 + 3
    assert len(WHOLE) == 2 + 4


@given(snapshots)
def test_samples_are_all_data_points_but_those_of_the_run(snapshot: Snapshot) -> None:
    without = Snapshot(
        snapshot.kind,
        snapshot.relay,
        snapshot.time_ms,
        snapshot.resource,
        readings=snapshot.readings,
        families=snapshot.families,
    )
    assert len(delivered(without)) == snapshot.samples


# -- split


def parts(snapshot: Snapshot) -> list[Snapshot]:
    """A snapshot split until nothing can be."""
    if len(snapshot) < 2:
        return [snapshot]
    first, second = snapshot.split()
    assert (first.time_ms, second.time_ms) == (snapshot.time_ms, snapshot.time_ms)
    assert abs(len(first) - len(second)) <= 1
    return parts(first) + parts(second)


@given(snapshots)
def test_its_parts_make_the_same_series(snapshot: Snapshot) -> None:
    split = parts(snapshot)
    carried = [line for line in delivered(snapshot) if "gauge relay_up {flag}" in line]
    assert delivered(*split) == sorted(delivered(snapshot) + carried * (len(split) - 1))
    assert sum(part.samples for part in split) == snapshot.samples


def test_only_the_first_part_has_the_run_and_the_others_whether_it_was_up() -> None:
    first, second = WHOLE.split()
    assert WHOLE.scrape
    assert first.scrape == WHOLE.scrape
    assert second.scrape == Scrape(WHOLE.scrape.up, None, None)
    of_a_shard = WHOLE.scrape._replace(shard="2/4").to_carry({"a": "b"})
    assert of_a_shard == Scrape(True, None, None, shard="2/4", resource={"a": "b"})
    assert of_a_shard.to_carry() == of_a_shard
    part = replace(second, scrape=of_a_shard)
    assert Snapshot.load(part.dump()).scrape == of_a_shard
    assert Snapshot.load(second.dump()).scrape == second.scrape


@pytest.mark.parametrize("count", [0, 1])
def test_one_thing_cannot_be_split(count: int) -> None:
    one = Snapshot("claude-relay", "a", 1, {}, WHOLE.scrape, WHOLE.readings[:count])
    with pytest.raises(SnapshotError):
        one.split()


# -- text


@given(st.text(st.characters()))
def test_mended_text_is_well_formed(text: str) -> None:
    fixed = well_formed(text)
    assert fixed.encode().decode() == fixed
    assert well_formed(fixed) == fixed


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_well_formed_text_stays(text: str) -> None:
    assert well_formed(text) == text


def test_halves_of_a_character_that_belong_together_are_joined() -> None:
    assert well_formed("\ud83d\ude00 \ud83d") == "😀 \ufffd"
