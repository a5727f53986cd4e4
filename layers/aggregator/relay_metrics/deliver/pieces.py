"""Pieces: a snapshot, or a part of one, with its OTLP request and its message, each made once."""

from __future__ import annotations

import gzip
import threading
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import NamedTuple

from relay_metrics.convert import Part, convert, record_points
from relay_metrics.errors import EncodingError
from relay_metrics.observability import logger
from relay_metrics.snapshot import Snapshot

MAX_REQUEST_BYTES = 32 << 20
"""The largest request before compression. GreptimeDB accepts 64 MiB, the OpenTelemetry Collector 20
MiB compressed."""

LARGE_BYTES = 1 << 16
"""Requests above this size, compressed, are split after a time-out. For smaller ones the reason is
a slow destination, not the size."""

_LEVEL, _LEVEL_OF_FAMILIES = 6, 4
"""Compression levels. For a large exposition, level 6 takes twice as long as 4, which is a tenth of
the run, and saves 12 %."""

MAX_SNAPSHOT_BYTES = 64 << 20
"""The largest snapshot in a message, uncompressed, which bounds the memory of the reader."""

_MAX_LABEL_BYTES = 2 << 20
"""The most bytes of label sets in a message: writing takes a multiple of them in memory."""


class Request(NamedTuple):
    """An OTLP request.

    Attributes:
        body: the `ExportMetricsServiceRequest`, gzipped.
        size: its size before compression, in bytes.
        points: the number of data points, without a repeated `relay_up`.
    """

    body: bytes
    size: int
    points: int

    @property
    def large(self) -> bool:
        """Whether it is split after a time-out, instead of sent again unchanged."""
        return len(self.body) > LARGE_BYTES


class By(Enum):
    """How a piece is split.

    `SIZE`: into halves, if it is too large. `METRIC`: into the scrape record and two halves of the
    metrics, each metric with all of its series, if something in it is refused.
    """

    SIZE = auto()
    METRIC = auto()


