"""Scrapes a whole relay with an administrator's login, or many configured keys, in phases.

`docs/relays.md` says what each endpoint answers and costs the relay. A request that scans the
relay's database is only sent if `RELAY_SCANS_PER_RUN` leaves room for it. `STEPS` lists the phases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from relay_metrics.relays import Fetched
from relay_metrics.relays.claude import at_large, discovery
from relay_metrics.relays.claude.accounts import PLATFORMS, SCANNED
from relay_metrics.relays.claude.answers import Answers
from relay_metrics.relays.claude.day_before import DayBefore
from relay_metrics.relays.claude.keys import Identity, in_shard
from relay_metrics.relays.claude.record import Models, Record, Usage, most_used
from relay_metrics.relays.claude.records import Counted, Records, State
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.phases import Phase, Request
from relay_metrics.relays.rotation import in_turn
from relay_metrics.snapshot import Number, Reading

if TYPE_CHECKING:
    from relay_metrics.relays.claude.admin import Administrator

Round = Iterable[Request[Any]]

MODELS_OF_TODAY = 100
"""For how many keys a run requests the model rows of the day; each takes the relay some 30 ms."""

KEYS_AT_ONCE = 100
"""How many keys are handed over together: they have 200 readings, which are converted together."""

EMPTY_LIST_MINUTES = 15
"""How often a list of accounts that scans is requested again after it was empty."""


class Whole:
    """One run.

    Args:
        keys: the configured keys of this shard.
        administrator: the administrator, logged in; None if there is none.

    Attributes:
        scans: how many more scans the run may make.
    """

    def __init__(
        self,
        client: RelayClient,
        kept: State,
        keys: Sequence[Identity],
        administrator: Administrator | None,
    ) -> None:
        self.scans = client.environment.scans_per_run
        self._client = client
        self._kept = kept
        self._administrator = administrator
        self._configured = {key.id: key for key in keys}
        self._records = Records(client, kept)
        self._answers = Answers()
        self._without_models_of_today = False
        self._keys_left_out = 0
        self._day_before: DayBefore | None = None
        self._complete: list[str] = []
        self._dashboard_fails = False
        self._keys_unread = 0

    # -- the phases

    def run(self) -> Fetched:
        """Send all requests and return the result."""
        steps = [step for step in STEPS if self._administrator or not step.of_administrator]
        names = {step.name for step in steps}
        self._client.in_phases(
            [
                Phase(step.name, tuple(names.intersection(step.needs)), self._rounds(step))
                for step in steps
            ],
            self._hand_over,
        )
        return self._fetched()

    def _rounds(self, step: Step) -> Callable[[], Iterable[Round]]:
        def rounds() -> Iterator[Round]:
            if step.wanted(self) and step.scans <= self.scans:
                self.scans -= step.scans
                yield from step.rounds(self)

        return rounds

    def reports_relay(self) -> bool:
        """Whether this is the first shard, which reports the relay as a whole."""
        return self._client.shard.first

    def wants_clock(self) -> bool:
        """Whether this shard requests the dashboard, which has the relay's clock."""
        known = self._client.relay.base_url in self._kept.utc_offset_hours
        return self.reports_relay() or not known

    def has_no_login(self) -> bool:
        """Whether only configured keys are read, so that nothing else takes scans meanwhile."""
        return self._administrator is None

    # -- phases that need no other answer

    def first_page(self) -> Iterator[Round]:
        """The newest keys, and the number of pages."""
        yield [self._page(1)]

    def totals(self) -> Iterator[Round]:
        """The totals and cost of all keys."""

        def take(usage: Mapping[str, Usage] | None) -> None:
            self._answers.usage = usage

        yield [self._ask(discovery.USAGE, discovery.usage_stats, take)]

    def dashboard(self) -> Iterator[Round]:
        """Accounts by state, and the usage of all keys. Other shards need only the clock, once."""
        base_url = self._client.relay.base_url

        def take(dashboard: at_large.Dashboard | None) -> None:
            self._dashboard_fails = False
            self._answers.dashboard = dashboard
            if dashboard is not None and dashboard.utc_offset_hours is not None:
                self._kept.utc_offset_hours[base_url] = dashboard.utc_offset_hours

        self._dashboard_fails = True  # until it answers
        yield [self._ask(at_large.DASHBOARD, at_large.dashboard, take)]

    def concurrency(self) -> Iterator[Round]:
        """Running and waiting requests."""

        def take(answer: at_large.Concurrency | None) -> None:
            self._answers.concurrency = answer

        yield [self._ask(at_large.CONCURRENCY, at_large.concurrency, take)]

    def health(self) -> Iterator[Round]:
        """The relay's release, its uptime, and its Redis."""
        yield [self._relays_own(at_large.HEALTH, lambda client, _: at_large.health(client))]

    def model_costs(self) -> Iterator[Round]:
        """The usage of each model by all keys."""
        yield [self._relays_own(at_large.COSTS, at_large.model_costs)]

    def unavailable(self) -> Iterator[Round]:
        """The accounts that are out of service."""

        def take(answer: Mapping[str, Number | None] | None) -> None:
            self._answers.unavailable, self._answers.unavailable_came = answer, True

        yield [self._ask(at_large.UNAVAILABLE, at_large.unavailable, take)]

    # -- phases that need answers of others

    def day_before(self) -> Iterator[Round]:
        """The day before, on the relay's clock, if it has to be delivered."""
        administrator: Any = self._administrator
        day_before = DayBefore(self._client, self._kept, administrator)
        if day_before.due:
            self._day_before = day_before
            yield from day_before.rounds(self._may_scan)

    def _may_scan(self, scans: int) -> bool:
        if scans > self.scans:
            return False
        self.scans -= scans
        return True

    def pages(self) -> Iterator[Round]:
        """The pages after the first."""
        if 1 in self._answers.pages:
            yield [self._page(number) for number in range(2, self._answers.pages[1].pages + 1)]

    def accounts(self) -> Iterator[Round]:
        """The accounts of each platform that has any by the dashboard.

        A list that scans is only requested if enough scans are left: one, and one more for each
        account without a request on the current day. If nothing tells how many accounts there are,
        the list is requested after all others, alone, if any scan is left.
        """
        dashboard = self._answers.dashboard
        empty = dashboard.empty if dashboard else frozenset()
        requests, unknown = [], []
        for platform in PLATFORMS:
            scans = self._scans_of(platform)
            if platform in empty or scans is None:
                continue
            if not scans and platform in SCANNED:
                unknown.append(platform)
            elif scans <= self.scans:
                self.scans -= scans
                requests.append(self._list(platform, scans))
        alone = unknown[: self.scans]
        self.scans -= len(alone)
        yield requests
        for platform in alone:
            yield [self._list(platform, 1)]

    def _scans_of(self, platform: str) -> int | None:
        """How many scans a list of accounts takes at most.

        Returns:
            None if this run leaves it out; 0 for a list that scans if nothing tells how often.
        """
        if platform not in SCANNED:
            return 0
        dashboard = self._answers.dashboard
        total = dashboard.states.get(platform, {}).get("total") if dashboard else None
        counted = self._kept.lists.get((self._client.relay.base_url, platform))
        if counted is None:
            if total is None:
                # the dashboard of a later run may know it
                return None if self._dashboard_fails else 0
            return 1 + int(total)
        gained = max(0, int(total or 0) - counted.accounts)
        minute = self._client.scheduled_s // 60
        if not counted.accounts and not gained and minute % EMPTY_LIST_MINUTES:
            return None
        today = counted.day == self._records.calendar.day
        return 1 + gained + (counted.idle if today else counted.accounts)

    def _list(self, platform: str, scans: int) -> Request[Any]:
        def take(listed: at_large.Accounts | None) -> None:
            there = Counted(self._records.calendar.day, 0, 0)
            if listed is None:  # an older relay does not have the list
                self.scans += scans
            else:
                self._answers.accounts[platform] = listed
                there = there._replace(accounts=len(listed.accounts), idle=listed.idle)
                if scans:
                    self.scans = max(0, self.scans + scans - 1 - listed.idle)
            if scans:
                self._kept.lists[self._client.relay.base_url, platform] = there

        return self._ask(
            f"admin/{platform}-accounts",
            lambda client, administrator: at_large.accounts(client, administrator, platform),
            take,
        )

    def keys(self) -> Iterator[Round]:
        """Make a record of each key. It sends no request."""
        self._add_records()
        if self._answers.usage is not None:
            self._keep_most_used()
        yield ()

    def batches(self) -> Iterator[Round]:
        """The usage of all keys on the day and in the month."""
        yield self._records.batches(self._batched)
        self._keep_most_used()

    def spent(self) -> Iterator[Round]:
        """User-stats that are needed and take no scan according to usage-stats.

        There may be many of them, so no phase waits for their answers.
        """
        yield self._spent(lambda record: record.cost_in_usage_stats)

    def first_believed(self) -> Iterator[Round]:
        """User-stats that take no scan according to an earlier run, beside the batch.

        They may have been reset since, so they are no more than the scans that are left.
        """
        yield islice(self._spent(lambda _: True), self.scans)

    def believed(self) -> Iterator[Round]:
        """User-stats that are needed and take no scan: the batch, or an earlier run, has a cost."""
        yield self._spent(lambda record: record.batched is not None)

    def _spent(self, among: Callable[[Record], bool]) -> Round:
        records = self._records
        return (
            records.stats(key_id)
            for key_id in self._batched
            if key_id not in records.asked
            and records.of[key_id].spends
            and among(records.of[key_id])
        )

    @property
    def _batched(self) -> Sequence[str]:
        """The keys of which a batch may have figures."""
        return [
            key_id
            for key_id, one in self._records.of.items()
            if one.identity.place is not None or one.listed is None or one.listed.readable
        ]

    def costs(self) -> Iterator[Round]:
        """The total cost of keys for which it is still unknown.

        First one batch of all of them: if its cost is 0, it is 0 for each. Else a batch for each.
        """
        records = self._records

        def unknown() -> list[str]:
            return [
                key_id
                for key_id, one in records.of.items()
                if one.has_cost is None and one.batched is not None
            ]

        if len(unknown()) > 1:
            yield records.batches(unknown())
        yield [records.batch([key_id], for_cost=True) for key_id in unknown()]

    def stats(self) -> Iterator[Round]:
        """User-stats of keys with missing figures, if they take no scan.

        If it is unknown whether they do, because an older relay has no batch or the batch failed,
        as many are requested at once as scans are left. The answer of a key with a cost took no
        scan, which is then free for the next round, until none is left.

        Without a batch, what an earlier run knew is tried with as many keys as scans are left,
        before the others: an administrator may have reset all of them.
        """
        records = self._records
        self._take_scanned(records.asked)
        wanting = sorted(
            key_id
            for key_id, one in records.of.items()
            if key_id not in records.asked and self._may_be_asked(one) and one.lacks_stats
        )
        sure = [key_id for key_id in wanting if not records.of[key_id].may_scan]
        remembered = [key_id for key_id in sure if records.of[key_id].has_cost_by_memory]
        untried = frozenset(remembered[self.scans :])
        tried = [key_id for key_id in sure if key_id not in untried]
        yield [records.stats(key_id) for key_id in tried]
        self._take_scanned(tried)
        if self.scans > 0 and not any(one.lost_its_cost for one in records.of.values()):
            yield [records.stats(key_id) for key_id in sure if key_id in untried]
            self._take_scanned(untried)
        unknown = [
            key_id
            for key_id in wanting
            if key_id not in records.asked
            and (key_id in untried or records.of[key_id].has_cost is None)
        ]
        first = in_turn(unknown, self.scans, self._client.scheduled_s)
        waiting = list(dict.fromkeys([*first, *unknown]))
        while waiting and self.scans > 0:
            asked, waiting = waiting[: self.scans], waiting[self.scans :]
            yield [records.stats(key_id) for key_id in asked]
            self._take_scanned(asked)
        if waiting:
            self._client.left_out("user-stats", "no_scan_left", len(waiting))
            # keys that the batch leaves out are most likely disabled, or no keys of the relay
            absent = sum(records.of[key_id].absent for key_id in waiting)
            self._keys_unread = absent
            none_came = not records.asked and not records.accepted and absent < len(waiting)
            if none_came and self._administrator is None:
                # this shows without a scan whether the relay is up
                yield [self._relays_own(at_large.HEALTH, lambda one, _: at_large.health(one))]

    def models_of_today(self) -> Iterator[Round]:
        """The model rows of the day, which take no scan, for `MODELS_OF_TODAY` keys."""
        if self._client.environment.period != "daily":
            return
        records = self._records
        ids = [
            key_id
            for key_id in sorted(records.of)
            # without usage on the day it would take a scan
            if self._wants_models(key_id)
            and records.of[key_id].fields.get("dailyUsage.requests", 0) > 0
        ]

        def request(key_id: str) -> Request[Any]:
            def take(models: Models | None) -> None:
                self._without_models_of_today |= models is None
                records.learn(key_id, models=models)

            key = records.of[key_id].identity
            return self._ask(
                discovery.MODELS,
                lambda client, administrator: discovery.models_of_today(client, administrator, key),
                take,
            )

        yield map(request, in_turn(ids, MODELS_OF_TODAY, self._client.scheduled_s))

    def turn(self) -> Iterator[Round]:
        """The requests that scan, in turn: model rows, and user-stats of keys without cost."""
        records = self._records
        scanning = [
            (key_id, models)
            for key_id in sorted(records.of)
            for models in (False, True)
            if (
                self._models_scan and self._wants_models(key_id)
                if models
                else self._wants_free_stats(key_id)
            )
        ]
        turn = in_turn(scanning, self.scans, self._client.scheduled_s)
        yield [
            *(records.stats(key_id) for key_id, models in turn if not models),
            *(records.models(key_id) for key_id, models in turn if models),
        ]

    # -- readings that are complete before the scrape ends

    def complete(self) -> Iterator[Round]:
        """Find the keys whose figures are complete. It sends no request.

        Other keys are complete when their user-stats comes. Complete keys are handed over while
        the scrape waits for answers; the result of the scrape has all others.
        """
        self._learn_active()
        asked = self._records.asked
        self._complete = [
            key_id
            for key_id, record in self._records.of.items()
            if record.stats is not None
            or not (key_id in asked or (self._may_be_asked(record) and record.lacks_stats))
        ]
        self._records.answered = self._complete.append
        yield ()

    def _hand_over(self) -> bool:
        """Hand over some keys. Returns False if there are too few, or no time is left."""
        some = self._complete[:KEYS_AT_ONCE]
        if len(some) < KEYS_AT_ONCE or self._client.seconds_left <= 0:
            return False
        del self._complete[:KEYS_AT_ONCE]
        self._client.hand_over(self._records.figures(some))
        return True

    def _learn_active(self) -> None:
        """Add the running requests of each key to its record."""
        if (answer := self._answers.concurrency) is not None:
            for key_id in self._records.of:
                active = answer.active.get(key_id, answer.of_others)
                self._records.learn(key_id, active=active)

    # -- requests of the phases

    def _ask(
        self,
        endpoint: str,
        ask: Callable[[RelayClient, Administrator], Any],
        take: Callable[[Any], None],
    ) -> Request[Any]:
        administrator: Any = self._administrator
        return Request(endpoint, lambda: ask(self._client, administrator), take)

    def _page(self, number: int) -> Request[Any]:
        return self._ask(
            discovery.KEYS,
            lambda client, administrator: discovery.page_of_keys(client, administrator, number),
            lambda page: self._answers.pages.__setitem__(number, page),
        )

    def _relays_own(
        self, endpoint: str, ask: Callable[[RelayClient, Administrator], Any]
    ) -> Request[Any]:
        return self._ask(
            endpoint, ask, lambda answer: self._answers.of_relay.__setitem__(endpoint, answer)
        )

    # -- keys

    def _add_records(self) -> None:
        """Add a record of each key: those of the list, of usage-stats, and the configured ones."""
        listed = self._answers.listed
        usage = self._answers.usage or {}
        unlisted = (
            () if self._answers.lists_all(listed) else (one for one in usage if one not in listed)
        )
        shard = self._client.shard
        for key_id in (*listed, *unlisted):
            if key_id in self._configured or in_shard(key_id, shard):
                identity = self._configured.get(key_id) or Identity.discovered(key_id)
                record = Record(identity, listed=listed.get(key_id), usage=usage.get(key_id))
                self._records.add(record)
        for key_id, identity in self._configured.items():
            if key_id not in self._records.of:
                self._records.add(Record(identity, usage=usage.get(key_id)))

    def _may_be_asked(self, record: Record) -> bool:
        """Whether the user-stats of a key may be requested.

        It always may for a configured key. A key that is on no page may be disabled or expired;
        batches leave those out.
        """
        if record.identity.place is not None:
            return True
        return record.batched is not None if record.listed is None else record.listed.readable

    def _wants_free_stats(self, key_id: str) -> bool:
        record = self._records.of[key_id]
        return (
            record.has_cost is False
            and record.may_scan
            and key_id not in self._records.asked
            and self._may_be_asked(record)
            and record.lacks_stats
        )

    def _wants_models(self, key_id: str) -> bool:
        record = self._records.of[key_id]
        return record.delivered_whole and record.used_in(self._client.environment.period)

    @property
    def _models_scan(self) -> bool:
        """Whether model rows are only available by requests that scan."""
        if self._administrator is None or self._client.environment.period != "daily":
            return True
        return self._without_models_of_today

    def _take_scanned(self, asked: Iterable[str]) -> None:
        """Subtract the scans that user-stats may have made from those that are left."""
        of = self._records.of
        scanned = sum(of[key_id].may_scan for key_id in asked if key_id in of)
        self.scans = max(0, self.scans - scanned)

    def _keep_most_used(self) -> None:
        before = len(self._records.of)
        most = self._client.environment.max_keys
        self._records.of = most_used(self._records.of, most)
        self._keys_left_out += before - len(self._records.of)

    # -- the result

    def _fetched(self) -> Fetched:
        records = self._records
        self._learn_active()
        administrator = self._administrator
        accepted = records.accepted or at_large.HEALTH in self._answers.of_relay
        of_relay: Iterable[Reading] = ()
        if administrator is not None and self.reports_relay():
            of_relay = self._answers.readings(self._client, self._never_used)
        day_before = self._day_before
        timed = () if day_before is None else tuple(day_before.readings)
        return Fetched(
            timed=timed,
            taken=day_before.taken if timed and day_before is not None else lambda: None,
            up=accepted if administrator is None else administrator.accepted,
            readings=(*of_relay, *records.readings()),
            keys_failed=records.failed + self._keys_unread + self._unconfirmed,
            keys_left_out=self._keys_left_out,
            models_left_out=records.models_left_out,
        )

    def _never_used(self) -> bool:
        """Whether it is certain that no key of the relay, of any shard, was ever used."""
        listed, usage = self._answers.listed, self._answers.usage or {}
        records = (
            self._records.of.get(key_id)
            or Record(Identity.discovered(key_id), listed=one, usage=usage.get(key_id))
            for key_id, one in listed.items()
        )
        return self._answers.lists_all(listed) and all(one.used is False for one in records)

    @property
    def _unconfirmed(self) -> int:
        """How many keys of the relay are on no page and in no batch."""
        listed = self._answers.listed
        if (
            self._administrator is None
            or not self._administrator.accepted
            or self._answers.lists_all(listed)
        ):
            return 0
        if self._answers.usage is None:
            return max(self._answers.total - len(listed), 0)
        return sum(
            one.listed is None and one.identity.place is None and one.batched is None
            for one in self._records.of.values()
        )


