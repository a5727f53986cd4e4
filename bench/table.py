"""Measurements against their bounds, as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Attributes:
        what: the thing that is measured.
        measured: the figure, with its unit.
        against: the floor, baseline or limit, with its unit.
        ratio: `measured` divided by `against`.
        bound: that the ratio must not pass; None where there is none.
    """

    what: str
    measured: str
    against: str
    ratio: float
    bound: float | None

    @property
    def within(self) -> bool:
        """Whether the bound is kept."""
        return self.bound is None or self.ratio <= self.bound

    @property
    def cells(self) -> tuple[str, ...]:
        """Its columns."""
        bound = "" if self.bound is None else f"{self.bound:g}"
        kept = "" if self.bound is None else "within" if self.within else "PAST IT"
        return (self.what, self.measured, self.against, f"{self.ratio:.2f}", bound, kept)


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of equally many cells, in columns; the first row is the head."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def ms(seconds: float) -> str:
    """Seconds as milliseconds."""
    return f"{seconds * 1000:.1f} ms"


def mb(size: float) -> str:
    """Bytes as megabytes."""
    return f"{size / 1e6:.2f} MB"