class Piece:
    """A snapshot, or a part of one. Threads of several destinations can share it.

    Args:
        snapshot: the figures.
        request: its request, if that exists already; by default it is made when first needed.
        beginning: the part of the request that was written before the snapshot was complete.
        quiet: whether a fault of the code was already logged for the piece that it is a part of.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        request: Request | None = None,
        *,
        beginning: Beginning | None = None,
        quiet: bool = False,
    ) -> None:
        self.snapshot = snapshot
        self._beginning = beginning
        self._quiet = quiet
        self._lock = threading.RLock()
        self._requests: list[Piece] | None = None
        self._request = request
        self._error: EncodingError | None = None
        self._packed: str | None = None
        self._split: dict[By, tuple[Piece, ...]] = {}

    @property
    def request(self) -> Request | None:
        """The request to push; None if the piece is larger than one request may be.

        Raises:
            EncodingError: something in it cannot be encoded in OTLP.
        """
        with self._lock:
            self._encode()
            if self._error is not None:
                raise self._error
            return self._request

    @property
    def points(self) -> int:
        """The number of data points, without a repeated `relay_up`."""
        with self._lock:
            self._encode()
            if self._request is not None:
                return self._request.points
            if self._requests is not None:
                return sum(one.points for one in self._requests)
            return self.snapshot.samples + record_points(self.snapshot)

    @property
    def packed(self) -> str | None:
        """The snapshot as in a message: JSON, gzip, base64; None if it is too large for one."""
        with self._lock:
            if self._packed is None:
                if self.snapshot.label_bytes > _MAX_LABEL_BYTES and len(self.snapshot) > 1:
                    return None
                written = self.snapshot.dump()
                if len(written) > MAX_SNAPSHOT_BYTES:
                    return None
                self._packed = b64encode(gzip.compress(written, 6, mtime=0)).decode()
            return self._packed

    def split(self, by: By) -> tuple[Piece, ...]:
        """The pieces that together give the same series; empty if it cannot be split this way."""
        with self._lock:
            if by not in self._split:
                if by is By.SIZE and self._requests is not None:
                    self._split[by] = tuple(self._requests)
                else:
                    parts = _halves(self.snapshot) if by is By.SIZE else _metrics(self.snapshot)
                    quiet = self._error is not None
                    self._split[by] = tuple(Piece(part, quiet=quiet) for part in parts)
            return self._split[by]

    def _encode(self) -> None:
        if self._request is not None or self._requests is not None or self._error is not None:
            return
        try:
            beginning, self._beginning = self._beginning, None
            made = list(_requests(self.snapshot, beginning))
        except EncodingError as error:
            self._error = error
        except Exception as fault:  # noqa: BLE001 - a fault of ours must not cost the other relays
            if not self._quiet:
                relay = self.snapshot.relay
                logger.exception("a fault while converting a snapshot", extra={"relay": relay})
            name = type(fault).__name__
            self._error = EncodingError(f"a fault of relay-metrics ({name}), see the log")
        else:
            if len(made) == 1:
                self._request = made[0][2]
            else:
                self._requests = [
                    Piece(self.snapshot.part(start, stop), request) for start, stop, request in made
                ]


def in_parts(piece: Piece, take: Callable[[Piece], By | None]) -> None:
    """Call a function with a piece, and with the parts of every piece that it wants split.

    Args:
        take: called with one piece after the other, in their order; returns how to split a piece,
            or None if it is done with it.
    """
    waiting = [piece]
    while waiting:
        one = waiting.pop()
        by = take(one)
        if by is not None:
            waiting += reversed(one.split(by))


def _halves(snapshot: Snapshot) -> Sequence[Snapshot]:
    # one thing can still be large: a reading with many fields
    return snapshot.split() if len(snapshot) > 1 else _metrics(snapshot)


def _metrics(snapshot: Snapshot) -> Sequence[Snapshot]:
    metrics = snapshot.metrics
    middle = len(metrics) // 2
    record = snapshot.scrape is not None and not snapshot.scrape.carried
    if not metrics or (len(metrics) == 1 and not record):
        return []
    parts = [snapshot.only(set(some)) for some in (metrics[:middle], metrics[middle:]) if some]
    return [replace(snapshot, readings=(), families=()), *parts] if record else parts


class Beginning:
    """The first readings of a snapshot, encoded while its scrape goes on."""

    def __init__(self) -> None:
        self.things = 0
        self.writing = _Writing(_LEVEL)
        self._ended = False

    def add(self, part: Snapshot) -> None:
        """Add the next readings, in a snapshot without a scrape record.

        Readings that do not fit into the request, or cannot be converted, and all readings after
        them, are left out here. They are encoded, and errors handled, with the whole snapshot.
        """
        if self._ended:
            return
        try:
            for one in convert(part):
                if not self.writing.takes(one):
                    self._ended = True
                    break
                self.writing.add(one)
                self.things += one.things
        except Exception:  # noqa: BLE001 - the whole snapshot raises it again, and it is logged then
            self._ended = True


def _requests(
    snapshot: Snapshot, beginning: Beginning | None = None
) -> Iterator[tuple[int, int, Request]]:
    """The requests of a snapshot, each with the range of its things."""
    start = stop = 0
    level = _LEVEL_OF_FAMILIES if snapshot.families else _LEVEL
    writing, parts = _Writing(level), convert(snapshot)
    if beginning is not None and beginning.things:
        stop, writing = beginning.things, beginning.writing
        parts = _continued(snapshot, stop)
    for part in parts:
        if stop > start and part.things and not writing.takes(part):
            yield start, stop, writing.end()
            start, writing = stop, _Writing(level)
            for carried in convert(snapshot.part(stop, stop)):
                writing.add(carried)
        writing.add(part)
        stop += part.things
    yield start, stop, writing.end()


def _continued(snapshot: Snapshot, things: int) -> Iterator[Part]:
    """The parts after the beginning of a snapshot: its scrape record, and the further things."""
    yield from convert(replace(snapshot, readings=(), families=()))
    yield from convert(replace(snapshot, readings=snapshot.readings[things:], scrape=None))


class _Writing:
    """A request while it is written. Only its compressed bytes are kept."""

    def __init__(self, level: int) -> None:
        self._gzip = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        self._body = bytearray()
        self._size = self._points = 0
        self._histograms: set[str] = set()

    def takes(self, part: Part) -> bool:
        fits = self._size + len(part.data) <= MAX_REQUEST_BYTES
        return fits and self._histograms.isdisjoint(part.histograms)

    def add(self, part: Part) -> None:
        self._body += self._gzip.compress(part.data)
        self._size += len(part.data)
        self._points += part.points
        self._histograms |= part.histograms

    def end(self) -> Request:
        self._body += self._gzip.flush()
        return Request(bytes(self._body), self._size, self._points)
