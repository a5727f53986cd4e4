"""Asking relays, a package for each kind: from a relay's settings to what it said.

Nothing here knows OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from relay_metrics.families import Family
from relay_metrics.snapshot import Reading


class Remark(NamedTuple):
    """What a check says of a relay that is well, and what to do about it."""

    message: str
    hint: str


def _nothing() -> None:
    """Does nothing: the default where nothing has to be told."""


class Fetched(NamedTuple):
    """What a relay said.

    Attributes:
        up: whether it answered and accepted the credential.
        readings, families: its answers, as a snapshot has them.
        timed: figures with a time of their own, each with its `time_ms`. Of their resource only
            `relay.key.id` is set: the rest of their identity is the relay's name and kind.
        taken: called when every destination that keeps the last write has taken all of `timed`.
            What was not taken is asked again by a later run.
        remarks: what a check says beside, where it is one.
        keys_failed: how many keys were asked for and gave no stats.
        keys_left_out: how many keys are beyond `RELAY_MAX_KEYS`.
        models_left_out: how many model rows are beyond `RELAY_MAX_MODELS_PER_KEY`.
    """

    up: bool
    readings: tuple[Reading, ...] = ()
    families: tuple[Family, ...] = ()
    timed: tuple[Reading, ...] = ()
    taken: Callable[[], None] = _nothing
    remarks: tuple[Remark, ...] = ()
    keys_failed: int = 0
    keys_left_out: int = 0
    models_left_out: int = 0
