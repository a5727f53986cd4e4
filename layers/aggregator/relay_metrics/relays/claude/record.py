"""What a run has learned of a key: one record, made of the answers that came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from relay_metrics import catalogue
from relay_metrics.relays.claude.calendar import Calendar
from relay_metrics.relays.claude.keys import Identity, Known
from relay_metrics.snapshot import Number, Reading, Scope

STATS = catalogue.rows(Scope.KEY, "user-stats")
TOTALS = catalogue.told_by(Scope.KEY, "admin/usage-stats")
SPENT: Mapping[str, str] = {row.field: row.spent_of for row in STATS if row.spent_of}
"""What user-stats says is spent, and the limit that it is spent of."""

TOKENS = "usage.total.allTokens"
COST, DAY_COST = "usage.total.cost", "limits.currentDailyCost"
_WINDOW = "limits.rateLimitWindow"
_IN_WINDOW = frozenset(field for field in SPENT if "indow" in field)


class Described(NamedTuple):
    """What user-stats and the administrator's list tell alike.

    Attributes:
        week: the day and hour on which its week begins.
    """

    name: str
    created_ms: int | None
    expires_ms: int | None
    week: tuple[int, int] | None


class Listed(NamedTuple):
    """A key in the administrator's list.

    Attributes:
        state: one of `catalogue.KEY_STATES`.
        last_used_ms: None where it never was.
        labels: those of its tags that `RELAY_KEY_LABELS` names.
    """

    described: Described
    state: str
    last_used_ms: int | None
    limits: Mapping[str, Number]
    owner: str
    labels: Mapping[str, str]

    @property
    def readable(self) -> bool:
        """Whether the relay answers for it; not where it is disabled or expired."""
        return self.state in ("active", "waiting")


class Usage(NamedTuple):
    """A key in usage-stats."""

    name: str
    totals: Mapping[str, Number]


class Batched(NamedTuple):
    """A key in batch-stats.

    Attributes:
        day_cost, month_cost: None where they were not sent.
    """

    name: str
    totals: Mapping[str, Number]
    figures: Mapping[str, Number]
    day_cost: Number | None
    month_cost: Number | None


class Stats(NamedTuple):
    """A key's user-stats, and who it was asked for as: its id may be another one by now."""

    identity: Identity
    described: Described
    figures: Mapping[str, Number]


class Models(NamedTuple):
    """A key's use of models; `left_out` says how many are beyond the bound."""

    identity: Identity
    rows: Sequence[tuple[Mapping[str, Number], Mapping[str, str]]]
    left_out: int


