"""Every row of the catalogue, held against the naming rules, the design, and the cases."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from local.greptimedb.naming import Kind, table_name, tag_name
from relay_metrics import catalogue
from relay_metrics.catalogue import ATTRIBUTES, METRICS, SHARD, Metric
from relay_metrics.convert.points import Points
from relay_metrics.settings import environment, settings
from relay_metrics.snapshot import Scope
from tests.test_cases import FOLDERS

EVERY = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric.name))


@EVERY
def test_the_table_has_the_row_s_name(metric: Metric) -> None:
    kind: Kind = "sum" if metric.running else "gauge"
    assert table_name(metric.name, metric.unit, metric.running, kind) == metric.name


@EVERY
def test_the_unit_is_of_the_design(metric: Metric) -> None:
    words = metric.name.split("_")
    if metric.unit == "s":
        assert "seconds" in words
    elif metric.unit == "min":
        assert "minutes" in words
    else:
        assert re.fullmatch(r"\{[A-Za-z]+\}", metric.unit)
        assert not {"seconds", "minutes"} & set(words)
    assert (metric.unit == "{USD}") == ("usd" in words)


@EVERY
def test_the_description_is_one_sentence(metric: Metric) -> None:
    assert re.fullmatch(r"[A-Z][^\n]{10,150}[^.\s]", metric.description)


@EVERY
def test_only_what_has_total_in_its_name_is_a_running_total(metric: Metric) -> None:
    assert metric.name.startswith("relay_")
    assert metric.running == metric.name.endswith("_total")


def test_names_are_unique() -> None:
    names = [metric.name for metric in METRICS]
    assert sorted(set(names)) == sorted(names)


def test_a_field_fills_one_row() -> None:
    fields = [(metric.scope, metric.field) for metric in METRICS]
    assert sorted(set(fields)) == sorted(fields)


def test_rows_are_those_of_a_scope_and_a_source() -> None:
    assert sum(len(catalogue.rows(scope)) for scope in Scope) == len(METRICS)
    for scope in Scope:
        sources = {metric.source for metric in catalogue.rows(scope)}
        by_source = [metric for source in sources for metric in catalogue.rows(scope, source)]
        assert sorted(by_source, key=METRICS.index) == list(catalogue.rows(scope))


@EVERY
def test_a_point_has_the_row_s_unit_and_description(metric: Metric) -> None:
    points = Points({"service.name": "x"}, 1000)
    points.of().add(metric, 1)
    ((made,),) = [
        scope.metrics for one in points.data().resource_metrics for scope in one.scope_metrics
    ]
    assert (made.name, made.unit, made.description) == (
        metric.name,
        metric.unit,
        metric.description,
    )


# -- the cases


@dataclass
class Shown:
    """What the cases' expectations show of a metric: its units, and its points' attributes."""

    units: set[str]
    attributes: set[str]


@pytest.fixture(scope="module")
def delivered() -> Mapping[str, Shown]:
    """All metrics in the cases, but those of a Prometheus endpoint's own exposition."""
    found: defaultdict[str, Shown] = defaultdict(lambda: Shown(set(), set()))
    rows = {metric.name: metric.scope for metric in METRICS}
    for kind, name, unit, attributes in _in_cases():
        own = kind == "wyolet-relay" and rows.get(name) in (None, Scope.KEY)
        if not own:
            found[name].units.add(unit)
            found[name].attributes |= attributes
    return found


def _in_cases() -> Iterator[tuple[str, str, str, set[str]]]:
    """The relay's kind, a metric's name and unit, and the attributes of one of its points."""
    for folder in FOLDERS:
        kind = name = unit = ""
        for line in (folder / "expected.txt").read_text("utf-8").splitlines():
            if matched := re.fullmatch(r'  relay\.kind = "(.+)"', line):
                kind = matched[1]
            elif matched := re.fullmatch(r"(?:gauge|counter|sum|histogram) (\S+) ?(.*)", line):
                name, unit = matched.groups()
            elif matched := re.fullmatch(r"  (?:\{(.*)\} )?[^{}]+ at \S+Z", line):
                attributes = re.findall(r'([a-z_.]+)="(?:[^"\\]|\\.)*"', matched[1] or "")
                yield kind, name, unit, set(attributes)


@EVERY
def test_the_row_appears_in_a_case(metric: Metric, delivered: Mapping[str, Shown]) -> None:
    assert metric.name in delivered, "no case has this metric"
    assert delivered[metric.name].units == {metric.unit}


def test_what_appears_in_a_case_has_a_row(delivered: Mapping[str, Shown]) -> None:
    assert delivered.keys() <= {metric.name for metric in METRICS}


# -- attributes


def test_the_attributes_are_of_the_scopes_that_have_rows() -> None:
    assert ATTRIBUTES.keys() == {metric.scope for metric in METRICS}


@EVERY
def test_points_have_the_attributes_of_their_scope(
    metric: Metric, delivered: Mapping[str, Shown]
) -> None:
    assert delivered[metric.name].attributes - {SHARD} == set(ATTRIBUTES[metric.scope])


def test_attributes_are_tags_of_their_own() -> None:
    given = settings(
        environment({"RELAY_BASE_URL": "http://a", "OTEL_EXPORT_URL": "http://b"}),
        '{"relay_api_id": "x"}',
    )
    resource = {*given.relays[0].resource, "relay.key.id", "relay.key.name"}
    reserved = {"le", "quantile", "job", "instance", "greptime_value", "greptime_timestamp"}
    for names in ATTRIBUTES.values():
        tags = [tag_name(name) for name in (*resource, *names)]
        assert len(set(tags)) == len(tags)
        assert not reserved & set(tags)
