"""Rows as aligned text for a terminal."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence

MISSING = "–"
_WIDEST = 48


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under their columns' names, numbers to the right, two blanks between.

    A name of a column that begins with `>` stands for numbers. Control characters, which a relay's
    names may hold, are never shown.
    """
    names = [name.removeprefix(">") for name in columns]
    right = [name.startswith(">") for name in columns]
    cells = [[_shown(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    lines = [names, ["─" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            _padded(cell, width, to_right)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def whole(value: float | None) -> str:
    """A count; a dash where it is missing."""
    return MISSING if value is None else f"{value:,.0f}"


def money(value: float | None) -> str:
    """USD."""
    return MISSING if value is None else f"{value:,.4f}"


def milliseconds(seconds: float | None) -> str:
    """A time; a dash where there was nothing to measure."""
    return MISSING if seconds is None or math.isnan(seconds) else f"{seconds * 1000:.2f}"


def grown(cells: Iterable[str]) -> str:
    """One figure over the runs."""
    return " → ".join(cells)


def _shown(text: str) -> str:
    shown = "".join(character if character.isprintable() else "�" for character in text)
    return shown if len(shown) <= _WIDEST else shown[: _WIDEST - 1] + "…"


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF")
        for one in text
    )


def _padded(text: str, width: int, to_right: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if to_right else text + blanks
