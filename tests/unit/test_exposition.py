"""From an exposition to data points: one exposition a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relay_metrics.catalogue import METRICS
from relay_metrics.convert.exposition import renamed
from relay_metrics.relays.prometheus.exposition import (
    Bounds,
    Exposition,
    NoExposition,
    Reader,
    read,
)
from relay_metrics.snapshot import Scope
from tests.unit.expositions import (
    OPENMETRICS,
    TEXT,
    TIME_MS,
    left_out,
    metrics_of,
    snapshot_of,
    told,
)

RECORDED = Path(__file__).parents[1] / "recordings/prometheus/wyolet-relay.prom"

# -- types


def test_counter_is_a_running_sum_under_its_own_name() -> None:
    assert told("""\
# HELP relay_requests_total Total requests handled.
# TYPE relay_requests_total counter
relay_requests_total{source="pipeline",status="2xx"} 858
""") == ['Counter relay_requests_total{source="pipeline",status="2xx"} 858']


def test_counter_without_total_keeps_its_name() -> None:
    assert told("""\
# TYPE requests counter
requests 3
requests{path="a\\\\b"} 4
""") == ["Counter requests 3", 'Counter requests{path="a\\b"} 4']


def test_gauge() -> None:
    assert told("""\
# TYPE relay_inflight_requests gauge
relay_inflight_requests{source="ws"} 2
""") == ['Gauge relay_inflight_requests{source="ws"} 2']


@pytest.mark.parametrize("type_line", ["", "# TYPE depth untyped\n", "# HELP depth How deep.\n"])
def test_untyped_is_a_gauge(type_line: str) -> None:
    assert told(type_line + "depth 1.5\n") == ["Gauge depth 1.5"]


def test_type_that_the_format_has_not_is_none() -> None:
    # VictoriaMetrics writes this of what it cannot tell the type of
    assert told("# TYPE depth unsupported\ndepth 1.5\n") == ["Gauge depth 1.5"]


def test_summary_without_a_type_is_told_by_its_form() -> None:
    assert told("""\
# TYPE pause_seconds unsupported
pause_seconds{quantile="0.5"} 0.1
pause_seconds_sum 12.5
pause_seconds_count 100
""") == [
        'Gauge pause_seconds{quantile="0.5"} 0.1',
        "Sum pause_seconds_count 100",
        "Sum pause_seconds_sum 12.5",
    ]


def test_what_only_looks_like_a_summary_is_none() -> None:
    assert told("""\
speed{quantile="0.5"} 6
speed 7
speed_count 8
# TYPE rank gauge
rank{quantile="0.5"} 1
rank_count 2
depth{quantile="0.5"} 3
""") == [
        'Gauge depth{exported_quantile="0.5"} 3',
        "Gauge rank_count 2",
        'Gauge rank{exported_quantile="0.5"} 1',
        "Gauge speed 7",
        "Gauge speed_count 8",
        'Gauge speed{exported_quantile="0.5"} 6',
    ]


def test_buckets_without_a_type_are_gauges_that_keep_le() -> None:
    assert told("""\
seconds_bucket{job="j",le="1"} 2
seconds_bucket{job="j",le="+Inf"} 3
seconds_bucket{vmrange="1...2"} 2
""") == [
        'Gauge seconds_bucket{exported_job="j",le="+Inf"} 3',
        'Gauge seconds_bucket{exported_job="j",le="1"} 2',
        'Gauge seconds_bucket{vmrange="1...2"} 2',
    ]


def test_histogram_has_the_same_bounds() -> None:
    assert told("""\
# TYPE seconds histogram
seconds_bucket{source="ws",le="0.1"} 2
seconds_bucket{source="ws",le="1"} 5
seconds_bucket{source="ws",le="+Inf"} 6
seconds_sum{source="ws"} 3.5
seconds_count{source="ws"} 6
""") == ['Histogram seconds{source="ws"} 0.1:2 1:3 inf:1 sum 3.5']


def test_histogram_with_nothing_but_infinity() -> None:
    assert told("""\
# TYPE seconds histogram
seconds_bucket{le="+Inf"} 6
seconds_sum 3.5
seconds_count 6
""") == ["Histogram seconds inf:6 sum 3.5"]


def test_histogram_in_any_order_of_lines_and_labels() -> None:
    assert told("""\
# TYPE seconds histogram
seconds_count{a="1",b="2"} 6
seconds_bucket{le="+Inf",b="2",a="1"} 6
seconds_bucket{a="1",b="2",le="1"} 5
seconds_bucket{a="1",le="0.1",b="2"} 2
seconds_sum{b="2",a="1"} 3.5
""") == ['Histogram seconds{a="1",b="2"} 0.1:2 1:3 inf:1 sum 3.5']


def test_histogram_with_float_counts_that_are_whole() -> None:
    assert told("""\
