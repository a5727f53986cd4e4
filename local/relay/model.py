"""Keys and upstream accounts of a simulated Claude Relay Service, their usage and its price.

Costs are whole micro-dollars, as the relay stores them in its model rows, so that sums are exact
and a test can say what it expects to the last digit.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MICRO = 1_000_000
TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Price:
    """USD a million tokens, which is micro-dollars a token."""

    input: float
    output: float
    cache_write: float
    cache_read: float


PRICES: Mapping[str, Price] = {
    "claude-opus-4-20250514": Price(15, 75, 18.75, 1.5),
    "claude-sonnet-4-20250514": Price(3, 15, 3.75, 0.3),
    "claude-3-5-haiku-20241022": Price(0.8, 4, 1, 0.08),
    "gpt-5": Price(1.25, 10, 1.25, 0.125),
    "gemini-2.5-pro": Price(1.25, 10, 0, 0.125),
}
# Any other name is priced like this one: model names are free text.
DEFAULT_PRICE = Price(3, 15, 3.75, 0.3)


@dataclass(slots=True)
class Usage:
    """Requests, tokens and cost of something; `real` by the price list, `rated` times the rate."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_create_tokens: int = 0
    cache_read_tokens: int = 0
    real_micro: int = 0
    rated_micro: int = 0

    @property
    def all_tokens(self) -> int:
        """Every token: input, output and both kinds of cache."""
        return (
            self.input_tokens
            + self.output_tokens
            + self.cache_create_tokens
            + self.cache_read_tokens
        )

    @property
    def real_usd(self) -> float:
        """What the price list makes of it, in USD."""
        return self.real_micro / MICRO

    @property
    def rated_usd(self) -> float:
        """What the key is charged, in USD."""
        return self.rated_micro / MICRO

    def add(self, other: Usage) -> None:
        """Count `other` in."""
        self.requests += other.requests
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cache_create_tokens += other.cache_create_tokens
        self.cache_read_tokens += other.cache_read_tokens
        self.real_micro += other.real_micro
        self.rated_micro += other.rated_micro


def sum_of(usages: Iterable[Usage]) -> Usage:
    """All of them in one."""
    total = Usage()
    for usage in usages:
        total.add(usage)
    return total


@dataclass(slots=True)
class Limits:
    """A key's limits as an administrator sets them: USD, minutes, counts; 0 means unlimited."""

    token_limit: int = 0
    concurrency_limit: int = 0
    rate_limit_window: int = 0
    rate_limit_requests: int = 0
    rate_limit_cost: float = 0
    daily_cost_limit: float = 0
    total_cost_limit: float = 0
    weekly_opus_cost_limit: float = 0
    weekly_reset_day: int = 1
    weekly_reset_hour: int = 0


@dataclass(slots=True)
class Window:
    """The rate-limit window that a key is in: `start_ms` is epoch milliseconds."""

    start_ms: int
    requests: int = 0
    tokens: int = 0
    cost_micro: int = 0


