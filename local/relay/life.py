"""Simulates the traffic of a Claude Relay Service: the demand of its team, within its limits.

    with living_relay(clock=clock) as relay:         # forty days are behind it
        relay.key("team-alpha").usage["2026-11-20"]  # {model: Usage} of that day of the relay's
        clock.now += 3600
        relay.catch_up()                             # every request to it does so by itself

A relay depends only on its seed, its team and the clock, not on the clock's steps: usage
comes from `traffic`, second by second, and what happens besides (a key is made, renamed,
disabled, deleted; an account is limited) is in the story, with its time. As by the real relay,
requests are refused of a key that is inactive, has expired, or is at its daily, weekly, total or
rate-limit window's limit, and for a model whose accounts are all limited. A refused request counts
only in `refused`. An account whose 5-hour limit is spent is limited until that resets.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from local.relay.model import FIVE_HOURS_S, SEVEN_DAYS_S, TOTAL, Account, Key, Usage
from local.relay.traffic import HOUR_S, Member, Use, hour_of, incident_at, uses

if TYPE_CHECKING:
    from local.relay.state import RelayState


class Capacity(NamedTuple):
    """What the provider lets an account spend in five hours and in seven days, USD."""

    five_hours: float
    seven_days: float


class Happening(NamedTuple):
    """Something that happens to the relay at an instant, epoch seconds."""

    at_s: float
    do: Callable[[], object]


class _Wish(NamedTuple):
    use: Use
    key: Key


class Life:
    """The life of one relay, from an instant on.

    Args:
        relay: whose keys and accounts are used.
        begins_s: epoch seconds; nothing happens before.
        team: the keys with who uses each; a key comes to be at its `created_at`.
        capacities: of accounts with a quota, by id.
        story: what happens besides.

    Attributes:
        refused: requests that were, by the key's name and why: `disabled`, `expired`, `daily`,
            `weekly`, `total`, `window`, `accounts`, `incident`.
    """

    def __init__(
        self,
        relay: RelayState,
        seed: int,
        begins_s: float,
        team: Iterable[tuple[Key, Member]],
        capacities: Mapping[str, Capacity],
        story: Iterable[Happening] = (),
    ) -> None:
        self.refused: Counter[tuple[str, str]] = Counter()
        self._relay = relay
        self._seed = seed
        self._team = list(team)
        self._capacities = capacities
        born = [Happening(key.created_at, partial(relay.add, key)) for key, _ in self._team]
        self._story = sorted((*born, *story), key=lambda one: one.at_s)
        self._next_hour = hour_of(begins_s)
        self._wishes: list[_Wish] = []
        self._now_s = begins_s

    def advance(self, now_s: float) -> None:
        """Simulate until an instant; does nothing if that is in the past."""
        if now_s < self._now_s:
            return
        while True:
            while self._wishes and self._wishes[-1].use.at_s <= now_s:
                wish = self._wishes.pop()
                self._happen(wish.use.at_s)
                self._wish(wish)
            if self._wishes or self._next_hour > hour_of(now_s):
                break
            self._wishes = self._of_hour(self._next_hour)
            self._next_hour += 1
        self._happen(now_s)
        self._now_s = now_s
        self._under_way(now_s)

    def _of_hour(self, hour: int) -> list[_Wish]:
        """All wishes of an hour, the last first."""
        found = [
            _Wish(use, key)
            for key, member in self._team
            if key.created_at < (hour + 1) * HOUR_S and not key.deleted
            for use in uses(self._seed, member, hour)
            if use.at_s > key.created_at
        ]
        return sorted(found, key=lambda wish: (wish.use.at_s, wish.key.id), reverse=True)

    def _happen(self, now_s: float) -> None:
        while self._story and self._story[0].at_s <= now_s:
            self._story.pop(0).do()

    def _wish(self, wish: _Wish) -> None:
        use, key = wish
        now_s = float(use.at_s)
        account = None
        why = self._refusal(key, use, now_s)
        if why is None:
            account = self._account(use, now_s)
            why = "accounts" if account is None else None
        if why is not None:
            self.refused[key.name, why] += use.requests
            return
        used = self._relay.use(
            key,
            use.model,
            requests=use.requests,
            input_tokens=use.input_tokens,
            output_tokens=use.output_tokens,
            cache_create_tokens=use.cache_create_tokens,
            cache_read_tokens=use.cache_read_tokens,
            account=account,
            at=now_s,
        )
        if account is not None:
            self._spend(account, used.real_usd, now_s)

    def _refusal(self, key: Key, use: Use, now_s: float) -> str | None:
        if not key.active:
            return "disabled"
        if key.expired(now_s):
            return "expired"
        limits = key.limits
        day = self._relay.day(now_s)
        if _reached(key.usage_in(day), limits.daily_cost_limit):
            return "daily"
        if _reached(key.usage_in(TOTAL), limits.total_cost_limit):
            return "total"
        if limits.weekly_opus_cost_limit and "claude" in use.model:
            week = self._relay.week(limits.weekly_reset_day, limits.weekly_reset_hour, now_s)
            models = key.models_in(week).items()
            spent = sum(usage.rated_usd for model, usage in models if "claude" in model)
            if spent >= limits.weekly_opus_cost_limit:
                return "weekly"
        window = key.open_window(now_s)
        if window is not None and (
            0 < limits.rate_limit_requests <= window.requests
            or 0 < limits.rate_limit_cost * 1e6 <= window.cost_micro
            or 0 < limits.token_limit <= window.tokens
        ):
            return "window"
        incident = incident_at(self._seed, now_s)
        if incident is not None:
            rng = random.Random(f"{self._seed}:{key.name}:{now_s}")  # noqa: S311 - repeatable
            if rng.random() < incident.refused:
                return "incident"
        return None

    def _account(self, use: Use, now_s: float) -> Account | None:
        fitting = self._relay.accounts_for(use.model, now_s)
        if not fitting:
            return None
        # as the relay does, for as long as it can: the one that was used least lately
        return min(fitting, key=lambda one: (one.last_used_at or 0, one.id))

    def _spend(self, account: Account, usd: float, now_s: float) -> None:
        quota, capacity = account.quota, self._capacities.get(account.id)
        if quota is None or capacity is None:
            return
        if now_s >= quota.five_hour_resets_at:
            quota.five_hour_percent, quota.five_hour_resets_at = 0.0, now_s + FIVE_HOURS_S
        if now_s >= quota.seven_day_resets_at:
            quota.seven_day_percent, quota.seven_day_resets_at = 0.0, now_s + SEVEN_DAYS_S
        five_hours = quota.five_hour_percent + 100 * usd / capacity.five_hours
        seven_days = quota.seven_day_percent + 100 * usd / capacity.seven_days
        quota.five_hour_percent = min(100.0, round(five_hours, 4))
        quota.seven_day_percent = min(100.0, round(seven_days, 4))
        if quota.five_hour_percent >= 100:
            account.rate_limited_at = now_s
            account.rate_limited_until = quota.five_hour_resets_at

    def _under_way(self, now_s: float) -> None:
        """Requests under way, by chance from minute to minute, and how fresh the quotas are."""
        minute = int(now_s // 60)
        team = {key.id: member for key, member in self._team}
        for key in self._relay.keys:
            rng = random.Random(f"{self._seed}:{key.id}:{minute}")  # noqa: S311 - repeatable
            member = team.get(key.id)
            busy = key.last_used_at is not None and now_s - key.last_used_at < 600
            most = key.limits.concurrency_limit or 6
            active = rng.randint(1, 4) if busy and member is not None else 0
            self._relay.active_requests[key.id] = min(active, most)
            self._relay.queued_requests[key.id] = max(0, active - most)
        for account in self._relay.accounts:
            quota = account.quota
            if quota is None or not quota.watched:
                continue
            quota.updated_at = now_s
            # the next window begins with its first use
            if now_s >= quota.five_hour_resets_at:
                quota.five_hour_percent = 0.0


def _reached(usage: Usage, limit_usd: float) -> bool:
    return 0 < limit_usd <= usage.rated_usd
