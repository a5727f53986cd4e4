"""Pieces of PromQL that the dashboards share, within what GreptimeDB's can.

GreptimeDB (up to 1.3) matches two vectors by all of their labels or not at all: so both sides of an
operator are aggregated by the same ones, and `on`, `ignoring` and `group_left` are not used. An
aggregation over `time()` fails there: `time()` stands outside. `tests/promql.py` holds every query
to this.
"""

from __future__ import annotations

from typing import Final

OF_RELAY: Final = 'relay_kind="claude-relay",relay_name=~"$relay"'
OF_KEY: Final = OF_RELAY + ',relay_key_id=~"$key"'

KEY: Final = "relay_name, relay_key_id"
NAMED_KEY: Final = "relay_name, relay_key_id, relay_key_name"
KEY_LEGEND: Final = "{{relay_key_name}} · {{relay_name}}"


def once(metric: str) -> str:
    """A gauge of each key, counted once: a key that was renamed is two series for a while."""
    return f"max by ({KEY}) ({metric}{{{OF_KEY}}})"


def named(metric: str, window: str = "") -> str:
    """A gauge of each key with its name.

    Args:
        window: how far to look back for its latest value; PromQL's own five minutes by default.
    """
    selector = f"{metric}{{{OF_KEY}}}"
    return (
        f"max by ({NAMED_KEY}) ({f'last_over_time({selector}[{window}])' if window else selector})"
    )


def growth(metric: str, window: str, by: str = NAMED_KEY) -> str:
    """How fast a figure of keys grows, a second. Of a renamed key each name has its own part."""
    return f"sum by ({by}) (rate({metric}{{{OF_KEY}}}[{window}]))"


def highest(count: int, query: str) -> str:
    """The highest of many series, so that a relay with a thousand keys can be read too."""
    return f"topk({count}, {query})"
