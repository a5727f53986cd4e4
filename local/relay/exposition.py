"""Prometheus text 0.0.4 as the Go client writes it, and a histogram as it counts."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal


class Histogram:
    """Counts of observations up to each bound (not cumulative), and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    @classmethod
    def of_cumulative(cls, buckets: Mapping[float, float]) -> Histogram:
        """A histogram of the cumulative counts by upper bound, infinity among them."""
        bounds = sorted(buckets)
        counts = [buckets[bound] for bound in bounds]
        histogram = cls([bound for bound in bounds if math.isfinite(bound)])
        histogram.counts = [
            round(count - below) for count, below in zip(counts, [0, *counts], strict=False)
        ]
        return histogram

    @property
    def count(self) -> int:
        """Observations in all."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Count one observation; a bound belongs to the bucket that it ends."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def quantile(self, q: float) -> float:
        """What PromQL's `histogram_quantile` makes of these buckets; NaN where they are empty."""
        rank, below = q * self.count, 0
        if not self.count:
            return math.nan
        for index, bound in enumerate(self.bounds):
            inside = self.counts[index]
            if below + inside >= rank:
                lower = self.bounds[index - 1] if index else 0.0
                return lower + (bound - lower) * (rank - below) / inside
            below += inside
        return self.bounds[-1]


def go_float(value: float) -> str:
    """A number as Go's `strconv.FormatFloat(v, 'g', -1, 64)` writes it, as its client does."""
    shortest = Decimal(repr(float(value))).normalize()
    sign, digits, exponent = shortest.as_tuple()
    power = len(digits) + int(exponent) - 1
    if -4 <= power < 6:
        return f"{shortest:f}"
    mantissa = "".join(map(str, digits))
    point = "." if len(mantissa) > 1 else ""
    minus, direction = "-" * sign, "-" if power < 0 else "+"
    return f"{minus}{mantissa[0]}{point}{mantissa[1:]}e{direction}{abs(power):02d}"


def by_label(label: str, values: Mapping[str, float]) -> dict[str, float]:
    """Values keyed by one label, as `family` takes them."""
    return {f'{label}="{name}"': value for name, value in values.items()}


def head(name: str, kind: str, text: str) -> Iterator[str]:
    """The two comment lines of a family."""
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def family(name: str, kind: str, text: str, values: Mapping[str, float]) -> Iterator[str]:
    """A counter or gauge: `values` by the text between the braces; nothing without values."""
    if not values:
        return  # a Go vector without children is not written at all
    yield from head(name, kind, text)
    for labels, value in values.items():
        yield f"{name}{{{labels}}} {go_float(value)}" if labels else f"{name} {go_float(value)}"


def histogram_lines(name: str, source: str, histogram: Histogram) -> Iterator[str]:
    """The samples of one histogram, `source` empty for one without labels."""
    label = f'source="{source}"' if source else ""
    braces = f"{{{label}}}" if label else ""
    also = f",{label}" if label else ""
    cumulative = 0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        cumulative += count
        yield f'{name}_bucket{{le="{go_float(bound)}"{also}}} {cumulative}'
    yield f'{name}_bucket{{le="+Inf"{also}}} {histogram.count}'
    yield f"{name}_sum{braces} {go_float(histogram.sum)}"
    yield f"{name}_count{braces} {histogram.count}"
