"""How GreptimeDB names what it stores of OTLP metrics: tables, tags, and numbers as text.

The rules are those of its `otlp/metrics/translator.rs` (1.1 to 1.3), which follows the Prometheus
translator of the OpenTelemetry Collector. Pure functions: a catalogue can be held against them.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final, Literal, NamedTuple

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


class Strategy(NamedTuple):
    """How names are made: what the header `x-greptime-otlp-metric-translation-strategy` chooses.

    Attributes:
        escape: whether what is outside of `[a-zA-Z0-9]` is replaced.
        suffixes: whether the unit's word, `total` and `ratio` are appended.
    """

    escape: bool = True
    suffixes: bool = True


STRATEGIES: Final = {
    "UnderscoreEscapingWithSuffixes": Strategy(),
    "UnderscoreEscapingWithoutSuffixes": Strategy(suffixes=False),
    "NoUTF8EscapingWithSuffixes": Strategy(escape=False),
    "NoTranslation": Strategy(escape=False, suffixes=False),
}
BY_DEFAULT: Final = Strategy()


def table_name(
    name: str, unit: str, monotonic: bool, kind: Kind, strategy: Strategy = BY_DEFAULT
) -> str:
    """The table that a metric is stored in.

    Of a histogram and a summary it is what `_bucket`, `_sum` and `_count` are appended to.

    Args:
        name: the metric's name as sent.
        unit: its unit as sent; empty for none.
        monotonic: whether it is a monotonic Sum; without meaning for other kinds.
        kind: which of OTLP's kinds of data it holds.
        strategy: of the request.

    >>> table_name("relay_cost_total_usd", "{USD}", True, "sum")
    'relay_cost_usd_total'
    """
    main, _, per = unit.partition("/")
    word, per_word = _unit_word(main, _UNIT_WORDS), _unit_word(per, _PER_WORDS)
    total = kind == "sum" and monotonic
    ratio = kind == "gauge" and unit == "1"
    if not strategy.escape:
        return _appended(name, word, per_word, total, ratio) if strategy.suffixes else name
    parts = _parts(name)
    if strategy.suffixes:
        word, per_word = "_".join(_parts(word)), "_".join(_parts(per_word))
        if word and word not in parts:
            parts.append(word)
        if per_word and per_word not in parts:
            parts += ["per", per_word]
        if total:
            parts = [part for part in parts if part != "total"] + ["total"]
        if ratio:
            parts = [part for part in parts if part != "ratio"] + ["ratio"]
    joined = "_".join(parts)
    return f"_{joined}" if joined[:1].isdigit() else joined


def _appended(name: str, word: str, per_word: str, total: bool, ratio: bool) -> str:
    """A name that is not escaped, with what its unit and kind add at its end."""
    per = f"per_{per_word}" if per_word else ""
    last = [suffix for suffix, wanted in (("total", total), ("ratio", ratio)) if wanted]
    for suffix in (*reversed(last), per):
        bare = name.removesuffix(f"_{suffix}") if suffix else name
        name = bare or name
    if word and not name.endswith(word):
        name = f"{name}_{word}"
    return "_".join([name, *filter(None, [per]), *last])


def tag_name(key: str, strategy: Strategy = BY_DEFAULT) -> str:
    """The tag that an attribute is stored as.

    A digit in front gets `key_` before it and a single underscore `key`, as in Prometheus'
    translator: `_foo` and `key_foo` come to one tag.
    """
    if not strategy.escape:
        return key
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
    return "" if "{" in unit or "}" in unit else words.get(unit, unit)
