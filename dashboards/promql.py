"""Pieces of PromQL that the dashboards share, within what GreptimeDB's can.

GreptimeDB (up to 1.3) gives what an operator makes the labels of its right side: so both sides are
aggregated by the same ones, `ignoring` and `group_left` are not used, and `on` is where the names
of keys are joined alone. An aggregation over `time()` fails there: `time()` stands outside. Its
functions of the calendar take the time that is asked for, not the value. `tests/promql.py` holds
every query to this.
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


def named(metric: str, window: str = "", of: str = OF_KEY) -> str:
    """A gauge of each key with its name.

    Args:
        window: how far to look back for its latest value; PromQL's own five minutes by default.
    """
    selector = f"{metric}{{{of}}}"
    return (
        f"max by ({NAMED_KEY}) ({f'last_over_time({selector}[{window}])' if window else selector})"
    )


def growth(metric: str, window: str, by: str = NAMED_KEY, of: str = OF_KEY) -> str:
    """How fast a figure of keys grows, a second. Of a renamed key each name has its own part."""
    return f"sum by ({by}) (rate({metric}{{{of}}}[{window}]))"


def grown(metric: str, window: str, by: str = NAMED_KEY, of: str = OF_KEY) -> str:
    """By how much a figure of keys grew."""
    return f"sum by ({by}) (increase({metric}{{{of}}}[{window}]))"


def added_up(metric: str, window: str, by: str = "", of: str = OF_KEY) -> str:
    """Sums of minutes or days, added up. They are never rated.

    Args:
        window: with its brackets, and its offset where it has one.
    """
    labels = f" by ({by})" if by else ""
    return f"sum{labels} (sum_over_time({metric}{{{of}}}{window}))"


def with_info(query: str, of: str) -> str:
    """A figure by `KEY` with what `relay_key_info` says of each key: its name, owner and labels."""
    info = f"topk by ({KEY}) (1, relay_key_info{{{of}}})"
    return f"({query}) * on ({KEY}) group_right() {info}"


def highest(count: int, query: str) -> str:
    """The highest of many series, so that a relay with a thousand keys can be read too."""
    return f"topk({count}, {query})"
