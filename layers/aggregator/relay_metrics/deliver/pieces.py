"""What is delivered: a snapshot, or a part of one, made into a request and a message only once."""

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
"""Before compression. GreptimeDB takes 64 MiB, the OpenTelemetry Collector 20 MiB compressed."""

LARGE_BYTES = 1 << 16
"""Of a request, compressed: smaller ones take what they take because the destination is slow."""

_LEVEL, _LEVEL_OF_FAMILIES = 6, 4
"""Of compression. Of a large exposition 6 takes twice as long, a tenth of the run, for 12 % less.
"""

MAX_SNAPSHOT_BYTES = 64 << 20
"""Nothing is packed that unfolds to more, so that a reader knows what memory it needs."""


_MAX_LABEL_BYTES = 2 << 20
"""Of a snapshot that is packed at once. Writing takes some times as much memory."""


class Request(NamedTuple):
    """An OTLP request.

    Attributes:
        body: the `ExportMetricsServiceRequest`, gzipped.
        size: its bytes before that.
        points: its data points, without those that are only carried along.
    """

    body: bytes
    size: int
    points: int

    @property
    def large(self) -> bool:
        """Whether it is split, and not sent again as it is, where it takes too long."""
        return len(self.body) > LARGE_BYTES


class By(Enum):
    """How a piece is split.

    `SIZE`: for who finds it too large, into halves. `METRIC`: for who refuses something in it: the
    scrape record by itself, then halves of its metrics, each with all of its series.
    """

    SIZE = auto()
    METRIC = auto()


class Piece:
    """A snapshot, or a part of one. Safe to share among the threads of several destinations.

    Args:
        snapshot: what it tells.
        request: what was made of it; it is made when it is first needed where this is None.
        beginning: what was written of its first readings already.
        quiet: whether a fault of ours in it was logged already, of what it is a part of.
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
        """What is pushed; None where it is more than one request can hold.

        Raises:
            EncodingError: something in it has no place in OTLP.
        """
        with self._lock:
            self._encode()
            if self._error is not None:
                raise self._error
            return self._request

    @property
    def points(self) -> int:
        """Its data points, without those that are only carried along."""
        with self._lock:
            self._encode()
            if self._request is not None:
                return self._request.points
            if self._requests is not None:
                return sum(one.points for one in self._requests)
            return self.snapshot.samples + record_points(self.snapshot)

    @property
    def packed(self) -> str | None:
        """The snapshot as a message has it: JSON, gzip, base64; None where that is too much."""
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
        """The pieces that together tell the same; none where it cannot be split in that way."""
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
    """Give a piece to somebody, and where it is not taken as it is, what it splits into.

    Args:
        take: is given one piece after the other, in their order; says how to split one that it
            wants in parts, and nothing of one that it has done with.
    """
    waiting = [piece]
    while waiting:
        one = waiting.pop()
        by = take(one)
        if by is not None:
            waiting += reversed(one.split(by))


def _halves(snapshot: Snapshot) -> Sequence[Snapshot]:
    # what tells of one thing alone can still be large: a reading of many fields
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
    """The first readings of a snapshot, written while its relay is still being asked."""

    def __init__(self) -> None:
        self.things = 0
        self.writing = _Writing(_LEVEL)
        self._ended = False

    def add(self, part: Snapshot) -> None:
        """The readings that come next, in a snapshot without a scrape record.

        Those that no longer have room, or cannot be converted, and all after them, are left for
        when the whole is written: what is wrong with them is dealt with there.
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
        except Exception:  # noqa: BLE001 - it is met again, and logged, when the whole is written
            self._ended = True


def _requests(
    snapshot: Snapshot, beginning: Beginning | None = None
) -> Iterator[tuple[int, int, Request]]:
    """The requests that a snapshot is made into, each with the range of its things."""
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
    """What follows the beginning of a snapshot: its scrape record, and the further things."""
    yield from convert(replace(snapshot, readings=(), families=()))
    yield from convert(replace(snapshot, readings=snapshot.readings[things:], scrape=None))


class _Writing:
    """A request while it is written: no more of it is held than its compressed bytes."""

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
