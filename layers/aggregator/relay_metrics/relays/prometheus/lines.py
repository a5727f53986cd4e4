"""Parses the lines of an exposition: text 0.0.4 and OpenMetrics 1.0, including names in quotes.

One regular expression parses a block of lines. It has a group for each part of a plain sample, and
one for any other line. A line that is not plain (spaces between labels, label names in quotes,
invalid escapes) is parsed separately, and its labels are rewritten in the plain form.

For text 0.0.4 this accepts what prometheus_client accepts; for OpenMetrics it accepts what
Prometheus accepts and more, because a reader need not check exemplars, units and white space.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from relay_metrics.families import text_of, unescaped

# No group is inside a possessive quantifier: Python 3.11 numbers such groups wrongly.
_BLANK = r"[^\S\n]*+"
_END = rf"\n(?:{_BLANK}(?:\#(?!\s*+(?:HELP|TYPE|UNIT|EOF))[^\n]*+)?\n)*+"
_NUMBER = r"[ \t]++([0-9+.eE-]++|[+-]?Inf|NaN)"
_PLAIN_LABELS = (
    r'((?:(?!__name__)[a-zA-Z_][a-zA-Z0-9_]*+="(?:[^"\\\n]++|\\["\\n])*+"'
    r"(?:,(?=[a-zA-Z_])|(?=,?\}))){1,1024}+)?"
)
_PLAIN = rf"([a-zA-Z_:][a-zA-Z0-9_:]*+)(?:\{{{_PLAIN_LABELS},?\}})?"
_QUOTED = rf'(?:{_PLAIN}|\{{"([^"\\\n]++)"(?:,{_PLAIN_LABELS})?,?\}})'
_DIGITS = r"-?[0-9]{1,640}+"
"""A timestamp, of no more digits than `int` takes however Python is set."""
_TIME = rf"(?:[ \t]++({_DIGITS}))?"
_OPENMETRICS_TIME = r"(?:[ \t]++([0-9+.eE-]++))?(?:[ \t]++\#[^\n]*+)?+"


def _pattern(series: str, time: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{series}{_NUMBER}{time}[ \t\r]*+|([^\n]*+)){_END}")


_ANY_LABELS = r'(?:\{([^\n]*"),?\})?'
TEXT_UNPARSED = _pattern(rf"([a-zA-Z_:][a-zA-Z0-9_:]*+){_ANY_LABELS}", _TIME)
OPENMETRICS_UNPARSED = _pattern(
    rf"([a-zA-Z_:][a-zA-Z0-9_:]*+){_ANY_LABELS}", r"(?:[ \t]++([0-9+.eE-]++))?"
)
"""As the next two, but without checking the text between the braces.

It is faster: a label set that was seen before is not checked again."""

_PLAIN_LABEL_SET = re.compile(rf"{_PLAIN_LABELS}\}}")


def is_plain(labels: str) -> bool:
    """Whether a label set has the plain form that the expressions below accept."""
    return _PLAIN_LABEL_SET.fullmatch(f"{labels}}}") is not None


TEXT, OPENMETRICS = _pattern(_PLAIN, _TIME), _pattern(_PLAIN, _OPENMETRICS_TIME)
"""A line and the blank lines and comments after it. Groups: name, labels, value, time, other."""

TEXT_QUOTED, OPENMETRICS_QUOTED = _pattern(_QUOTED, _TIME), _pattern(_QUOTED, _OPENMETRICS_TIME)
"""The same with names in quotes. Groups: name, labels, quoted name, its labels, and the others."""

_NUMBERS = re.compile(r"[0-9+.eE\n-]*+")


def numbers(texts: Sequence[str]) -> array[float] | None:
    """The texts as finite numbers; None if one is not, or if their sum is not finite."""
    if _NUMBERS.fullmatch("\n".join(texts)) is None:
        return None
    try:
        values = array("d", map(float, texts))
    except ValueError:
        return None
    return values if math.isfinite(sum(values)) else None


_ONE_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*+")


def is_name(text: str) -> bool:
    """Whether a metric's name needs no quotes."""
    return _ONE_NAME.fullmatch(text) is not None


_EVEN_VALUE = r'"(?!")[^"\\\n]*+(?:\\["\\n][^"\\\n]*+)*+"'


@lru_cache(maxsize=512)
def even(names: tuple[str, ...]) -> re.Pattern[str]:
    """An expression for label sets, one on each line, that have these names in this order."""
    one = ",".join(f"{name}={_EVEN_VALUE}" for name in names)
    return re.compile(rf"(?:{one}(?:\n|\Z))*+")


