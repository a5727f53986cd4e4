"""Simulated relays on loopback, for the demo, the tests and the benchmark."""

from local.relay.claude import ClaudeRelay
from local.relay.demo import for_demo, many_keys
from local.relay.model import PRICES, Account, Key, Limits, Quota, Usage
from local.relay.team import living_relay
from local.relay.wyolet import WyoletRelay
from local.relay.wyolet_usage import WyoletUsage

__all__ = [
    "PRICES",
    "Account",
    "ClaudeRelay",
    "Key",
    "Limits",
    "Quota",
    "Usage",
    "WyoletRelay",
    "WyoletUsage",
    "for_demo",
    "living_relay",
    "many_keys",
]
