"""Data points, gathered by resource and metric, as the SDK's encoder takes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import MetricsData

from relay_metrics.catalogue import Metric
from relay_metrics.convert.parts import encoded
from relay_metrics.convert.points import GAUGE, RUNNING, Points
from relay_metrics.errors import EncodingError
from relay_metrics.snapshot import Scope
from tests.otlp import points

TIME_MS = 1_800_000_000_000
REQUESTS = Metric("r_total", Scope.KEY, "{request}", "Requests", "r", "user-stats", running=True)
LIMIT = Metric("limit", Scope.KEY, "{USD}", "A limit", "limit", "user-stats")


def gathered(resource: dict[str, str] | None = None) -> Points:
    return Points(resource or {"service.name": "x"}, TIME_MS)


def delivered(made: Points) -> list[str]:
    return points([encode_metrics(made.data())])


# -- resources


def test_equal_resources_come_together_whatever_is_added_between() -> None:
    made = gathered()
    for key, value in (("a", 1), ("b", 2), ("a", 3)):
        made.of({"relay.key.id": key}).add(LIMIT, value, {"n": str(value)})
    assert len(made.data().resource_metrics) == 2
    assert delivered(made) == [
        (
            '{relay.key.id="a", service.name="x"} gauge limit {USD}'
            '  {n="1"} 1 at 2027-01-15T08:00:00.000Z'
        ),
        (
            '{relay.key.id="a", service.name="x"} gauge limit {USD}'
            '  {n="3"} 3 at 2027-01-15T08:00:00.000Z'
        ),
        (
            '{relay.key.id="b", service.name="x"} gauge limit {USD}'
            '  {n="2"} 2 at 2027-01-15T08:00:00.000Z'
        ),
    ]


def test_resources_are_equal_in_any_order_and_without_what_is_empty() -> None:
    made = gathered({"a": "1", "b": ""})
    made.of({"c": "3", "d": "4"}).add(LIMIT, 1)
    made.of({"d": "4", "c": "3", "e": ""}).add(REQUESTS, 2)
    made.of({"d": "4", "c": "3", "a": "1"}).add(LIMIT, 3, {"n": "3"})
    (resource,) = made.data().resource_metrics
    assert dict(resource.resource.attributes) == {"a": "1", "c": "3", "d": "4"}


def test_a_thing_s_own_attribute_takes_the_place_of_the_relay_s() -> None:
    made = gathered({"service.instance.id": "relay:443"})
    made.of({"service.instance.id": "key"}).add(LIMIT, 1)
    (resource,) = made.data().resource_metrics
    assert dict(resource.resource.attributes) == {"service.instance.id": "key"}


def test_a_resource_without_a_point_is_left_out() -> None:
    made = gathered()
    made.of({"a": "1"})
    assert made.data() == MetricsData([])


def test_the_encoder_keeps_the_last_of_two_equal_resources_only() -> None:
    # why they must come together; where the encoder learns better, this fails and says so
    twice = [*_limit_of(1).resource_metrics, *_limit_of(2).resource_metrics]
    assert len(points([encode_metrics(MetricsData(twice))])) == 1
    with pytest.raises(EncodingError, match=r"^2 points were given and 1 encoded$"):
        encoded(MetricsData(twice), things=2)


def test_what_the_encoder_refuses_is_an_error_of_its_own() -> None:
    made = gathered()
    made.of().add(LIMIT, 1, time_ms=2**64)
    with pytest.raises(EncodingError, match=r"^cannot be encoded \([A-Za-z]+\)$"):
        encoded(made.data(), things=1)


def _limit_of(value: int) -> MetricsData:
    made = gathered()
    made.of().add(LIMIT, value)
    return made.data()


# -- points


def test_a_running_total_has_its_start() -> None:
    made = gathered()
    made.of().add(REQUESTS, 40, start_ms=TIME_MS - 1)
    assert delivered(made) == [
        (
            '{service.name="x"} counter r_total {request}'
            "  40 from 2027-01-15T07:59:59.999Z at 2027-01-15T08:00:00.000Z"
        )
    ]


@pytest.mark.parametrize("start_ms", [None, TIME_MS + 1])
def test_a_start_that_is_missing_or_later_than_the_point_is_unset(start_ms: int | None) -> None:
    made = gathered()
    made.of().add(REQUESTS, 40, start_ms=start_ms)
    assert delivered(made) == [
        '{service.name="x"} counter r_total {request}  40 at 2027-01-15T08:00:00.000Z'
    ]


def test_a_gauge_has_no_start() -> None:
    made = gathered()
    made.of().add(LIMIT, 40, start_ms=1)
    assert delivered(made) == [
        '{service.name="x"} gauge limit {USD}  40 at 2027-01-15T08:00:00.000Z'
    ]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (0, "0"),
        (0.0, "0.0"),
        (2**63 - 1, "9223372036854775807"),
        (-(2**63), "-9223372036854775808"),
        (2**63, "9.223372036854776e+18"),
        (float("inf"), "inf"),
    ],
)
def test_values_are_floats_or_integers_that_fit(value: float, sent: str) -> None:
    made = gathered()
    made.of().add(LIMIT, value)
    assert delivered(made) == [
        f'{{service.name="x"}} gauge limit {{USD}}  {sent} at 2027-01-15T08:00:00.000Z'
    ]


def test_a_point_s_own_instant() -> None:
    made = gathered()
    made.of().number(RUNNING, "a_sum", 1.5, {}, time_ms=1, start_ms=None)
    made.of().number(GAUGE, "a", 1.5, {}, time_ms=None)
    assert delivered(made) == [
        '{service.name="x"} counter a_sum  1.5 at 1970-01-01T00:00:00.001Z',
        '{service.name="x"} gauge a  1.5 at 2027-01-15T08:00:00.000Z',
    ]


def test_one_name_of_two_kinds_is_two_metrics() -> None:
    made = gathered()
    made.of().number(GAUGE, "a", 1, {})
    made.of().number(RUNNING, "a", 2, {})
    assert [line.split("  ")[0] for line in delivered(made)] == [
        '{service.name="x"} counter a',
        '{service.name="x"} gauge a',
    ]


# -- nothing is lost

adds = st.tuples(
    st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["", "1", "2"])),
    st.sampled_from([GAUGE, RUNNING]),
    st.sampled_from(["m", "n"]),
    st.integers(-(2**63), 2**63 - 1),
    st.dictionaries(st.sampled_from(["c", "d"]), st.text(max_size=3)),
)


@given(st.lists(adds, max_size=20))
def test_the_points_encoded_are_the_points_given(
    given_points: list[tuple[dict[str, str], str, str, int, dict[str, str]]],
) -> None:
    made = gathered()
    for resource, kind, name, value, attributes in given_points:
        of_resource = made.of(resource)
        of_resource.number(kind, name, value, attributes)
    part = encoded(made.data(), things=1)
    assert part
    assert part.points == len(given_points)
    resources = [one.resource for one in made.data().resource_metrics]
    assert len({frozenset(one.attributes.items()) for one in resources}) == len(resources)
