"""From an exposition to data points: one exposition a test; those that are plain text in a file."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path

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
from tests import RECORDED_EXPOSITION, ROOT
from tests.unit.expositions import (
    OPENMETRICS,
    TEXT,
    TIME_MS,
    delivered,
    left_out,
    metrics_of,
    snapshot_of,
)

# `= NAME`, behind it how it is read where that is not as text; the exposition; `-> ` and each point
WRITTEN = re.split(
    r"^= (.+)\n", (Path(__file__).parent / "expositions.txt").read_text("utf-8"), flags=re.MULTILINE
)
CASES = [
    pytest.param(how, text, id=name.strip())
    for (name, _, how), text in zip(
        (head.partition("|") for head in WRITTEN[1::2]), WRITTEN[2::2], strict=True
    )
]


@pytest.mark.parametrize(("how", "text"), CASES)
def test_an_exposition(how: str, text: str) -> None:
    exposition, *points = text.rstrip("\n").split("\n-> ")
    media_type, _, patterns = how.strip().partition("exclude ")
    read_as = (
        f"{exposition}\n",
        OPENMETRICS if media_type == "openmetrics" else TEXT,
        patterns.split(),
    )
    missed = [f"left out: {reason} {count}" for reason, count in left_out(*read_as).items()]
    assert [*delivered(*read_as), *missed] == points


# -- types


@pytest.mark.parametrize("type_line", ["", "# TYPE depth untyped\n", "# HELP depth How deep.\n"])
def test_untyped_is_a_gauge(type_line: str) -> None:
    assert delivered(type_line + "depth 1.5\n") == ["Gauge depth 1.5"]


def test_help_becomes_the_description() -> None:
    snapshot, _ = snapshot_of("""\
# HELP depth How deep\\nit is, C:\\\\deep.
# TYPE depth gauge
depth 1
""")
    assert [metric.description for metric in metrics_of(snapshot)] == ["How deep\nit is, C:\\deep."]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('a{b="c"} hi', '{b="c"} hi'),
        ("a. The number", ". The number"),
        ('"a" quoted "too"', 'quoted "too"'),
        ('"a"', ""),
        ("a", ""),
        ("a\t  b", "b"),
        *((line, "") for line in ("", "1a b", '"a b', "{}", "请求 b", "-")),
    ],
)
@pytest.mark.parametrize("media_type", [TEXT, OPENMETRICS])
def test_help_never_fails(line: str, text: str, media_type: str) -> None:
    snapshot, missed = snapshot_of(f"# HELP {line}\na 1\n# EOF\n", media_type)
    assert ([metric.description for metric in metrics_of(snapshot)], missed) == ([text], {})


def test_a_gauge_of_a_family_has_its_own_description() -> None:
    snapshot, _ = snapshot_of("""\
