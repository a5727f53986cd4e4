"""The names that GreptimeDB gives tables and tags for metrics and attributes received over OTLP.

The rules are those of GreptimeDB's `otlp/metrics/translator.rs` (1.1 to 1.3), with its default
strategy, for metrics without a unit.
"""

from __future__ import annotations

import re
from functools import lru_cache

RESERVED = frozenset(("job", "instance", "le", "quantile", "greptime_value", "greptime_timestamp"))
"""Tags that a destination sets itself, from the resource or for its own columns."""
RESERVED_PREFIX = "__"
"""The prefix of further such tags: GreptimeDB's `__tsid`, `__table_id`, Prometheus' own labels."""

_PART = re.compile("[a-zA-Z0-9]+")
_OUTSIDE = re.compile("[^a-zA-Z0-9]")
_PLAIN = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")


@lru_cache(maxsize=4096)
def is_plain(name: str) -> bool:
    """Whether an exposition writes a label's name without quotes."""
    return _PLAIN.fullmatch(name) is not None


def table(name: str, *, monotonic: bool = False) -> str:
    """The table of a metric; empty if the name has no letter or digit to make one of.

    Args:
        monotonic: whether the metric is a monotonic Sum.

    >>> table("a:b__c"), table("_a"), table("请求")
    ('a_b_c', 'a', '')
    >>> table("bytes_total_sent", monotonic=True)
    'bytes_sent_total'
    """
    parts = _PART.findall(name)
    if monotonic and parts:
        parts = [part for part in parts if part != "total"] + ["total"]
    joined = "_".join(parts)
    return f"_{joined}" if joined[:1].isdigit() else joined


def tag(name: str) -> str:
    """The tag of an attribute of a resource or a data point.

    >>> tag("relay.name"), tag("_foo"), tag("key_foo"), tag("2xx"), tag("__x")
    ('relay_name', 'key_foo', 'key_foo', 'key_2xx', '__x')
    """
    tagged = _OUTSIDE.sub("_", name)
    if tagged[:1].isdigit():
        return f"key_{tagged}"
    if tagged.startswith("_") and not tagged.startswith("__"):
        return f"key{tagged}"
    return tagged
