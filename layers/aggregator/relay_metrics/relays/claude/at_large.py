"""What a claude-relay says of itself and its upstream accounts, to an administrator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from relay_metrics import catalogue
from relay_metrics.errors import RelayError
from relay_metrics.relays.claude.accounts import account
from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.stats import counter
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.values import dig, figures, number, text
from relay_metrics.snapshot import Number, Reading, Scope

DASHBOARD = "admin/dashboard"
CONCURRENCY = "admin/concurrency"
HEALTH = "health"


class Dashboard(NamedTuple):
    """What the dashboard says.

    Attributes:
        utc_offset_hours: of the relay's clock; None where it does not say.
        states: how many accounts there are, by platform and the relay's name of their state.
    """

    figures: Mapping[str, Number]
    utc_offset_hours: float | None
    states: Mapping[str, Mapping[str, Number]]

    @property
    def empty(self) -> frozenset[str]:
        """The platforms that have no account."""
        return frozenset(name for name, states in self.states.items() if states.get("total") == 0)

    def readings(self) -> Iterable[Reading]:
        """Of the relay, and of its accounts by state."""
        if self.figures:
            yield Reading(Scope.RELAY, self.figures)
        for platform, states in self.states.items():
            for name, state in catalogue.ACCOUNT_STATES.items():
                if name in states:
                    attributes = {"platform": platform, "state": state}
                    yield Reading(Scope.ACCOUNT_STATE, {"accounts": states[name]}, attributes)


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
                name: count
                for name in ("total", *catalogue.ACCOUNT_STATES)
                if (count := number(dig(states, name))) is not None
            }
            for platform, states in (platforms.items() if isinstance(platforms, dict) else ())
        },
    )


def concurrency(client: RelayClient, administrator: Administrator) -> Mapping[str, Number] | None:
    """The requests under way and waiting. One scan."""
    return _of_relay(client, CONCURRENCY, administrator.ask_if_there(f"/{CONCURRENCY}"))


def health(client: RelayClient) -> Mapping[str, Number] | None:
    """How long it has been up. Its own `status` is healthy even where its database is not."""
    try:
        answer = client.ask_json("GET", f"/{HEALTH}", says_success=False)
    except RelayError as error:
        if error.status == 404:
            return None
        raise
    return _of_relay(client, HEALTH, answer)


def accounts(
    client: RelayClient, administrator: Administrator, platform: str
) -> list[Reading] | None:
    """Each account of a platform."""
    endpoint = f"admin/{platform}-accounts"
    answer = administrator.ask_if_there(f"/{endpoint}")
    if answer is None:
        return None
    rows = answer.get("data")
    if not isinstance(rows, list):
        raise client.invalid(endpoint, "incomplete", "answered without a list of accounts")
    left_out = counter(client, endpoint)
    made = (account(platform, row, client.time_ms, left_out) for row in rows)
    return [reading for reading in made if reading is not None]


def _of_relay(
    client: RelayClient, endpoint: str, answer: Mapping[str, Any] | None
) -> Mapping[str, Number] | None:
    if answer is None:
        return None
    return figures(catalogue.rows(Scope.RELAY, endpoint), answer, counter(client, endpoint))
