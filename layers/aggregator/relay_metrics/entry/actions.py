"""What the collector can be asked to do, by the event's `action`."""

from __future__ import annotations

from typing import Any

from relay_metrics.collect import collect
from relay_metrics.entry.event import BACKFILL, CHECK, COLLECT, Event
from relay_metrics.errors import SettingsError
from relay_metrics.runtime import Runtime


def act(runtime: Runtime, event: object, seconds: float) -> dict[str, Any]:
    """Do what an event asks for.

    Args:
        seconds: what the invocation has left.

    Returns:
        The answer, as the contract has it for each action.
    """
    asked = Event.of(event)
    if asked.action == COLLECT:
        return collect(runtime, asked, seconds)
    # they are asked for by hand, now and then: a minute's run need not import them
    if asked.action == CHECK:
        from relay_metrics.check import check

        return check(runtime, asked, seconds)
    if asked.action == BACKFILL:
        from relay_metrics.backfill import backfill

        return backfill(runtime, asked, event, seconds)
    from relay_metrics.dry_run import dry_run

    return dry_run(runtime, asked, seconds)


def unset(event: object, error: SettingsError) -> dict[str, Any]:
    """The answer where a variable is wrong, so that nothing can be done but to say so to a check.

    Raises:
        SettingsError: to every other event.
    """
    if Event.of(event).action != CHECK:
        raise error
    from relay_metrics.check import of_settings

    return of_settings(error)
