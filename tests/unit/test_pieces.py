"""A snapshot in requests and in parts: together they deliver all of it, and each stands alone."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from relay_metrics.convert import record_points
from relay_metrics.deliver import pieces
from relay_metrics.deliver.pieces import Beginning, By, Piece, Request, in_parts
from relay_metrics.errors import EncodingError
from relay_metrics.families import Family, FamilyType, Series
from relay_metrics.snapshot import Reading, Scope, Scrape, Snapshot
from tests.otlp import points, request_of
from tests.unit.snapshots import TIME_MS, snapshots

MOST = 600
"""Bytes of a request, in place of 32 MiB."""


def requests_of(snapshot: Snapshot, beginning: Beginning | None = None) -> list[Request]:
    """All that would be pushed of it."""
    found: list[Request] = []

    def take(piece: Piece) -> By | None:
        request = piece.request
        if request is None:
            return By.SIZE
        found.append(request)
        return None

    in_parts(Piece(snapshot, beginning=beginning), take)
    return found


def opened(request: Request) -> ExportMetricsServiceRequest:
    return ExportMetricsServiceRequest.FromString(gzip.decompress(request.body))


def delivered(*snapshots: Snapshot) -> Counter[str]:
    return Counter(points(map(request_of, snapshots)))


def begun(snapshot: Snapshot, sizes: Sequence[int]) -> Beginning:
    """Written of so many of its readings at a time, in the course of a run."""
    beginning, start = Beginning(), 0
    for size in sizes:
        some = snapshot.readings[start : start + size]
        beginning.add(replace(snapshot, readings=some, families=(), scrape=None))
        start += len(some)
    return beginning


@given(snapshots, st.lists(st.integers(1, 3), max_size=3))
@hypothesis_settings(deadline=None)
def test_its_requests_deliver_all_of_a_snapshot(snapshot: Snapshot, sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "MAX_REQUEST_BYTES", MOST)
        patch.setattr("relay_metrics.convert.READINGS_AT_ONCE", 1)
        patch.setattr("relay_metrics.convert.exposition.SERIES_AT_ONCE", 1)
        made = requests_of(snapshot, begun(snapshot, sizes))
    everything = delivered(snapshot)
    lines = [Counter(points([opened(one)])) for one in made]
    carried = Counter(line for line in everything if "gauge relay_up {flag}" in line)
    again = Counter({line: count * (len(made) - 1) for line, count in carried.items()})
    assert sum(lines, Counter()) == everything + again
    assert all(carried <= one for one in lines), "each says of the run whether it was up"
    assert sum(one.points for one in made) == snapshot.samples + record_points(snapshot)
    assert Piece(snapshot).points == snapshot.samples + record_points(snapshot)
    for request in made:
        assert request.size == len(gzip.decompress(request.body))
        histograms = [
            metric.name
            for resource in opened(request).resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.WhichOneof("data") == "histogram"
        ]
        assert len(set(histograms)) == len(histograms), "the last would overwrite the others"


@given(snapshots, st.sampled_from(By))
@hypothesis_settings(deadline=None)
def test_the_parts_of_a_split_deliver_all_of_it_once(snapshot: Snapshot, by: By) -> None:
    parts = [part.snapshot for part in Piece(snapshot).split(by)]
    if not parts:
        return
    carried = Counter(line for line in delivered(snapshot) if "gauge relay_up {flag}" in line)
    again = Counter({line: count * (len(parts) - 1) for line, count in carried.items()})
    assert delivered(*parts) == delivered(snapshot) + again
    assert sum(Piece(one).points for one in parts) == Piece(snapshot).points
    joined = parts[-1].joined(parts[:-1])
    assert delivered(joined) == delivered(snapshot)


@given(snapshots)
@hypothesis_settings(deadline=None)
def test_it_is_split_down_to_single_metrics(snapshot: Snapshot) -> None:
    smallest: list[Snapshot] = []

    def take(piece: Piece) -> By | None:
        if piece.split(By.METRIC):
            return By.METRIC
        smallest.append(piece.snapshot)
        return None

    in_parts(Piece(snapshot), take)
    assert all(len(one.metrics) <= 1 for one in smallest)
    assert sorted(m for one in smallest for m in one.metrics) == sorted(snapshot.metrics)


def test_a_request_is_cut_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_REQUEST_BYTES", 300_000)
    series = tuple(Series({"n": str(at)}, at) for at in range(20_000))
    families = [Family.of("a", FamilyType.GAUGE, "", series)]
    made = requests_of(Snapshot("wyolet-relay", "w", TIME_MS, {}, families=families))
    assert len(made) > 2
    assert all(one.size <= 300_000 for one in made)
    assert sum(one.points for one in made) == 20_000


def test_what_cannot_be_converted_early_is_met_again_in_the_end() -> None:
    of_keys = [
        Reading(Scope.KEY, {"usage.total.requests": 10**400 if at == 3 else at}, {}, {"n": str(at)})
        for at in range(6)
    ]
    snapshot = Snapshot("claude-relay", "main", TIME_MS, {}, Scrape(True, 0.25), of_keys)
    beginning = begun(snapshot, [2, 2, 2])
    assert beginning.things == 2
    piece = Piece(snapshot, beginning=beginning)
    with pytest.raises(EncodingError):
        _ = piece.request
    halves = [one.request for one in piece.split(By.SIZE)[:1]]
    assert [one and one.points for one in halves] == [3 + record_points(snapshot)]


def test_a_large_exposition_is_packed_a_few_mib_at_a_time() -> None:
    series = tuple(Series({"n": f"{at:0100}"}, at) for at in range(60_000))
    families = [Family.of("a", FamilyType.GAUGE, "", series)]
    snapshot = Snapshot("wyolet-relay", "w", TIME_MS, {}, families=families)
    packed: list[Snapshot] = []

    def take(piece: Piece) -> By | None:
        if piece.packed is None:
            return By.SIZE
        packed.append(piece.snapshot)
        return None

    in_parts(Piece(snapshot), take)
    # it is written as JSON, which takes some times its size while it is
    assert all(len(one.dump()) < 4 << 20 for one in packed)
    assert [line for one in packed for line in one.families[0].series.label_sets] == [
        *families[0].series.label_sets
    ]


def test_requests_and_parts_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    series = tuple(Series({"n": str(at)}, at) for at in range(4))
    families = [Family.of("a", FamilyType.GAUGE, "", series)]
    piece = Piece(Snapshot("wyolet-relay", "w", TIME_MS, {}, families=families))
    assert piece.request is piece.request
    assert piece.packed is piece.packed
    assert piece.split(By.SIZE) is piece.split(By.SIZE)


def test_a_figure_that_cannot_be_encoded_is_counted_all_the_same() -> None:
    good = Series({}, buckets=((float("inf"), 2),), count=2)
    bad = Series({"n": "1"}, buckets=((float("inf"), 2**65),), count=2**65)
    families = [Family.of("a", FamilyType.HISTOGRAM, "", (good, bad))]
    piece = Piece(Snapshot("wyolet-relay", "w", TIME_MS, {}, families=families))
    with pytest.raises(EncodingError):
        _ = piece.request
    assert piece.points == 2
    well, ill = piece.split(By.SIZE)
    assert well.request
    assert well.request.points == 1
    with pytest.raises(EncodingError):
        _ = ill.request