# TYPE seconds histogram
seconds_bucket{le="1.0"} 1e+06
seconds_bucket{le="+Inf"} 1000000.0
seconds_count 1e6
""") == ["Histogram seconds 1:1000000 inf:0"]


def test_summary_is_quantiles_and_two_sums() -> None:
    assert told("""\
# TYPE pause_seconds summary
pause_seconds{quantile="0.5"} 0.1
pause_seconds{quantile="1"} 0.4
pause_seconds_sum 12.5
pause_seconds_count 100
""") == [
        'Gauge pause_seconds{quantile="0.5"} 0.1',
        'Gauge pause_seconds{quantile="1"} 0.4',
        "Sum pause_seconds_count 100",
        "Sum pause_seconds_sum 12.5",
    ]


def test_summary_without_quantiles() -> None:
    assert told("""\
# TYPE pause_seconds summary
pause_seconds_sum 12.5
pause_seconds_count 100
""") == ["Sum pause_seconds_count 100", "Sum pause_seconds_sum 12.5"]


def test_info_and_stateset_are_gauges() -> None:
    assert told(
        """\
# TYPE build info
build_info{version="1.2"} 1
# TYPE mode stateset
mode{mode="on"} 1
mode{mode="off"} 0
# EOF
""",
        OPENMETRICS,
    ) == [
        'Gauge build_info{version="1.2"} 1',
        'Gauge mode{mode="off"} 0',
        'Gauge mode{mode="on"} 1',
    ]


def test_openmetrics_names_are_those_of_the_samples() -> None:
    assert (
        told(
            """\
# TYPE requests counter
requests_total{path="/"} 3.0 # {trace_id="abc"} 1.0
# TYPE depth unknown
depth 2
# EOF
""",
            OPENMETRICS,
        )
        == ["Gauge depth 2", 'Counter requests_total{path="/"} 3'][::-1]
    )


def test_family_is_what_its_type_names_wherever_its_samples_stand() -> None:
    assert told("""\
seconds_bucket{le="+Inf"} 2
# TYPE other gauge
other 1
# TYPE seconds histogram
seconds_count 2
""") == ["Gauge other 1", "Histogram seconds inf:2"]


def test_sample_with_a_type_of_its_own_is_not_a_part_of_another() -> None:
    assert told("""\
# TYPE pause summary
pause_sum 1
pause_count 2
# TYPE pause_count gauge
""") == ["Gauge pause_count 2", "Sum pause_sum 1"]


def test_help_becomes_the_description() -> None:
    snapshot, _ = snapshot_of("""\
# HELP depth How deep\\nit is, C:\\\\deep.
# TYPE depth gauge
depth 1
""")
    assert [metric.description for metric in metrics_of(snapshot)] == ["How deep\nit is, C:\\deep."]


def test_names_are_as_scraped() -> None:
    assert told("""\
job:requests:rate5m 1
go__odd__name 2
_hidden 3
""") == ["Gauge _hidden 3", "Gauge go__odd__name 2", "Gauge job:requests:rate5m 1"]


def test_quoted_names() -> None:
    assert told("""\