# HELP accounts_total Made.
# TYPE accounts_total counter
accounts_total 1
# HELP accounts_created Made today.
# TYPE accounts_created gauge
accounts_created 2
# HELP depth Depth.
# TYPE depth gaugehistogram
depth_gsum 3
""")
    described = {metric.name: metric.description for metric in metrics_of(snapshot)}
    assert described == {
        "accounts_total": "Made.",
        "accounts_created": "Made today.",
        "depth_gsum": "Depth.",
    }


@pytest.mark.parametrize(
    "body",
    [
        "# TYPE a gauge\n\na 1\n# EOF\n",
        "# TYPE a gauge\na 1\n# EOF",
        "# TYPE a gauge\na 1\n# EOF\n\n",
        "# TYPE a gauge\r\na 1\r\n# EOF\r\n",
        "# TYPE a gauge\na 1 \n# EOF\n",
    ],
    ids=["blank line", "no end of line", "two ends of line", "CRLF", "space at the end"],
)
def test_openmetrics_with_white_space_that_exporters_send(body: str) -> None:
    assert delivered(body, OPENMETRICS) == ["Gauge a 1"]
    assert left_out(body, OPENMETRICS) == {}


# -- values


def test_number_too_large_for_a_float_is_no_infinity() -> None:
    with pytest.raises(NoExposition, match="line 2"):
        delivered("a 1\nb 1e999\n")


# -- labels


def test_label_value_with_escapes() -> None:
    assert delivered('a{path="C:\\\\dir",quote="say \\"hi\\"",line="one\\ntwo",plain="x"} 1\n') == [
        'Gauge a{line="one\ntwo",path="C:\\dir",plain="x",quote="say "hi""} 1'
    ]


def test_spaces_and_trailing_commas() -> None:
    assert delivered(
        'a { x = "1" , y = "2" , }  1 \r\n\tb\t2\n\n   \n# just a remark\nc{x="1",} 3'
    ) == [
        'Gauge a{x="1",y="2"} 1',
        "Gauge b 2",
        'Gauge c{x="1"} 3',
    ]


@pytest.mark.parametrize("other", ["x", "\\\\"], ids=["plain", "with an escape"])
@pytest.mark.parametrize(("media_type", "end"), [(TEXT, ""), (OPENMETRICS, "# EOF\n")])
def test_labels_that_begin_as_a_destinations_own_are_renamed(
    other: str, media_type: str, end: str
) -> None:
    value = other.replace("\\\\", "\\")
    assert delivered(f'a{{__tsid="q",__x="1",b="{other}"}} 5\n{end}', media_type) == [
        f'Gauge a{{b="{value}",exported___tsid="q",exported___x="1"}} 5'
    ]
    both = f'a{{exported___tsid="1",__tsid="2",b="{other}"}} 5\n{end}'
    assert delivered(both, media_type) == [
        f'Gauge a{{b="{value}",exported___tsid="1",exported_exported___tsid="2"}} 5'
    ]


def test_only_a_labels_name_is_renamed() -> None:
    assert delivered('a__b{c__d="{__x=\\"1\\",__y="} 5\n') == ['Gauge a__b{c__d="{__x="1",__y="} 5']
    assert delivered('{"__a", __b = "1" , "__c d"="\\\\", "\0__b"="2"} 5\n') == [
        'Gauge __a{exported_\0__b="2",exported___b="1",exported___c d="\\"} 5'
    ]
    assert delivered('{"a","__name__ x"="1",__name__x="2"} 5\n') == [
        'Gauge a{exported___name__ x="1",exported___name__x="2"} 5'
    ]
    assert delivered('{__name__="a",x="1"} 5\n') == ['Gauge a{x="1"} 5']


def test_labels_that_are_one_tag_stay_two_and_get_the_same_names_in_any_order() -> None:
    names = {
        "_job": "_job",
        "a-b": "a-b",
        "a.b": "exported_a.b",
        "a_b": "exported_exported_a_b",
        "job": "exported_job",
        "key_job": "exported_key_job",
    }
    for labels in permutations(names):
        assert dict(zip(labels, renamed(labels, {"job"}), strict=True)) == names
    assert delivered('a{_foo="1",key_foo="2"} 1\na{key_foo="3",_foo="1"} 2\n') == [
        'Gauge a{_foo="1",exported_key_foo="2"} 1',
        'Gauge a{_foo="1",exported_key_foo="3"} 2',
    ]


# -- time


@pytest.mark.parametrize(
    "time",
    [
        *("0", "-5", "9223372036855", "999999999999999999", "-1700000000123456789"),
        *("1700000000123456789", "1700000000123456789000000", "9" * 600),
    ],
)
@pytest.mark.parametrize("series", ["a", 'a{x="1"}', 'a {x = "\\\\"}', '{"a"}'])
def test_timestamp_that_otlp_has_not(series: str, time: str) -> None:
    exposition = f"{series} 1 {time}\nb 2\nc 3 {'0' * 600}1700000000123\n"
    assert delivered(exposition) == ["Gauge b 2", "Gauge c 3 at 1700000000123"]
    assert left_out(exposition) == {"timestamp": 1}


def test_timestamp_of_more_digits_than_python_takes_is_malformed() -> None:
    with pytest.raises(NoExposition, match="line 2"):
        delivered(f"a 1\nb 2 {'1' * 5000}\n")


# -- start


@pytest.mark.parametrize("value", ["17", "-1", "1.8e9", "1.8e12"])
def test_created_that_is_no_plausible_instant_is_a_metric(value: str) -> None:
    later = str(float(value) + 1e6) if value == "1.8e9" else value
    assert delivered(f"""\
# TYPE accounts_total counter
accounts_total 5
# TYPE accounts_created gauge
accounts_created {later}
""") == ["Counter accounts_total 5", f"Gauge accounts_created {float(later):g}"]


@pytest.mark.parametrize("start", ["0", "-1", "+Inf", "NaN", f"{TIME_MS / 1000 + 1}"])
def test_start_is_unset_where_it_cannot_be(start: str) -> None:
    assert "Counter relay_requests_total 1" in delivered(f"""\
