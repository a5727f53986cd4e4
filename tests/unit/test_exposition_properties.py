"""Expositions that prometheus_client writes, or that chance does, read back."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
    SummaryMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from relay_metrics.families import pairs
from relay_metrics.relays.prometheus import exposition, lines
from relay_metrics.relays.prometheus.exposition import Exposition, NoExposition, read
from relay_metrics.relays.prometheus.families import _Histograms, assemble
from tests.unit.expositions import OPENMETRICS, TEXT, TIME_MS, delivered

# -- what prometheus_client writes

label_names = st.from_regex(
    r"(?!le\Z|quantile\Z|job\Z|instance\Z|__)[a-z_][a-z0-9_]{0,5}", fullmatch=True
)
label_values = st.text(
    st.characters(exclude_categories=["Cs"], include_characters='\\"\n{},=# '),
    min_size=1,
    max_size=8,
)
numbers = st.floats(allow_nan=False)
positive = st.floats(min_value=0, allow_infinity=False)
counts = st.integers(min_value=0, max_value=2**53)
created = st.none() | st.integers(10**9, TIME_MS // 1000).map(float)
KINDS = ("counter", "gauge", "unknown", "histogram", "summary", "info", "stateset")


@st.composite
def families(draw: st.DrawFn) -> list[tuple[Metric, list[str]]]:
    """Families, each with the data points that it should become."""
    return [
        draw(family(f"m{at}", kind))
        for at, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5)))
    ]


@st.composite
def family(draw: st.DrawFn, name: str, kind: str) -> tuple[Metric, list[str]]:
    names = sorted(draw(st.sets(label_names, max_size=3)))
    label_sets = sorted(
        draw(st.sets(st.tuples(*[label_values] * len(names)), min_size=1, max_size=3))
    )
    metric: Metric = _FAMILIES[kind](name, draw(label_values), labels=names)
    lines: list[str] = []
    for values in label_sets:
        labels = dict(zip(names, values, strict=True))
        lines += _ADD[kind](draw, metric, name, labels)
    return metric, lines


def _point(kind: str, name: str, labels: dict[str, str], said: str, start: float | None) -> str:
    pairs = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    since = "" if start is None else f" from {int(start * 1000)}"
    return f"{kind} {name}{f'{{{pairs}}}' if pairs else ''} {said}{since}"


def _counter(draw: st.DrawFn, metric: Metric, name: str, labels: dict[str, str]) -> list[str]:
    value, start = draw(positive), draw(created)
    metric.add_metric(list(labels.values()), value, start)  # type: ignore[attr-defined]
    return [_point("Counter", f"{name}_total", labels, f"{value:g}", start)]


def _gauge(draw: st.DrawFn, metric: Metric, name: str, labels: dict[str, str]) -> list[str]:
    value = draw(numbers)
    metric.add_metric(list(labels.values()), value)  # type: ignore[attr-defined]
    return [_point("Gauge", name, labels, f"{value:g}", None)]


def _info(draw: st.DrawFn, metric: Metric, name: str, labels: dict[str, str]) -> list[str]:
    labelled = {"version": draw(label_values)}
    metric.add_metric(list(labels.values()), labelled)  # type: ignore[attr-defined]
    return [_point("Gauge", f"{name}_info", labels | labelled, "1", None)]


def _stateset(draw: st.DrawFn, metric: Metric, name: str, labels: dict[str, str]) -> list[str]:
    on = draw(st.booleans())
    metric.add_metric(list(labels.values()), {"on": on})  # type: ignore[attr-defined]
    return [_point("Gauge", name, labels | {name: "on"}, str(int(on)), None)]


def _summary(draw: st.DrawFn, metric: Metric, name: str, labels: dict[str, str]) -> list[str]:
    count, total = draw(counts), draw(positive)
    metric.add_metric(list(labels.values()), count, total)  # type: ignore[attr-defined]
    return [
        _point("Sum", f"{name}_count", labels, f"{float(count):g}", None),
        _point("Sum", f"{name}_sum", labels, f"{total:g}", None),
    ]


def _histogram(draw: st.DrawFn, metric: Metric, name: str, labels: dict[str, str]) -> list[str]:
    bounds = sorted(draw(st.sets(st.integers(1, 1000).map(lambda n: n / 8), max_size=4)))
    inside = draw(
        st.lists(st.integers(0, 2**40), min_size=len(bounds) + 1, max_size=len(bounds) + 1)
    )
    texts = [*map(str, bounds), "+Inf"]
    cumulative = [sum(inside[: at + 1]) for at in range(len(inside))]
    total = draw(positive)
    buckets = list(zip(texts, cumulative, strict=True))
    metric.add_metric(list(labels.values()), buckets, total)  # type: ignore[attr-defined]
    written = [f"{bound:g}" for bound in bounds] + ["inf"]
    said = " ".join(f"{bound}:{count}" for bound, count in zip(written, inside, strict=True))
    return [_point("Histogram", name, labels, f"{said} sum {total:g}", None)]


_FAMILIES = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "unknown": UnknownMetricFamily,
    "histogram": HistogramMetricFamily,
    "summary": SummaryMetricFamily,
    "info": InfoMetricFamily,
    "stateset": StateSetMetricFamily,
}
_ADD = {
    "counter": _counter,
    "gauge": _gauge,
    "unknown": _gauge,
    "histogram": _histogram,
    "summary": _summary,
    "info": _info,
    "stateset": _stateset,
}


def _registry(metrics: Iterable[Metric]) -> CollectorRegistry:
    class Given(Collector):
        def collect(self) -> Iterable[Metric]:
            return list(metrics)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Given())
    return registry


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(families())
def test_what_is_written_as_text_is_what_is_read(given: list[tuple[Metric, list[str]]]) -> None:
    text = generate_latest(_registry(metric for metric, _ in given)).decode()
    assert delivered(text, TEXT) == sorted(line for _, lines in given for line in lines)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(families())
def test_what_is_written_as_openmetrics_is_what_is_read(
    given: list[tuple[Metric, list[str]]],
) -> None:
    generate: Any = openmetrics.generate_latest
    text = generate(_registry(metric for metric, _ in given)).decode()
    assert delivered(text, OPENMETRICS) == sorted(line for _, lines in given for line in lines)


# -- one expression, all others, and the library

Sample = tuple[str, frozenset[tuple[str, str]], float, int]

pieces = st.sampled_from(
    [
        *("a", "b_total", "h_bucket", "h_count", "ns:x", "_", "1"),
        *("{", "}", "{}", ",", "=", '"', '""', '="x"', 'x="y"', 'le="0.5"', '{x="y"}', "{,}"),
        *(
            '{x="y",}',
            '{x="1",x="2"}',
            '{__x="1"}',
            '{x="}"}',
            '{x="\\\\"}',
            '{x="\\n\\""}',
            '{"a"}',
        ),
        *(" ", "  ", "\t", " 1", " 2.5", " -1e3", " NaN", " +Inf", " 0x1", " 1_0", " .5", " 5."),
        *(" 1700000000000", " -1", " 12.5", " ٣", " # ", "\r", "\x0b", "é", "\\", "inf", "nan"),
    ]
)
samples = st.lists(pieces, max_size=6).map("".join)
likely = st.tuples(
    st.sampled_from(["a", "b_total", "h_bucket", "h_sum", "h_count"]),
    st.sampled_from(["", "{}", '{x="y"}', '{x="",y="z"}', '{le="0.5",}', '{le="+Inf",x="\\\\"}']),
    st.sampled_from([" 1", " 2.5", "\t-3", " NaN", " +Inf", " 1e999", " 4 1700000000000", " 5 -1"]),
).map("".join)
metadata = st.sampled_from(
    [
        *("# TYPE b_total counter", "# TYPE a gauge", "# TYPE h histogram", "# TYPE a counter"),
        *("# HELP a Help.", "# HELP h One\\ntwo", "# remark", "", "# TYPE h bogus", "# TYPE"),
    ]
)
remarks = st.sampled_from(["# TYPE a gauge", "# HELP h One\\ntwo", "# remark", "", "#"])
expositions = st.lists(likely | samples | metadata, max_size=8).map("\n".join)


def _read(text: str, media_type: str = TEXT) -> list[Sample] | str:
    """All samples as they are read, or why they are not."""
    try:
        return _samples(read(text.encode(), media_type))
    except NoExposition as error:
        return str(error)


def _samples(exposition: Exposition) -> list[Sample]:
    return [
        (name, frozenset(pairs(labels)), value, time_ms)
        for name, column in exposition.columns.items()
        for labels, value, time_ms in column.samples()
    ]


alike = st.tuples(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "a", "a", "h_bucket", "h_count", "b{", "1", "a ", ""]),
            st.sampled_from(
                [
                    *('{x="1"}', '{x="2"}', '{x="1",le="5"}', '{x="} 1"}', '{x="a b"}'),
                    *('{x=""}', '{x="1",x="2"}', '{x="\\n"}', '{__x="1"}', '{x="{}"}', "{}", ""),
                    *('{x="1"', 'x="1"}', '{x="é"}', '{x="\t"}', '{x="1"}\n', '{x="#"}'),
                ]
            ),
            st.sampled_from([" ", " ", " ", " ", "  ", "\n", "", "\t", " \n"]),
            st.sampled_from(["1", "2.5", "-1e3", "1e999", "NaN", "+Inf", "1_0", "1 2", "inf", "٣"]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 3),
).map(lambda drawn: "\n".join(["".join(one) for one in drawn[0]] * drawn[1]))
"""Lines like those that are read many at a time, and some that are nearly so."""


recurring = st.tuples(
    st.permutations(["b", "h_h", "a", "h", "a"]),
    st.lists(
        st.tuples(
            st.sampled_from(["", "", "_bucket", "_sum", "{"]),
            st.sampled_from(['{x="1"}', '{x="1"}', '{x="2"}', '{y="1"}', '{x="\n"}', "{}", ""]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(['{x="2"}', '{z="1"}', "_sum{}", "_count"])),
        max_size=2,
    ),
).map(
    lambda drawn: "\n# remark\n".join(
        _lines(name, drawn[1], drawn[2] if number == 1 else [])
        for number, name in enumerate(drawn[0])
    )
)
"""Families that are alike, but for one that nearly is."""


def _lines(name: str, samples: list[tuple[str, str]], changes: list[tuple[int, str]]) -> str:
    lines = [f"{name}{''.join(sample)} {at}" for at, sample in enumerate(samples)]
    for at, changed in changes:
        lines[at % len(lines)] = f"{name}{changed} 7"
    return "\n".join(lines)


@settings(max_examples=1500, deadline=None)
@given(expositions | alike | recurring, st.sampled_from([TEXT, OPENMETRICS]))
def test_plain_samples_are_read_as_all_others(text: str, media_type: str) -> None:
    text += "\n# EOF" if media_type == OPENMETRICS else ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exposition, "_MANY", 1)
        patch.setattr(exposition, "_LONG_PIECE", 0)
        at_once = _read(text, media_type)
    nothing_plain = re.compile(r"()()()()([^\n]*+)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exposition.Reader, "_evenly", lambda *_: False)
        patch.setattr(lines, "TEXT_UNPARSED", nothing_plain)
        patch.setattr(lines, "OPENMETRICS_UNPARSED", nothing_plain)
        assert at_once == _read(text, media_type)


@settings(max_examples=500, deadline=None)
@given(text=expositions | alike)
def test_what_is_read_is_what_the_library_reads(text: str) -> None:
    ours = _read(text)
    # what it refuses, it refuses here as well
    if not isinstance(ours, str):
        assert Counter(ours) == Counter(_by_library(text))


@settings(max_examples=500, deadline=None)
@given(st.lists(likely | remarks, min_size=1, max_size=8).map("\n".join))
def test_what_the_library_reads_of_what_is_well_formed_is_read(text: str) -> None:
    if "1e999" in text:
        with pytest.raises(NoExposition):
            read(text.encode(), TEXT)
    elif text.strip():
        assert Counter(_read(text)) == Counter(_by_library(text))


def _by_library(text: str) -> Iterator[Sample]:
    # as a counter it would get another name, as what it does not know it would be refused
    untyped = re.sub(
        r"^(\s*# TYPE \S+) (?:counter|bogus)$", r"\1 untyped", text, flags=re.MULTILINE
    )
    # it refuses a label that begins like this
    for metric in text_string_to_metric_families(untyped.replace("{__x=", "{hidden=")):
        for name, taken, value, seconds, *_ in metric.samples:
            labels = {"__x" if key == "hidden" else key: text for key, text in taken.items()}
            ms = None if seconds is None else round(float(seconds) * 1000)
            if not math.isnan(value) and (ms is None or ms > 0):
                yield name, frozenset(item for item in labels.items() if item[1]), value, ms or 0


@settings(max_examples=700, deadline=None)
@given(
    st.sampled_from(
        [('x="1"', 'x="2"'), ('x="1",y="2"', 'y="2",x="1"'), ('x="\\n"', 'x="2"'), ('x="1"',) * 2]
    ),
    st.lists(
        st.tuples(
            st.integers(0, 9),
            st.sampled_from(
                [
                    *(("value", "0"), ("value", "2"), ("value", "0.5"), ("value", "-1")),
                    *(("value", "NaN"), ("value", "1e30"), ("value", "+Inf"), ("value", "3 5")),
                    *(("labels", 'x="1"'), ("labels", 'x="1",le="2"'), ("labels", 'le="2",x="1"')),
                    *(("labels", 'x="2",le="1"'), ("name", "_sum"), ("name", "_bucket")),
                    *(("labels", f'x="1",le="{le}"') for le in ("", "one", "-Inf", "1.0", "Inf")),
                    *(("name", ""), ("name", "_created"), ("name", "left_out")),
                ]
            ),
        ),
        max_size=3,
    ),
    st.booleans(),
)
def test_histograms_are_put_together_at_once_as_one_by_one(
    label_sets: tuple[str, str], changes: list[tuple[int, tuple[str, str]]], again: bool
) -> None:
    samples = [
        {"name": name, "labels": f"{labels}{label}", "value": value}
        for labels in label_sets
        for name, label, value in (
            *(("_bucket", ',le="1"', "1"), ("_bucket", ',le="2"', "1")),
            ("_bucket", ',le="+Inf"', "3"),
            *(("_sum", "", "1.5"), ("_count", "", "3")),
        )
    ]
    for at, (part, changed) in changes:
        samples[at][part] = changed
    lines = [
        f"{one['name']}{{{one['labels']}}} {one['value']}\n"
        for one in samples
        if one["name"] != "left_out"
    ]
    text = "".join(
        f"# TYPE {name} histogram\n{''.join(name + line for line in lines)}"
        for name in "ab"[: 1 + again]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Histograms, "_at_once", lambda *_: None)
        one_by_one = _assembled(text)
    assert _assembled(text) == one_by_one


def _assembled(text: str) -> tuple[list[object], Counter[str]]:
    read_of = read(text.encode(), TEXT)
    families = assemble(read_of, TIME_MS)
    return [(family.name, list(family.series)) for family in families], read_of.left_out


# -- whatever comes


@settings(max_examples=500, deadline=None)
@given(
    body=st.binary(max_size=200) | expositions.map(str.encode),
    media_type=st.sampled_from([TEXT, OPENMETRICS]),
)
def test_nothing_but_a_typed_error(body: bytes, media_type: str) -> None:
    if media_type == OPENMETRICS:
        body += b"\n# EOF\n"
    try:
        labelled = read(body, media_type)
    except NoExposition as error:
        labelled = Exposition()
        assert error.type in ("malformed", "html", "empty")  # noqa: PT017 - or it is read
    assert not any(math.isnan(value) for _, _, value, _ in _samples(labelled))
