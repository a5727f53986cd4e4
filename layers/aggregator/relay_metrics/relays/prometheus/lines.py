"""The lines of an exposition, text 0.0.4 and OpenMetrics 1.0, names in quotes included.

A block of lines is read by one expression, which has a place for each part of a plain sample and
one for every other line. What is not plain (spaces between labels, their names in quotes, escapes
that are none) is read by itself, and its labels are written as those of a plain one.

Of text 0.0.4 this takes what prometheus_client takes, and of OpenMetrics what Prometheus takes and
more: it is for an exporter to be right about exemplars, units and white space, and for a reader to
read what it says.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from relay_metrics.families import text_of, unescaped

# Python 3.11 loses count of groups within what is possessive, which these therefore never are.
_BLANK = r"[^\S\n]*+"
_END = rf"\n(?:{_BLANK}(?:\#(?!\s*+(?:HELP|TYPE|UNIT|EOF))[^\n]*+)?\n)*+"
_NUMBER = r"[ \t]++([0-9+.eE-]++|[+-]?Inf|NaN)"
_PLAIN_LABELS = (
    r'((?:(?!__name__)[a-zA-Z_][a-zA-Z0-9_]*+="(?:[^"\\\n]++|\\["\\n])*+"'
    r"(?:,(?=[a-zA-Z_])|(?=,?\}))){1,1024}+)?"
)
_PLAIN = rf"([a-zA-Z_:][a-zA-Z0-9_:]*+)(?:\{{{_PLAIN_LABELS},?\}})?"
_QUOTED = rf'(?:{_PLAIN}|\{{"([^"\\\n]++)"(?:,{_PLAIN_LABELS})?,?\}})'
_TIME = r"(?:[ \t]++(-?[0-9]{1,18}))?"
_OPENMETRICS_TIME = r"(?:[ \t]++([0-9+.eE-]++))?(?:[ \t]++\#[^\n]*+)?+"


def _pattern(series: str, time: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{series}{_NUMBER}{time}[ \t\r]*+|([^\n]*+)){_END}")


_ANY_LABELS = r'(?:\{([^\n]*"),?\})?'
TEXT_UNPARSED = _pattern(rf"([a-zA-Z_:][a-zA-Z0-9_:]*+){_ANY_LABELS}", _TIME)
OPENMETRICS_UNPARSED = _pattern(
    rf"([a-zA-Z_:][a-zA-Z0-9_:]*+){_ANY_LABELS}", r"(?:[ \t]++([0-9+.eE-]++))?"
)
"""As the next two, but that nobody has looked yet at what stands between the braces.