# TYPE relay_requests_total counter
relay_requests_total 1
process_start_time_seconds {start}
""")


# -- what cannot be delivered truthfully


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
            "inconsistent_histogram", ['{le="-Inf"} 1', '{le="+Inf"} 2', "_count 2"], id="-Inf"
        ),
        pytest.param(
            "inconsistent_histogram",
            ['{le="1"} 1', '{le="1.0"} 2', '{le="+Inf"} 2', "_count 2"],
            id="two counts of one bound",
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
    assert delivered(exposition) == ['Histogram seconds{source="whole"} inf:1']
    assert left_out(exposition) == {reason: 1}


DOCUMENTED = ROOT / "docs/prometheus.md"
OF_THE_RUN = [metric.name for metric in METRICS if metric.scope in (Scope.RUN, Scope.FAILURE)]


@pytest.mark.parametrize("name", [*OF_THE_RUN, "relay__up", "relay:up", "_relay_up"])
def test_family_named_like_a_metric_of_the_run_is_left_out(name: str) -> None:
    for kind in ("gauge", "counter", "untyped"):
        exposition = f'# TYPE {name} {kind}\n{name} 1\n{name}{{x="y"}} 0\na 1\n'
        assert delivered(exposition) == ["Gauge a 1"]
        assert left_out(exposition) == {"reserved_name": 2}
    assert left_out(f"{name} 1\n", exclude=[name]) == {}


def test_names_of_the_run_are_in_the_documentation() -> None:
    text = DOCUMENTED.read_text()
    assert [name for name in OF_THE_RUN if f"`{name}`" not in text] == []


def test_names_that_a_run_does_not_write_itself_stay() -> None:
    shared = [metric.name for metric in METRICS if metric.name not in OF_THE_RUN]
    names = [*shared, "relay_up_total", "Relay_up", "my_relay_up"]
    exposition = "".join(f"{name} 1\n" for name in names)
    assert delivered(exposition) == sorted(f"Gauge {name} 1" for name in names)
    assert left_out(exposition) == {}


def test_label_set_that_no_message_holds() -> None:
    exposition = f'a{{x="{"x" * 66_000}"}} 1\nb{{x="{"y" * 200_000}"}} 2\nc 3\n'
    assert delivered(exposition) == ["Gauge c 3"]
    assert left_out(exposition) == {"too_large": 2}


def test_label_set_of_nearly_64_kib_is_taken() -> None:
    assert len(delivered(f'a{{x="{"x" * 65_000}"}} 1\n')) == 1


def test_histogram_that_no_message_holds() -> None:
    buckets = "".join(f'h_bucket{{le="{bound}.12345678901"}} {bound}\n' for bound in range(3000))
    exposition = f'# TYPE h histogram\n{buckets}h_bucket{{le="+Inf"}} 3000\nh_count 3000\n'
    assert delivered(exposition) == []
    assert left_out(exposition) == {"too_large": 1}


def test_line_with_labels_beyond_number() -> None:
    labels = ",".join(f'l{at}="\\\\"' for at in range(2000))
    exposition = f"a{{{labels}}} 1\nb 2\n"
    assert delivered(exposition) == ["Gauge b 2"]
    assert left_out(exposition) == {"too_large": 1}


# -- metric_exclude


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
    assert delivered(exposition, media_type, [pattern]) == ['Gauge other{x="\\"} 1']


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
        "# TYPE secret.a gauge",
        '{"success": false}',
    ],
)
def test_malformed_line_fails_the_scrape_and_is_named_but_not_shown(line: str) -> None:
    with pytest.raises(NoExposition, match=r"line 3\b") as raised:
        delivered(f"# TYPE a counter\na 1\n{line}\na 2\n")
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_invalid_utf8_is_malformed() -> None:
    with pytest.raises(NoExposition, match="line 2"):
        read(b'a 1\nb{x="\xff"} 1\n', TEXT)


def test_openmetrics_cut_short() -> None:
    with pytest.raises(NoExposition, match="# EOF"):
        delivered("# TYPE a gauge\na 1\n", OPENMETRICS)


@pytest.mark.parametrize(
    "line", ["a one", 'a{x="y} 1', "a 1 2 3", "# TYPE a gauge gauge", "# TYPE b bogus", "a 1 x"]
)
def test_malformed_openmetrics(line: str) -> None:
    with pytest.raises(NoExposition, match=r"line 3\b"):
        delivered(f"# TYPE a gauge\na 1\n{line}\n# EOF\n", OPENMETRICS)


# -- whole


def test_recorded_exposition_is_all_there() -> None:
    text = RECORDED_EXPOSITION.read_text()
    snapshot, missed = snapshot_of(text)
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    buckets = [one for one in samples if one.name.endswith("_bucket")]
    histograms = [one for one in buckets if one.labels["le"] == "+Inf"]
    # of a histogram's lines one point is made
    assert snapshot.samples == len(samples) - len(buckets) - len(histograms)
    assert missed == {}


def test_ten_thousand_series_in_one_family() -> None:
    lines = "".join(f'a{{series="{at}"}} {at}\n' for at in range(10_000))
    assert len(delivered(f"# TYPE a counter\n{lines}")) == 10_000


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
    body = (
        RECORDED_EXPOSITION.read_bytes()
        + '# TYPE é gauge\n{"é"} 1\n'.replace("é", '"é"', 1).encode()
    )
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
