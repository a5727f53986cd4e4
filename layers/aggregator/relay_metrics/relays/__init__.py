"""Asking relays, one module a kind: from a relay's settings to what it said.

Nothing here knows OpenTelemetry.
"""

from __future__ import annotations

from typing import NamedTuple

from relay_metrics.snapshot import Family, Reading


class Fetched(NamedTuple):
    """What a relay said.

    Attributes:
        up: whether it answered and accepted the credential.
        readings, families: its answers, as a snapshot has them.
        keys_failed: how many keys were asked for and gave no stats.
        keys_left_out: how many keys stand beyond `RELAY_MAX_KEYS`.
        models_left_out: how many model rows stand beyond `RELAY_MAX_MODELS_PER_KEY`.
    """

    up: bool
    readings: tuple[Reading, ...] = ()
    families: tuple[Family, ...] = ()
    keys_failed: int = 0
    keys_left_out: int = 0
    models_left_out: int = 0
