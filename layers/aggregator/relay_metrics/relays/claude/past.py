"""A back-fill of a claude-relay: which days can be told, what that takes, and the days."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import date, timedelta

from relay_metrics import catalogue
from relay_metrics.errors import Declined
from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.days import (
    ACCOUNTS,
    BYTES_A_KEY_AND_DAY,
    GROUPS,
    KEYS,
    MODELS,
    Days,
    Round,
)
from relay_metrics.relays.claude.records import State
from relay_metrics.relays.claude.settings import access
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.past import DAYS_BEFORE, Piece, Plan, Wanted, requests_of
from relay_metrics.snapshot import Scope

CLOCK_SCANS = 3
_MODELS_A_KEY = 5
"""Supposed, for how many points there will be at most."""


def past(client: RelayClient, kept: State, wanted: Wanted) -> ClaudePast | None:
    """Find out which days can be told. Makes the relay walk its database at most for its clock.

    Returns:
        None where a request failed, which is counted.

    Raises:
        Declined: it cannot be told at all, or takes more walks than are allowed.
        RelayError: the relay refused the login.
    """
    login = access(client.relay).login
    if login is None:
        raise Declined(
            client.relay.name, "a back-fill needs an administrator's login in the secret"
        )
    administrator = Administrator(client, kept.sessions, login)
    administrator.enter()
    base_url = client.relay.base_url
    known = kept.utc_offset_hours.get(base_url)
    days = Days(
        client, administrator, client.environment.utc_offset_hours if known is None else known
    )
    if not all(_ask(client, days, rounds) for rounds in (days.ask_used(), days.ask_list())):
        return None
    if days.today is None:
        raise Declined(client.relay.name, "its release does not tell of its past")
    found = ClaudePast(client, days, wanted)
    found.allow(wanted.scans, 0 if known is not None else CLOCK_SCANS)
    if known is None and found.plan.days and not wanted.dry_run:
        if not _ask(client, days, days.ask_clock()):
            return None
        if days.clock_told:
            kept.utc_offset_hours[base_url] = days.offset_hours
    return found


def _ask(client: RelayClient, days: Days, rounds: Iterable[Round]) -> bool:
    """Make requests, round after round; whether all were answered, so far."""
    for requests in rounds:
        client.together(requests)
    return days.whole


class ClaudePast:
    """The days of one claude-relay that a back-fill tells."""

    def __init__(self, client: RelayClient, days: Days, wanted: Wanted) -> None:
        self._client = client
        self._days = days
        self._wanted = wanted
        yesterday = (days.today or date.min) - timedelta(days=1)
        last = min(wanted.last or yesterday, yesterday)
        first = wanted.first or last - timedelta(days=DAYS_BEFORE)
        self.plan = Plan([day for day in days.over if first <= day <= last], last)
        self._keep_to_answers_that_fit()
        self._count()

    @property
    def _used(self) -> list[date]:
        used = set(self._days.used)
        return [day for day in self.plan.days if day in used]

    def allow(self, scans: int, for_the_clock: int) -> None:
        """Hold the plan against the walks that are allowed.

        Raises:
            Declined: it takes more.
        """
        plan = self.plan
        if self._used:
            plan.scans += for_the_clock
        if plan.scans > scans and not self._wanted.dry_run:
            raise Declined(
                self._client.relay.name,
                f"the days from {plan.days[0]} on take {plan.scans} walks of its database (each "
                f"day without use since then takes four), and {scans} are allowed: tell fewer "
                f'days, or add "scans": {plan.scans} to the event',
            )

    def pieces(self) -> Iterator[Piece]:
        """The days, the oldest first; stops where the next one may take longer than is left.

        There is none where the days of the keys did not come, which is counted as a failure.
        """
        days = self._days
        if self._used:
            _ask(self._client, days, days.ask_since(self._used[0]))
            if not days.keys_told:
                return
        longest, before = 0.0, days.whole
        for day in self.plan.days:
            if self._client.seconds_left <= 1.2 * longest:
                return
            began = time.monotonic()
            days.whole = before
            whole = _ask(self._client, days, days.ask_models(day, all_keys=self._wanted.models))
            readings = days.readings(day, models=self._wanted.models)
            longest = max(longest, time.monotonic() - began)
            if self._client.seconds_left <= 0:
                return
            yield Piece(day, tuple(readings), whole)

    def _keep_to_answers_that_fit(self) -> None:
        """Leave out the days that make the answer with the keys' days too large."""
        plan, today = self.plan, self._days.today
        if not plan.days or today is None:
            return
        keys = self._days.keys_since(plan.days[0])
        most = self._client.environment.max_response_bytes
        count = max(most // (BYTES_A_KEY_AND_DAY * max(keys, 1)), 2)
        first = today - timedelta(days=count - 1)
        if plan.days[0] < first:
            plan.days = [day for day in plan.days if day >= first]
            plan.remark = (
                f"relay {self._client.relay.name}: the days before {first} are not told: with "
                f"{keys} keys, more than {count} days are larger than RELAY_MAX_RESPONSE_BYTES"
            )

    def _count(self) -> None:
        plan, used = self.plan, self._used
        if not plan.days:
            return
        keys = self._days.keys_since(plan.days[0])
        plan.requests = requests_of(
            {
                KEYS: int(bool(used)),
                ACCOUNTS: len(GROUPS) if used else 0,
                MODELS: keys * len(used) if self._wanted.models else 0,
            }
        )
        plan.scans = self._days.scans_since(used[0]) if used else 0
        of_day = keys * len(catalogue.rows(Scope.DAY_KEY))
        if self._wanted.models:
            of_day += keys * _MODELS_A_KEY * len(catalogue.rows(Scope.DAY_MODEL))
        at_large = len(catalogue.rows(Scope.DAY_RELAY))
        plan.points = len(used) * of_day + len(plan.days) * at_large
