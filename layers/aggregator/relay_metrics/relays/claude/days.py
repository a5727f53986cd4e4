"""The days of a claude-relay that are over, as it tells them to an administrator.

What each endpoint answers, and what it costs the relay, is in `docs/backfill.md`. There is no
range: `days=N` counts back from the relay's today. A look for a day without any use walks the
relay's database, twice for keys and twice for accounts, so `/admin/usage-trend`, which never
walks, is asked first.
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
from relay_metrics.relays.claude.keys import in_shard
from relay_metrics.relays.claude.stats import counter
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.phases import Request
from relay_metrics.relays.values import dig, figures, number, text
from relay_metrics.snapshot import Number, Reading, Scope

USED, KEYS, ACCOUNTS = (
    f"admin/{name}" for name in ("usage-trend", "api-keys-usage-trend", "account-usage-trend")
)
MODELS, LIST, RATES = "admin/api-keys/*/model-stats", "admin/api-keys", "admin/service-rates"
KEPT = 33
"""Days that the relay keeps, with today."""
GROUPS = ("claude", "openai", "gemini", "droid", "bedrock")
"""Of accounts: the relay refuses any other."""
PAGE_SIZE, MAX_PAGES = 100, 10_000
BYTES_A_KEY_AND_DAY = 127
"""Of an answer of `KEYS`: 2,000 keys and all days are 8 MiB."""

Round = Iterable[Request[Any]]
DayRows = dict[date, Mapping[str, Any]]

_HALF_A_DAY_S, _DAY_S = 43_200, 86_400
_EPOCH = date(1970, 1, 1)


class Days:
    """What a relay told of its days.

    Args:
        offset_hours: how far the relay's clock is ahead of UTC.

    Attributes:
        today: the relay's; None until it has told.
        whole: whether everything that was asked was answered.
        keys_told: whether the days of the keys came.
        clock_told: whether the relay said how far its clock is ahead.
    """

    def __init__(
        self, client: RelayClient, administrator: Administrator, offset_hours: float
    ) -> None:
        self.offset_hours = offset_hours
        self.today: date | None = None
        self.whole = True
        self.keys_told = False
        self.clock_told = False
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

    # -- what is asked first, and never walks

    def ask_used(self) -> Iterator[Round]:
        """Which days have use. `today` stays None where the relay is too old to say."""

        def ask() -> DayRows:
            answer = self._administrator.ask_if_there(f"/{USED}?granularity=day&days={KEPT}")
            return {} if answer is None else self._by_day(USED, answer)

        def take(rows: DayRows) -> None:
            self._at_large = rows
            self.today = max(rows, default=None)

        yield [Request(USED, ask, take, self._failed)]

    def ask_clock(self) -> Iterator[Round]:
        """How far the relay's clock is ahead of UTC, which its dashboard says. Three walks."""

        def ask() -> Mapping[str, Any] | None:
            return self._administrator.ask_if_there(f"/{DASHBOARD}")

        def take(answer: Mapping[str, Any] | None) -> None:
            offset = number(dig(answer, "data.systemTimezone"))
            if offset is not None and abs(offset) <= 14:
                self.offset_hours = offset
                self.clock_told = True

        yield [Request(DASHBOARD, ask, take, self._failed)]

    def ask_list(self) -> Iterator[Round]:
        """Which keys there are, when each was used last, and whose rate is 0."""
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
        data = answer.get("data")
        items = data if isinstance(data, list) else dig(data, "items")
        if not isinstance(items, list):
            raise self._client.invalid(LIST, "incomplete", "answered without a list of keys")
        return items, min(int(number(dig(data, "pagination.totalPages")) or 1), MAX_PAGES)

    @property
    def used(self) -> list[date]:
        """The days that are over and had any use, ascending."""
        return sorted(day for day in self._at_large if self._had_use(day) and self._is_over(day))

    @property
    def over(self) -> list[date]:
        """The days that are over, since the first with any use: one without is told as such."""
        used = self.used
        return sorted(
            day for day in self._at_large if used and day >= used[0] and self._is_over(day)
        )

    def keys_since(self, day: date) -> int:
        """How many keys can have been used since a day."""
        since = (day - timedelta(days=1)).isoformat()
        return sum(not at or at[:10] >= since for at in self._last_used.values())

    def scans_since(self, day: date) -> int:
        """The walks that it takes to ask for all days since one."""
        return 1 + 4 * sum(not self._had_use(one) for one in self._at_large if one >= day)

    def noon_ms(self, day: date) -> int:
        """Noon of a day by the relay's clock, epoch milliseconds."""
        of_day = (day - _EPOCH).days * _DAY_S + _HALF_A_DAY_S
        return round((of_day - self.offset_hours * 3600) * 1000)

    def _had_use(self, day: date) -> bool:
        row = self._at_large[day]
        return any(number(row.get(name)) for name in ("requests", "totalTokens"))

    def _is_over(self, day: date) -> bool:
        return self.today is not None and day < self.today

    # -- the days themselves

    def ask_since(self, day: date) -> Iterator[Round]:
        """Every key's and account's days since one."""
        if self.today is None:
            return
        count = (self.today - day).days + 1

        def ask() -> DayRows:
            path = f"/{KEYS}?granularity=day&days={count}"
            return self._by_day(KEYS, self._administrator.ask(path, endpoint=KEYS))

        def take(rows: DayRows) -> None:
            self.keys_told = True
            for of, row in rows.items():
                keys = row.get("apiKeys")
                self._keys[of] = {
                    key_id: one
                    for key_id, one in (keys if isinstance(keys, dict) else {}).items()
                    if isinstance(one, dict) and in_shard(key_id, self._client.shard)
                }

        yield [Request(KEYS, ask, take, self._failed)]
        if self._client.shard.first and self.keys_told:
            # the first one finds the days without use, which the relay remembers for the others
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
        """The models of each key on a day, or of those alone whose cost may be made up.

        Args:
            most: how many keys may be asked for one by one.
        """
        keys = self._keys.get(day, {})
        asked = (
            list(keys) if all_keys else [key_id for key_id in keys if self._doubtful(key_id, day)]
        )
        self._models = {}
        yield [self._ask_models(key_id, day) for key_id in asked[:most]]

    def readings(self, day: date, *, models: bool) -> list[Reading]:
        """All figures of a day. A cost that may be made up is that of the models, or left out."""
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
        """Whether a cost may be what the relay computed from tokens because it had stored 0.

        What it stores is whole micro-dollars; what it makes up are multiples of a twentieth.
        """
        cost = number(self._keys[day][key_id].get("cost"))
        if not cost:
            return False
        if self._all_free or key_id in self._free or not self._list_is_whole:
            return True
        return abs(cost * 1e6 - round(cost * 1e6)) > 0.01

    def _ask_models(self, key_id: str, day: date) -> Request[list[Any]]:
        # a plain date is midnight UTC, which is the day before where the relay is west of it;
        # noon is the same day nearly everywhere
        noon = f"{day}T12:00:00Z"
        if not -12 <= self.offset_hours < 12:
            at = datetime.fromtimestamp(self.noon_ms(day) / 1000, UTC)
            noon = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        path = f"/admin/api-keys/{quote(key_id, safe='')}/model-stats"
        query = f"period=custom&startDate={noon}&endDate={noon}"

        def ask() -> list[Any]:
            rows = self._administrator.ask(f"{path}?{query}", endpoint=MODELS).get("data")
            if not isinstance(rows, list):
                message = "answered without a list of models"
                raise self._client.invalid(MODELS, "incomplete", message)
            return rows

        def take(rows: list[Any]) -> None:
            named = [row for row in rows if isinstance(row, dict) and text(row.get("model"))]
            if len(named) < len(rows):
                self._client.left_out(MODELS, "invalid_row", len(rows) - len(named))
            self._models[key_id] = named[: self._client.environment.max_models_per_key]

        return Request(MODELS, ask, take, self._failed)

    # -- what they have in common

    def _failed(self, _: RelayError) -> None:
        self.whole = False

    def _by_day(self, endpoint: str, answer: Mapping[str, Any]) -> DayRows:
        """The rows of an answer by their day.

        Raises:
            InvalidAnswer: there are none.
        """
        rows = answer.get("data")
        if not isinstance(rows, list):
            raise self._client.invalid(endpoint, "incomplete", "answered without a list of days")
        found = {}
        for row in rows:
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
    """Whether one of some rates, by service, is 0."""
    return isinstance(rates, dict) and any(number(rate) == 0 for rate in rates.values())


def _stored_cost(rows: Sequence[Mapping[str, Any]] | None) -> float | None:
    """What the relay stored as a key's rated cost of a day, by its models; None where unknown."""
    costs = [number(dig(row, "costs.total")) for row in rows or ()]
    told = [cost for cost in costs if cost is not None]
    return sum(told) if told and len(told) == len(costs) else None