# TYPE "http.requests" counter
{"http.requests","http.path"="/"} 4
""") == ['Counter http.requests{http.path="/"} 4']


# -- values


def test_infinities_stay() -> None:
    assert told("a +Inf\nb -Inf\n") == ["Gauge a inf", "Gauge b -inf"]


def test_not_a_number_is_left_out_and_counted() -> None:
    exposition = 'a NaN\nb 1\nb{x="\\n"} nan\n'
    assert told(exposition) == ["Gauge b 1"]
    assert left_out(exposition) == {"nan": 2}


def test_integers_of_any_size_are_floats() -> None:
    assert told("a 18446744073709551616\nb -7\nc +1e3\n") == [
        "Gauge a 1.84467e+19",
        "Gauge b -7",
        "Gauge c 1000",
    ]


def test_number_too_large_for_a_float_is_no_infinity() -> None:
    with pytest.raises(NoExposition, match="line 2"):
        told("a 1\nb 1e999\n")


# -- labels


def test_label_value_with_escapes() -> None:
    assert told('a{path="C:\\\\dir",quote="say \\"hi\\"",line="one\\ntwo",plain="x"} 1\n') == [
        'Gauge a{line="one\ntwo",path="C:\\dir",plain="x",quote="say "hi""} 1'
    ]


def test_label_values_with_the_formats_own_characters() -> None:
    assert told('a{x="a,b=c",y="{}",z="# 1 2"} 1\n') == ['Gauge a{x="a,b=c",y="{}",z="# 1 2"} 1']


def test_spaces_and_trailing_commas() -> None:
    assert told('a { x = "1" , y = "2" , }  1 \r\n\tb\t2\n\n   \n# just a remark\nc{x="1",} 3') == [
        'Gauge a{x="1",y="2"} 1',
        "Gauge b 2",
        'Gauge c{x="1"} 3',
    ]


def test_empty_label_is_none() -> None:
    exposition = 'a{x="",y="1"} 1\na{y="1"} 2\nb{x="",y="\\\\"} 3\n'
    assert told(exposition) == ['Gauge a{y="1"} 2', 'Gauge b{y="\\"} 3']
    assert left_out(exposition) == {"duplicate_sample": 1}


def test_labels_that_are_not_the_endpoints_to_give() -> None:
    assert told(
        'a{job="j",instance="i",le="1",quantile="q",greptime_value="v",greptime_timestamp="t",'
        'service_name="s",relay_name="r",source="ws"} 1\n'
    ) == [
        (
            'Gauge a{exported_greptime_timestamp="t",exported_greptime_value="v",'
            'exported_instance="i",exported_job="j",exported_le="1",exported_quantile="q",'
            'exported_relay_name="r",exported_service_name="s",source="ws"} 1'
        )
    ]


def test_renamed_labels_leave_the_others_their_names() -> None:
    assert told('a{job="1",exported_job="2"} 1\n') == [
        'Gauge a{exported_exported_job="1",exported_job="2"} 1'
    ]


@pytest.mark.parametrize("other", ["x", "\\\\"], ids=["plain", "with an escape"])
@pytest.mark.parametrize(("media_type", "end"), [(TEXT, ""), (OPENMETRICS, "# EOF\n")])
def test_labels_that_begin_as_a_destinations_own_are_renamed(
    other: str, media_type: str, end: str
) -> None:
    value = other.replace("\\\\", "\\")
    assert told(f'a{{__tsid="q",__x="1",b="{other}"}} 5\n{end}', media_type) == [
        f'Gauge a{{b="{value}",exported___tsid="q",exported___x="1"}} 5'
    ]
    both = f'a{{exported___tsid="1",__tsid="2",b="{other}"}} 5\n{end}'
    assert told(both, media_type) == [
        f'Gauge a{{b="{value}",exported___tsid="1",exported_exported___tsid="2"}} 5'
    ]


def test_only_a_labels_name_is_renamed() -> None:
    assert told('a__b{c__d="{__x=\\"1\\",__y="} 5\n') == ['Gauge a__b{c__d="{__x="1",__y="} 5']
    assert told('{"__a", __b = "1" , "__c d"="\\\\", "\0__b"="2"} 5\n') == [
        'Gauge __a{exported_\0__b="2",exported___b="1",exported___c d="\\"} 5'
    ]
    assert told('{"a","__name__ x"="1",__name__x="2"} 5\n') == [
        'Gauge a{exported___name__ x="1",exported___name__x="2"} 5'
    ]
    assert told('{__name__="a",x="1"} 5\n') == ['Gauge a{x="1"} 5']


def test_labels_that_are_one_tag_stay_two() -> None:
    assert renamed(("a.b", "a_b", "a-b"), ()) == ("a.b", "exported_a_b", "exported_exported_a-b")


def test_the_labels_of_a_type_are_its_own() -> None:
    assert told("""\
# TYPE seconds histogram
seconds_bucket{job="j",le="+Inf"} 1
seconds_count{job="j"} 1
# TYPE pause summary
pause{job="j",quantile="0.5"} 1
""") == [
        'Gauge pause{exported_job="j",quantile="0.5"} 1',
        'Histogram seconds{exported_job="j"} inf:1',
    ]


# -- time


def test_timestamps_are_honoured() -> None:
    assert told('a 1 1700000000123\na{x="\\\\"} 2 1700000000124\n') == [
        "Gauge a 1 at 1700000000123",
        'Gauge a{x="\\"} 2 at 1700000000124',
    ]


def test_openmetrics_timestamps_are_seconds() -> None:
    assert told("# TYPE a gauge\na 1 1700000000.123456\n# EOF\n", OPENMETRICS) == [
        "Gauge a 1 at 1700000000123"
    ]


def test_one_series_at_two_instants_is_two_points() -> None:
    assert told("a 1 1700000000000\na 2 1700000060000\n") == [
        "Gauge a 1 at 1700000000000",
        "Gauge a 2 at 1700000060000",
    ]


@pytest.mark.parametrize("time", ["0", "-5", "9223372036855", "999999999999999999"])
def test_timestamp_that_otlp_has_not(time: str) -> None:
    exposition = f"a 1 {time}\nb 2\n"
    assert told(exposition) == ["Gauge b 2"]
    assert left_out(exposition) == {"timestamp": 1}


def test_histograms_parts_belong_together_by_their_instant() -> None:
    exposition = """\
