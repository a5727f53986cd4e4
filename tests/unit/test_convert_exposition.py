"""What is written of families by hand, held to what the SDK's encoder writes of its own objects."""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from relay_metrics.convert import convert
from relay_metrics.convert import exposition as module
from relay_metrics.convert.exposition import renamed
from relay_metrics.errors import EncodingError
from relay_metrics.families import Family, FamilyType, Series
from relay_metrics.naming import RESERVED, tag
from relay_metrics.snapshot import Snapshot
from tests.otlp import request_of
from tests.unit.snapshots import TIME_MS, snapshots

CUMULATIVE = AggregationTemporality.CUMULATIVE


def by_the_sdk(snapshot: Snapshot) -> ExportMetricsServiceRequest:
    resource = {name: value for name, value in snapshot.resource.items() if value}
    reserved = {tag(name) for name in snapshot.resource} | RESERVED
    metrics = [metric for family in snapshot.families for metric in _metrics(family, reserved)]
    scope = ScopeMetrics(InstrumentationScope("relay_metrics"), metrics, "")
    return encode_metrics(MetricsData([ResourceMetrics(Resource(resource), [scope], "")]))


def _metrics(family: Family, reserved: set[str]) -> Iterator[Metric]:
    def number(series: Series, value: float, more: Mapping[str, str] | None = None) -> Any:
        attributes = {**_attributes(family, series, reserved), **(more or {})}
        return NumberDataPoint(attributes, *_times(series), value)

    def metric(suffix: str, data: Any) -> Metric:
        return Metric(family.name + suffix, family.help, "", data)

    every = list(family.series)
    if family.type is FamilyType.HISTOGRAM:
        points = [_histogram(one, _attributes(family, one, reserved)) for one in every]
        yield metric("", Histogram(points, CUMULATIVE))
    elif family.type is FamilyType.SUMMARY:
        quantiles = [
            number(one, value, {"quantile": quantile})
            for one in every
            for quantile, value in one.quantiles
        ]
        yield metric("", Gauge(quantiles))
        sums = [number(one, one.sum) for one in every if one.sum is not None]
        yield metric("_sum", Sum(sums, CUMULATIVE, is_monotonic=False))
        counts = [number(one, one.count) for one in every if one.count is not None]
        yield metric("_count", Sum(counts, CUMULATIVE, is_monotonic=False))
    else:
        numbers = [number(one, one.value) for one in every if one.value is not None]
        if family.type is FamilyType.COUNTER:
            yield metric("", Sum(numbers, CUMULATIVE, is_monotonic=True))
        else:
            yield metric("", Gauge(numbers))


def _times(series: Series) -> tuple[int, int]:
    return (series.start_ms or 0) * 10**6, (series.time_ms or TIME_MS) * 10**6


def _attributes(family: Family, series: Series, reserved: set[str]) -> dict[str, str]:
    bucket = family.type is FamilyType.GAUGE and family.name.endswith("_bucket")
    names = renamed(list(series.labels), reserved - {"le"} if bucket else reserved)
    return dict(zip(names, series.labels.values(), strict=True))


def _histogram(series: Series, attributes: dict[str, str]) -> HistogramDataPoint:
    counts = [int(count) for _, count in series.buckets]
    start, time = _times(series)
    return HistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=start,
        time_unix_nano=time,
        count=int(series.count or 0),
        sum=series.sum,  # type: ignore[arg-type]  # None is encoded as not set, as it should be
        bucket_counts=[upper - lower for lower, upper in pairwise([0, *counts])],
        explicit_bounds=[bound for bound, _ in series.buckets[:-1]],
        min=None,  # type: ignore[arg-type]  # likewise
        max=None,  # type: ignore[arg-type]  # likewise
    )


def points_of(requests: Iterable[ExportMetricsServiceRequest]) -> dict[bytes, list[Any]]:
    """The points of each metric: by the resource, the scope, and all else that a metric says."""
    found: dict[bytes, list[Any]] = {}
    for one in chain.from_iterable(request.resource_metrics for request in requests):
        attributes = sorted((item.key, item.value.string_value) for item in one.resource.attributes)
        for scope, metric in (
            (some.scope, metric) for some in one.scope_metrics for metric in some.metrics
        ):
            data = getattr(metric, metric.WhichOneof("data") or "gauge")
            points = list(data.data_points)
            # a point's attributes may come in any order
            for point in points:
                point.attributes.sort(key=lambda item: item.key)
            del data.data_points[:]
            key = repr((attributes, scope, metric, one.schema_url)).encode()
            if points:
                found.setdefault(key, []).extend(points)
    return found


of_families = snapshots.map(
    lambda snapshot: Snapshot(
        snapshot.kind, snapshot.relay, TIME_MS, snapshot.resource, families=snapshot.families
    )
)


@settings(max_examples=400)
@given(of_families)
def test_it_says_what_the_sdks_encoder_says(snapshot: Snapshot) -> None:
    assert points_of([request_of(snapshot)]) == points_of([by_the_sdk(snapshot)])


@given(of_families, st.integers(1, 3))
def test_in_parts_of_any_size_it_says_the_same(snapshot: Snapshot, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SERIES_AT_ONCE", most)
        patch.setattr(module, "_PART_BYTES", 1)
        patch.setattr(module, "_MOST_KNOWN", 1)
        parts = list(convert(snapshot))
    requests = [ExportMetricsServiceRequest.FromString(part.data) for part in parts]
    assert sum(part.points for part in parts) == snapshot.samples
    assert sum(part.things for part in parts) == len(snapshot)
    assert points_of(requests) == points_of([by_the_sdk(snapshot)])


VALUES = st.text(
    st.characters(exclude_categories=["Cs"], include_characters='\\"\n\0\1,='), max_size=300
)


@given(
    st.dictionaries(
        st.text(max_size=3) | st.sampled_from(["a", "le", "_", "job"]), VALUES, max_size=4
    )
)
def test_labels_of_any_text(labels: dict[str, str]) -> None:
    family = Family.of("a", FamilyType.GAUGE, "", [Series(labels, 1.5), Series({"b": "c"}, 2)])
    snapshot = Snapshot("wyolet-relay", "w", TIME_MS, {"job": "x"}, families=[family])
    # the second time they are known
    twice = Snapshot("wyolet-relay", "w", TIME_MS, {"job": "x"}, families=[family, family])
    assert points_of([request_of(snapshot)]) == points_of([by_the_sdk(snapshot)])
    assert points_of([request_of(twice)]) == points_of([by_the_sdk(twice)])


def test_numbers_are_written_as_protobuf_has_them_on_any_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = array("d", [1.5, -2.0, 3.25])
    assert module._eights(numbers) == [struct.pack("<d", one) for one in numbers]
    other = array("d", [struct.unpack(">d", struct.pack("<d", one))[0] for one in numbers])
    monkeypatch.setattr(sys, "byteorder", "big" if sys.byteorder == "little" else "little")
    assert module._eights(other) == [struct.pack("<d", one) for one in numbers]


@pytest.mark.parametrize(
    "series",
    [
        Series({"a": "\ud800"}, 1.0),
        Series({}, 1.0, time_ms=2**62),
        Series({}, buckets=((1.0, 3), (math.inf, 2)), count=2),
    ],
)
def test_what_has_no_place_in_otlp_is_an_error(series: Series) -> None:
    kind = FamilyType.HISTOGRAM if series.buckets else FamilyType.GAUGE
    family = Family.of("a", kind, "", [series])
    with pytest.raises(EncodingError):
        list(convert(Snapshot("wyolet-relay", "w", TIME_MS, {}, families=[family])))
