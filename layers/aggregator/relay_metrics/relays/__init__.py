"""Requests to relays, with a package for each kind. Nothing in here knows OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from relay_metrics.snapshot import Reading

if TYPE_CHECKING:
    from relay_metrics.families import Family


class Remark(NamedTuple):
    """A message of the check about a relay that is up, and a hint what to do."""

    message: str
    hint: str


def _nothing() -> None:
    """The default of `Fetched.taken`."""


class Fetched(NamedTuple):
    """The answers of one relay in one run.

    Attributes:
        up: whether the relay answered and accepted the credential.
        readings, families: the figures, in the form that a snapshot has.
        timed: figures with timestamps of their own, in `time_ms`. Their only resource attribute
            is `relay.key.id`; the relay's name and kind are added later.
        taken: called after every destination that keeps the last write has accepted all of
            `timed`. Otherwise a later run fetches them again.
        remarks: additional messages for a check.
        keys_failed: how many keys were asked for their stats without success.
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