@dataclass(slots=True, eq=False)
class Key:
    """One API key. Times are epoch seconds.

    A key with `activated` False waits for its first use: its expiry clock of `activation_days`
    starts then. `models` are what `RelayState.tick` uses it for; none means that it stays unused.
    `usage` maps a period (`"total"`, a day `"2026-11-22"`, a month `"2026-11"`, a week
    `"week:2026-11-16T00"`) to a model to its usage, as the relay's database does; `totals` is the
    same over all models.
    """

    name: str
    id: str = ""
    api_key: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    owner: str = ""
    limits: Limits = field(default_factory=Limits)
    created_at: float = 0.0
    expires_at: float | None = None
    active: bool = True
    deleted: bool = False
    activated: bool = True
    activated_at: float | None = None
    activation_days: int = 0
    rate: float = 1.0
    models: tuple[str, ...] = tuple(PRICES)
    last_used_at: float | None = None
    usage: dict[str, dict[str, Usage]] = field(default_factory=dict)
    totals: dict[str, Usage] = field(default_factory=dict)
    window: Window | None = None

    def __post_init__(self) -> None:
        self.id = self.id or str(uuid.uuid5(uuid.NAMESPACE_OID, self.name))
        self.api_key = self.api_key or f"cr_{hashlib.sha256(self.id.encode()).hexdigest()}"

    @property
    def used(self) -> bool:
        """Whether it ever cost anything: reading a key that did not makes the relay scan."""
        return self.usage_in(TOTAL).rated_micro > 0

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and now > self.expires_at

    def models_in(self, period: str) -> Mapping[str, Usage]:
        """Usage by model in a period; empty where there was none."""
        return self.usage.get(period, {})

    def usage_in(self, period: str = TOTAL) -> Usage:
        """Usage of all models in a period, all time by default."""
        return self.totals.get(period) or Usage()

    def count(self, period: str, model: str, added: Usage) -> None:
        """Add a use to a period."""
        self.usage.setdefault(period, {}).setdefault(model, Usage()).add(added)
        self.totals.setdefault(period, Usage()).add(added)

    def activate(self, now: float) -> None:
        """Start the expiry clock, once."""
        if self.activated:
            return
        self.activated, self.activated_at = True, now
        self.expires_at = now + self.activation_days * 86_400

    def open_window(self, now: float) -> Window | None:
        """The window, where there is a limit and one has begun and not ended."""
        if not self.limits.rate_limit_window or self.window is None:
            return None
        length_ms = self.limits.rate_limit_window * 60_000
        return self.window if now * 1000 < self.window.start_ms + length_ms else None


FIVE_HOURS_S, SEVEN_DAYS_S = 5 * 3600, 7 * 86_400


@dataclass(slots=True)
class Quota:
    """What the provider says of an account's 5-hour and 7-day limits: percent, epoch seconds.

    A relay asks the provider only when somebody opens its page: with `watched` False the figures
    stay as they were at `updated_at`.
    """

    updated_at: float
    five_hour_percent: float
    five_hour_resets_at: float
    seven_day_percent: float
    seven_day_resets_at: float
    watched: bool = True


@dataclass(slots=True, eq=False)
class Account:
    """An upstream account. `platform` is one of those in `account_rows`; times are epoch seconds.

    `usage` maps a period (total, a day, a month) to its usage. A daily quota is in USD, 0 for
    none; `quota` is what Claude's OAuth accounts and OpenAI's have.
    """

    platform: str
    name: str
    id: str = ""
    active: bool = True
    schedulable: bool = True
    status: str = "active"
    created_at: float = 0.0
    last_used_at: float | None = None
    rate_limited_at: float | None = None
    rate_limited_until: float | None = None
    unavailable_until: float | None = None
    daily_quota_usd: float = 0
    quota: Quota | None = None
    usage: dict[str, Usage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.id = self.id or str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.platform}:{self.name}"))

    def rate_limited(self, now: float) -> bool:
        """Whether the provider refuses it for now."""
        return self.rate_limited_until is not None and now < self.rate_limited_until

    def spend_quota(self, rng: random.Random, now: float) -> None:
        """A minute's worth of both limits, where the relay looks."""
        quota = self.quota
        if quota is None or not quota.watched:
            return
        quota.updated_at = now
        if now >= quota.five_hour_resets_at:
            quota.five_hour_percent, quota.five_hour_resets_at = 0.0, now + FIVE_HOURS_S
        if now >= quota.seven_day_resets_at:
            quota.seven_day_percent, quota.seven_day_resets_at = 0.0, now + SEVEN_DAYS_S
        quota.five_hour_percent = min(100.0, quota.five_hour_percent + rng.randint(0, 2))
        quota.seven_day_percent = min(100.0, quota.seven_day_percent + rng.randint(0, 1))