# TYPE seconds histogram
seconds_bucket{le="+Inf"} 2 1700000000000
seconds_count 2 1700000000000
seconds_bucket{le="+Inf"} 3 1700000060000
seconds_count 4
"""
    assert told(exposition) == [
        "Histogram seconds count:4",
        "Histogram seconds inf:2 at 1700000000000",
        "Histogram seconds inf:3 at 1700000060000",
    ]


# -- start


def test_counter_starts_when_it_was_created() -> None:
    assert told("""\
# HELP jobs_total Jobs.
# TYPE jobs_total counter
jobs_total{kind="a"} 1
jobs_total{kind="b"} 2
# HELP jobs_created Jobs.
# TYPE jobs_created gauge
jobs_created{kind="a"} 1.7000000001239e+09
""") == ['Counter jobs_total{kind="a"} 1 from 1700000000123', 'Counter jobs_total{kind="b"} 2']


def test_histogram_and_summary_start_when_they_were_created() -> None:
    assert told("""\
# TYPE seconds histogram
seconds_bucket{le="+Inf"} 1
seconds_count 1
# TYPE seconds_created gauge
seconds_created 1700000000
# TYPE pause summary
pause_sum 1
pause_count 1
# TYPE pause_created gauge
pause_created 1700000001
""") == [
        "Histogram seconds inf:1 from 1700000000000",
        "Sum pause_count 1 from 1700000001000",
        "Sum pause_sum 1 from 1700000001000",
    ]


def test_openmetrics_created() -> None:
    assert told(
        """\
# TYPE jobs counter
jobs_total 1
jobs_created 1700000000.5
# EOF
""",
        OPENMETRICS,
    ) == ["Counter jobs_total 1 from 1700000000500"]


def test_created_of_nothing_is_a_gauge() -> None:
    assert told("# TYPE account_created gauge\naccount_created 17\n") == [
        "Gauge account_created 17"
    ]


def test_start_of_a_wyolet_relays_own_is_else_that_of_its_process() -> None:
    assert told("""\
# TYPE relay_records_lost_total counter
relay_records_lost_total{kind="a"} 1
relay_records_lost_total{kind="b"} 2
# TYPE relay_records_lost_created gauge
relay_records_lost_created{kind="a"} 1700000000
# TYPE jobs_total counter
jobs_total 3
# TYPE go_allocs_total counter
go_allocs_total 4
# TYPE depth gauge
depth 3
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.69999999912e+09
""") == [
        "Counter go_allocs_total 4 from 1699999999120",
        "Counter jobs_total 3",
        'Counter relay_records_lost_total{kind="a"} 1 from 1700000000000',
        'Counter relay_records_lost_total{kind="b"} 2 from 1699999999120',
        "Gauge depth 3",
        "Gauge process_start_time_seconds 1.7e+09",
    ]


def test_start_of_another_process_is_not_taken_for_a_counters() -> None:
    assert told("""\
# TYPE go_allocs_total counter
go_allocs_total 4
process_start_time_seconds 1.7e+09
""") == ["Counter go_allocs_total 4", "Gauge process_start_time_seconds 1.7e+09"]


@pytest.mark.parametrize("value", ["17", "-1", "1.8e9", "1.8e12"])
def test_created_that_is_no_plausible_instant_is_a_metric(value: str) -> None:
    later = str(float(value) + 1e6) if value == "1.8e9" else value
    assert told(f"""\
# TYPE accounts_total counter
accounts_total 5
# TYPE accounts_created gauge
accounts_created {later}
""") == ["Counter accounts_total 5", f"Gauge accounts_created {float(later):g}"]


def test_created_of_a_counter_without_samples_is_a_metric() -> None:
    exposition = "# TYPE a counter\na_created 1.7e9\nb 1\n# EOF\n"
    assert told(exposition, OPENMETRICS) == ["Gauge a_created 1.7e+09", "Gauge b 1"]


@pytest.mark.parametrize("start", ["0", "-1", "+Inf", "NaN", f"{TIME_MS / 1000 + 1}"])
def test_start_is_unset_where_it_cannot_be(start: str) -> None:
    assert "Counter relay_requests_total 1" in told(f"""\
# TYPE relay_requests_total counter
relay_requests_total 1
process_start_time_seconds {start}
""")


def test_start_is_unset_where_it_is_later_than_the_sample() -> None:
    assert told("""\
