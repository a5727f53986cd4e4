"""Ready-made relays and keys: the demo's three keys with their accounts, or as many as wanted."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from local.relay.claude import ClaudeRelay
from local.relay.model import FIVE_HOURS_S, PRICES, SEVEN_DAYS_S, Account, Key, Limits, Quota

ADMIN = ("demo-admin", "demo-password")
WARM_UP_TICKS = 20


def demo_keys(now: float) -> list[Key]:
    """A key with every limit, one with none whose name is hard to write, and a young one."""
    day = 86_400
    return [
        Key(
            name="team-alpha",
            description="Alpha",
            created_at=now - 40 * day,
            limits=Limits(
                token_limit=1_000_000,
                concurrency_limit=4,
                rate_limit_window=60,
                rate_limit_requests=500,
                rate_limit_cost=25.5,
                daily_cost_limit=50,
                total_cost_limit=1000,
                weekly_opus_cost_limit=100,
            ),
        ),
        Key(
            name='team-beta "β"',
            description="no limits",
            created_at=now - 30 * day,
            rate=1.2,
            models=("claude-sonnet-4-20250514", "claude-3-5-haiku-20241022", "gpt-5"),
        ),
        Key(
            name="intern",
            description="ends in a week",
            created_at=now - 3 * day,
            expires_at=now + 7 * day,
            limits=Limits(rate_limit_window=300, daily_cost_limit=5, weekly_reset_day=3),
            models=("claude-3-5-haiku-20241022", "gemini-2.5-pro"),
        ),
    ]


def demo_accounts(now: float) -> list[Account]:
    """An account of most kinds, one of them rate-limited and one switched off."""
    half_spent = Quota(now, 42.0, now + FIVE_HOURS_S / 2, 61.0, now + SEVEN_DAYS_S / 3)
    long_ago = Quota(now - 7200, 18.0, now + 1800, 33.0, now + SEVEN_DAYS_S / 2, watched=False)
    codex = Quota(now, 27.0, now + FIVE_HOURS_S / 4, 12.0, now + SEVEN_DAYS_S / 5)
    since = now - 60 * 86_400
    return [
        Account("claude", "claude-max-1", created_at=since, quota=half_spent),
        Account("claude", "claude-max-2", created_at=since, quota=long_ago, schedulable=False),
        Account("claude-console", "console-1", created_at=since, daily_quota_usd=100),
        Account("openai", "codex-1", created_at=since, quota=codex),
        Account("openai-responses", "oai-resp", created_at=since, daily_quota_usd=20),
        Account(
            "gemini",
            "gemini-1",
            created_at=since,
            rate_limited_at=now - 600,
            rate_limited_until=now + 3000,
        ),
    ]


def for_demo(
    *,
    port: int = 0,
    latency_s: float = 0.0,
    tls: ssl.SSLContext | None = None,
    seed: int = 1,
    clock: Callable[[], float] = time.time,
) -> ClaudeRelay:
    """A running relay with some usage already; its login is `ADMIN`. The caller closes it."""
    now = clock()
    relay = ClaudeRelay(
        demo_keys(now),
        admin=ADMIN,
        accounts=demo_accounts(now),
        port=port,
        latency_s=latency_s,
        tls=tls,
        seed=seed,
        clock=clock,
    )
    for _ in range(WARM_UP_TICKS):
        relay.tick()
    return relay


def many_keys(count: int) -> list[Key]:
    """`count` keys: one in four has limits and a window, one in ten is never used."""
    keys = []
    for number in range(count):
        limits = Limits(rate_limit_window=60, rate_limit_requests=500, daily_cost_limit=50)
        keys.append(
            Key(
                name=f"key-{number:05d}",
                limits=limits if number % 4 == 0 else Limits(),
                models=() if number % 10 == 9 else tuple(PRICES),
            )
        )
    return keys
