"""Reads a Prometheus exposition, text 0.0.4 or OpenMetrics, into columns of its samples.

It is parsed in blocks as they arrive: neither the whole body nor an object for each sample is ever
in memory. One regular expression for each block finds the plain samples. A label set is kept as
text, so that one that was seen before need not be parsed again.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from itertools import compress, groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

from relay_metrics.families import chunks, pairs
from relay_metrics.relays.prometheus import lines

OPENMETRICS = "application/openmetrics-text"
TYPES = ("counter", "gauge", "histogram", "summary", "info", "stateset", "gaugehistogram")
"""The known types of families, except those that say nothing."""
_NO_TYPES = ("unknown", "untyped")
TIMES_MS = range(1, 2**63 // 10**6)
"""The timestamps that OTLP can hold: nanoseconds in 64 bits, in which 0 means unknown."""

_NEW_LINE = 10
_BLOCK = 65536
_MAX_LINE_BYTES = 65536
_MAX_COMMENT = 4096
_MAX_QUOTES = 2048
_MOST_KNOWN = 16384
_MANY = 10
"""From this many lines on it is worth looking for lines with the same names and labels."""
_LONG_PIECE = 2048
_MOST_EVEN = 512
_MOST_ALIKE_BYTES = 2 << 20
_MOST_MISSES = 16
_MOST_SIGNS = 64
_MOST_CHUNKS = 1024
_LONG_LABELS = 1024
_MOST_LAYOUTS = 1024
"""The most combinations of label names that the samples of one name may have."""

# The suffixes of sample names, by the type of the family.
_PARTS: dict[str, tuple[str, ...]] = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("_count", "_sum"),
    "info": ("_info",),
    "gaugehistogram": ("_bucket", "_gcount", "_gsum"),
}
_CREATED = "_created"

LabelNames = tuple[str, ...]


class NoExposition(Exception):
    """The answer is not an exposition. The message shows no line, as a line can hold a secret.

    `type` is the `error.type`: `malformed`, `html` or `empty`.
    """

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type


class Bounds(NamedTuple):
    """The bounds of one exposition. Samples beyond them are left out and counted.

    Attributes:
        families: the most names of families; each is a table, or three for a histogram.
        samples: the most samples.
        compounds: the most series of one histogram or summary, and the most lines that have to be
            parsed separately.
        text_bytes: the most bytes of label sets in memory.
    """

    families: int = 10_000
    samples: int = 1_000_000
    compounds: int = 65_536
    text_bytes: int = 80_000_000

    @classmethod
    def of(cls, families: int, memory_mb: int) -> Bounds:
        """The bounds for a function with `memory_mb` of memory."""
        return cls(families, memory_mb * 4096, memory_mb * 256, memory_mb * 312_500)


BOUNDS = Bounds()


class Column:
    """The samples of one name.

    Attributes:
        text: their label sets, in the form of `Columns`.
        values: never NaN.
        times: the timestamps, 0 for samples without one; None if no sample has one.
        names: the combinations of label names, in their order.
    """

    __slots__ = ("names", "text", "times", "values")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.values = array("d")
        self.times: array[int] | None = None
        self.names: set[LabelNames] = set()

    def __len__(self) -> int:
        return len(self.values)

    def add(
        self,
        text: str,
        values: array[float],
        times: Sequence[int] | None,
        names: Iterable[LabelNames],
    ) -> None:
        """Add samples. Their label sets are the lines of `text`."""
        if times is not None or self.times is not None:
            if self.times is None:
                self.times = array("q", bytes(8 * len(self.values)))
            self.times.extend(times or bytes(len(values)))
        self.text.append(text)
        self.values.extend(values)
        self.names.update(names)
        # join small chunks: interleaved names would leave a chunk for each sample
        if len(self.text) >= _MOST_CHUNKS and len(self.text[-1]) < 64:
            at = _MOST_CHUNKS // 2
            self.text[-at:] = ["\n".join(self.text[-at:])]

    @property
    def label_sets(self) -> Iterator[str]:
        """The label set of each sample, as text."""
        for chunk in self.text:
            yield from chunk.split("\n")

    def samples(self) -> Iterator[tuple[str, float, int]]:
        """The label set as text, the value and the time of each sample."""
        times = self.times or bytes(len(self.values))
        return zip(self.label_sets, self.values, times, strict=True)

    def only(self, kept: Sequence[bool]) -> Column:
        """Some of the samples."""
        column = Column()
        column.text = list(chunks(list(compress(self.label_sets, kept))))
        column.values = array("d", compress(self.values, kept))
        column.times = self.times and array("q", compress(self.times, kept))
        column.names = self.names
        return column


@dataclass
class Exposition:
    """A parsed exposition.

    Attributes:
        columns: the samples by their own name (`…_bucket`, `…_total`), in order.
        types: the types of families, by the name in the TYPE line.
        helps: the texts of HELP lines, by the name in the line.
        left_out: how many samples were left out, by reason.
        bounds: the bounds that applied.
    """

    columns: dict[str, Column] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    helps: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    bounds: Bounds = BOUNDS

    def family_of(self, name: str) -> str:
        """The family of a sample with this name; by default it has the same name.

        A gauge `a_created` of text 0.0.4 belongs to the counter `a_total` or `a`, the histogram
        `a`, or the summary `a`, if there is one. No other name with a type of its own is a part.
        """
        if name.endswith(_CREATED) and self.types.get(name, "gauge") in ("gauge", "untyped"):
            started = name.removesuffix(_CREATED)
            kind = self.types.get(started)
            counter = kind == "counter" and not started.endswith("_total")
            if counter or kind in ("histogram", "summary"):
                return started
            if self.types.get(f"{started}_total") == "counter":
                return f"{started}_total"
        if name not in self.types:
            stem, underscore, part = name.rpartition("_")
            if underscore + part in _PARTS.get(self.types.get(stem, ""), ()):
                return stem
        return name


class _Group(NamedTuple):
    """Lines of one name.

    Attributes:
        suffix: the end of the name, after the part that all names of a family share.
        label_sets: the label sets, one on each line.
        names: the label names that all of them have.
        pick: selects their figures from those of all names; None if there is only one name.
    """

    suffix: str
    label_sets: str
    names: LabelNames
    pick: Callable[[Any], Any] | None


def read(
    body: bytes, media_type: str, exclude: Sequence[str] = (), bounds: Bounds = BOUNDS
) -> Exposition:
    """Parse a complete exposition: see `Reader`."""
    reader = Reader(media_type, exclude, bounds)
    reader.feed(body)
    return reader.end()


class Reader:
    """Reads an exposition in blocks. A malformed line fails the whole exposition.

    Args:
        media_type: of the answer; any other than that of OpenMetrics is read as text 0.0.4.
        exclude: patterns (`go_*`) of families that are not parsed. For a counter, the name with and
            without `_total` is compared.
        bounds: samples beyond them are only counted.
    """

    def __init__(
        self, media_type: str, exclude: Sequence[str] = (), bounds: Bounds = BOUNDS
    ) -> None:
        self._exposition = Exposition(bounds=bounds)
        self._openmetrics = media_type == OPENMETRICS
        self._exclude = re.compile("|".join(map(translate, exclude))) if exclude else None
        self._bounds = bounds
        self._held = b""
        self._rest = bytearray()
        self._cut = False
        self._lines = 0
        self._blank = True
        self._ended = False
        self._families: set[str] = set()
        self._untold = False
        self._samples = 0
        self._odd = 0
        self._text_bytes = 0
        self._excluded: dict[str, bool] = {}
        self._known: dict[str, LabelNames] = {"": ()}
        self._layouts: dict[LabelNames, LabelNames] = {}
        self._misses = 0
        self._even: dict[LabelNames, re.Pattern[str]] = {}
        self._alike: dict[tuple[int, str, str], tuple[str, str, Sequence[_Group]]] = {}
        self._alike_bytes = 0

    # -- blocks

    def feed(self, data: bytes) -> None:
        """Read the next bytes, decompressed.

        Raises:
            NoExposition: a line is malformed, or it is a web page.
        """
        for at in range(0, len(data), _BLOCK):
            piece = data[at : at + _BLOCK]
            if self._blank and (seen := piece.lstrip()):
                self._blank = False
                if seen.startswith(b"<"):
                    raise NoExposition("html", "answered 200 with HTML")
            end = piece.rfind(b"\n") + 1
            if end:
                if len(self._rest) > _MAX_LINE_BYTES or (
                    len(self._rest) + piece.find(b"\n") > _MAX_LINE_BYTES
                ):
                    self._block(self._held)
                    self._long(bytes(self._rest[:_MAX_COMMENT]))
                    self._held = piece[piece.find(b"\n") + 1 : end]
                else:
                    self._held += bytes(self._rest) + piece[:end]
                self._rest = bytearray(piece[end:])
                self._whole_families()
            elif len(self._rest) <= _MAX_LINE_BYTES:
                self._rest += piece

    def _whole_families(self) -> None:
        """Read the lines up to the last comment, and keep the rest.

        The family that begins there is then read as a whole, so that similar families are
        recognised.
        """
        cut = _last_comment(self._held) or len(self._held) * (len(self._held) > _BLOCK)
        if cut:
            self._block(self._held[:cut])
            self._held = self._held[cut:]

    def end(self) -> Exposition:
        """Read the rest and return the exposition.

        Raises:
            NoExposition: as `feed`; or the body was empty, or OpenMetrics' `# EOF` is missing.
        """
        if self._rest:
            self.feed(b"\n")
        self._block(self._held)
        self._held = b""
        if self._blank:
            raise NoExposition("empty", "answered 200 with an empty body")
        if self._openmetrics and not self._ended:
            raise NoExposition(
                "malformed", "answered 200 with an exposition of which the end (# EOF) is missing"
            )
        return self._exposition

    def _malformed(self, line: int) -> NoExposition:
        message = f"answered 200 with an exposition of which line {line} is malformed"
        return NoExposition("malformed", message)

    def _long(self, beginning: bytes) -> None:
        """Read a line that is too long, given its beginning."""
        self._lines += 1
        if beginning.lstrip().startswith(b"#"):
            self._line(beginning.decode("utf-8", "ignore"))
        else:
            self._exposition.left_out["too_large"] += 1

    def _block(self, block: bytes) -> None:
        """Read whole lines."""
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            # the error names an earlier malformed line, if there is one
            start = block.rfind(b"\n", 0, error.start) + 1
            self._block(block[:start])
            raise self._malformed(self._lines + 1) from None
        pieces = _before_comments(text)
        if len(pieces) * _LONG_PIECE > len(text):
            self._piece(text)
            return
        for number, piece in enumerate(pieces):
            rest = piece if number == len(pieces) - 1 else f"{piece}\n"
            if number or piece.startswith("#"):
                comment, _, rest = rest.partition("\n")
                self._one_by_one([f"#{comment}" if number else comment])
                self._lines += 1
            self._piece(rest)

    def _piece(self, text: str) -> None:
        """Read whole lines; there are only comments among them if the block has many."""
        if not text:
            return
        taken = self._evenly(text)
        if not taken:
            taken = text.count("\n")
            if not any(self._plainly(text, pattern) for pattern in self._patterns(text)):
                self._one_by_one(text.split("\n")[:-1])
        self._lines += taken

    def _one_by_one(self, all_lines: Sequence[str]) -> None:
        for number, line in enumerate(all_lines, self._lines + 1):
            try:
                self._line(line)
            except (ValueError, LookupError, OverflowError):
                raise self._malformed(number) from None

    def _evenly(self, text: str) -> int:
        """Read lines with few metric names, each of which always has the same label names or none.

        Returns:
            How many lines were read: all, or 0 if they do not have this form.
        """
        # it is not tried any more if it fails most of the time
        labels = text[: text.index("\n")].partition("{")[2].rpartition("}")[0]
        if self._misses > _MOST_MISSES or not lines.is_plain(labels):
            return 0
        # the series and the value of each line; only values end with a line break
        parts = text.replace("\n", "\n ").split(" ")
        series, values = parts[:-1:2], parts[1::2]
        if len(series) != len(values) or "".join(values).count("\n") != len(values):
            # there are spaces in labels, or other spaces
            rows = text[:-1].split("\n")
            series, _, values = map(list, zip(*[row.rpartition(" ") for row in rows], strict=True))
        if len(series) < _MANY:
            return 0
        self._misses += 1
        numbers = lines.numbers(values)
        if numbers is None:
            return 0
        name, groups = self._groups(series)
        if not all(lines.is_name(f"{name}{group.suffix}") for group in groups):
            return 0
        for suffix, label_sets, layout, pick in groups:
            of_name = numbers if pick is None else array("d", pick(numbers))
            full = f"{name}{suffix}"
            column = self._exposition.columns.get(full) or self._admitted(full, len(of_name))
            if column is not None:
                self._ended = False
                self._add(column, label_sets, of_name, None, (layout,))
        if groups:
            self._misses = max(self._misses - 2, 0)
        return len(series) if groups else 0

    def _groups(self, series: Sequence[str]) -> tuple[str, Sequence[_Group]]:
        """The common beginning of all names, and the series of each name.

        There are no groups if the label names of one name differ.
        """
        text = "\n".join(["", *series])
        name = series[0].partition("{")[0]
        # the second is for example the name of a histogram, without `_bucket`
        for beginning in (name, name.rpartition("_")[0], ""):
            at = len(beginning)
            ends = (len(series), series[0][at:], series[-1][at:])
            # families with the same labels often have the same label sets
            if ends in self._alike:
                known, of_name, groups = self._alike[ends]
                if of_name:
                    known = known.replace(f"\n{of_name}", "\n")
                    self._alike[ends] = known, "", groups
                if text == known.replace("\n", f"\n{beginning}"):
                    return beginning, groups
            groups = self._of_one_name(name, series, text) if beginning == name else ()
            groups = groups or self._of_names(beginning, series)
            if groups:
                self._alike_bytes += len(text)
                if self._alike_bytes > _MOST_ALIKE_BYTES:
                    self._alike.clear()
                    self._alike_bytes = len(text)
                self._alike[ends] = text, beginning, groups
                return beginning, groups
        return name, ()

    def _of_one_name(self, name: str, series: Sequence[str], text: str) -> Sequence[_Group]:
        if text == f"\n{name}" * len(series):
            return (_Group("", "\n" * (len(series) - 1), (), None),)
        if not series[-1].startswith(f"{name}{{") or not text.endswith("}"):
            return ()
        label_sets = text[len(name) + 2 : -1].replace(f"}}\n{name}{{", "\n")
        names = self._layout(label_sets.partition("\n")[0], label_sets)
        return (_Group("", label_sets, names, None),) if names else ()

    def _of_names(self, beginning: str, series: Sequence[str]) -> Sequence[_Group]:
        groups: list[_Group] = []
        texts: dict[str, str] = {}
        places = _places([one.partition("{")[0] for one in series])
        if not 1 < len(places) < len(series) / 2 or not all(
            name.startswith(beginning) for name in places
        ):
            return ()
        for name, at in places.items():
            pick = itemgetter(*at) if len(at) > 1 else itemgetter(slice(at[0], at[0] + 1))
            of_name = pick(series)
            found = self._of_one_name(name, of_name, "\n".join(["", *of_name]))
            if not found:
                return ()
            label_sets, names = found[0].label_sets, found[0].names
            # sums and counts have the same label sets
            label_sets = texts.setdefault(label_sets, label_sets)
            groups.append(_Group(name[len(beginning) :], label_sets, names, pick))
        return groups

    def _layout(self, first: str, label_sets: str) -> LabelNames:
        """The label names that all label sets have; empty if they differ or are not plain."""
        if len(first) > _LONG_LABELS or not lines.is_plain(first):
            return ()
        try:
            names = self._names(first)
        except ValueError:
            return ()
        pattern = self._even.get(names)
        if pattern is None:
            if len(self._even) == _MOST_EVEN:
                return ()
            pattern = self._even[names] = lines.even(names)
        return names if pattern.fullmatch(label_sets) else ()

    def _plainly(self, text: str, pattern: re.Pattern[str]) -> bool:
        """Read lines with one expression.

        Returns False, and reads nothing, if a line does not match it.
        """
        names, labels, *more, values, times, others = zip(*pattern.findall(text), strict=True)
        if more:
            quoted, of_quoted = more
            names = tuple(map(_either, names, quoted))
            labels = tuple(map(_either, labels, of_quoted))
        if '=""' in text:
            labels = tuple(map(lines.without_empty, labels))
        try:
            numbers = _numbers(values)
            instants = self._instants(times) if any(times) else None
            unparsed = (lines.TEXT_UNPARSED, lines.OPENMETRICS_UNPARSED)
            label_names = self._label_names(labels, trusted=pattern not in unparsed)
        except (ValueError, OverflowError):
            return False
        kept = None
        if "NaN" in text or (instants and not _are_times(times, instants)):
            kept = [
                not math.isnan(number) and (not instants or not time or instants[at] in TIMES_MS)
                for at, (number, time) in enumerate(zip(numbers, times, strict=True))
            ]
        if not any(others) and 1 < len(set(names)) < len(names) / 8:
            # few names, which may be interleaved: group the samples by name
            order = sorted(range(len(names)), key=names.__getitem__)
            names, labels, times = (
                tuple([one[place] for place in order]) for one in (names, labels, times)
            )
            numbers = array("d", [numbers[at] for at in order])
            label_names = [label_names[at] for at in order]
            instants = instants and [instants[at] for at in order]
            kept = kept and [kept[at] for at in order]
        at = 0
        for name, run in groupby(names):
            start, at = at, at + len(list(run))
            if not name:
                self._others(pattern, text, others, start, at)
                continue
            column = self._exposition.columns.get(name) or self._admitted(name, at - start)
            if column is None:
                continue
            self._ended = False
            some = slice(start, at)
            of_times = None if instants is None else instants[some]
            if kept is None or all(kept[some]):
                label_sets = "\n".join(labels[some])
                self._add(column, label_sets, numbers[some], of_times, label_names[some])
            else:
                self._add_kept(column, kept[some], labels[some], numbers[some], of_times)
        return True

    def _patterns(self, text: str) -> Iterator[re.Pattern[str]]:
        """The expressions to try on a block, the fastest first."""
        if '{"' in text:
            yield lines.OPENMETRICS_QUOTED if self._openmetrics else lines.TEXT_QUOTED
        elif self._openmetrics:
            # with exemplars, the last brace may belong to one
            if "# {" not in text:
                yield lines.OPENMETRICS_UNPARSED
            yield lines.OPENMETRICS
        else:
            yield lines.TEXT_UNPARSED
            yield lines.TEXT

    def _others(
        self, pattern: re.Pattern[str], text: str, others: Sequence[str], start: int, stop: int
    ) -> None:
        """Read lines that are not plain samples."""
        for number in range(start, stop):
            try:
                if others[number]:
                    self._line(others[number])
            except (ValueError, LookupError, OverflowError):
                (found,) = islice(pattern.finditer(text), number, number + 1)
                before = text.count("\n", 0, found.start())
                raise self._malformed(self._lines + before + 1) from None

    def _instants(self, times: Sequence[str]) -> list[int]:
        if self._openmetrics:
            return [lines.milliseconds(time) if time else 0 for time in times]
        return [int(time) if time else 0 for time in times]

    def _label_names(self, labels: Sequence[str], *, trusted: bool = True) -> list[LabelNames]:
        """The label names of each label set.

        Args:
            trusted: whether the texts are known to be plain label sets.

        Raises:
            ValueError: a label is there twice, or a text is not a plain label set.
        """
        known = self._known
        found = list(map(known.get, labels))
        if None in found:
            if len(known) > _MOST_KNOWN:
                known.clear()
            for at, text in enumerate(labels):
                if found[at] is None:
                    names = known.get(text)
                    if names is None:
                        if not trusted and not lines.is_plain(text):
                            raise ValueError("not plain")
                        names = self._names(text)
                        if len(text) < _LONG_LABELS:
                            known[text] = names
                    found[at] = names
        return found  # type: ignore[return-value]  # there is no None any more

    def _names(self, text: str) -> LabelNames:
        plain = text.replace("\\\\", "").replace('\\"', "") if "\\" in text else text
        between = tuple(plain.split('"')[::2])
        names = self._layouts.get(between)
        if names is None:
            # a name in quotes is among the values instead
            plain_names = all(one[-2:] not in ("=", ",=", "") for one in between[:-1])
            if plain_names:
                names = tuple([one.removeprefix(",")[:-1] for one in between[:-1]])
            else:
                names = tuple(name for name, _ in pairs(text))
            if len(set(names)) != len(names):
                raise ValueError("a label twice")
            if plain_names:
                if len(self._layouts) > _MOST_KNOWN:
                    self._layouts.clear()
                self._layouts[between] = names
        return names

    # -- lines

    def _line(self, line: str) -> None:
        """Read a single line.

        Raises:
            ValueError, LookupError, OverflowError: it is malformed.
        """
        line = line.strip()
        if not line:
            return
        if line.startswith("#"):
            self._metadata(line[:_MAX_COMMENT])
            return
        self._ended = False
        if self._exclude is not None and self._is_excluded(lines.name(line)):
            return
        if line.count('"') > _MAX_QUOTES:
            self._exposition.left_out["too_large"] += 1
            return
        self._odd += 1
        if self._odd > self._bounds.compounds:
            self._exposition.left_out["too_many_samples"] += 1
            return
        sample = lines.sample(line, openmetrics=self._openmetrics)
        if sample is None:
            self._exposition.left_out["native_histogram"] += 1
            return
        name, labels, value, time = sample
        instants = self._instants([time])
        self._label_names([labels])
        column = self._exposition.columns.get(name) or self._admitted(name, 1)
        if column is not None:
            kept = [not math.isnan(value) and (not time or instants[0] in TIMES_MS)]
            of_times = instants if time else None
            self._add_kept(column, kept, [labels], array("d", [value]), of_times)

    def _metadata(self, line: str) -> None:
        said = lines.metadata(line)
        if said is None:
            return
        self._ended = said.word == "EOF"
        exposition = self._exposition
        if said.word == "HELP":
            if said.name in exposition.helps or len(exposition.helps) < self._bounds.families:
                exposition.helps[said.name] = lines.help_of(said.text)
        elif said.word == "TYPE":
            kind = said.text.split()[-1]
            if self._openmetrics and said.text not in (*TYPES, *_NO_TYPES):
                raise ValueError("no type")
            if said.name in exposition.types or len(exposition.types) < self._bounds.families:
                if kind in TYPES:
                    exposition.types[said.name] = kind
                else:
                    exposition.types.setdefault(said.name, "untyped")
            elif not self._is_excluded(said.name):
                self._untold = True

    # -- samples

    def _admitted(self, name: str, count: int) -> Column | None:
        """A column for the samples of a new name; None if it is excluded or beyond the bounds.

        Args:
            count: how many samples there are, which are counted if they are left out.
        """
        exposition = self._exposition
        if self._exclude is not None and self._is_excluded(name):
            return None
        family = exposition.family_of(name)
        if family not in self._families:
            full = len(self._families) >= self._bounds.families
            # the TYPE of the family may have been dropped by the bounds: its type is not known
            if full or (self._untold and family not in exposition.types):
                exposition.left_out["too_many_families"] += count
                return None
            self._families.add(family)
        column = exposition.columns[name] = Column()
        return column

    def _is_excluded(self, name: str) -> bool:
        if self._exclude is None:
            return False
        excluded = self._excluded.get(name)
        if excluded is None:
            family = self._exposition.family_of(name)
            names = [family]
            if self._exposition.types.get(family) == "counter":
                names += [family.removesuffix("_total"), f"{family}_total"]
            excluded = any(self._exclude.match(one) for one in names)
            if len(self._excluded) > _MOST_KNOWN:
                self._excluded.clear()
            self._excluded[name] = excluded
        return excluded

    def _add_kept(
        self,
        column: Column,
        kept: Sequence[bool],
        labels: Sequence[str],
        values: array[float],
        times: Sequence[int] | None,
    ) -> None:
        """Add the samples that can be data points, and count the others."""
        not_numbers = sum(map(math.isnan, values))
        left_out = self._exposition.left_out
        if not_numbers:
            left_out["nan"] += not_numbers
        if others := len(kept) - sum(kept) - not_numbers:
            left_out["timestamp"] += others
        some = list(compress(labels, kept))
        if some:
            self._add(
                column,
                "\n".join(some),
                array("d", compress(values, kept)),
                None if times is None else list(compress(times, kept)),
                self._label_names(some),
            )

    def _add(
        self,
        column: Column,
        text: str,
        values: array[float],
        times: Sequence[int] | None,
        names: Iterable[LabelNames],
    ) -> None:
        """Add samples within the bounds, and count the others.

        Args:
            text: their label sets, one on each line.
            names: the combinations of label names in them.
        """
        room = self._bounds.samples - self._samples
        if len(column.names) > _MOST_LAYOUTS or self._text_bytes > self._bounds.text_bytes:
            room = 0
        if len(values) > room:
            self._exposition.left_out["too_many_samples"] += len(values) - room
            if not room:
                return
            text, values = "\n".join(text.split("\n")[:room]), values[:room]
            times = times and times[:room]
        self._samples += len(values)
        self._text_bytes += len(text) if text.isascii() else text.__sizeof__()
        column.add(text, values, times, names)


def _last_comment(block: bytes) -> int:
    """The start of the last comment line; 0 if there is none, or none that is found quickly."""
    at = len(block)
    # a # that does not begin a line is in a label
    for _ in range(_MOST_SIGNS):
        at = block.rfind(b"#", 0, at)
        if at <= 0 or block[at - 1] == _NEW_LINE:
            return max(at, 0)
    return 0


def _before_comments(text: str) -> list[str]:
    """A text, split before each comment line. One character is found faster than two."""
    if text.count("#") > _MOST_SIGNS:
        return text.split("\n#")
    first, *others = text.split("#")
    pieces = [first]
    for one in others:
        if pieces[-1].endswith("\n"):
            pieces[-1] = pieces[-1][:-1]
            pieces.append(one)
        else:
            pieces[-1] += f"#{one}"
    return pieces


def _places(names: Sequence[str]) -> dict[str, list[int]]:
    """The positions of each name."""
    places: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        places.setdefault(name, []).append(at)
    return places


def _either(one: str, other: str) -> str:
    return one or other


def _numbers(values: Sequence[str]) -> array[float]:
    """The values as numbers; 0 for an empty one, of a line that is not a sample.

    Raises:
        ValueError: one is not a number.
    """
    if "" in values:
        numbers = array("d", [float(value) if value else 0.0 for value in values])
    else:
        numbers = array("d", map(float, values))
    if math.inf in numbers or -math.inf in numbers:
        for value in values:
            lines.number(value or "0")
    return numbers


def _are_times(times: Sequence[str], instants: Sequence[int]) -> bool:
    """Whether OTLP can hold all given timestamps."""
    return all(
        not time or instant in TIMES_MS for time, instant in zip(times, instants, strict=True)
    )