A label set that was seen before need not be looked at again."""

_PLAIN_LABEL_SET = re.compile(rf"{_PLAIN_LABELS}\}}")


def is_plain(labels: str) -> bool:
    """Whether a label set is as the expressions below take it."""
    return _PLAIN_LABEL_SET.fullmatch(f"{labels}}}") is not None


TEXT, OPENMETRICS = _pattern(_PLAIN, _TIME), _pattern(_PLAIN, _OPENMETRICS_TIME)
"""A line with the blank ones and remarks behind it: name, labels, value, timestamp, any other."""

TEXT_QUOTED, OPENMETRICS_QUOTED = _pattern(_QUOTED, _TIME), _pattern(_QUOTED, _OPENMETRICS_TIME)
"""Likewise where names are in quotes: name, labels, quoted name, its labels, and the others."""

_NUMBERS = re.compile(r"[0-9+.eE\n-]*+")


def numbers(texts: Sequence[str]) -> array[float] | None:
    """Finite numbers of the format; None where one is none, or their sum is not finite."""
    if _NUMBERS.fullmatch("\n".join(texts)) is None:
        return None
    try:
        values = array("d", map(float, texts))
    except ValueError:
        return None
    return values if math.isfinite(sum(values)) else None


_ONE_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*+")


def is_name(text: str) -> bool:
    """Whether a name needs no quotes."""
    return _ONE_NAME.fullmatch(text) is not None


_EVEN_VALUE = r'"(?!")[^"\\\n]*+(?:\\["\\n][^"\\\n]*+)*+"'


@lru_cache(maxsize=512)
def even(names: tuple[str, ...]) -> re.Pattern[str]:
    """What label sets match, a line each, whose labels have these names, in this order."""
    one = ",".join(f"{name}={_EVEN_VALUE}" for name in names)
    return re.compile(rf"(?:{one}(?:\n|\Z))*+")


_EMPTY = re.compile(r'(?:(?<=^)|(?<=,))[a-zA-Z_][a-zA-Z0-9_]*+=""(?:,|$)')


def without_empty(labels: str) -> str:
    """A label set without its empty labels: https://prometheus.io/docs/concepts/data_model/.

    >>> without_empty('a="",b="c",d=""'), without_empty('a=""')
    ('b="c"', '')
    """
    return _EMPTY.sub("", labels).removesuffix(",")


# What stands before a value, whatever is in it.
_LABELS = r"""\{(?:[^"{}\\]|"(?:[^"\\]|\\.)*+")*+\}"""
_SERIES = (
    rf"""(?:([a-zA-Z_:][a-zA-Z0-9_:]*+)(?:(?=\s)|\s*+({_LABELS}))|(?P<quoted>{_LABELS}))\s*+"""
)
_TEXT_SAMPLE = re.compile(rf"""\s*+{_SERIES}([^\s{{]\S*+)(?:\s++(-?[0-9]{{1,18}}))?\s*+""")
_OPENMETRICS_SAMPLE = re.compile(
    rf"""\s*+{_SERIES}([^\s{{]\S*+)(?:\s++([^\s{{\#]\S*+))?(?:\s++\#.*)?\s*+"""
)
_NATIVE_HISTOGRAM = re.compile(rf"""\s*+{_SERIES}\{{count:""")

_TERM = re.compile(
    r"""\s*+(?:(?:"((?:[^"\\]|\\.)*+)"|((?!__\w*:)[a-zA-Z_:][a-zA-Z0-9_:]*+))\s*+=\s*+)?"""
    r""""((?:[^"\\]|\\.)*+)"\s*+(?:,|$)"""
)
_METADATA = re.compile(r"\#\s++(HELP|TYPE|UNIT|EOF)(?:\s++|$)(.*+)", re.DOTALL)
_NAMED = re.compile(
    r'(?:"((?:[^"\\]|\\.)*+)"|([a-zA-Z_:][a-zA-Z0-9_:]*+))(?:\s++(.*+)|$)', re.DOTALL
)
_NAME = re.compile(r"""\{?\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s{"]++))""")
_HELP_ESCAPE = re.compile(r"\\[\\n]")


class Metadata(NamedTuple):
    """A line that says something of a family: `word` is HELP, TYPE, UNIT or EOF."""

    word: str
    name: str
    text: str


class Sample(NamedTuple):
    """A line of figures. `labels` is the text of the label set, `time` that of the timestamp."""

    name: str
    labels: str
    value: float
    time: str


def metadata(line: str) -> Metadata | None:
    """What a line says that begins with `#`; None of a remark.

    Raises:
        ValueError: it names no family, or no type.
    """
    found = _METADATA.fullmatch(line.strip())
    if found is None:
        return None
    word, rest = found.groups()
    if word in ("EOF", "UNIT") or (word == "HELP" and not rest):
        return Metadata(word, "", rest)
    named = _NAMED.fullmatch(rest)
    if named is None or (word == "TYPE" and not named[3]):
        raise ValueError("no family")
    quoted, plain, text = named.groups()
    return Metadata(word, plain or unescaped(quoted), text or "")


def help_of(text: str) -> str:
    """The text of a HELP line without its escapes."""
    return _HELP_ESCAPE.sub(lambda found: "\n" if found[0] == r"\n" else "\\", text)


def sample(line: str, *, openmetrics: bool) -> Sample | None:
    """A sample's line, whatever spaces it has; None of a native histogram.

    Raises:
        ValueError: it has not the shape of a sample.
    """
    found = (_OPENMETRICS_SAMPLE if openmetrics else _TEXT_SAMPLE).fullmatch(line)
    if found is None:
        if openmetrics and _NATIVE_HISTOGRAM.match(line):
            return None
        raise ValueError("no sample")
    name, labels, quoted, value, time = found.groups()
    terms = _terms(labels or quoted or "{}")
    if name is None:
        name = terms.pop("__name__")
    elif "__name__" in terms:
        raise ValueError("two names")
    return Sample(name, text_of(terms.items()), number(value), time or "")


def _terms(labels: str) -> dict[str, str]:
    """The labels between braces; the name of the metric, where it is among them, as `__name__`.

    Raises:
        ValueError: one is not what the format has, or is there twice.
    """
    text = labels[1:-1].strip().removeprefix(",")
    found: dict[str, str] = {}
    at = 0
    while at < len(text) and not text[at:].isspace():
        term = _TERM.match(text, at)
        if term is None:
            raise ValueError("no label")
        quoted, plain, value = term.groups()
        name = plain if quoted is None else unescaped(quoted)
        name = "__name__" if name is None else name
        if name in found:
            raise ValueError("a label twice")
        found[name] = unescaped(value)
        at = term.end()
    return found


def number(text: str) -> float:
    """A number of the format. One too large for a float is not the infinity that Python makes.

    Raises:
        ValueError: it is not valid.
    """
    value = float(text)
    if "_" in text or (math.isinf(value) and "n" not in text.lower()):
        raise ValueError("no number")
    return value


def name(line: str) -> str:
    """The name that a line begins with, `{"quoted"}` or not; empty where there is none."""
    found = _NAME.match(line.lstrip())
    if found is None:
        return ""
    quoted, plain = found.groups()
    return plain or unescaped(quoted or "")


def milliseconds(seconds: str) -> int:
    """OpenMetrics' seconds as whole milliseconds.

    Raises:
        ValueError, OverflowError: they are no number.
    """
    # by way of microseconds: 1700000000.123 × 1000 is a little less than a whole number
    return math.floor(round(number(seconds) * 1e6) / 1000)