class Step(NamedTuple):
    """A phase of a run.

    Attributes:
        needs: the phases whose answers it needs. It starts as soon as these have ended.
        scans: how many scans it takes. It is left out if fewer are left.
        rounds: its requests.
        of_administrator: whether it needs a login.
        wanted: whether this shard runs it.
    """

    name: str
    needs: tuple[str, ...]
    scans: int
    rounds: Callable[[Whole], Iterable[Round]]
    of_administrator: bool = True
    wanted: Callable[[Whole], bool] = lambda _: True


STEPS = (
    Step("first page", (), 0, Whole.first_page),
    Step("totals", (), 1, Whole.totals),
    Step("dashboard", (), 3, Whole.dashboard, wanted=Whole.wants_clock),
    Step("concurrency", (), 1, Whole.concurrency),
    Step("health", (), 0, Whole.health, wanted=Whole.reports_relay),
    # one scan, and four more if the day, or the day after it, had no usage
    Step("day before", ("dashboard",), 0, Whole.day_before),
    Step("model costs", (), 0, Whole.model_costs, wanted=Whole.reports_relay),
    Step("unavailable", (), 0, Whole.unavailable, wanted=Whole.reports_relay),
    Step("pages", ("first page",), 0, Whole.pages),
    # The lists of some platforms scan, once more for each idle account. If the day before has to be
    # delivered it comes first, or these lists would take its scans in every run.
    Step("accounts", ("dashboard", "day before"), 0, Whole.accounts, wanted=Whole.reports_relay),
    Step("keys", ("pages", "totals"), 0, Whole.keys, of_administrator=False),
    Step("batches", ("keys",), 0, Whole.batches, of_administrator=False),
    Step("spent", ("keys",), 0, Whole.spent),
    Step(
        "first believed",
        ("keys",),
        0,
        Whole.first_believed,
        of_administrator=False,
        wanted=Whole.has_no_login,
    ),
    Step("believed", ("batches",), 0, Whole.believed, of_administrator=False),
    Step("costs", ("batches",), 0, Whole.costs, of_administrator=False),
    # one scan for each key without cost
    Step(
        "stats",
        ("costs", "first believed", "believed", "accounts"),
        0,
        Whole.stats,
        of_administrator=False,
    ),
    Step("models of today", ("batches",), 0, Whole.models_of_today),
    # one scan each
    Step("turn", ("stats", "models of today"), 0, Whole.turn, of_administrator=False),
    Step(
        "complete",
        ("costs", "concurrency", "dashboard"),
        0,
        Whole.complete,
        of_administrator=False,
    ),
)
"""All phases of a run. Phases that start earlier get their part of `RELAY_SCANS_PER_RUN` first."""
