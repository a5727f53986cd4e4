"""Runs the collector's action that an event asks for in its field `action`."""

from __future__ import annotations

from typing import Any

from relay_metrics.collect import collect
from relay_metrics.entry.event import BACKFILL, CHECK, COLLECT, Event
from relay_metrics.errors import SettingsError
from relay_metrics.runtime import Runtime


def act(runtime: Runtime, event: object, seconds: float) -> dict[str, Any]:
    """Run the action that an event asks for.

    Args:
        seconds: the time that the invocation has left.

    Returns:
        The answer of the action, as a JSON object.
    """
    asked = Event.of(event)
    if asked.action == COLLECT:
        return collect(runtime, asked, seconds)
    # These are invoked by hand, now and then: the run of every minute does not import them.
    if asked.action == CHECK:
        from relay_metrics.check import check

        return check(runtime, asked, seconds)
    if asked.action == BACKFILL:
        from relay_metrics.backfill import backfill

        return backfill(runtime, asked, event, seconds)
    from relay_metrics.dry_run import dry_run

    return dry_run(runtime, asked, seconds)


def unset(event: object, error: SettingsError) -> dict[str, Any]:
    """The answer of a check when an environment variable is wrong. Other actions cannot run.

    Raises:
        SettingsError: the event asks for something else than a check.
    """
    if Event.of(event).action != CHECK:
        raise error
    from relay_metrics.check import of_settings

    return of_settings(error)
