"""What a simulated Claude Relay Service knows: keys, their usage, its calendar and its prices.

Costs are whole micro-dollars, as the relay stores them in its model rows, so that sums are exact
and a test can say what it expects to the last digit.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

MICRO = 1_000_000
TOTAL = "total"
CURRENT_RELEASE = "1.1.314"


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
        """Usage of all models in a period, since ever by default."""
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


SERVED_BY: Mapping[str, tuple[str, ...]] = {
    "claude": ("claude", "claude-console", "bedrock", "ccr", "droid"),
    "gpt": ("openai", "openai-responses", "azure-openai"),
    "gemini": ("gemini",),
}
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


class RelayState:
    """Keys, usage and calendar of one relay, behind one lock.

    Args:
        keys: what it knows at the start; `add` brings more.
        accounts: the upstream accounts that it spends; `tick` uses the fitting ones.
        utc_offset_hours: where its day, month and week roll (a fixed offset, no daylight saving).
        release: leaves out what an older release has not.
        seed: of `tick`: the same seed and the same calls give the same usage.
        clock: epoch seconds; a test passes its own to move time.

    Attributes:
        calls: requests by path, refused ones included. `scans`: what they cost the database.
        missing: paths that answer 404, on top of what `release` lacks.
    """

    def __init__(
        self,
        keys: Iterable[Key] = (),
        *,
        accounts: Iterable[Account] = (),
        utc_offset_hours: float = 8,
        release: str = CURRENT_RELEASE,
        seed: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lock = threading.RLock()
        self.utc_offset_hours = utc_offset_hours
        self.release = release
        self.seed = seed
        self.clock = clock
        self.ticks = 0
        self.calls: Counter[str] = Counter()
        self.scans = 0
        self.missing: set[str] = set()
        self.active_requests: dict[str, int] = {}
        self.queued_requests: dict[str, int] = {}
        self.accounts = list(accounts)
        self.by_id: dict[str, Key] = {}
        self._newest_first: list[Key] | None = None
        self._by_api_key: dict[str, Key] = {}
        self.started_at = clock()
        for key in keys:
            self.add(key)

    @property
    def keys(self) -> list[Key]:
        """Every key that is not deleted, oldest first."""
        return [key for key in self.by_id.values() if not key.deleted]

    def newest_first(self) -> list[Key]:
        """The same in the order in which the administrator's list has them."""
        if self._newest_first is None:
            self._newest_first = sorted(self.keys, key=lambda key: (-key.created_at, key.id))
        return self._newest_first

    def add(self, key: Key) -> Key:
        """Make a key known; it was created now where it does not say when."""
        with self.lock:
            key.created_at = key.created_at or self.clock()
            if key.activated and key.activated_at is None:
                key.activated_at = key.created_at
            self.by_id[key.id] = key
            self._by_api_key[key.api_key] = key
            self._newest_first = None
        return key

    def delete(self, key: Key) -> None:
        """What the administrator's delete button does: the key stays stored, marked and off."""
        with self.lock:
            key.deleted, key.active = True, False
            self._by_api_key.pop(key.api_key, None)
            self._newest_first = None

    def key_of(self, api_key: str) -> Key | None:
        """The key that has this credential."""
        return self._by_api_key.get(api_key)

    def since(self, release: str) -> bool:
        """Whether this relay is of that release or a newer one."""
        return _version(self.release) >= _version(release)

    def local_hour(self) -> int:
        """Hours since 1970 on the relay's own clock: every period begins on one."""
        return int((self.clock() + self.utc_offset_hours * 3600) // 3600)

    def day(self) -> str:
        """The period of today."""
        return _day(self.local_hour())

    def month(self) -> str:
        """The period of this month."""
        return _day(self.local_hour())[:7]

    def week(self, reset_day: int = 1, reset_hour: int = 0) -> str:
        """The period of the week that began last on that day (1 is Monday) at that hour."""
        return _week(self.local_hour(), reset_day, reset_hour)

    def use(
        self,
        key: Key,
        model: str,
        *,
        requests: int = 1,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cache_create_tokens: int = 0,
        cache_read_tokens: int = 0,
        account: Account | None = None,
    ) -> Usage:
        """Count a use of a key, and of an account, in every period; activate the key.

        Returns what was counted.
        """
        price = PRICES.get(model, DEFAULT_PRICE)
        real = round(
            input_tokens * price.input
            + output_tokens * price.output
            + cache_create_tokens * price.cache_write
            + cache_read_tokens * price.cache_read
        )
        added = Usage(
            requests,
            input_tokens,
            output_tokens,
            cache_create_tokens,
            cache_read_tokens,
            real_micro=real,
            rated_micro=round(real * key.rate),
        )
        limits = key.limits
        with self.lock:
            now = self.clock()
            key.activate(now)
            key.last_used_at = now
            week = self.week(limits.weekly_reset_day, limits.weekly_reset_hour)
            for period in (TOTAL, self.day(), self.month(), week):
                key.count(period, model, added)
            if limits.rate_limit_window:
                window = key.open_window(now)
                if window is None:
                    window = key.window = Window(start_ms=int(now * 1000))
                window.requests += requests
                window.tokens += added.all_tokens
                window.cost_micro += added.rated_micro
            if account is not None:
                account.last_used_at = now
                for period in (TOTAL, self.day(), self.month()):
                    account.usage.setdefault(period, Usage()).add(added)
        return added

    def tick(self) -> None:
        """Let usage grow: most keys that may be used are, the earlier ones more than the later."""
        with self.lock:
            self.ticks += 1
            rng = random.Random(f"{self.seed}:{self.ticks}")  # noqa: S311 - wanted repeatable
            now = self.clock()
            for rank, key in enumerate(self.keys):
                if not key.active or key.expired(now) or not key.models:
                    continue
                for model in rng.sample(key.models, k=min(2, len(key.models))):
                    requests = rng.randint(1, max(1, 8 - rank))
                    self.use(
                        key,
                        model,
                        requests=requests,
                        input_tokens=requests * rng.randint(200, 2_000),
                        output_tokens=requests * rng.randint(50, 800),
                        cache_create_tokens=requests * rng.randint(0, 500),
                        cache_read_tokens=requests * rng.randint(0, 5_000),
                        account=self._account_for(rng, model),
                    )
                self.active_requests[key.id] = rng.randint(0, 3) if rank < 3 else 0
                self.queued_requests[key.id] = rng.randint(0, 1) if rank == 0 else 0
            for account in self.accounts:
                account.spend_quota(rng, now)

    def _account_for(self, rng: random.Random, model: str) -> Account | None:
        platforms = next((names for start, names in SERVED_BY.items() if start in model), ())
        fitting = [
            account
            for account in self.accounts
            if account.platform in platforms and account.active and account.schedulable
        ]
        return rng.choice(fitting) if fitting else None

    def usage_of_all(self, period: str = TOTAL) -> Usage:
        """What its keys used together in a period, deleted ones included."""
        with self.lock:
            return sum_of(key.usage_in(period) for key in self.by_id.values())


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


@lru_cache(maxsize=64)
def _day(local_hour: int) -> str:
    return f"{_hour(local_hour):%Y-%m-%d}"


@lru_cache(maxsize=1024)
def _week(local_hour: int, reset_day: int, reset_hour: int) -> str:
    now = _hour(local_hour)
    begin = now.replace(hour=reset_hour) - timedelta(days=(now.isoweekday() - reset_day) % 7)
    begin = begin if begin <= now else begin - timedelta(days=7)
    return f"week:{begin:%Y-%m-%dT%H}"


def _hour(local_hour: int) -> datetime:
    # The offset is in the number already: what UTC makes of it is the relay's own clock.
    return datetime.fromtimestamp(local_hour * 3600, UTC)


@lru_cache(maxsize=64)
def _version(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))
