"""Simulated relays on loopback, for the demo, the tests and the benchmark."""

from local.relay.claude import ClaudeRelay
from local.relay.state import PRICES, Key, Limits, Usage, many_keys
from local.relay.wyolet import WyoletRelay

__all__ = ["PRICES", "ClaudeRelay", "Key", "Limits", "Usage", "WyoletRelay", "many_keys"]
