"""What a claude-relay says of itself and its upstream accounts, to an administrator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from relay_metrics import catalogue
from relay_metrics.errors import RelayError
from relay_metrics.relays.claude.accounts import Account, account, idle
from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.stats import counter
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
    """What the dashboard says.

    Attributes:
        utc_offset_hours: of the relay's clock; None where it does not say.
        states: how many accounts there are, by platform and state, and in `total`.
    """

    figures: Mapping[str, Number]
    utc_offset_hours: float | None
    states: Mapping[str, Mapping[str, Number]]

    @property
    def empty(self) -> frozenset[str]:
        """The platforms that have no account."""
        return frozenset(name for name, states in self.states.items() if states.get("total") == 0)


def dashboard(client: RelayClient, administrator: Administrator) -> Dashboard | None:
    """Accounts by state, what all keys ever used, the relay's clock. Three scans.

    Returns:
        None where an older relay has no such endpoint; so do those below.

    Raises:
        RelayError: the relay gives no answer.
    """
    answer = administrator.ask_if_there(f"/{DASHBOARD}")
    if answer is None:
        return None
    data = answer.get("data")
    if not isinstance(data, dict):
        raise client.invalid(DASHBOARD, "incomplete", "answered without data")
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
    """The requests under way and waiting.

    Attributes:
        active: of the keys that have a limit, by id. The sum that the relay gives counts those of
            accounts with a limit once more.
    """

    figures: Mapping[str, Number]
    active: Mapping[str, Number]


def concurrency(client: RelayClient, administrator: Administrator) -> Concurrency | None:
    """The requests under way and waiting. One scan."""
    answer = administrator.ask_if_there(f"/{CONCURRENCY}")
    if answer is None:
        return None
    rows = [row for row in catalogue.rows(Scope.RELAY, CONCURRENCY) if row.field != "active"]
    told = figures(rows, answer, counter(client, CONCURRENCY))
    status = answer.get("concurrencyStatus")
    if not isinstance(status, list):
        client.left_out(CONCURRENCY, "missing_field")
        return Concurrency(told, {})
    active: dict[str, Number] = {}
    for one in status:
        key_id = text(one.get("apiKeyId")) if isinstance(one, dict) else ""
        count = number(one.get("activeCount")) if key_id else None
        if count is None:
            client.left_out(CONCURRENCY, "invalid_row")
        elif not key_id.startswith("console_account:"):
            active[key_id] = count
    return Concurrency({**told, "active": sum(active.values())}, active)


def health(client: RelayClient) -> list[Reading] | None:
    """Its release, how long it has been up, and how its Redis is.

    Its own `status` is healthy even where its Redis is not.
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


def unavailable(client: RelayClient, administrator: Administrator) -> Mapping[str, Number] | None:
    """The accounts that are out of service: the seconds until they are used again, by id.

    They hold at the run's time. One `KEYS`, which is no scan.
    """
    answer = administrator.ask_if_there(f"/{UNAVAILABLE}")
    if answer is None:
        return None
    data = answer.get("data")
    if not isinstance(data, dict):
        raise client.invalid(UNAVAILABLE, "incomplete", "answered without data")
    found: dict[str, Number] = {}
    for name, one in data.items():
        seconds = number(dig(one, "remainingSeconds"))
        if seconds is None:
            seconds = number(dig(one, "ttl"))
        if seconds is None:
            client.left_out(UNAVAILABLE, "missing_field")
        elif seconds > 0:
            found[text(name).partition(":")[2]] = seconds + client.elapsed_s
    return found


def model_costs(client: RelayClient, administrator: Administrator) -> list[Reading] | None:
    """What all keys used of each model in the configured period. No scan."""
    period = client.environment.period
    path = f"/{COSTS}?period={_PERIODS[period]}"
    answer = administrator.ask_if_there(path, endpoint=COSTS)
    if answer is None:
        return None
    rows = dig(answer, "data.modelCosts")
    if not isinstance(rows, list):
        raise client.invalid(COSTS, "incomplete", "answered without modelCosts")
    left_out = counter(client, COSTS)
    readings = []
    for row in rows:
        model = text(row.get("model")) if isinstance(row, dict) else ""
        if not model:
            left_out("invalid_row")
            continue
        fields = figures(catalogue.rows(Scope.ALL_KEYS_MODEL), row, left_out)
        if period == "alltime" and fields.get("requests") == 0:
            del fields["requests"]  # of all time the relay does not count them
        attributes = {"model": model, "period": period}
        readings.append(Reading(Scope.ALL_KEYS_MODEL, fields, attributes))
    return readings


class Accounts(NamedTuple):
    """A platform's list.

    Attributes:
        idle: how many accounts had no request yet on this day.
        whole: whether each row tells of an account and its state.
    """

    accounts: tuple[Account, ...]
    idle: int
    whole: bool


def accounts(client: RelayClient, administrator: Administrator, platform: str) -> Accounts | None:
    """Each account of a platform. Of some platforms it scans: see `SCANNED`."""
    endpoint = f"admin/{platform}-accounts"
    answer = administrator.ask_if_there(f"/{endpoint}")
    if answer is None:
        return None
    rows = answer.get("data")
    if not isinstance(rows, list):
        raise client.invalid(endpoint, "incomplete", "answered without a list of accounts")
    left_out, elapsed_s = counter(client, endpoint), client.elapsed_s
    made = [account(platform, row, client.time_ms, left_out, elapsed_s) for row in rows]
    return Accounts(
        tuple(one for one in made if one is not None),
        sum(map(idle, rows)),
        all(one is not None and one.state is not None for one in made),
    )
