"""What a simulated Claude Relay Service knows, how its usage grows, and its calendar."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from local.relay.life import Life
from local.relay.model import DEFAULT_PRICE, PRICES, TOTAL, Account, Key, Usage, Window, sum_of

CURRENT_RELEASE = "1.1.314"
# The platforms whose accounts serve a model with that in its name.
SERVED_BY: Mapping[str, tuple[str, ...]] = {
    "claude": ("claude", "claude-console", "bedrock", "ccr", "droid"),
    "gpt": ("openai", "openai-responses", "azure-openai"),
    "gemini": ("gemini",),
}


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
        life: simulates its use as the clock goes on; None leaves that to `use` and `tick`.
        known_empty: until when it remembers that a day had no use, by the index that it looked in.
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
        self.life: Life | None = None
        self.known_empty: dict[str, float] = {}
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
        """Add a key; it is created now if it has no `created_at`."""
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

    def local_hour(self, at: float | None = None) -> int:
        """Hours since 1970 on the relay's own clock, now or at an instant: periods begin on one."""
        at = self.clock() if at is None else at
        return int((at + self.utc_offset_hours * 3600) // 3600)

    def day(self, at: float | None = None) -> str:
        """The period of today, or of the day of an instant."""
        return _day(self.local_hour(at))

    def month(self, at: float | None = None) -> str:
        """The period of this month, or of an instant's."""
        return _day(self.local_hour(at))[:7]

    def week(self, reset_day: int = 1, reset_hour: int = 0, at: float | None = None) -> str:
        """The period of the week that began last on that day (1 is Monday) at that hour."""
        return _week(self.local_hour(at), reset_day, reset_hour)

    def use(  # noqa: PLR0913 - all that a use can be
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
        at: float | None = None,
    ) -> Usage:
        """Count a use of a key, and of an account, in every period; activate the key.

        It is now, or `at`. Returns what was counted.
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
            now = self.clock() if at is None else at
            key.activate(now)
            key.last_used_at = now
            week = self.week(limits.weekly_reset_day, limits.weekly_reset_hour, now)
            for period in (TOTAL, self.day(now), self.month(now), week):
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
                for period in (TOTAL, self.day(now), self.month(now)):
                    account.usage.setdefault(period, Usage()).add(added)
        return added

    def tick(self) -> None:
        """Let usage grow: use most of the usable keys, the earlier ones more than the later.

        A relay with a `life` is simulated up to its clock instead.
        """
        if self.life is not None:
            self.catch_up()
            return
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

    def catch_up(self) -> None:
        """Simulate until now; does nothing if the relay has no `life`."""
        if self.life is not None:
            with self.lock:
                self.life.advance(self.clock())

    def _account_for(self, rng: random.Random, model: str) -> Account | None:
        platforms = next((names for start, names in SERVED_BY.items() if start in model), ())
        fitting = [
            account
            for account in self.accounts
            if account.platform in platforms and account.active and account.schedulable
        ]
        return rng.choice(fitting) if fitting else None

    def accounts_for(self, model: str, at: float) -> list[Account]:
        """The accounts that may serve a model at an instant: neither limited nor out of quota."""
        platforms = next((names for start, names in SERVED_BY.items() if start in model), ())
        day = self.day(at)
        return [
            account
            for account in self.accounts
            if account.platform in platforms
            and account.active
            and account.schedulable
            and not account.rate_limited(at)
            and not 0 < account.daily_quota_usd <= account.usage.get(day, Usage()).real_usd
        ]

    def key(self, name: str) -> Key:
        """The key of that name, a deleted one too."""
        return next(key for key in self.by_id.values() if key.name == name)

    def usage_of_all(self, period: str = TOTAL) -> Usage:
        """What its keys used together in a period, deleted ones included."""
        with self.lock:
            return sum_of(key.usage_in(period) for key in self.by_id.values())


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