# TYPE jobs_total counter
jobs_total{kind="old"} 1 1600000000000
jobs_total{kind="new"} 1 1700000000000
# TYPE jobs_created gauge
jobs_created{kind="old"} 1650000000
jobs_created{kind="new"} 1650000000
""") == [
        'Counter jobs_total{kind="new"} 1 from 1650000000000 at 1700000000000',
        'Counter jobs_total{kind="old"} 1 at 1600000000000',
    ]


# -- what cannot be told truthfully


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        pytest.param("incomplete_histogram", ['{le="1"} 2', "_sum 2"], id="no end"),
        pytest.param("incomplete_histogram", ["_sum 2"], id="no count"),
        pytest.param("inconsistent_histogram", ['{le="1"} 2', "_count 1"], id="beyond the count"),
        pytest.param(
            "inconsistent_histogram", ['{le="1"} 3', '{le="+Inf"} 2', "_count 2"], id="falling"
        ),
        pytest.param("inconsistent_histogram", ['{le="+Inf"} 2', "_count 3"], id="other count"),
        pytest.param("inconsistent_histogram", ['{le="+Inf"} 2.5', "_count 2.5"], id="fraction"),
        pytest.param("inconsistent_histogram", ['{le="+Inf"} -2', "_count -2"], id="negative"),
        pytest.param("inconsistent_histogram", ['{le="+Inf"} 1e30', "_count 1e30"], id="huge"),
        pytest.param("inconsistent_histogram", ['{le="+Inf"} +Inf', "_count +Inf"], id="infinite"),
        pytest.param(
            "inconsistent_histogram", ['{le="one"} 1', '{le="+Inf"} 2', "_count 2"], id="no number"
        ),
        pytest.param(
            "inconsistent_histogram", ['{le="NaN"} 1', '{le="+Inf"} 2', "_count 2"], id="NaN bound"
        ),
        pytest.param(
            "inconsistent_histogram", ['{le="-Inf"} 1', '{le="+Inf"} 2', "_count 2"], id="-Inf"
        ),
        pytest.param("inconsistent_histogram", ["{} 1", '{le="+Inf"} 2', "_count 2"], id="no le"),
        pytest.param(
            "inconsistent_histogram",
            ['{le="1"} 1', '{le="1.0"} 1', '{le="+Inf"} 2', "_count 2"],
            id="one bound twice",
        ),
    ],
)
def test_histogram_is_left_out(reason: str, lines: list[str]) -> None:
    own = "".join(f"seconds{'' if line[0] == '_' else '_bucket'}{line}\n" for line in lines)
    exposition = f"""\
# TYPE seconds histogram
{own}seconds_bucket{{source="whole",le="+Inf"}} 1
seconds_count{{source="whole"}} 1
"""
    assert told(exposition) == ['Histogram seconds{source="whole"} inf:1']
    assert left_out(exposition) == {reason: 1}


def test_histogram_whose_last_bucket_or_count_follows() -> None:
    exposition = """\
# TYPE seconds histogram
seconds_bucket{a="1",le="1"} 1
seconds_bucket{a="1",le="+Inf"} NaN
seconds_count{a="1"} 2
seconds_bucket{a="2",le="1"} 1
seconds_count{a="2"} 3
seconds_sum{a="2"} 4
seconds_bucket{a="3",le="+Inf"} 5
seconds_sum{a="4"} 6
seconds_count{a="4"} 7
"""
    assert told(exposition) == [
        'Histogram seconds{a="1"} 1:1 inf:1',
        'Histogram seconds{a="2"} 1:1 inf:2 sum 4',
        'Histogram seconds{a="3"} inf:5',
        'Histogram seconds{a="4"} count:7 sum 6',
    ]
    assert left_out(exposition) == {"nan": 1}


def test_histogram_whose_sum_is_no_number_has_none() -> None:
    exposition = """\
# TYPE seconds histogram
seconds_bucket{le="+Inf"} 2
seconds_sum NaN
seconds_count 2
"""
    assert told(exposition) == ["Histogram seconds inf:2"]
    assert left_out(exposition) == {"nan": 1}


def test_summary_of_nothing_yet() -> None:
    exposition = """\
# TYPE pause summary
pause{quantile="0.5"} NaN
pause_sum 0
pause_count 0
"""
    assert told(exposition) == ["Sum pause_count 0", "Sum pause_sum 0"]
    assert left_out(exposition) == {"nan": 1}


def test_summarys_sample_without_a_quantile() -> None:
    exposition = "# TYPE pause summary\npause 3\npause_count 1\n"
    assert told(exposition) == ["Sum pause_count 1"]
    assert left_out(exposition) == {"incomplete_summary": 1}


def test_last_of_two_samples_counts() -> None:
    exposition = 'a{x="1",y="2"} 1\na{y="2",x="1"} 2\na{x="1"} 3\n'
    assert told(exposition) == ['Gauge a{x="1",y="2"} 2', 'Gauge a{x="1"} 3']
    assert left_out(exposition) == {"duplicate_sample": 1}


def test_last_of_two_parts_counts() -> None:
    exposition = """\
