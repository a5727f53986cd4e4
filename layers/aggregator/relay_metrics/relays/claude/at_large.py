"""Requests about a claude-relay as a whole and its upstream accounts, as an administrator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from relay_metrics import catalogue
from relay_metrics.errors import RelayError
from relay_metrics.relays.claude.accounts import Account, account, idle
from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.stats import counter, part
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.values import dig, figures, flag, number, text
from relay_metrics.snapshot import Number, Reading, Scope

DASHBOARD = "admin/dashboard"
CONCURRENCY = "admin/concurrency"
HEALTH = "health"
UNAVAILABLE = "admin/temp-unavailable"
COSTS = "admin/usage-costs"
_PERIODS: Mapping[str, str] = {"daily": "today", "monthly": "monthly", "alltime": "all"}


class Dashboard(NamedTuple):
    """The figures of the dashboard.

    Attributes:
        figures: the usage of all keys, by the fields of the catalogue.
        utc_offset_hours: the offset of the relay's clock; None if the answer has none.
        states: the number of accounts by platform and state; the state `total` has their sum.
    """

    figures: Mapping[str, Number]
    utc_offset_hours: float | None
    states: Mapping[str, Mapping[str, Number]]

    @property
    def empty(self) -> frozenset[str]:
        """The platforms without an account."""
        return frozenset(name for name, states in self.states.items() if states.get("total") == 0)


def dashboard(client: RelayClient, administrator: Administrator) -> Dashboard | None:
    """Accounts by state, the usage of all keys, and the relay's clock. It takes three scans.

    Returns:
        None if an older relay does not have the endpoint. This is also true of the functions below.

    Raises:
        RelayError: the request failed. This is also true of the functions below.
    """
    answer = administrator.ask_if_there(f"/{DASHBOARD}")
    if answer is None:
        return None
    data = part(client, DASHBOARD, answer, "data", dict, "data")
    offset = number(data.get("systemTimezone"))
    platforms = dig(data, "overview.accountsByPlatform")
    return Dashboard(
        figures(catalogue.rows(Scope.RELAY, DASHBOARD), data, counter(client, DASHBOARD)),
        offset if offset is not None and abs(offset) <= 14 else None,
        {
            text(platform): {
                state: count
                for name, state in (("total", "total"), *catalogue.ACCOUNT_STATES.items())
                if (count := number(dig(states, name))) is not None
            }
            for platform, states in (platforms.items() if isinstance(platforms, dict) else ())
        },
    )


class Concurrency(NamedTuple):
    """The requests that are running and waiting.

    Attributes:
        figures: their sums, by the fields of the catalogue. The sum of running requests is our
            own: the relay's counts those of accounts with a limit twice.
        active: the running requests of keys that have a limit, by key id; None if the row of the
            key does not tell them.
        of_others: those of every other key: 0, or None if a row does not tell whose it is.
    """

    figures: Mapping[str, Number]
    active: Mapping[str, Number | None]
    of_others: Number | None


def concurrency(client: RelayClient, administrator: Administrator) -> Concurrency | None:
    """The requests that are running and waiting. It takes one scan."""
    answer = administrator.ask_if_there(f"/{CONCURRENCY}")
    if answer is None:
        return None
    rows = [row for row in catalogue.rows(Scope.RELAY, CONCURRENCY) if row.field != "active"]
    sums = figures(rows, answer, counter(client, CONCURRENCY))
    status = answer.get("concurrencyStatus")
    if not isinstance(status, list):
        client.left_out(CONCURRENCY, "missing_field")
        return Concurrency(sums, {}, None)
    active: dict[str, Number | None] = {}
    of_others: Number | None = 0
    for one in status:
        key_id = text(dig(one, "apiKeyId"))
        if key_id.startswith("console_account:"):
            continue
        count = number(dig(one, "activeCount"))
        if not key_id or count is None:
            client.left_out(CONCURRENCY, "invalid_row")
        if key_id:
            active[key_id] = count
        else:
            of_others = None
    known = [count for count in active.values() if count is not None]
    if of_others is not None and len(known) == len(active):
        sums["active"] = sum(known)
    return Concurrency(sums, active, of_others)


def health(client: RelayClient) -> list[Reading] | None:
    """The relay's release, its uptime, and whether its Redis is connected, with its latency.

    The `status` of the answer is not used: it says healthy even if Redis is not connected.
    """
    try:
        answer = client.ask_json("GET", f"/{HEALTH}", says_success=False)
    except RelayError as error:
        if error.status == 404:
            return None
        raise
    rows = [row for row in catalogue.rows(Scope.RELAY, HEALTH) if row.field == "uptime"]
    fields = figures(rows, answer, counter(client, HEALTH))
    connected = flag(dig(answer, "components.redis.connected"))
    if connected is not None:
        fields["redis_connected"] = int(connected)
    latency = re.fullmatch(r"([0-9.]+)ms", text(dig(answer, "components.redis.latency")))
    milliseconds = number(latency[1]) if latency else None
    if milliseconds is not None:
        fields["redis_latency_s"] = milliseconds / 1000
    readings = [Reading(Scope.RELAY, fields)]
    if version := text(answer.get("version")):
        readings.append(Reading(Scope.BUILD, {"info": 1}, {"version": version}))
    return readings


def unavailable(
    client: RelayClient, administrator: Administrator
) -> Mapping[str, Number | None] | None:
    """The seconds, from the time of the run, until accounts out of service are used again, by id.

    They are None for an account that is out of service until nobody knows when. The relay runs one
    `KEYS` for it, which does not count as a scan.
    """
    answer = administrator.ask_if_there(f"/{UNAVAILABLE}")
    if answer is None:
        return None
    data = part(client, UNAVAILABLE, answer, "data", dict, "data")
    found: dict[str, Number | None] = {}
    for name, one in data.items():
        seconds = number(dig(one, "remainingSeconds"))
        if seconds is None:
            seconds = number(dig(one, "ttl"))
        if seconds is None:
            client.left_out(UNAVAILABLE, "missing_field")
        if seconds is None or seconds > 0:
            rest = None if seconds is None else seconds + client.elapsed_s
            found[text(name).partition(":")[2]] = rest
    return found


def model_costs(client: RelayClient, administrator: Administrator) -> list[Reading] | None:
    """The usage of each model by all keys in the configured period. It takes no scan."""
    period = client.environment.period
    path = f"/{COSTS}?period={_PERIODS[period]}"
    answer = administrator.ask_if_there(path, endpoint=COSTS)
    if answer is None:
        return None
    rows = part(client, COSTS, answer, "data.modelCosts", list, "modelCosts")
    left_out = counter(client, COSTS)
    readings = []
    for row in rows:
        model = text(row.get("model")) if isinstance(row, dict) else ""
        if not model:
            left_out("invalid_row")
            continue
        fields = figures(catalogue.rows(Scope.ALL_KEYS_MODEL), row, left_out)
        if period == "alltime" and fields.get("requests") == 0:
            del fields["requests"]  # the relay does not count them for all time
        attributes = {"model": model, "period": period}
        readings.append(Reading(Scope.ALL_KEYS_MODEL, fields, attributes))
    return readings


class Accounts(NamedTuple):
    """The accounts of one platform.

    Attributes:
        idle: how many accounts had no request on the current day.
        whole: whether every row has an id and a state.
    """

    accounts: tuple[Account, ...]
    idle: int
    whole: bool


def accounts(client: RelayClient, administrator: Administrator, platform: str) -> Accounts | None:
    """The accounts of a platform. For some platforms it takes scans: see `SCANNED`."""
    endpoint = f"admin/{platform}-accounts"
    answer = administrator.ask_if_there(f"/{endpoint}")
    if answer is None:
        return None
    rows = part(client, endpoint, answer, "data", list, "a list of accounts")
    left_out, elapsed_s = counter(client, endpoint), client.elapsed_s
    made = [account(platform, row, client.time_ms, left_out, elapsed_s) for row in rows]
    return Accounts(
        tuple(one for one in made if one is not None),
        sum(map(idle, rows)),
        all(one is not None and one.state is not None for one in made),
    )
