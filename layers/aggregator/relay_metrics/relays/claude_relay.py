"""A Claude Relay Service: its keys' usage and limits, from its public stats endpoints.

What the endpoints answer, and what each call costs the relay, is in `docs/relays.md`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from relay_metrics import catalogue
from relay_metrics.errors import RelayError, Unauthorised
from relay_metrics.relays import Fetched
from relay_metrics.relays.conversation import Conversation
from relay_metrics.relays.turns import in_turn
from relay_metrics.relays.wire import dig, figures, instant_ms, number, text
from relay_metrics.settings import KeyCredential
from relay_metrics.snapshot import Number, Reading, Scope

_API = "/apiStats/api/"
_BATCH = 30