# TYPE seconds histogram
seconds_bucket{le="+Inf"} 1
seconds_bucket{le="+Inf"} 2
seconds_sum 3
seconds_sum 4
seconds_count 1
seconds_count 2
"""
    assert told(exposition) == ["Histogram seconds inf:2 sum 4"]
    assert left_out(exposition) == {"duplicate_sample": 3}


def test_gauge_histogram_and_native_histogram_have_no_data_point() -> None:
    exposition = """\
# TYPE depth gaugehistogram
depth_bucket{le="1"} 2
depth_bucket{le="+Inf"} 3
depth_gcount 3
depth_gsum 4
# TYPE native histogram
native {count:4,sum:6,schema:3,zero_threshold:2.9e-39,zero_count:2}
# TYPE other gauge
other 1
# EOF
"""
    assert told(exposition, OPENMETRICS) == ["Gauge other 1"]
    assert left_out(exposition, OPENMETRICS) == {"gauge_histogram": 4, "native_histogram": 1}


DOCUMENTED = Path(__file__).parents[2] / "docs/prometheus.md"
OF_THE_RUN = [metric.name for metric in METRICS if metric.scope in (Scope.RUN, Scope.FAILURE)]


@pytest.mark.parametrize("name", [*OF_THE_RUN, "relay__up", "relay:up", "_relay_up"])
def test_family_named_like_a_metric_of_the_run_is_left_out(name: str) -> None:
    for kind in ("gauge", "counter", "untyped"):
        exposition = f'# TYPE {name} {kind}\n{name} 1\n{name}{{x="y"}} 0\na 1\n'
        assert told(exposition) == ["Gauge a 1"]
        assert left_out(exposition) == {"reserved_name": 2}
    assert left_out(f"{name} 1\n", exclude=[name]) == {}


def test_names_of_the_run_are_in_the_documentation() -> None:
    text = DOCUMENTED.read_text()
    assert [name for name in OF_THE_RUN if f"`{name}`" not in text] == []


def test_names_that_a_run_does_not_write_itself_stay() -> None:
    shared = [metric.name for metric in METRICS if metric.name not in OF_THE_RUN]
    names = [*shared, "relay_up_total", "Relay_up", "my_relay_up"]
    exposition = "".join(f"{name} 1\n" for name in names)
    assert told(exposition) == sorted(f"Gauge {name} 1" for name in names)
    assert left_out(exposition) == {}


def test_label_set_that_no_message_holds() -> None:
    exposition = f'a{{x="{"x" * 66_000}"}} 1\nb{{x="{"y" * 200_000}"}} 2\nc 3\n'
    assert told(exposition) == ["Gauge c 3"]
    assert left_out(exposition) == {"too_large": 2}


def test_label_set_of_nearly_64_kib_is_taken() -> None:
    assert len(told(f'a{{x="{"x" * 65_000}"}} 1\n')) == 1


def test_histogram_that_no_message_holds() -> None:
    buckets = "".join(f'h_bucket{{le="{bound}.12345678901"}} {bound}\n' for bound in range(3000))
    exposition = f'# TYPE h histogram\n{buckets}h_bucket{{le="+Inf"}} 3000\nh_count 3000\n'
    assert told(exposition) == []
    assert left_out(exposition) == {"too_large": 1}


def test_line_with_labels_beyond_number() -> None:
    labels = ",".join(f'l{at}="\\\\"' for at in range(2000))
    exposition = f"a{{{labels}}} 1\nb 2\n"
    assert told(exposition) == ["Gauge b 2"]
    assert left_out(exposition) == {"too_large": 1}


# -- metric_exclude


def test_excluded_families_are_not_even_parsed() -> None:
    exposition = """\
