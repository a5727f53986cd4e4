"""A Prometheus exposition, text 0.0.4 or OpenMetrics, as its samples.

prometheus_client's parsers read every line but one sort: the plain sample of the text format,
without an escape or a quoted name. Those are nearly all lines of a large exposition, and the
library looks at each of their characters twice, in Python: 100,000 of them took 2.2 s of the 5 s
that they may take on their whole way to bytes. A test holds both ways to the same result.
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any, NamedTuple

OPENMETRICS = "application/openmetrics-text"
TYPES = ("counter", "gauge", "histogram", "summary", "info", "stateset", "gaugehistogram")
"""The types that say something of a family."""
TIMES_MS = range(1, 2**63 // 10**6)
"""The instants that OTLP has: whole nanoseconds in 64 bits, of which 0 means that it is unknown."""

_MAX_LINE_BYTES = 65536
_MAX_COMMENT = 4096
# The library copies what is left of a line at every label and every escaped quote.
_MAX_QUOTES = 2048

# What the names of a family's samples have behind the family's own.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("_count", "_sum"),
    "info": ("_info",),
    "gaugehistogram": ("_bucket", "_gcount", "_gsum"),
}
_CREATED = "_created"

# a{b="c",d="e"} 1 1700000000000
_PLAIN = re.compile(
    r"""([a-zA-Z_:][a-zA-Z0-9_:]*+)"""
    r"""(?:\{((?:[^"\\{}\s]|"[^"\\\n]*+")*+)\})?"""
    r"""[ \t]++([+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?|[+-]?Inf|NaN)"""
    r"""(?:[ \t]++(-?[0-9]{1,18}))?[ \t\r]*+\n?"""
)
_LABEL_NAME = re.compile(r"(?!__name__=)([a-zA-Z_][a-zA-Z0-9_]*)=")

# What stands before a value, whatever is in it; the library then is the judge of that.
_LABELS = r"""\{(?:[^"{}\\]|"(?:[^"\\]|\\.)*+")*+\}"""
_SERIES = rf"""(?:[a-zA-Z_:][a-zA-Z0-9_:]*+(?:(?=\s)|\s*+{_LABELS})|{_LABELS})\s*+"""
_TEXT_SAMPLE = re.compile(rf"""\s*+{_SERIES}([^\s{{]\S*+)(?:\s++-?[0-9]{{1,18}})?\s*+""")
_OPENMETRICS_SAMPLE = re.compile(
    rf"""{_SERIES}([^\s{{]\S*+)(?:\ [^\s{{\#]\S*+)?(?:\ \#\ {_LABELS}\ [^\n{{]++)?\n?"""
)
_NATIVE_HISTOGRAM = re.compile(rf"""{_SERIES}\{{count:""")

# A label's name that begins with two underscores, or any other string in quotes. The formats have
# such names; the library refuses them, but takes whatever stands behind a NUL in quotes.
_VEIL = "\0"
_VEILED = re.compile(
    r"""([{,]\s*+)(?!"?__name__"?\s*=)"""
    r"""(?:"((?:__|\0)(?:[^"\\]|\\.)*+)"|(__[a-zA-Z0-9_]*+))(?=\s*=)"""
    r"""|"(?:[^"\\]|\\.)*+"?"""
)

_METADATA = re.compile(r"\s*\#\s+(HELP|TYPE|UNIT)(?:\s+|$)(.*)", re.DOTALL)
_NAME = re.compile(r"""\{?\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s{"]++))""")


class MalformedExposition(Exception):
    """A line that cannot be read. The text says which and no more: a line can hold a secret."""


class Sample(NamedTuple):
    """A line of an exposition: a series' labels, the empty ones aside, and its value then.

    `time_ms` is None where the exposition gives no instant.
    """

    labels: Mapping[str, str]
    value: float
    time_ms: int | None


@dataclass
class Exposition:
    """What an exposition says.

    Attributes:
        samples: by their own name (`…_bucket`, `…_total`), in order; never NaN.
        types: of the families, by the name in the TYPE line.
        helps: likewise.
        left_out: how many samples could not be taken, by the reason.
    """

    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    types: dict[str, str] = field(default_factory=dict)
    helps: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def family_of(self, name: str) -> str:
        """The family that a sample of this name belongs to: its own where no TYPE says more.

        What text 0.0.4 gives as a gauge `a_created` is the start of the counter `a_total` or `a`,
        of the histogram `a`, of the summary `a`, where there is one.
        """
        if name.endswith(_CREATED):
            started = name.removesuffix(_CREATED)
            for family in (started, f"{started}_total"):
                if self.types.get(family) in ("counter", "histogram", "summary"):
                    return family
        if name not in self.types:
            stem, underscore, part = name.rpartition("_")
            if underscore + part in _PARTS.get(self.types.get(stem, ""), ()):
                return stem
        return name

    def add(self, name: str, labels: Mapping[str, str], value: float, time_ms: int | None) -> None:
        """Take a sample, or count it where no data point can be it."""
        if math.isnan(value):
            self.left_out["nan"] += 1
        elif time_ms is not None and time_ms not in TIMES_MS:
            self.left_out["timestamp"] += 1
        else:
            self.samples[name].append(Sample(labels, value, time_ms))


def read(body: bytes, media_type: str, exclude: Sequence[str] = ()) -> Exposition:
    """Parse an exposition. All of it is read, or none.

    Args:
        body: UTF-8, decompressed.
        media_type: of the answer; anything but OpenMetrics' is read as text 0.0.4.
        exclude: patterns (`go_*`) of the families that are not even parsed. A counter is known by
            its name with `_total` and without.

    Raises:
        MalformedExposition: a line is not what the format has.
    """
    if media_type == OPENMETRICS and not body.rstrip(b"\n").endswith(b"# EOF"):
        raise MalformedExposition("the end (# EOF) is missing")
    reader = _Reader(body, exclude)
    try:
        if media_type == OPENMETRICS:
            reader.read_openmetrics()
        else:
            reader.read_text()
    # the library indexes what it takes to be there
    except (ValueError, LookupError, OverflowError):
        raise MalformedExposition(f"line {reader.line} is malformed") from None
    return reader.exposition


class _Reader:
    """Reads one body; `line` is the number of the line that it has come to."""

    def __init__(self, body: bytes, exclude: Sequence[str]) -> None:
        self.exposition = Exposition()
        self.line = 0
        self._body = body
        self._exclude = re.compile("|".join(map(translate, exclude))) if exclude else None
        self._excluded: dict[str, bool] = {}
        self._label_names: dict[tuple[str, ...], tuple[str, ...] | None] = {}

    def read_text(self) -> None:
        from prometheus_client.parser import text_fd_to_metric_families

        parse: Any = text_fd_to_metric_families
        for line in self._lines():
            plain = _PLAIN.fullmatch(line)
            if plain and (self._is_excluded(plain[1]) or self._take(*plain.groups())):
                continue
            # a line at a time: it would hold back the samples of a family until the next begins
            for metric in parse((self._odd(line),)):
                self._add(metric, lambda seconds: round(seconds * 1000))

    def read_openmetrics(self) -> None:
        from prometheus_client.openmetrics.parser import text_fd_to_metric_families

        parse: Any = text_fd_to_metric_families
        for metric in parse(self._openmetrics_lines()):
            self._add(metric, _time_ms)

    def _add(self, metric: Any, time_ms: Callable[[Any], int]) -> None:
        if metric.documentation:
            self.exposition.helps[metric.name] = metric.documentation
        for name, labels, value, timestamp, *_ in metric.samples:
            when = None if timestamp is None else time_ms(timestamp)
            unveiled = {key.removeprefix(_VEIL): text for key, text in labels.items()}
            self.exposition.add(name, _without_empty(unveiled), float(value), when)

    def _odd(self, line: str) -> str:
        """A line as the library may read it; what it need not read is empty."""
        metadata = _METADATA.match(line)
        if metadata is None:
            if line.lstrip().startswith("#") or self._is_excluded(_name(line)):
                return ""
            return line if line.isspace() else _checked(_TEXT_SAMPLE, line)
        if metadata[1] == "TYPE":
            kind = self._typed(metadata[2])
            # as a counter the library would give it, whatever its name, one with _total; and it
            # refuses a type that it does not know, such as VictoriaMetrics' "unsupported"
            return line.rstrip().removesuffix(kind) + "untyped"
        return line

    def _openmetrics_lines(self) -> Iterator[str]:
        for line in self._lines():
            if line.startswith("#"):
                metadata = _METADATA.match(line)
                if metadata and metadata[1] == "TYPE":
                    kind = self._typed(metadata[2])
                    if kind not in (*TYPES, "unknown"):
                        raise ValueError("no type")
                yield line
            elif self._exclude and self._is_excluded(_name(line)):
                continue
            elif _NATIVE_HISTOGRAM.match(line):
                self.exposition.left_out["native_histogram"] += 1
            else:
                yield line if line == "\n" else _checked(_OPENMETRICS_SAMPLE, line)

    def _lines(self) -> Iterator[str]:
        for raw in io.BytesIO(self._body):
            self.line += 1
            line = raw.decode()
            if line.startswith("#"):
                yield line if len(line) <= _MAX_COMMENT else line[:_MAX_COMMENT] + "\n"
            elif len(raw) > _MAX_LINE_BYTES or line.count('"') > _MAX_QUOTES:
                self.exposition.left_out["too_large"] += 1
            else:
                yield line

    def _typed(self, text: str) -> str:
        """Note the type in what a TYPE line says behind its first two words, and return it."""
        *name, kind = text.split()
        self.exposition.types[_name(" ".join(name))] = kind
        return kind

    def _is_excluded(self, name: str) -> bool:
        if self._exclude is None:
            return False
        excluded = self._excluded.get(name)
        if excluded is None:
            family = self.exposition.family_of(name)
            names = [family]
            if self.exposition.types.get(family) == "counter":
                names += [family.removesuffix("_total"), f"{family}_total"]
            excluded = any(self._exclude.match(one) for one in names)
            self._excluded[name] = excluded
        return excluded

    def _take(self, name: str, labels: str | None, value: str, time_ms: str | None) -> bool:
        """Take a plain sample. False where its labels are not plain after all."""
        taken: Mapping[str, str] = {}
        if labels:
            parts = labels.split('"')
            names = self._names(tuple(parts[::2]))
            if names is None:
                return False
            taken = _without_empty(dict(zip(names, parts[1::2], strict=True)))
        self.exposition.add(name, taken, number(value), None if time_ms is None else int(time_ms))
        return True

    def _names(self, between: tuple[str, ...]) -> tuple[str, ...] | None:
        """The label names in what stands between label values: `a=`, `,b=`, and `,` or nothing."""
        if between not in self._label_names:
            self._label_names[between] = _label_names(between)
        return self._label_names[between]


def _label_names(between: tuple[str, ...]) -> tuple[str, ...] | None:
    *before, last = between
    matches = [
        _LABEL_NAME.fullmatch(text[1:] if at and text[:1] == "," else text)
        for at, text in enumerate(before)
    ]
    names = tuple(match[1] for match in matches if match)
    commas = all(text.startswith(",") for text in before[1:]) and last in ("", ",")
    whole = len(names) == len(before) == len(set(names))
    return names if whole and commas else None


def _without_empty(labels: Mapping[str, str]) -> Mapping[str, str]:
    """A label without a value is none: https://prometheus.io/docs/concepts/data_model/."""
    return labels if all(labels.values()) else {key: text for key, text in labels.items() if text}


def _checked(sample: re.Pattern[str], line: str) -> str:
    """A sample's line as the library may read it.

    It takes more than the formats have (three numbers, say), and of the labels' names fewer.

    Raises:
        ValueError: it has not the shape of a sample.
    """
    matched = sample.fullmatch(line)
    if matched is None:
        raise ValueError("no sample")
    number(matched[1])
    return _VEILED.sub(_veiled, line) if "__" in line or _VEIL in line else line


def _veiled(matched: re.Match[str]) -> str:
    before, quoted, plain = matched.groups()
    return matched[0] if before is None else f'{before}"{_VEIL}{quoted or plain}"'


def number(text: str) -> float:
    """A number of the format. One too large for a float is not the infinity that Python makes.

    Raises:
        ValueError: it is none.
    """
    value = float(text)
    if "_" in text or (math.isinf(value) and "n" not in text.lower()):
        raise ValueError("no number")
    return value


def _name(text: str) -> str:
    """The name that a line begins with, `{"quoted"}` or not; empty where there is none."""
    matched = _NAME.match(text.lstrip())
    if matched is None:
        return ""
    quoted, plain = matched.groups()
    return plain or re.sub(r"\\(.)", r"\1", quoted or "")


def _time_ms(timestamp: Any) -> int:
    """OpenMetrics' seconds, a float or the library's `Timestamp`, as whole milliseconds."""
    if isinstance(timestamp, float):
        return math.floor(timestamp * 1000)
    ms: int = timestamp.sec * 1000 + timestamp.nsec // 10**6
    return ms
