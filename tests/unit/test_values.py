"""What a relay sends as a figure, a text, a flag or an instant, and what it is taken for."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_metrics.catalogue import METRICS, Metric
from relay_metrics.relays.values import (
    MAX_TEXT,
    dig,
    figures,
    flag,
    instant_ms,
    missing,
    number,
    text,
)
from relay_metrics.snapshot import INT64, Number, Scope, well_formed

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
"""Whatever JSON can hold, lone surrogates included."""

# -- numbers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (40, 40),
        (-3, -3),
        (0.210156, 0.210156),
        ("40", 40),
        ("+40", 40),
        (" 40\n", 40),
        ("-0.5", -0.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-3", 0.001),
        ("9007199254740993", 9007199254740993),
        (2**63 - 1, 2**63 - 1),
        (2**63, 9223372036854775808.0),
        (-(2**63), -(2**63)),
        (str(2**64), 18446744073709551616.0),
        (10**300, 1e300),
    ],
)
def test_numbers(value: object, expected: Number) -> None:
    got = number(value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, [], [1], {}, {"value": 1}),
        *(math.nan, math.inf, -math.inf, 10**400),
        *("", " ", "NaN", "Infinity", "-inf", "1e999", "0x10", "1_000", "1,5", "١٢", "½", "²"),
        *("$0.21", "1 2", "1e", "--1", "true", "null", "1" * 65, "1\x00"),
    ],
)
def test_what_is_no_number(value: object) -> None:
    assert number(value) is None


@given(anything)
def test_a_number_is_finite_and_fits(value: object) -> None:
    got = number(value)
    if got is not None:
        assert type(got) in (int, float)
        assert math.isfinite(got)
        assert isinstance(got, float) or got in INT64


@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_same_as_text(value: Number) -> None:
    assert number(str(value)) == number(value) == value
    assert type(number(str(value))) is type(value)


@pytest.mark.parametrize(
    ("value", "expected"), [("0\x1f", 0), ("\x1c1.5\x1d", 1.5), ("\x1f", None)]
)
def test_separators_around_a_number_are_white_space(value: str, expected: Number | None) -> None:
    assert number(value) == expected


@given(st.text(st.characters()))
def test_no_text_is_a_number_but_a_numeral(value: str) -> None:
    got = number(value)
    assert (got is None) or not set(value.strip()) - set("+-.0123456789eE")


# -- texts


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("team-alpha", "team-alpha"),
        ('team-beta "β"', 'team-beta "β"'),
        ("团队 'é' \\", "团队 'é' \\"),
        ("a/b:c", "a/b:c"),
        ("  x \n", "x"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        *((value, "") for value in (None, 7, True, ["x"], {"x": 1}, "", " \t")),
    ],
)
def test_texts(value: object, expected: str) -> None:
    assert text(value) == expected


def test_a_text_from_json_with_half_a_character() -> None:
    assert text(json.loads('"\\ud83d team"')) == "\ufffd team"


@given(anything)
def test_a_text_is_well_formed_and_bounded(value: object) -> None:
    got = text(value)
    assert got.encode().decode() == got == well_formed(got)
    assert len(got) <= MAX_TEXT


@given(st.text(max_size=MAX_TEXT))
def test_a_well_formed_text_stays(value: str) -> None:
    assert text(value) == value.strip()


def test_a_long_text_is_cut() -> None:
    assert text("x" * 5000) == "x" * MAX_TEXT


# -- flags


@pytest.mark.parametrize("value", [True, False])
def test_flags(value: bool) -> None:
    assert flag(value) is value
    assert flag(str(value).lower()) is value


@pytest.mark.parametrize("value", [None, "", "yes", "TRUE", 0, 1, 1.0, [], {}])
def test_what_is_no_flag(value: object) -> None:
    assert flag(value) is None


# -- instants


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-21T20:56:05.070Z", 1795294565070),
        ("2026-11-21T20:56:05Z", 1795294565000),
        ("2026-11-22T04:56:05.070+08:00", 1795294565070),
        ("2026-11-21T20:56:05.070", 1795294565070),
        (" 2026-11-21T20:56:05.070Z ", 1795294565070),
        (1795294565070, 1795294565070),
        ("1795294565070", 1795294565070),
        (1795294565070.4, 1795294565070),
    ],
)
def test_instants(value: object, expected: int) -> None:
    assert instant_ms(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "soon", True, [], {}, math.nan, math.inf),
        *(0, -1, 10**18, "1969-12-31T23:59:59Z", "0001-01-01"),
    ],
)
def test_what_is_no_instant(value: object) -> None:
    assert instant_ms(value) is None


@given(anything)
def test_an_instant_is_between_1970_and_9999(value: object) -> None:
    got = instant_ms(value)
    assert got is None or 0 <= got < 253_402_300_800_000


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - zone is added
    st.integers(-14 * 60, 14 * 60),
)
def test_an_instant_is_the_same_in_every_zone(at: datetime, minutes: int) -> None:
    whole = at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)
    expected = (whole - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    there = whole.astimezone(timezone(timedelta(minutes=minutes)))
    assert instant_ms(there.isoformat()) == expected


# -- figures of an answer


def row(field: str, null: Number | None = None) -> Metric:
    return Metric(f"relay_{field}", Scope.KEY, "{x}", "A figure", field, "user-stats", null)


def taken(answer: dict[str, Any], *rows: Metric) -> tuple[dict[str, Number], list[str]]:
    left_out: list[str] = []
    return figures(rows, answer, left_out.append), left_out


def test_a_field_that_was_sent() -> None:
    assert taken({"a": {"b": "41"}}, row("a.b")) == ({"a.b": 41}, [])


def test_zero_is_a_value() -> None:
    assert taken({"a": 0}, row("a")) == ({"a": 0}, [])


@pytest.mark.parametrize("answer", [{}, {"a": {}}, {"a": None}, {"a": 7}, {"a": [{"b": 1}]}])
def test_a_field_that_was_not_sent_is_left_out(answer: dict[str, Any]) -> None:
    assert taken(answer, row("a.b", null=0)) == ({}, ["missing_field"])


def test_null_has_the_value_that_the_catalogue_gives_it() -> None:
    assert taken({"a": None}, row("a", null=0)) == ({"a": 0}, [])


def test_null_without_a_value_is_left_out() -> None:
    assert taken({"a": None}, row("a")) == ({}, ["null"])


@pytest.mark.parametrize("value", [True, "NaN", "", [], {}, "1e999"])
def test_what_is_no_figure_is_left_out(value: object) -> None:
    assert taken({"a": value, "b": 1}, row("a", null=0), row("b")) == ({"b": 1}, ["invalid_value"])


@given(st.dictionaries(st.sampled_from(["usage", "limits", "requests", "costs"]), anything))
def test_every_figure_is_either_taken_or_counted(answer: dict[str, Any]) -> None:
    found, left_out = taken(answer, *METRICS)
    assert len({metric.field for metric in METRICS} & found.keys()) == len(found)
    assert sum(metric.field in found for metric in METRICS) + len(left_out) == len(METRICS)


def test_dig() -> None:
    assert dig({"a": {"b": None}}, "a.b") is None
    assert missing(dig({"a": {"b": None}}, "a.b.c"))
    assert missing(dig("text", "a"))
    assert not missing(None)
