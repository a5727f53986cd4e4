"""Reads numbers, texts, flags and timestamps from the JSON of relays, and nothing if invalid."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from relay_metrics.catalogue import Metric
from relay_metrics.snapshot import INT64, Number, well_formed

MAX_TEXT = 1024
"""Longer texts are cut, as they become attributes of every series of a key."""

_NUMERAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_MISSING: Any = object()


def number(value: object) -> Number | None:
    """A finite number, also if it is sent as text; None for anything else.

    An integer of more than 64 bits becomes a float; the relay itself computes with floats.
    """
    if isinstance(value, str) and len(value) <= 64:
        numeral = value.strip()  # of more than int and float strip, like U+001F
        if _NUMERAL.fullmatch(numeral):
            value = float(numeral) if re.search(r"[.eE]", numeral) else int(numeral)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and value not in INT64:
        try:
            value = float(value)
        except OverflowError:
            return None
    return value if math.isfinite(value) else None


def text(value: object) -> str:
    """Well-formed text, stripped; an empty text for anything else."""
    return well_formed(value).strip()[:MAX_TEXT] if isinstance(value, str) else ""


def flag(value: object) -> bool | None:
    """A boolean, also if it is sent as text; None for anything else."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value)
    return value if isinstance(value, bool) else None


def instant_ms(value: object) -> int | None:
    """Epoch milliseconds of an ISO 8601 timestamp or a number of milliseconds; else None."""
    if isinstance(value, str) and not _NUMERAL.fullmatch(value.strip()):
        try:
            at = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        milliseconds: Number | None = at.timestamp() * 1000
    else:
        milliseconds = number(value)
    # From 1970 to the year 9999; anything else is no valid timestamp.
    if milliseconds is None or not 0 < milliseconds < 253_402_300_800_000:
        return None
    return round(milliseconds)


def dig(value: object, path: str) -> Any:
    """The value at a path (`usage.total.requests`) of nested objects; see `missing`."""
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def missing(value: object) -> bool:
    """Whether a result of `dig` means that there is no value at the path."""
    return value is _MISSING


def figures(
    rows: Iterable[Metric],
    answer: Mapping[str, Any],
    left_out: Callable[[str], None],
) -> dict[str, Number]:
    """The figures of one answer for some rows of the catalogue, by field.

    Args:
        left_out: called for each figure that is left out, with the reason: `missing_field`, `null`
            (if the catalogue has no value for null), or `invalid_value`.
    """
    found: dict[str, Number] = {}
    for row in rows:
        value = dig(answer, row.field)
        if value is _MISSING:
            left_out("missing_field")
        elif value is None:
            if row.null is None:
                left_out("null")
            else:
                found[row.field] = row.null
        elif (figure := number(value)) is None:
            left_out("invalid_value")
        else:
            found[row.field] = figure
    return found
