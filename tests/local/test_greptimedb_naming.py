"""Every example of GreptimeDB's naming rules, and what follows from them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.greptimedb.naming import (
    STRATEGIES,
    Kind,
    legacy_name,
    number_text,
    table_name,
    tag_name,
)


@pytest.mark.parametrize(
    ("name", "unit", "monotonic", "kind", "table"),
    [
        # Characters outside [a-zA-Z0-9] separate parts, which one underscore joins.
        ("a:b", "", False, "gauge", "a_b"),
        ("a__b", "", False, "gauge", "a_b"),
        ("_a", "", False, "gauge", "a"),
        ("http.server.duration", "", False, "histogram", "http_server_duration"),
        ("größe", "", False, "gauge", "gr_e"),
        ("2xx.rate", "", False, "gauge", "_2xx_rate"),
        # The unit's word, unless it is a part already.
        ("foo", "s", False, "gauge", "foo_seconds"),
        ("foo_seconds", "s", False, "gauge", "foo_seconds"),
        ("seconds_of_foo", "s", False, "gauge", "seconds_of_foo"),
        ("foo", "ms", False, "gauge", "foo_milliseconds"),
        ("foo", "min", False, "gauge", "foo_minutes"),
        ("foo", "By", False, "histogram", "foo_bytes"),
        ("foo", "%", False, "gauge", "foo_percent"),
        ("foo", "USD", False, "gauge", "foo_USD"),
        ("foo_usd", "USD", False, "gauge", "foo_usd_USD"),
        ("foo", "{token}", False, "gauge", "foo"),
        ("foo", " s ", False, "gauge", "foo_seconds"),
        # A unit of two sides.
        ("foo", "By/s", False, "gauge", "foo_bytes_per_second"),
        ("foo", "By/min", False, "gauge", "foo_bytes_per_min"),
        ("foo", "{request}/s", False, "gauge", "foo_per_second"),
        ("foo", "By/{request}", False, "gauge", "foo_bytes"),
        ("foo", "1/s", False, "gauge", "foo_per_second"),
        ("foo_per_second", "1/s", False, "gauge", "foo_per_second"),
        # `total` goes last, whatever it belonged to.
        ("foo", "", True, "sum", "foo_total"),
        ("foo_total", "", True, "sum", "foo_total"),
        ("foo_total", "s", True, "sum", "foo_seconds_total"),
        ("relay_cost_total_usd", "", True, "sum", "relay_cost_usd_total"),
        ("relay_cost_total_usd", "{USD}", True, "sum", "relay_cost_usd_total"),
        ("relay_cost_total_usd", "{USD}", False, "gauge", "relay_cost_total_usd"),
        ("foo_total", "", False, "sum", "foo_total"),
        ("total", "", True, "sum", "total"),
        # `ratio` for a Gauge of unit 1 only.
        ("foo", "1", False, "gauge", "foo_ratio"),
        ("foo_ratio_now", "1", False, "gauge", "foo_now_ratio"),
        ("foo", "1", False, "sum", "foo"),
        ("foo", "1", True, "sum", "foo_total"),
        ("foo", "1", False, "histogram", "foo"),
    ],
)
def test_a_table_is_named_after_name_unit_and_kind(
    name: str, unit: str, monotonic: bool, kind: Kind, table: str
) -> None:
    assert table_name(name, unit, monotonic, kind) == table


@pytest.mark.parametrize(
    ("name", "unit", "table"),
    [
        ("a:b", "s", "a_b"),
        ("foo_total", "By", "foo_total"),
        ("foo", "1", "foo"),
        ("1.x", "", "_1_x"),
    ],
)
def test_without_suffixes_only_the_characters_change(name: str, unit: str, table: str) -> None:
    strategy = STRATEGIES["UnderscoreEscapingWithoutSuffixes"]
    assert table_name(name, unit, True, "sum", strategy) == table


@pytest.mark.parametrize(
    ("name", "unit", "monotonic", "kind", "with_suffixes"),
    [
        ("a:b", "s", False, "gauge", "a:b_seconds"),
        ("a.seconds", "s", False, "gauge", "a.seconds"),
        ("disk.io", "By", True, "sum", "disk.io_bytes_total"),
        ("rate_per_second_total", "1/s", True, "sum", "rate_per_second_total"),
        ("cpu_ratio", "1", False, "gauge", "cpu_ratio"),
        ("subtotal", "", True, "sum", "subtotal_total"),
        ("total", "", True, "sum", "total_total"),
        ("größe", "{x}", False, "gauge", "größe"),
        ("cost_total_usd", "{USD}", True, "sum", "cost_total_usd_total"),
    ],
)
def test_names_that_are_not_escaped(
    name: str, unit: str, monotonic: bool, kind: Kind, with_suffixes: str
) -> None:
    suffixed = STRATEGIES["NoUTF8EscapingWithSuffixes"]
    assert table_name(name, unit, monotonic, kind, suffixed) == with_suffixes
    assert table_name(name, unit, monotonic, kind, STRATEGIES["NoTranslation"]) == name
    assert tag_name(name, STRATEGIES["NoTranslation"]) == name


@given(
    st.text(max_size=20),
    st.sampled_from(["", "1", "s", "By/s", "{request}/min", "USD"]),
    st.booleans(),
    st.sampled_from(["sum", "gauge"]),
)
def test_a_table_name_needs_no_more_change(
    name: str, unit: str, monotonic: bool, kind: Kind
) -> None:
    table = table_name(name, unit, monotonic, kind)
    assert re.fullmatch(r"[a-zA-Z0-9_]*", table)
    assert table_name(table, unit, monotonic, kind) == table


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        ("relay.key.id", "relay_key_id"),
        ("model", "model"),
        ("a-b/c", "a_b_c"),
        ("é", "key_"),
        ("4xx", "key_4xx"),
        ("_hidden", "key_hidden"),
        ("__name__", "__name__"),
        ("", ""),
    ],
)
def test_a_tag_is_named_after_its_attribute(key: str, tag: str) -> None:
    assert tag_name(key) == tag


def test_the_older_way_knows_only_dots_dashes_and_capitals() -> None:
    assert legacy_name("JVM.memory-Free:x") == "jvm_memory_free:x"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.005, "0.005"),
        (1.0, "1"),
        (-0.5, "-0.5"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (float("nan"), "NaN"),
    ],
)
def test_a_number_becomes_text_as_in_rust(number: float, text: str) -> None:
    assert number_text(number) == text