# HELP go_goroutines Number of goroutines.
# TYPE go_goroutines gauge
go_goroutines this is no number
go_threads NaN
# TYPE seconds histogram
seconds_bucket{le="broken
seconds_sum 1
seconds_count 1
# TYPE seconds_more gauge
seconds_more 1
"""
    assert told(exposition, exclude=("go_*", "seconds")) == ["Gauge seconds_more 1"]
    assert left_out(exposition, exclude=("go_*", "seconds")) == {}


@pytest.mark.parametrize("pattern", ["jobs", "jobs_total", "job*", "j?bs"])
@pytest.mark.parametrize(
    ("media_type", "name", "end"),
    [(TEXT, "jobs_total", ""), (OPENMETRICS, "jobs", "# EOF\n")],
)
def test_counter_is_excluded_by_either_name(
    pattern: str, media_type: str, name: str, end: str
) -> None:
    exposition = f"""\
# TYPE {name} counter
jobs_total 1
jobs_created 1700000000
# TYPE other gauge
other{{x="\\\\"}} 1
{end}"""
    assert told(exposition, media_type, [pattern]) == ['Gauge other{x="\\"} 1']


def test_created_in_text_is_excluded_with_its_counter() -> None:
    assert told(
        """\
# TYPE jobs_total counter
jobs_total 1
# TYPE jobs_created gauge
jobs_created 1700000000
other 1
""",
        exclude=["jobs_total"],
    ) == ["Gauge other 1"]


def test_excluded_process_start_is_not_read() -> None:
    assert told(
        "# TYPE jobs_total counter\njobs_total 1\nprocess_start_time_seconds 1700000000\n",
        exclude=["process_*"],
    ) == ["Counter jobs_total 1"]


def test_exclusion_minds_the_case() -> None:
    assert told("Go_x 1\n", exclude=["go_*"]) == ["Gauge Go_x 1"]


# -- malformed


@pytest.mark.parametrize(
    "line",
    [
        "secret",
        "secret ",
        "secret one",
        "secret 1 2 3",
        "secret 1 1.5",
        "secret 1 x",
        "secret 1_000",
        'secret{a="b"}',
        'secret{a="b"',
        'secret{a="b} 1',
        'secret{a="b"} 1 # {trace="x"} 0.5',
        "secret{a=b} 1",
        'secret{a="b" c="d"} 1',
        'secret{a="1",a="2"} 1',
        'secret{__a="1",__a="2"} 1',
        'secret{__a="1",__a="2",b="\\\\"} 1',
        'secret{__a:b="1"} 1',
        'secret{"a"__b="1"} 1',
        'secret{__name__="b"} 1',
        '1secret{a="b"} 1',
        "inf",
        "secret {a} 1",
        '{a="b"} 1',
        "# TYPE secret",
        "# TYPE 1secret gauge",
        "# TYPE ",
        "# HELP 1secret no name",
        '{"success": false}',
    ],
)
def test_malformed_line_fails_the_scrape_and_is_named_but_not_shown(line: str) -> None:
    with pytest.raises(NoExposition, match=r"line 3\b") as raised:
        told(f"# TYPE a counter\na 1\n{line}\na 2\n")
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_invalid_utf8_is_malformed() -> None:
    with pytest.raises(NoExposition, match="line 2"):
        read(b'a 1\nb{x="\xff"} 1\n', TEXT)


def test_openmetrics_cut_short() -> None:
    with pytest.raises(NoExposition, match="# EOF"):
        told("# TYPE a gauge\na 1\n", OPENMETRICS)


@pytest.mark.parametrize(
    "line", ["a one", 'a{x="y} 1', "a 1 2 3", "# TYPE a gauge gauge", "# TYPE b bogus", "a 1 x"]
)
def test_malformed_openmetrics(line: str) -> None:
    with pytest.raises(NoExposition, match=r"line 3\b"):
        told(f"# TYPE a gauge\na 1\n{line}\n# EOF\n", OPENMETRICS)


# -- whole


def test_recorded_exposition_is_all_there() -> None:
    text = RECORDED.read_text()
    snapshot, missed = snapshot_of(text)
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    buckets = [one for one in samples if one.name.endswith("_bucket")]
    histograms = [one for one in buckets if one.labels["le"] == "+Inf"]
    # of a histogram's lines one point is made
    assert snapshot.samples == len(samples) - len(buckets) - len(histograms)
    assert missed == {}


def test_ten_thousand_series_in_one_family() -> None:
    lines = "".join(f'a{{series="{at}"}} {at}\n' for at in range(10_000))
    assert len(told(f"# TYPE a counter\n{lines}")) == 10_000


# -- what exporters really send

EXPORTERS = json.loads((Path(__file__).parent / "openmetrics_of_exporters.json").read_text())


@pytest.mark.parametrize("case", EXPORTERS, ids=[case["name"] for case in EXPORTERS])
def test_openmetrics_of_exporters(case: dict[str, Any]) -> None:
    assert told(case["body"], OPENMETRICS) == case["told"]
    assert left_out(case["body"], OPENMETRICS) == case["left_out"]


def test_names_that_no_table_can_have() -> None:
    exposition = "# TYPE _ gauge\n_ 1\n# TYPE : counter\n: 2\n# TYPE ok gauge\nok 3\n"
    assert told(exposition) == ["Gauge ok 3"]
    assert left_out(exposition) == {"no_table": 2}


def test_name_or_label_of_no_letter_is_none_that_a_request_is_refused_for() -> None:
    exposition = '{"请求"} 1\n{""} 2\nb{""="x","请求"="y"} 3\n'
    assert told(exposition) == ['Gauge b{exported_="x",exported_请求="y"} 3']
    assert left_out(exposition) == {"no_table": 2}


def test_labels_and_families_that_meet() -> None:
    exposition = """\
# TYPE a gauge
a{_foo="1",key_foo="2"} 1
# TYPE b:c gauge
b:c 1
# TYPE b_c gauge
b_c 2
# TYPE x counter
x 5
# TYPE x_total gauge
x_total 6
# TYPE h:i histogram
h:i_bucket{le="+Inf"} 1
h:i_sum 1
h:i_count 1
# TYPE h_i gauge
h_i 3
# TYPE h_i_count gauge
h_i_count 4
"""
    assert told(exposition) == [
        "Counter x 5",
        'Gauge a{_foo="1",exported_key_foo="2"} 1',
        "Gauge b:c 1",
        "Gauge h_i 3",
        "Histogram h:i inf:1 sum 1",
    ]
    assert left_out(exposition) == {"same_table": 3}


# -- bounds


def cut(exposition: str, bounds: Bounds) -> tuple[dict[str, int], dict[str, int]]:
    """How many samples of each name were read, and what was left out."""
    parsed = read(exposition.encode(), TEXT, ["go_*"], bounds)
    return {name: len(one) for name, one in parsed.columns.items()}, dict(parsed.left_out)


def test_names_beyond_the_bound_are_left_out_and_counted() -> None:
    lines = "".join(f"a{at} 1\ngo_{at} 1\n" for at in range(20))
    histogram = '# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n'
    read_of, counted = cut(f"{histogram}{lines}a0{{b='c'}} 2\n".replace("'", '"'), Bounds(10))
    assert read_of == {
        "h_bucket": 1,
        "h_sum": 1,
        "h_count": 1,
        "a0": 2,
        **{f"a{at}": 1 for at in range(1, 9)},
    }
    assert counted == {"too_many_families": 11}


def test_a_counter_whose_type_there_was_no_room_for_is_no_gauge() -> None:
    types = "".join(f"# TYPE a{at} counter\n" for at in range(20))
    read_of, counted = cut(f"{types}a1 1\na19 1\n", Bounds(10))
    assert (read_of, counted) == ({"a1": 1}, {"too_many_families": 1})


def test_samples_beyond_what_memory_allows_are_left_out_and_counted() -> None:
    lines = "".join(f'a{{b="{at}"}} 1\n' for at in range(100))
    assert cut(lines, Bounds(samples=30)) == ({"a": 30}, {"too_many_samples": 70})
    blocks = "".join(f'a{{b="{at}{"x" * 500}"}} 1\n' for at in range(1000))
    (kept,), counted = (
        cut(blocks, Bounds(text_bytes=100_000))[0].values(),
        cut(blocks, Bounds(text_bytes=100_000))[1],
    )
    assert kept < 400
    assert counted == {"too_many_samples": 1000 - kept}


# -- blocks


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_blocks_of_any_size_are_read_alike(size: int) -> None:
    body = RECORDED.read_bytes() + '# TYPE é gauge\n{"é"} 1\n'.replace("é", '"é"', 1).encode()
    cut_up, whole = in_blocks(body, size), read(body, TEXT)
    assert list(cut_up.columns) == list(whole.columns)
    for name, column in cut_up.columns.items():
        assert list(column.samples()) == list(whole.columns[name].samples())


@pytest.mark.parametrize("line", ["b", "b{", 'b{x="\udcff"} 1', "# TYPE b"])
@pytest.mark.parametrize("before", [0, 1, 40_000])
def test_line_is_named_in_whichever_block_it_is(before: int, line: str) -> None:
    text = "a 1\n\n# remark\n" * before + f"{line}\na 2\n"
    with pytest.raises(NoExposition, match=rf"line {3 * before + 1} is malformed"):
        read(text.encode("utf-8", "surrogateescape"), TEXT)


def in_blocks(body: bytes, size: int) -> Exposition:
    reader = Reader(TEXT)
    for at in range(0, len(body), size):
        reader.feed(body[at : at + size])
    return reader.end()


@pytest.mark.parametrize("size", [1000, 65_536, 300_000])
def test_long_lines_are_counted_in_blocks_of_any_size(size: int) -> None:
    body = f'# HELP a {"x" * 70_000}\na 1\nb{{x="{"y" * 200_000}"}} 2\nc 3\n'.encode()
    exposition = in_blocks(body, size)
    assert (list(exposition.columns), exposition.left_out) == (["a", "c"], {"too_large": 1})
    assert len(exposition.helps["a"]) < 4096
    with pytest.raises(NoExposition, match="line 5 is malformed"):
        in_blocks(body + b"d\n", size)
