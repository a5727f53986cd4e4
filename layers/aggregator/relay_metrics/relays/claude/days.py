"""Requests for the past days of a claude-relay, as an administrator.

`docs/backfill.md` says what each endpoint answers and costs the relay. The endpoints take no range
of days: `days=N` counts back from the relay's current day. Each day without usage makes the relay
scan its database, twice for keys and twice for accounts. `/admin/usage-trend` never scans, so it is
requested first, to find the days with usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

from relay_metrics import catalogue
from relay_metrics.errors import RelayError
from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.at_large import DASHBOARD
from relay_metrics.relays.claude.discovery import PAGE_SIZE, rows_of_page
from relay_metrics.relays.claude.keys import in_shard
from relay_metrics.relays.claude.stats import counter, part
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.phases import Request
from relay_metrics.relays.values import dig, figures, number, text
from relay_metrics.snapshot import Number, Reading, Scope

USED, KEYS, ACCOUNTS = (
    f"admin/{name}" for name in ("usage-trend", "api-keys-usage-trend", "account-usage-trend")
)
MODELS, LIST, RATES = "admin/api-keys/*/model-stats", "admin/api-keys", "admin/service-rates"
KEPT = 33
"""How many days the relay keeps, including the current one."""
GROUPS = ("claude", "openai", "gemini", "droid", "bedrock")
"""The groups of accounts. The relay refuses any other."""
BYTES_A_KEY_AND_DAY = 127
"""The size of an answer of `KEYS` for each key and day: 2,000 keys and all days are 8 MiB."""

Round = Iterable[Request[Any]]
DayRows = dict[date, Mapping[str, Any]]

_HALF_A_DAY_S, _DAY_S = 43_200, 86_400
_EPOCH = date(1970, 1, 1)


class Days:
    """The past days of a relay: the requests, and the answers so far.

    Args:
        offset_hours: the hours by which the relay's clock is ahead of UTC.

    Attributes:
        today: the current day of the relay; None until it is known.
        whole: whether no request has failed.
        keys_answered: whether the days of the keys were answered.
        clock_answered: whether the relay gave its clock's offset.
    """

    def __init__(
        self, client: RelayClient, administrator: Administrator, offset_hours: float
    ) -> None:
        self.offset_hours = offset_hours
        self.today: date | None = None
        self.whole = True
        self.keys_answered = False
        self.clock_answered = False
        self._client = client
        self._administrator = administrator
        self._at_large: DayRows = {}
        self._last_used: dict[str, str] = {}
        self._free: set[str] = set()
        self._all_free = False
        self._list_is_whole = False
        self._models: dict[str, Sequence[Mapping[str, Any]]] = {}
        self._keys: dict[date, dict[str, Mapping[str, Any]]] = {}
        self._accounts: dict[date, list[Reading]] = {}

    # -- requests before those for the days

    def ask_used(self) -> Iterator[Round]:
        """Request which days have usage. `today` stays None if the relay is too old. No scan."""

        def ask() -> DayRows:
            answer = self._administrator.ask_if_there(f"/{USED}?granularity=day&days={KEPT}")
            return {} if answer is None else self._by_day(USED, answer)

        def take(rows: DayRows) -> None:
            self._at_large = rows
            self.today = max(rows, default=None)

        yield [Request(USED, ask, take, self._failed)]

    def ask_clock(self) -> Iterator[Round]:
        """Request the offset of the relay's clock, from its dashboard. It takes three scans."""

        def ask() -> Mapping[str, Any] | None:
            return self._administrator.ask_if_there(f"/{DASHBOARD}")

        def take(answer: Mapping[str, Any] | None) -> None:
            offset = number(dig(answer, "data.systemTimezone"))
            if offset is not None and abs(offset) <= 14:
                self.offset_hours = offset
                self.clock_answered = True

        yield [Request(DASHBOARD, ask, take, self._failed)]

    def ask_list(self) -> Iterator[Round]:
        """Request the keys: when each was last used, and which have a rate of 0. No scan."""
        pages = 1

        def page(number: int) -> Request[tuple[list[Any], int]]:
            return Request(LIST, lambda: self._page(number), take, self._failed)

        def take(answer: tuple[list[Any], int]) -> None:
            nonlocal pages
            items, pages = answer
            for item in items:
                key_id = text(dig(item, "id"))
                if key_id:
                    self._last_used[key_id] = text(dig(item, "lastUsedAt"))
                    if _free_of_charge(dig(item, "serviceRates")):
                        self._free.add(key_id)

        def take_rates(answer: Mapping[str, Any] | None) -> None:
            self._all_free = _free_of_charge(dig(answer, "data.rates"))

        def ask_rates() -> Mapping[str, Any] | None:
            return self._administrator.ask_if_there(f"/{RATES}")

        yield [page(1), Request(RATES, ask_rates, take_rates, self._failed)]
        yield [page(number) for number in range(2, pages + 1)]
        self._list_is_whole = self.whole

    def _page(self, page: int) -> tuple[list[Any], int]:
        answer = self._administrator.ask(f"/{LIST}?page={page}&pageSize={PAGE_SIZE}", endpoint=LIST)
        items, _, pages = rows_of_page(self._client, LIST, answer)
        return items, pages

    @property
    def used(self) -> list[date]:
        """The past days with usage, ascending."""
        return sorted(day for day in self._at_large if self._had_use(day) and self._is_over(day))

    @property
    def over(self) -> list[date]:
        """The past days from the first one with usage on, including days without usage."""
        used = self.used
        return sorted(
            day for day in self._at_large if used and day >= used[0] and self._is_over(day)
        )

    def keys_since(self, day: date) -> int:
        """How many keys may have been used since a day."""
        since = (day - timedelta(days=1)).isoformat()
        return sum(not at or at[:10] >= since for at in self._last_used.values())

    def scans_since(self, day: date) -> int:
        """How many scans the requests for all days since `day` take."""
        return 1 + 4 * sum(not self._had_use(one) for one in self._at_large if one >= day)

    def noon_ms(self, day: date) -> int:
        """Noon of a day on the relay's clock, epoch milliseconds."""
        of_day = (day - _EPOCH).days * _DAY_S + _HALF_A_DAY_S
        return round((of_day - self.offset_hours * 3600) * 1000)

    def _had_use(self, day: date) -> bool:
        row = self._at_large[day]
        return any(number(row.get(name)) for name in ("requests", "totalTokens"))

    def _is_over(self, day: date) -> bool:
        return self.today is not None and day < self.today

    # -- the days themselves

    def ask_since(self, day: date) -> Iterator[Round]:
        """Request the days of every key and account since `day`."""
        if self.today is None:
            return
        count = (self.today - day).days + 1

        def ask() -> DayRows:
            path = f"/{KEYS}?granularity=day&days={count}"
            return self._by_day(KEYS, self._administrator.ask(path, endpoint=KEYS))

        def take(rows: DayRows) -> None:
            self.keys_answered = True
            for of, row in rows.items():
                keys = row.get("apiKeys")
                self._keys[of] = {
                    key_id: one
                    for key_id, one in (keys if isinstance(keys, dict) else {}).items()
                    if isinstance(one, dict) and in_shard(key_id, self._client.shard)
                }

        yield [Request(KEYS, ask, take, self._failed)]
        if self._client.shard.first and self.keys_answered:
            # The first group alone: its request scans for the days without usage, and the relay
            # remembers them for the other groups.
            for groups in (GROUPS[:1], GROUPS[1:]):
                yield [self._ask_accounts(group, count) for group in groups]

    def _ask_accounts(self, group: str, count: int) -> Request[DayRows]:
        def ask() -> DayRows:
            path = f"/{ACCOUNTS}?granularity=day&group={group}&days={count}"
            answer = self._administrator.ask_if_there(path, endpoint=ACCOUNTS)
            return {} if answer is None else self._by_day(ACCOUNTS, answer)

        def take(rows: DayRows) -> None:
            for day, row in rows.items():
                accounts = row.get("accounts")
                for account_id, one in (accounts if isinstance(accounts, dict) else {}).items():
                    fields = self._figures(Scope.DAY_ACCOUNT, ACCOUNTS, one)
                    attributes = {"platform": group, "relay.account.id": text(account_id)}
                    self._accounts.setdefault(day, []).append(
                        self._reading(Scope.DAY_ACCOUNT, day, fields, attributes)
                    )

        return Request(ACCOUNTS, ask, take, self._failed)

    def ask_models(self, day: date, *, all_keys: bool, most: int | None = None) -> Iterator[Round]:
        """Request the models of each key on a day, or only of keys whose cost may be an estimate.

        Args:
            most: the most keys to request, each with a request of its own.
        """
        keys = self._keys.get(day, {})
        asked = (
            list(keys) if all_keys else [key_id for key_id in keys if self._doubtful(key_id, day)]
        )
        self._models = {}
        yield [self._ask_models(key_id, day) for key_id in asked[:most]]

    def readings(self, day: date, *, models: bool) -> list[Reading]:
        """All figures of a day.

        A cost that may be an estimate is replaced by the sum of the key's models, or left out.
        """
        readings = []
        if self._client.shard.first:
            at_large = self._figures(Scope.DAY_RELAY, USED, self._at_large[day])
            readings.append(self._reading(Scope.DAY_RELAY, day, at_large))
        for key_id, row in self._keys.get(day, {}).items():
            fields = self._figures(Scope.DAY_KEY, KEYS, row)
            if self._doubtful(key_id, day):
                stored = _stored_cost(self._models.get(key_id))
                if stored is None:
                    self._client.left_out(KEYS, "made_up")
                    fields.pop("cost", None)
                else:
                    fields["cost"] = stored
            readings.append(self._reading(Scope.DAY_KEY, day, fields, key_id=key_id))
            for model in self._models.get(key_id, ()) if models else ():
                fields = self._figures(Scope.DAY_MODEL, MODELS, model)
                attributes = {"model": text(model.get("model"))}
                readings.append(
                    self._reading(Scope.DAY_MODEL, day, fields, attributes, key_id=key_id)
                )
        readings += self._accounts.get(day, [])
        return [reading for reading in readings if reading.fields]

    def _doubtful(self, key_id: str, day: date) -> bool:
        """Whether a cost may be an estimate.

        If the stored cost is 0, the relay computes one from the tokens. Stored costs are whole
        micro-dollars, estimates are multiples of a twentieth of one.
        """
        cost = number(self._keys[day][key_id].get("cost"))
        if not cost:
            return False
        if self._all_free or key_id in self._free or not self._list_is_whole:
            return True
        return abs(cost * 1e6 - round(cost * 1e6)) > 0.01

    def _ask_models(self, key_id: str, day: date) -> Request[list[Any]]:
        # The relay reads a plain date as midnight UTC, which is the day before if its clock is
        # behind UTC. Noon UTC is the same day for nearly all offsets.
        noon = f"{day}T12:00:00Z"
        if not -12 <= self.offset_hours < 12:
            at = datetime.fromtimestamp(self.noon_ms(day) / 1000, UTC)
            noon = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        path = f"/admin/api-keys/{quote(key_id, safe='')}/model-stats"
        query = f"period=custom&startDate={noon}&endDate={noon}"

        def ask() -> list[Any]:
            answer = self._administrator.ask(f"{path}?{query}", endpoint=MODELS)
            return part(self._client, MODELS, answer, "data", list, "a list of models")

        def take(rows: list[Any]) -> None:
            named = [row for row in rows if isinstance(row, dict) and text(row.get("model"))]
            if len(named) < len(rows):
                self._client.left_out(MODELS, "invalid_row", len(rows) - len(named))
            self._models[key_id] = named[: self._client.environment.max_models_per_key]

        return Request(MODELS, ask, take, self._failed)

    # -- parsing

    def _failed(self, _: RelayError) -> None:
        self.whole = False

    def _by_day(self, endpoint: str, answer: Mapping[str, Any]) -> DayRows:
        """The rows of an answer by their day.

        Raises:
            InvalidAnswer: the answer has no list of rows.
        """
        found = {}
        for row in part(self._client, endpoint, answer, "data", list, "a list of days"):
            try:
                found[date.fromisoformat(row["date"])] = row
            except (KeyError, TypeError, ValueError):
                self._client.left_out(endpoint, "invalid_row")
        return found

    def _figures(self, scope: Scope, endpoint: str, row: object) -> dict[str, Number]:
        answer = row if isinstance(row, dict) else {}
        return figures(catalogue.rows(scope), answer, counter(self._client, endpoint))

    def _reading(
        self,
        scope: Scope,
        day: date,
        fields: Mapping[str, Number],
        attributes: Mapping[str, str] | None = None,
        *,
        key_id: str = "",
    ) -> Reading:
        return Reading(
            scope,
            fields,
            attributes or {},
            {"relay.key.id": text(key_id)} if key_id else {},
            time_ms=self.noon_ms(day),
        )


def _free_of_charge(rates: object) -> bool:
    """Whether any of the rates, given by service, is 0."""
    return isinstance(rates, dict) and any(number(rate) == 0 for rate in rates.values())


def _stored_cost(rows: Sequence[Mapping[str, Any]] | None) -> float | None:
    """The stored rated cost of a key on a day, summed over its models; None if unknown."""
    costs = [number(dig(row, "costs.total")) for row in rows or ()]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None