_EMPTY = re.compile(r'(?:(?<=^)|(?<=,))[a-zA-Z_][a-zA-Z0-9_]*+=""(?:,|$)')


def without_empty(labels: str) -> str:
    """A label set without its empty labels: https://prometheus.io/docs/concepts/data_model/.

    >>> without_empty('a="",b="c",d=""'), without_empty('a=""')
    ('b="c"', '')
    """
    return _EMPTY.sub("", labels).removesuffix(",")


# A series, the part of a line before the value, with any labels.
_LABELS = r"""\{(?:[^"{}\\]|"(?:[^"\\]|\\.)*+")*+\}"""
_SERIES = (
    rf"""(?:([a-zA-Z_:][a-zA-Z0-9_:]*+)(?:(?=\s)|\s*+({_LABELS}))|(?P<quoted>{_LABELS}))\s*+"""
)
_TEXT_SAMPLE = re.compile(rf"""\s*+{_SERIES}([^\s{{]\S*+)(?:\s++({_DIGITS}))?\s*+""")
_OPENMETRICS_SAMPLE = re.compile(
    rf"""\s*+{_SERIES}([^\s{{]\S*+)(?:\s++([^\s{{\#]\S*+))?(?:\s++\#.*)?\s*+"""
)
_NATIVE_HISTOGRAM = re.compile(rf"""\s*+{_SERIES}\{{count:""")

_TERM = re.compile(
    r"""\s*+(?:(?:"((?:[^"\\]|\\.)*+)"|((?!__\w*:)[a-zA-Z_:][a-zA-Z0-9_:]*+))\s*+=\s*+)?"""
    r""""((?:[^"\\]|\\.)*+)"\s*+(?:,|$)"""
)
_METADATA = re.compile(r"\#\s++(HELP|TYPE|UNIT|EOF)(?:\s++|$)(.*+)", re.DOTALL)
_NAMED = re.compile(r'(?:"((?:[^"\\]|\\.)*+)"|([a-zA-Z_:][a-zA-Z0-9_:]*+))(.*+)', re.DOTALL)
_NAME = re.compile(r"""\{?\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s{"]++))""")
_HELP_ESCAPE = re.compile(r"\\[\\n]")


class Metadata(NamedTuple):
    """A line with metadata; `word` is HELP, TYPE, UNIT or EOF."""

    word: str
    name: str
    text: str


class Sample(NamedTuple):
    """A sample. `labels` is the text of the label set, `time` the text of the timestamp."""

    name: str
    labels: str
    value: float
    time: str


def metadata(line: str) -> Metadata | None:
    """Parse a line that begins with `#`; None for a comment, as is HELP without a name.

    As in Prometheus, any text may follow the name of HELP, also without a space.

    Raises:
        ValueError: TYPE has no name of a family, or no type.
    """
    found = _METADATA.fullmatch(line.strip())
    if found is None:
        return None
    word, rest = found.groups()
    if word in ("EOF", "UNIT"):
        return Metadata(word, "", rest)
    named = _NAMED.fullmatch(rest)
    if word == "TYPE" and (named is None or not named[3][:1].isspace()):
        raise ValueError("no family")
    if named is None:
        return None
    quoted, plain, text = named.groups()
    return Metadata(word, plain or unescaped(quoted), text.lstrip())


def help_of(text: str) -> str:
    """The text of a HELP line, unescaped."""
    return _HELP_ESCAPE.sub(lambda found: "\n" if found[0] == r"\n" else "\\", text)


def sample(line: str, *, openmetrics: bool) -> Sample | None:
    """Parse the line of a sample, with any white space; None for a native histogram.

    Raises:
        ValueError: it is not a sample.
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
    """The labels between braces; a metric's name among them is `__name__`.

    Raises:
        ValueError: a label is malformed, or is there twice.
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
    """Parse a number. Unlike in Python, a number that is too large for a float is an error.

    Raises:
        ValueError: it is not valid.
    """
    value = float(text)
    if "_" in text or (math.isinf(value) and "n" not in text.lower()):
        raise ValueError("no number")
    return value


def name(line: str) -> str:
    """The metric's name at the start of a line, `{"quoted"}` or not; empty if there is none."""
    found = _NAME.match(line.lstrip())
    if found is None:
        return ""
    quoted, plain = found.groups()
    return plain or unescaped(quoted or "")


def milliseconds(seconds: str) -> int:
    """OpenMetrics' seconds as whole milliseconds.

    Raises:
        ValueError, OverflowError: it is not a number.
    """
    # Round to microseconds first: as a float, 1700000000.123 × 1000 is just below a whole number.
    return math.floor(round(number(seconds) * 1e6) / 1000)
