"""Rows as aligned text for a terminal."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence

MISSING = "–"
MONEY_PARTS = 10_000
"""The parts of a USD that are shown."""
_WIDEST = 48


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str] = ()) -> str:
    """Rows under their columns' names, numbers to the right, two blanks between.

    A name of a column that begins with `>` stands for numbers. Control characters, which a relay's
    names may hold, are never shown.

    Args:
        total: a last row below a line, where it is given.
    """
    names = [name.removeprefix(">") for name in columns]
    right = [name.startswith(">") for name in columns]
    cells = [[_shown(cell) for cell in row] for row in (*rows, *([total] if total else []))]
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    rule = ["─" * width for width in widths]
    lines = [names, rule, *cells]
    if total:
        lines.insert(-1, rule)
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


def moneys(values: Iterable[float | None]) -> tuple[list[str], str]:
    """USD each, and their sum: rounded so that what is shown adds up to the sum that is shown."""
    exact = [None if value is None else value * MONEY_PARTS for value in values]
    parts = [None if value is None else math.floor(value) for value in exact]
    known = [value for value in exact if value is not None]
    total = round(math.fsum(known))
    # the largest fractions are rounded up, as many as the sum needs
    largest = sorted(
        (place for place, value in enumerate(exact) if value is not None),
        key=lambda place: (parts[place] or 0) - (exact[place] or 0),
    )
    for place in largest[: total - sum(part for part in parts if part is not None)]:
        parts[place] = (parts[place] or 0) + 1
    shown = [money(None if part is None else part / MONEY_PARTS) for part in parts]
    return shown, money(total / MONEY_PARTS if known else None)


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