class Record(NamedTuple):
    """A key in the course of a run: who it is, and each answer that tells of it.

    Attributes:
        known: what earlier runs were told.
        absent: whether batch-stats came without it, as it does for a key that may not be read.
        cost: all that it ever cost, by a batch of it alone.
        refused: whether the relay did not answer its user-stats because of the key.
        active: its requests under way; None where they are not counted.
    """

    identity: Identity
    known: Known | None = None
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
        """Whether it ever was used; None while unknown."""
        if self.listed is not None and self.listed.last_used_ms is not None:
            # totals can be reset, after which a key that was used costs nothing
            return True
        totals = self.totals
        return any(totals.values()) or (False if totals else None)

    @property
    def costs(self) -> bool | None:
        """Whether it ever cost anything, without which its user-stats makes the relay scan.

        None while unknown: one whose use this month was free may have cost something before.
        """
        batched = self.batched
        if self.stats is not None and COST in self.stats.figures:
            return self.stats.figures[COST] > 0
        if self.cost is not None:
            return self.cost > 0
        if batched is not None and (batched.day_cost or batched.month_cost):
            return True
        if self._usage_holds and self.usage is not None and COST in self.usage.totals:
            return self.usage.totals[COST] > 0
        if self.known is None or self.known.costs is None:
            return None
        if batched is not None and any(batched.totals.values()) != self.known.costs:
            return None  # it was used since, or its totals were reset
        return self.known.costs

    @property
    def readable(self) -> bool:
        """Whether the relay may answer for it, as far as is known.

        A key that may not be read is refused before the relay looks at what it cost.
        """
        return self.stats is not None or not (self.refused or self.absent)

    @property
    def may_scan(self) -> bool:
        """Whether its user-stats makes the relay scan, or may do so."""
        listed = self.listed is None or self.listed.readable
        return not self.costs and self.readable and listed

    @property
    def totals(self) -> dict[str, Number]:
        """Its running totals: none that another answer of this run contradicts.

        Where its database fails while it answers usage-stats, the relay calls used keys unused.
        Neither batch-stats nor user-stats does that.
        """
        found: dict[str, Number] = {}
        if self._usage_holds and self.usage is not None:
            found.update(self.usage.totals)
        if self.batched is not None:
            for field, figure in self.batched.totals.items():
                found[field] = max(figure, found.get(field, 0))
        if self.cost is not None:
            found[COST] = self.cost
        elif self.costs and not found.get(COST):
            found.pop(COST, None)
        elif self.costs is False and COST not in found and found:
            found[COST] = 0
        if self.stats is not None:
            told = self.stats.figures
            found.update({row.field: told[row.field] for row in TOTALS if row.field in told})
        return found

    @property
    def _usage_holds(self) -> bool:
        """Whether usage-stats tells its totals: zeros only where something else says so as well."""
        if self.usage is None or any(self.usage.totals.values()):
            return self.usage is not None
        if self.batched is not None:
            return not any(self.batched.totals.values())
        return self.listed is not None and self.listed.last_used_ms is None

    @property
    def fields(self) -> dict[str, Number]:
        """Its figures as user-stats has them, and those of the day and the month."""
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
        """What a listed key has not spent, as user-stats itself would say it.

        A key that was never used has spent nothing of anything, and one without a window nothing
        in one. Of a limit that the list does not have, the relay is too old to tell what is spent.
        """
        unused, windowless = self.used is False, found.get(_WINDOW) == 0
        return {
            spent: 0
            for spent, limit in SPENT.items()
            if limit in found
            and spent not in found
            and (unused or (windowless and spent in _IN_WINDOW))
        }

    # -- what to ask

    @property
    def lacks_stats(self) -> bool:
        """Whether its user-stats has what nothing else told.

        Of a key that is configured everything is wanted; of one that was discovered its totals,
        and what is spent of the limits that it has.
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
    def cost_money(self) -> bool:
        """Whether usage-stats says that it cost something."""
        return self.usage is not None and self.usage.totals.get(COST, 0) > 0

    @property
    def spends(self) -> bool:
        """Whether the list alone tells that its user-stats will be wanted, and costs no scan."""
        if not self.costs or not self.readable:
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
        """What a later run that is told less has of it."""
        name, created_ms, expires_ms, _ = self.described
        return Known(name, created_ms, expires_ms, self.costs)

    @property
    def described(self) -> Described:
        """Its name, start, end and week, by the latest word, else an earlier run's."""
        name = (self.usage and self.usage.name) or (self.batched and self.batched.name) or ""
        known = self.known or Known("", None, None, None)
        if self.stats is not None:
            told = self.stats.described
        elif self.listed is not None:
            told = self.listed.described
        else:
            told = Described(name or known.name, None, known.expires_ms, None)
        created_ms = known.created_ms if told.created_ms is None else told.created_ms
        return told._replace(created_ms=created_ms)

    def figures(self, calendar: Calendar) -> Iterable[Reading]:
        """What is known of it but its use of models.

        Of a discovered key that may not be read, that is its totals and its names.
        """
        name, created_ms, expires_ms, week = self.described
        identity = (self.stats or self.models or self).identity
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
        """What is known of its use of models.

        An expired key still has model rows at the relay, which are not told without the rest.
        """
        if self.models is not None and self.delivered_whole:
            resource = self._resource
            for row, attributes in self.models.rows:
                yield Reading(Scope.MODEL, row, attributes, resource)

    @property
    def _resource(self) -> Mapping[str, str]:
        identity = (self.stats or self.models or self).identity
        return {
            "service.instance.id": identity.instance,
            "relay.key.id": identity.id,
            "relay.key.name": self.described.name,
        }

    @property
    def delivered_whole(self) -> bool:
        """Whether more is delivered of it than its running totals."""
        if self.stats is not None:
            return True
        if self.listed is not None:
            return self.listed.readable and self.readable
        # a key that no page had may be disabled or expired: a batch leaves those out
        return self.readable and (self.identity.place is not None or self.batched is not None)


def most_used(records: Mapping[str, Record], most: int) -> dict[str, Record]:
    """At most so many, those with the most tokens, in their order."""
    if len(records) <= most:
        return dict(records)
    ranked = sorted(records, key=lambda key_id: (-records[key_id].totals.get(TOKENS, 0), key_id))
    kept = set(ranked[:most])
    return {key_id: record for key_id, record in records.items() if key_id in kept}
