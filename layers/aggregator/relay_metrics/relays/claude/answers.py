"""The answers about a claude-relay as a whole in one run, and the readings made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from relay_metrics import catalogue
from relay_metrics.catalogue import ACCOUNT_STATES
from relay_metrics.relays.claude import at_large
from relay_metrics.relays.claude.accounts import PLATFORMS, Account
from relay_metrics.relays.claude.discovery import Page
from relay_metrics.relays.claude.record import Listed, Usage
from relay_metrics.relays.client import RelayClient
from relay_metrics.snapshot import Number, Reading, Scope


@dataclass
class Answers:
    """The answers that are not about a single key; None, or without an entry, until they came.

    Attributes:
        pages: the pages of the list of keys, by number.
        usage: usage-stats, by the id of the key.
        of_relay: readings that are delivered unchanged, by endpoint.
        unavailable: the seconds for which accounts are out of service, by account id; None if an
            older relay does not have them.
        unavailable_came: whether `unavailable` was answered; if not, any account may be out.
        accounts: the lists of accounts, by platform.
    """

    pages: dict[int, Page] = field(default_factory=dict)
    usage: Mapping[str, Usage] | None = None
    dashboard: at_large.Dashboard | None = None
    concurrency: at_large.Concurrency | None = None
    of_relay: dict[str, list[Reading] | None] = field(default_factory=dict)
    unavailable: Mapping[str, Number | None] | None = None
    unavailable_came: bool = False
    accounts: dict[str, at_large.Accounts] = field(default_factory=dict)

    @property
    def listed(self) -> dict[str, Listed]:
        """Every key on the pages, of all shards, in the order of the list."""
        listed: dict[str, Listed] = {}
        for number in sorted(self.pages):
            for key_id, one in self.pages[number].keys.items():
                listed.setdefault(key_id, one)
        return listed

    @property
    def total(self) -> int:
        """The number of keys by the relay's own count."""
        return max((page.total for page in self.pages.values()), default=0)

    def lists_all(self, listed: Mapping[str, Listed]) -> bool:
        """Whether `listed` has every key. It does not if a page failed or keys were deleted."""
        return bool(self.pages) and len(listed) >= self.total

    def readings(self, client: RelayClient, never_used: Callable[[], bool]) -> Iterator[Reading]:
        """The readings of the relay and its accounts.

        Args:
            client: counts the values that are left out.
            never_used: returns whether it is certain that no key was ever used.
        """
        accounts = {
            platform: [self._in_service(one) for one in self.accounts[platform].accounts]
            for platform in PLATFORMS
            if platform in self.accounts
        }
        if self.dashboard is not None and (figures := self.dashboard.figures):
            # the dashboard has zeros as well if the relay's database does not answer it
            if any(figures.values()) or never_used():
                yield Reading(Scope.RELAY, figures)
            else:
                client.left_out(at_large.DASHBOARD, "zero_of_used")
        yield from self._accounts_by_state(accounts)
        if self.concurrency is not None:
            yield Reading(Scope.RELAY, self.concurrency.figures)
        for endpoint in sorted(self.of_relay):
            yield from self.of_relay[endpoint] or ()
        for listed_accounts in accounts.values():
            for one in listed_accounts:
                yield one.reading
                yield from one.families
        listed = self.listed
        if self.lists_all(listed):
            states = Counter(one.state for one in listed.values())
            for state in catalogue.KEY_STATES:
                yield Reading(Scope.KEY_STATE, {"keys": states[state]}, {"state": state})

    def _in_service(self, account: Account) -> Account:
        """An account, marked if it is out of service."""
        if not self.unavailable_came:
            return account.without_up()
        if self.unavailable is None:
            return account
        return account.out_for(self.unavailable.get(account.id, 0))

    def _accounts_by_state(self, accounts: Mapping[str, Sequence[Account]]) -> Iterator[Reading]:
        """The number of accounts by state: from their rows, or else from the dashboard.

        The dashboard does not know which accounts are out of service, and counts a rate-limited
        console account as abnormal. If an account may be out of service, only the number of
        abnormal ones and zeros are certain.
        """
        listed_ids = {one.id for listed in accounts.values() for one in listed}
        others_work = self.unavailable_came and listed_ids.issuperset(self.unavailable or ())
        by_platform = {
            platform: (states, others_work)
            for platform, states in (self.dashboard.states if self.dashboard else {}).items()
        }
        for platform, listed in accounts.items():
            if self.accounts[platform].whole and (listed or platform in by_platform):
                counted: Counter[str | None] = Counter(one.state for one in listed)
                states = {state: counted[state] for state in ACCOUNT_STATES.values()}
                if self.unavailable is None:
                    del states["unavailable"]
                by_platform[platform] = states, self.unavailable_came
        for platform, (counts, certain) in by_platform.items():
            for state in ACCOUNT_STATES.values():
                if state in counts and (certain or state == "abnormal" or not counts[state]):
                    attributes = {"platform": platform, "state": state}
                    yield Reading(Scope.ACCOUNT_STATE, {"accounts": counts[state]}, attributes)
