"""A relay that a team has used for forty days: the demo's, and that of the tests over days.

Nine keys, of which one is new and will expire, one has expired, one was renamed, one disabled, one
deleted, one costs nothing (its rate is 0), and one was never used; seven accounts, one of which is
limited now and then recovers. Every day and hour comes from `traffic` by way of `life`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from functools import partial

from local.relay.claude import ClaudeRelay
from local.relay.demo import ADMIN
from local.relay.life import Capacity, Happening, Life
from local.relay.model import FIVE_HOURS_S, SEVEN_DAYS_S, Account, Key, Limits, Quota
from local.relay.traffic import DAY_S, Member, Rhythm

OPUS, SONNET, HAIKU = (
    "claude-opus-4-20250514",
    "claude-sonnet-4-20250514",
    "claude-3-5-haiku-20241022",
)
GPT, GEMINI = "gpt-5", "gemini-2.5-pro"
DAYS = 40


def living_relay(  # noqa: PLR0913 - all that makes it another relay
    *,
    clock: Callable[[], float] = time.time,
    now: float | None = None,
    seed: int = 1,
    days: int = DAYS,
    utc_offset_hours: float = 8,
    team_offset_hours: float | None = None,
    port: int = 0,
    latency_s: float = 0.0,
    tls: ssl.SSLContext | None = None,
) -> ClaudeRelay:
    """A running relay with a past; its login is `ADMIN`. The caller closes it.

    Args:
        clock: epoch seconds.
        now: the time to which the story's events relate, also if `clock` is behind it; the first
            time of `clock` by default.
        days: how long it has been used.
        utc_offset_hours: of the relay's own clock, by which its days begin.
        team_offset_hours: of the clock on the team's wall; the relay's by default.
    """
    now = clock() if now is None else now
    offset_hours = utc_offset_hours if team_offset_hours is None else team_offset_hours
    begins = (now + offset_hours * 3600) // DAY_S * DAY_S - offset_hours * 3600 - days * DAY_S
    accounts = _accounts(now, begins)
    relay = ClaudeRelay(
        admin=ADMIN,
        accounts=[account for account, _ in accounts],
        utc_offset_hours=utc_offset_hours,
        port=port,
        latency_s=latency_s,
        tls=tls,
        seed=seed,
        clock=clock,
    )
    # asked before it has been used, it had no start
    relay.started_at = begins
    team = _team(now, begins, offset_hours)
    keys = {key.name: key for key, _ in team}
    gemini = next(account for account, _ in accounts if account.platform == "gemini")
    story = [
        Happening(now - 15 * DAY_S, lambda: setattr(keys["mobile-old"], "name", "mobile")),
        Happening(now - 9 * DAY_S, lambda: setattr(keys["old-scripts"], "active", False)),
        Happening(now - 6 * DAY_S, lambda: relay.delete(keys["prototype"])),
        *(
            Happening(at - 600, partial(_limit, gemini, at + 3000))
            for at in (now - back * DAY_S for back in (11, 4, 0))
        ),
    ]
    capacities = {account.id: capacity for account, capacity in accounts if capacity is not None}
    relay.life = Life(relay, seed, begins, team, capacities, story)
    relay.catch_up()
    return relay


def _limit(account: Account, until: float) -> None:
    account.rate_limited_at, account.rate_limited_until = until - 3600, until


def _team(now: float, begins: float, offset_hours: float) -> list[tuple[Key, Member]]:
    def member(
        name: str,
        requests_a_day: float,
        models: dict[str, float],
        rhythm: Rhythm = Rhythm.PERSON,
        context_tokens: int = 30_000,
        days_a_month: float = 30,
    ) -> Member:
        return Member(
            name, requests_a_day, models, rhythm, offset_hours, context_tokens, days_a_month
        )

    return [
        (
            Key(
                name="team-alpha",
                description="Alpha",
                created_at=begins,
                limits=Limits(
                    token_limit=50_000_000,
                    concurrency_limit=4,
                    rate_limit_window=60,
                    rate_limit_requests=500,
                    rate_limit_cost=25.5,
                    daily_cost_limit=30,
                    total_cost_limit=1000,
                    weekly_opus_cost_limit=125,
                ),
            ),
            member("alpha", 560, {SONNET: 60, OPUS: 20, HAIKU: 10, GPT: 10}),
        ),
        (
            Key(name='team-beta "β"', description="no limits", created_at=begins, rate=1.2),
            member("beta", 480, {SONNET: 60, HAIKU: 20, GPT: 20}),
        ),
        (
            Key(
                name="intern",
                description="ends soon",
                created_at=now - 12 * DAY_S,
                expires_at=now + 2 * DAY_S,
                limits=Limits(rate_limit_window=300, daily_cost_limit=2.5, weekly_reset_day=3),
            ),
            member("intern", 260, {HAIKU: 60, GEMINI: 40}),
        ),
        (
            Key(name="nightly-build", created_at=begins, limits=Limits(daily_cost_limit=25)),
            member("nightly", 240, {HAIKU: 80, SONNET: 20}, Rhythm.BATCH),
        ),
        (
            Key(name="support-bot", created_at=begins),
            member("support", 700, {HAIKU: 70, GEMINI: 30}, Rhythm.SERVICE, 8_000),
        ),
        (
            Key(name="open-source", description="free", created_at=begins, rate=0.0),
            member("open-source", 60, {SONNET: 70, GPT: 30}, days_a_month=20),
        ),
        (
            Key(name="mobile-old", description="renamed", created_at=begins),
            member("mobile", 120, {SONNET: 70, GPT: 30}),
        ),
        (
            Key(name="contractor", created_at=begins, expires_at=now - 2 * DAY_S),
            member("contractor", 150, {SONNET: 80, OPUS: 20}, days_a_month=22),
        ),
        (
            Key(name="old-scripts", created_at=begins),
            member("scripts", 90, {HAIKU: 50, GPT: 50}, Rhythm.BATCH),
        ),
        (
            Key(name="prototype", created_at=begins + 2 * DAY_S),
            member("prototype", 110, {OPUS: 20, GEMINI: 80}),
        ),
        (
            Key(name="spare", created_at=now - 5 * DAY_S, limits=Limits(daily_cost_limit=10)),
            member("spare", 0, {HAIKU: 1}),
        ),
    ]


def _accounts(now: float, begins: float) -> list[tuple[Account, Capacity | None]]:
    def quota(**more: bool) -> Quota:
        return Quota(begins, 0.0, begins + FIVE_HOURS_S, 0.0, begins + SEVEN_DAYS_S, **more)

    stale = quota(watched=False)
    stale.updated_at = now - 7200
    return [
        (
            Account("claude", "claude-max-1", created_at=begins, quota=quota()),
            Capacity(8, 110),
        ),
        (
            Account("claude", "claude-max-2", created_at=begins, quota=stale),
            Capacity(40, 400),
        ),
        (Account("claude-console", "console-1", created_at=begins, daily_quota_usd=100), None),
        (
            Account("claude-console", "console-2", created_at=begins, schedulable=False),
            None,
        ),
        (Account("openai", "codex-1", created_at=begins, quota=quota()), Capacity(20, 120)),
        (Account("openai-responses", "oai-resp", created_at=begins, daily_quota_usd=20), None),
        (Account("gemini", "gemini-1", created_at=begins), None),
    ]
