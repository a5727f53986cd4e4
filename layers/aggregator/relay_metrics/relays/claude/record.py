"""The record of a key in one run, made of the answers about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from relay_metrics import catalogue
from relay_metrics.relays.claude.calendar import Calendar
from relay_metrics.relays.claude.keys import Identity, Known
from relay_metrics.snapshot import Number, Reading, Scope

STATS = catalogue.rows(Scope.KEY, "user-stats")
USAGE_STATS = "admin/usage-stats"
TOTALS = catalogue.answered_by(Scope.KEY, USAGE_STATS)
SPENT: Mapping[str, str] = {row.field: row.spent_of for row in STATS if row.spent_of}
"""The fields of user-stats with the usage of a limit, and the field of that limit."""

REQUESTS, TOKENS = "usage.total.requests", "usage.total.allTokens"
COST, DAY_COST = "usage.total.cost", "limits.currentDailyCost"
_WINDOW = "limits.rateLimitWindow"
_IN_WINDOW = frozenset(field for field in SPENT if "indow" in field)


class Described(NamedTuple):
    """The description of a key, which user-stats and the administrator's list share.

    Attributes:
        created_ms, expires_ms: epoch milliseconds; None if unknown or never.
        week: the day (1 to 7) and the hour at which its week begins; None if unknown.
    """

    name: str
    created_ms: int | None
    expires_ms: int | None
    week: tuple[int, int] | None


class Listed(NamedTuple):
    """A key in the administrator's list.

    Attributes:
        state: one of `catalogue.KEY_STATES`.
        last_used_ms: epoch milliseconds; None if it was never used, or the list does not say.
        never_used: whether the list says that it was never used.
        limits: by the fields of the catalogue.
        labels: those of its tags that `RELAY_KEY_LABELS` names.
    """

    described: Described
    state: str
    last_used_ms: int | None
    never_used: bool
    limits: Mapping[str, Number]
    owner: str
    labels: Mapping[str, str]

    @property
    def readable(self) -> bool:
        """Whether the relay answers requests for it, which it does not if disabled or expired."""
        return self.state in ("active", "waiting")


class Usage(NamedTuple):
    """A key in usage-stats."""

    name: str
    totals: Mapping[str, Number]


class Batched(NamedTuple):
    """A key in batch-stats.

    Attributes:
        day_cost, month_cost: None if they were not sent.
    """

    name: str
    totals: Mapping[str, Number]
    figures: Mapping[str, Number]
    day_cost: Number | None
    month_cost: Number | None


class Stats(NamedTuple):
    """The user-stats of a key, with the identity used in the request, whose id may be a new one."""

    identity: Identity
    described: Described
    figures: Mapping[str, Number]


class Models(NamedTuple):
    """The model rows of a key; `left_out` is how many are beyond the bound."""

    identity: Identity
    rows: Sequence[tuple[Mapping[str, Number], Mapping[str, str]]]
    left_out: int


class Record(NamedTuple):
    """A key in one run: its identity, and the answers about it so far.

    Attributes:
        known: facts from earlier runs.
        expired: whether it has expired according to an earlier run.
        absent: whether it was missing in batch-stats, as keys are that may not be read, and others
            if the relay's database fails.
        cost: its total cost, from a batch with this key only.
        refused: whether the relay refused its user-stats because of the key.
        active: its running requests; None if they are not counted.
    """

    identity: Identity
    known: Known | None = None
    expired: bool = False
    listed: Listed | None = None
    usage: Usage | None = None
    batched: Batched | None = None
    absent: bool = False
    cost: Number | None = None
    stats: Stats | None = None
    refused: bool = False
    models: Models | None = None
    active: Number | None = None

    # -- what follows from the answers

    @property
    def used(self) -> bool | None:
        """Whether it was ever used; None if unknown."""
        if self.listed is not None and self.listed.last_used_ms is not None:
            # totals may be 0 for a used key, after an administrator has reset them
            return True
        totals = self.totals
        return any(totals.values()) or (False if REQUESTS in totals else None)

    @property
    def has_cost(self) -> bool | None:
        """Whether it ever had a cost; None if unknown. Without one, its user-stats takes a scan.

        A cost of 0 this month does not decide it: there may have been a cost before. A cost that
        the relay did not keep is none: its user-stats computes it, with a scan.
        """
        batched, known = self.batched, self.known
        if self.cost is not None:
            return self.cost > 0
        if self.cost_in_usage_stats or (batched and (batched.day_cost or batched.month_cost)):
            return True
        known_cost = None if known is None else known.has_cost
        zero = self.usage is not None and self.usage.totals.get(COST) == 0
        if zero and (self._never_used or known_cost is False):
            return False  # the relay answers 0 as well if it cannot read the cost
        if self.stats is not None and COST in self.stats.figures:
            computed = known_cost is False and COST in self._counted
            return self.stats.figures[COST] > 0 and not computed
        if batched is not None and any(batched.totals.values()) != known_cost:
            return None  # it was used since then, or its totals were reset
        return known_cost or (None if self.absent else known_cost)

    @property
    def readable(self) -> bool:
        """Whether the relay may answer requests for it, as far as is known."""
        return self.stats is not None or not (self.refused or self.absent)

    @property
    def may_scan(self) -> bool:
        """Whether its user-stats may make the relay scan.

        For a key that may not be read, the relay refuses the request before it scans. A batch also
        leaves out a key if the relay's database fails.
        """
        listed = self.listed is None or self.listed.readable
        return not self.has_cost and not self.refused and listed

    @property
    def has_cost_by_memory(self) -> bool:
        """Whether only an earlier run tells that its user-stats takes no scan."""
        forgotten = self._replace(known=None)
        return self.batched is None and bool(self.has_cost) and not forgotten.has_cost

    @property
    def lost_its_cost(self) -> bool:
        """Whether it had a cost in an earlier run and has none now, as after a reset."""
        return self.known is not None and bool(self.known.has_cost) and self.has_cost is False

    @property
    def totals(self) -> dict[str, Number]:
        """Its running totals, without zeros that nothing confirms.

        If the relay's database fails while it answers usage-stats, totals of used keys are 0.
        This does not happen with batch-stats and user-stats.
        """
        found = self._usage_totals
        if self.batched is not None:
            for field, figure in self.batched.totals.items():
                found[field] = max(figure, found.get(field, 0))
        if self.cost is not None or (self.has_cost is False and found):
            found.setdefault(COST, self.cost or 0)
        if not found.get(COST) and (
            self.has_cost or (COST in self._counted and not self._never_used)
        ):
            found.pop(COST, None)
        if self.stats is not None:
            figures = self.stats.figures
            found.update({row.field: figures[row.field] for row in TOTALS if row.field in figures})
        return found

    @property
    def _usage_totals(self) -> dict[str, Number]:
        """The totals of usage-stats, without zeros that may only mean that the relay failed.

        It reads the cost by itself, and the other totals together.
        """
        totals = {} if self.usage is None else dict(self.usage.totals)
        if self._never_used:
            return totals
        doubtful = self._counted | {COST} if totals.get(REQUESTS) else totals.keys()
        return {field: one for field, one in totals.items() if one or field not in doubtful}

    @property
    def zeros_left_out(self) -> int:
        """How many totals of usage-stats are zeros that nothing confirms."""
        return 0 if self.usage is None else len(self.usage.totals.keys() - self.totals.keys())

    @property
    def _never_used(self) -> bool:
        """Whether two answers agree that it was never used, or was reset by an administrator."""
        if self.batched is not None:
            totals = self.batched.totals.values()
            return bool(totals) and not any(totals)
        if self.usage is None or any(self.usage.totals.values()):
            return False
        return self.listed is not None and self.listed.never_used

    @property
    def _counted(self) -> frozenset[str]:
        return frozenset() if self.known is None else self.known.counted

    @property
    def fields(self) -> dict[str, Number]:
        """All of its figures, by the fields of the catalogue."""
        found: dict[str, Number] = {} if self.listed is None else dict(self.listed.limits)
        found.update(self.totals)
        if self.batched is not None:
            found.update(self.batched.figures)
            if self.batched.day_cost is not None:
                found[DAY_COST] = self.batched.day_cost
        if self.stats is not None:
            found.update(self.stats.figures)
        if self.listed is not None:
            found.update(self._unspent(found))
        return found

    def _unspent(self, found: Mapping[str, Number]) -> dict[str, Number]:
        """Usage of limits that is known to be 0, as user-stats would answer it.

        A key that was never used has used nothing of any limit, and a key without a window nothing
        of a window. If the list does not have a limit, the relay is too old to have its usage.
        """
        unused, windowless = self.used is False, found.get(_WINDOW) == 0
        return {
            spent: 0
            for spent, limit in SPENT.items()
            if limit in found
            and spent not in found
            and (unused or (windowless and spent in _IN_WINDOW))
        }

    # -- which requests are needed

    @property
    def lacks_stats(self) -> bool:
        """Whether figures are missing that its user-stats would have.

        For a configured key all figures are wanted; for a discovered key its totals, and the usage
        of the limits that it has.
        """
        fields = self.fields
        if self.identity.place is not None:
            return any(row.field not in fields for row in STATS)
        if self.used is False:
            return False
        return any(row.field not in fields for row in TOTALS) or any(
            spent not in fields and fields.get(limit, 0) > 0 for spent, limit in SPENT.items()
        )

    @property
    def cost_in_usage_stats(self) -> bool:
        """Whether usage-stats has a cost of it, which is the rated one."""
        return self.usage is not None and self.usage.totals.get(COST, 0) > 0

    @property
    def spends(self) -> bool:
        """Whether it is already known that its user-stats is needed and takes no scan."""
        if not self.has_cost or not self.readable:
            return False
        if self.identity.place is not None:
            return True
        return self.listed is not None and any(
            self.listed.limits.get(limit, 0) > 0
            for spent, limit in SPENT.items()
            if spent != DAY_COST
        )

    def used_in(self, period: str) -> bool:
        """Whether it was used in a period of model rows, as far as is known."""
        usage = {"daily": "dailyUsage", "monthly": "monthlyUsage"}.get(period, "usage.total")
        return self.used is not False and self.fields.get(f"{usage}.requests") != 0

    # -- what is delivered

    @property
    def to_keep(self) -> Known:
        """The facts to keep for later runs."""
        name, created_ms, expires_ms, _ = self.described
        totals = self.totals
        counted = {field for field, total in totals.items() if total}
        counted |= self._counted - totals.keys()
        return Known(name, created_ms, expires_ms, self.has_cost, _shared(frozenset(counted)))

    @property
    def latest_identity(self) -> Identity:
        """Who the key is by its last answer: its id may have changed in the run."""
        return (self.stats or self.models or self).identity

    @property
    def described(self) -> Described:
        """Its name, creation, expiry and week, from this run or else from an earlier one."""
        name = (self.usage and self.usage.name) or (self.batched and self.batched.name) or ""
        known = self.known or Known("", None, None, None)
        if self.stats is not None:
            latest = self.stats.described
        elif self.listed is not None:
            latest = self.listed.described
        else:
            latest = Described(name or known.name, None, known.expires_ms, None)
        created_ms = known.created_ms if latest.created_ms is None else latest.created_ms
        return latest._replace(created_ms=created_ms)

    def figures(self, calendar: Calendar) -> Iterable[Reading]:
        """Its readings, without those of models.

        For a discovered key that may not be read, these are its totals and `relay_key_info`.
        """
        name, created_ms, expires_ms, week = self.described
        identity = self.latest_identity
        if self.listed is not None:
            yield Reading(
                Scope.KEY_INFO,
                {"info": 1},
                {
                    **self.listed.labels,
                    "relay.key.state": self.listed.state,
                    "relay.key.owner": self.listed.owner,
                },
                {"relay.key.id": identity.id, "relay.key.name": name},
            )
        if not self.delivered_whole:
            if totals := self.totals:
                yield Reading(Scope.KEY, totals, {}, self._resource, created_ms)
            return
        if fields := self.fields:
            fields["day_resets_s"] = calendar.next_day_s
            if expires_ms is not None:
                fields["expires_s"] = expires_ms / 1000
            if self.listed is not None and self.listed.last_used_ms is not None:
                fields["last_used_s"] = self.listed.last_used_ms / 1000
            if self.active is not None and fields.get("limits.concurrencyLimit", 0) > 0:
                fields["active"] = self.active
            if week is not None:
                fields["week_resets_s"] = calendar.next_week_s(*week)
            yield Reading(Scope.KEY, fields, {}, self._resource, created_ms)

    def use_of_models(self) -> Iterable[Reading]:
        """Its readings of models.

        The relay still has model rows of an expired key; they are left out like its other figures.
        """
        if self.models is not None and self.delivered_whole:
            resource = self._resource
            for row, attributes in self.models.rows:
                yield Reading(Scope.MODEL, row, attributes, resource)

    @property
    def _resource(self) -> Mapping[str, str]:
        identity = self.latest_identity
        return {
            "service.instance.id": identity.instance,
            "relay.key.id": identity.id,
            "relay.key.name": self.described.name,
        }

    @property
    def delivered_whole(self) -> bool:
        """Whether all of its figures are delivered, not only its running totals."""
        if self.stats is not None:
            return True
        if self.listed is not None:
            return self.listed.readable and self.readable
        # A key that is on no page may be disabled or expired; batches leave those out.
        was_readable = self.identity.place is not None and self.known is not None
        return self.readable and (self.batched is not None or (was_readable and not self.expired))


@cache
def _shared(fields: frozenset[str]) -> frozenset[str]:
    """The same object for the same fields, of which there are few: one is kept for each key."""
    return fields


def most_used(records: Mapping[str, Record], most: int) -> dict[str, Record]:
    """The `most` records with the most tokens, in the order of `records`."""
    if len(records) <= most:
        return dict(records)
    ranked = sorted(records, key=lambda key_id: (-records[key_id].totals.get(TOKENS, 0), key_id))
    kept = set(ranked[:most])
    return {key_id: record for key_id, record in records.items() if key_id in kept}
