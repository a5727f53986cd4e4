"""The back-fill of a claude-relay: the plan, and the figures of its past days."""

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
"""An assumption, for the estimate of the data points."""


def past(client: RelayClient, kept: State, wanted: Wanted) -> ClaudePast | None:
    """Find the past days with figures. This scans the database only for the relay's clock.

    Returns:
        None if a request failed; the failure is counted.

    Raises:
        Declined: the relay has no past, or it takes more scans than are allowed.
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
        raise Declined(client.relay.name, "its release does not have past days")
    found = ClaudePast(client, days, wanted)
    found.allow(wanted.scans, 0 if known is not None else CLOCK_SCANS)
    if known is None and found.plan.days and not wanted.dry_run:
        if not _ask(client, days, days.ask_clock()):
            return None
        if days.clock_answered:
            kept.utc_offset_hours[base_url] = days.offset_hours
    return found


def _ask(client: RelayClient, days: Days, rounds: Iterable[Round]) -> bool:
    """Send requests, round after round. Returns whether no request has failed so far."""
    for requests in rounds:
        client.together(requests)
    return days.whole


class ClaudePast:
    """The past days of one claude-relay."""

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
        """Check that the plan takes no more scans than are allowed.

        Args:
            scans: how many are allowed.
            for_the_clock: how many the request for the relay's clock takes.

        Raises:
            Declined: it takes more.
        """
        plan = self.plan
        if self._used:
            plan.scans += for_the_clock
        if plan.scans > scans and not self._wanted.dry_run:
            raise Declined(
                self._client.relay.name,
                f"the days from {plan.days[0]} on take {plan.scans} scans of its database (each "
                f"day without usage since then takes four), and {scans} are allowed: choose fewer "
                f'days, or add "scans": {plan.scans} to the event',
            )

    def pieces(self) -> Iterator[Piece]:
        """The days, the oldest first. Stops if the next one may take longer than the time left.

        There are none if the request for the days of the keys failed, which is counted.
        """
        days = self._days
        if self._used:
            _ask(self._client, days, days.ask_since(self._used[0]))
            if not days.keys_answered:
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
        """Drop the first days of the plan if the answer for all keys would be too large."""
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
                f"relay {self._client.relay.name}: the days before {first} are left out: with "
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
