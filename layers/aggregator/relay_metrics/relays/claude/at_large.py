"""What a claude-relay says of itself and its upstream accounts, to an administrator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from relay_metrics import catalogue
from relay_metrics.errors import RelayError
from relay_metrics.relays.claude.accounts import PLATFORMS, account
from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.stats import counter
from relay_metrics.relays.client import RelayClient, Request
from relay_metrics.relays.values import dig, figures, number, text
from relay_metrics.snapshot import Reading, Scope

DASHBOARD = "admin/dashboard"
CONCURRENCY = "admin/concurrency"
HEALTH = "health"

Answer = Mapping[str, Any] | None
"""An endpoint's answer; None where an older relay has no such endpoint."""


class AtLarge:
    """Gathers what the relay at large says in a run.

    Attributes:
        readings: of the relay, of its accounts by state, and of each account.
        utc_offset_hours: of its clock; None while it has not said.
    """

    def __init__(self, client: RelayClient, administrator: Administrator) -> None:
        self.readings: list[Reading] = []
        self.utc_offset_hours: float | None = None
        self._client = client
        self._administrator = administrator
        self._without_accounts: set[str] = set()

    def dashboard(self) -> Request[Answer]:
        """Its accounts by state, what all its keys ever used, its clock. Three scans."""

        def take(answer: Answer) -> None:
            data = self._data(DASHBOARD, answer)
            if data is None:
                return
            offset = number(data.get("systemTimezone"))
            if offset is not None and abs(offset) <= 14:
                self.utc_offset_hours = offset
            platforms = dig(data, "overview.accountsByPlatform")
            self._of_relay(DASHBOARD, data)
            if isinstance(platforms, dict):
                self.readings += _accounts_by_state(platforms)
                self._without_accounts = {
                    platform for platform, states in platforms.items() if dig(states, "total") == 0
                }

        ask = self._administrator.ask_if_there
        return Request(DASHBOARD, lambda: ask(f"/{DASHBOARD}"), take)

    def concurrency(self) -> Request[Answer]:
        """The requests under way and waiting. One scan."""

        def take(answer: Answer) -> None:
            if answer is not None:
                self._of_relay(CONCURRENCY, answer)

        ask = self._administrator.ask_if_there
        return Request(CONCURRENCY, lambda: ask(f"/{CONCURRENCY}"), take)

    def health(self) -> Request[Answer]:
        """How long it has been up. Its own `status` is healthy even where its database is not."""

        def ask() -> Answer:
            try:
                return self._client.ask_json("GET", f"/{HEALTH}", says_success=False)
            except RelayError as error:
                if error.status == 404:
                    return None
                raise

        def take(answer: Answer) -> None:
            if answer is not None:
                self._of_relay(HEALTH, answer)

        return Request(HEALTH, ask, take)

    def accounts(self) -> Iterable[Request[list[Reading]]]:
        """Each account of each platform but those that the dashboard calls empty. No scan."""
        for platform in PLATFORMS:
            if platform not in self._without_accounts:
                yield self._accounts(platform)

    def _accounts(self, platform: str) -> Request[list[Reading]]:
        endpoint = f"admin/{platform}-accounts"

        def ask() -> list[Reading]:
            answer = self._administrator.ask_if_there(f"/{endpoint}")
            if answer is None:
                return []
            rows = answer.get("data")
            if not isinstance(rows, list):
                message = "answered without a list of accounts"
                raise self._client.invalid(endpoint, "incomplete", message)
            left_out = counter(self._client, endpoint)
            made = (account(platform, row, self._client.time_ms, left_out) for row in rows)
            return [reading for reading in made if reading is not None]

        return Request(endpoint, ask, self.readings.extend)

    def _data(self, endpoint: str, answer: Answer) -> Mapping[str, Any] | None:
        if answer is None:
            return None
        data = answer.get("data")
        if isinstance(data, dict):
            return data
        self._client.failed(self._client.invalid(endpoint, "incomplete", "answered without data"))
        return None

    def _of_relay(self, endpoint: str, answer: Mapping[str, Any]) -> None:
        rows = catalogue.rows(Scope.RELAY, endpoint)
        fields = figures(rows, answer, counter(self._client, endpoint))
        if fields:
            self.readings.append(Reading(Scope.RELAY, fields))


def _accounts_by_state(platforms: Mapping[str, Any]) -> Iterable[Reading]:
    for platform, states in platforms.items():
        for name, state in catalogue.ACCOUNT_STATES.items():
            count = number(dig(states, name))
            if count is not None:
                attributes = {"platform": text(platform), "state": state}
                yield Reading(Scope.ACCOUNT_STATE, {"accounts": count}, attributes)
