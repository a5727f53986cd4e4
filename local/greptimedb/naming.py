"""How GreptimeDB names what it stores of OTLP metrics: tables, tags, and numbers as text.

The rules are those of its `otlp/metrics/translator.rs` (1.1 to 1.3), which follows the Prometheus
translator of the OpenTelemetry Collector. Pure functions: a catalogue can be held against them.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final, Literal

Kind = Literal["gauge", "sum", "histogram", "exponential_histogram", "summary"]

_OUTSIDE: Final = re.compile(r"[^a-zA-Z0-9]")

_UNIT_WORDS: Final = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "1": "",
    "%": "percent",
}

_PER_WORDS: Final = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}


def table_name(
    name: str, unit: str, monotonic: bool, kind: Kind, *, add_suffixes: bool = True
) -> str:
    """The table that a metric is stored in.

    Of a histogram and a summary it is what `_bucket`, `_sum` and `_count` are appended to.

    Args:
        name: the metric's name as sent.
        unit: its unit as sent; empty for none.
        monotonic: whether it is a monotonic Sum; of no meaning for other kinds.
        kind: which of OTLP's kinds of data it holds.
        add_suffixes: False for a request with the header
            `x-greptime-otlp-metric-translation-strategy: UnderscoreEscapingWithoutSuffixes`.

    >>> table_name("relay_cost_total_usd", "{USD}", True, "sum")
    'relay_cost_usd_total'
    """
    parts = _parts(name)
    if add_suffixes:
        main, _, per = unit.partition("/")
        word = _unit_word(main, _UNIT_WORDS)
        if word and word not in parts:
            parts.append(word)
        per_word = _unit_word(per, _PER_WORDS)
        if per_word and per_word not in parts:
            parts += ["per", per_word]
        if kind == "sum" and monotonic:
            parts = [part for part in parts if part != "total"] + ["total"]
        if kind == "gauge" and unit == "1":
            parts = [part for part in parts if part != "ratio"] + ["ratio"]
    joined = "_".join(parts)
    return f"_{joined}" if joined[:1].isdigit() else joined


def tag_name(key: str) -> str:
    """The tag that an attribute is stored as.

    A digit or a single underscore in front gets `key` before it, as in Prometheus' translator.
    """
    name = _OUTSIDE.sub("_", key)
    if name[:1].isdigit():
        return f"key_{name}"
    if name.startswith("_") and not name.startswith("__"):
        return f"key{name}"
    return name


def legacy_name(name: str) -> str:
    """A table's or a tag's name in the older way, that of databases without OTLP's own tables."""
    return name.lower().replace(".", "_").replace("-", "_")


def number_text(number: float) -> str:
    """A number as the text of a tag: Rust's form, which knows neither `.0` nor an exponent.

    >>> number_text(0.005), number_text(1.0), number_text(1e21), number_text(float("inf"))
    ('0.005', '1', '1000000000000000000000', 'inf')
    """
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    return format(Decimal(repr(number)), "f").removesuffix(".0")


def _parts(text: str) -> list[str]:
    return [part for part in _OUTSIDE.split(text) if part]


def _unit_word(unit: str, words: dict[str, str]) -> str:
    unit = unit.strip()
    if "{" in unit or "}" in unit:
        return ""
    return "_".join(_parts(words.get(unit, unit)))
