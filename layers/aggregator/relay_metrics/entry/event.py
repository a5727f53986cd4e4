"""The event of the collector, parsed and typed."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from relay_metrics.errors import SettingsError
from relay_metrics.observability import logger
from relay_metrics.relays.client import Shard
from relay_metrics.relays.values import instant_ms
from relay_metrics.snapshot import well_formed

COLLECT, CHECK, DRY_RUN, BACKFILL = "collect", "check", "dry-run", "backfill"
MAX_SHARDS = 1000

_ANY = ("action", "relays", "shard", "time")
_OF_BACKFILL = ("from", "to", "models", "scans", "dry_run")
_OF_EVENTBRIDGE = ("version", "id", "detail-type", "source", "account", "region", "resources")
_EVENTBRIDGE = frozenset({*_OF_EVENTBRIDGE, "detail"})
"""The fields that an EventBridge rule sends beside `time`."""


class Event(NamedTuple):
    """The fields of an event that are used; an event may have others.

    Attributes:
        action: `COLLECT`, `CHECK`, `DRY_RUN` or `BACKFILL`.
        relays: the names of the relays to scrape; None for all.
        shard: the part of the keys to scrape.
        scheduled_s: the event's `time` in epoch seconds; the current time if it has none.
    """

    action: str
    relays: tuple[str, ...] | None
    shard: Shard
    scheduled_s: float

    @classmethod
    def of(cls, event: object) -> Event:
        """Parse an event.

        With an `action`, an unknown field is an error, because somebody reads the answer. Nobody
        reads the answer to a scheduled event: there an unknown field is only a warning.

        Raises:
            SettingsError: a field is unknown or has a wrong value.
        """
        given = {} if event is None else event
        if not isinstance(given, dict):
            raise SettingsError("the event must be a JSON object")
        action = given.get("action")
        if action not in (None, CHECK, DRY_RUN, BACKFILL):
            raise SettingsError(
                f"action in the event must be {CHECK}, {DRY_RUN} or {BACKFILL}, or absent"
            )
        known = (*_ANY, *(_OF_BACKFILL if action == BACKFILL else ()))
        for name in given:
            if name not in known and name not in _EVENTBRIDGE:
                what = f"the event has an unknown field {well_formed(str(name))[:64]!r}"
                if action is not None:
                    raise SettingsError(f"{what}; known are {', '.join(known)}")
                logger.warning("%s: it is ignored", what)
        scheduled_ms = instant_ms(given.get("time"))
        if scheduled_ms is None and given.get("time") is not None:
            logger.warning("time in the event is no time like 2026-10-01T12:00:00Z: now is used")
        return cls(
            action=action or COLLECT,
            relays=_names(given.get("relays")),
            shard=_shard(given.get("shard")),
            scheduled_s=time.time() if scheduled_ms is None else scheduled_ms / 1000,
        )


def _names(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise SettingsError("relays in the event must be a list of names")
    return tuple(dict.fromkeys(well_formed(one) for one in value))


def _shard(value: object) -> Shard:
    if value is None:
        return Shard()
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", value) if isinstance(value, str) else None
    if match:
        index, count = int(match[1]), int(match[2])
        if 1 <= index <= count <= MAX_SHARDS:
            return Shard(index, count)
    raise SettingsError('shard in the event must be like "2/4": the second of four parts')
