"""The simulated relay that lives: its days, its limits, and what it answers about the past."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from local.relay import ClaudeRelay, Key, living_relay
from local.relay.demo import ADMIN
from local.relay.traffic import Member, Rhythm, expected, incident_at, incidents, uses
from tests import recorded
from tests.collecting import NOON, Clock

DAY_S = 86_400


class Admin:
    """An administrator of a relay."""

    def __init__(self, relay: ClaudeRelay) -> None:
        self.relay = relay
        self.session = requests.Session()
        body = {"username": ADMIN[0], "password": ADMIN[1]}
        token = self.session.post(f"{relay.url}/web/auth/login", json=body, timeout=10).json()
        self.session.headers["Authorization"] = f"Bearer {token['token']}"

    def get(self, path: str) -> Any:
        return self.session.get(f"{self.relay.url}/admin/{path}", timeout=10).json()

    def walks(self, path: str) -> int:
        """How often a request makes the relay walk its database."""
        before = self.relay.scans
        self.get(path)
        return self.relay.scans - before


@pytest.fixture(scope="module")
def admin() -> Iterator[Admin]:
    with living_relay(clock=Clock()) as relay:
        running = Admin(relay)
        yield running
        running.session.close()
    assert relay.server.errors == []


@pytest.fixture
def forgetful(admin: Admin) -> Admin:
    """The same, that remembers no empty day."""
    admin.relay.known_empty.clear()
    return admin


def days(relay: ClaudeRelay, count: int) -> list[str]:
    today = datetime.fromisoformat(relay.day())
    return [f"{today - timedelta(days=back):%Y-%m-%d}" for back in range(count)][::-1]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("api-keys-usage-trend?granularity=day&days=7", "admin.api-keys-usage-trend.day.7"),
        ("usage-trend?granularity=day&days=40", "admin.usage-trend.day.40"),
        ("account-usage-trend?days=40&group=claude", "admin.account-usage-trend.day.40.claude"),
        ("account-usage-trend?days=40&group=bedrock", "admin.account-usage-trend.day.40.bedrock"),
        ("account-usage-trend?group=ccr", "admin.account-usage-trend.error.400"),
        ("usage-trend?granularity=hour", "admin.usage-trend.hour.error"),
    ],
)
def test_history_has_the_recorded_shape(admin: Admin, path: str, name: str) -> None:
    def fields(body: Any) -> Any:
        """The names of the answer, of its last day, and of a key or an account on that day."""
        last = body["data"][-1:] if "data" in body else []
        deep = [
            next(iter(by_id.values()))
            for day in last
            for by_id in day.values()
            if isinstance(by_id, dict)
        ]
        return [list(one) for one in (body, *last, *deep)]

    assert fields(admin.get(path)) == fields(recorded(name)["body"])


def test_a_keys_day_by_model_and_its_stored_cost_have_the_recorded_shape(admin: Admin) -> None:
    key = admin.relay.key("team-alpha")
    rows = admin.get(
        f"api-keys/{key.id}/model-stats?period=custom"
        "&startDate=2026-11-20T12:00:00Z&endDate=2026-11-20T12:00:00Z"
    )["data"]
    like = recorded("admin.api-keys.model-stats.a-day")["body"]["data"]
    assert list(rows[0]) == list(like[0])

    page = admin.get(
        "api-keys?page=1&pageSize=100&sortBy=cost&costTimeRange=custom"
        "&costStartDate=2026-11-20&costEndDate=2026-11-20"
    )
    like = recorded("admin.api-keys.cost-of-a-day")["body"]
    assert list(page["data"]) == list(like["data"])
    assert list(page["data"]["items"][0]) == list(like["data"]["items"][0])
    costs = [item["_cost"] for item in page["data"]["items"]]
    assert costs == sorted(costs, reverse=True)
    by_id = {item["id"]: item["_cost"] for item in page["data"]["items"]}
    assert by_id[key.id] == key.usage_in("2026-11-20").rated_usd > 0
    assert by_id[admin.relay.key("open-source").id] == 0


def test_each_day_is_answered_as_it_was_lived_and_only_for_as_long_as_it_is_kept(
    admin: Admin,
) -> None:
    relay = admin.relay
    rows = admin.get("api-keys-usage-trend?granularity=day&days=40")["data"]
    at_large = admin.get("usage-trend?granularity=day&days=40")["data"]
    accounts = [
        admin.get(f"account-usage-trend?days=40&group={group}")["data"]
        for group in ("claude", "openai", "gemini")
    ]

    assert [row["date"] for row in rows] == days(relay, 40)
    assert all(row["apiKeys"] == {} for row in rows[:7])
    for row, total in zip(rows[7:], at_large[7:], strict=True):
        day = row["date"]
        keys = [key for key in relay.keys if day in key.usage]
        assert {key.id: key.name for key in keys} == {
            key_id: one["name"] for key_id, one in row["apiKeys"].items()
        }
        for key in keys:
            one, usage = row["apiKeys"][key.id], key.usage_in(day)
            assert (one["requests"], one["tokens"]) == (usage.requests, usage.all_tokens)
            if key.rate:
                assert one["cost"] == usage.rated_usd
            else:
                assert one["cost"] > usage.rated_usd == 0, "a price is made up"
        ever = relay.usage_of_all(day)
        assert (total["requests"], total["totalTokens"]) == (ever.requests, ever.all_tokens)
        assert total["cost"] == pytest.approx(ever.real_usd, abs=1e-3)
        by_account = {
            account_id: one["requests"]
            for group in accounts
            for of_day in group
            if of_day["date"] == day
            for account_id, one in of_day["accounts"].items()
        }
        assert by_account == {
            account.id: account.usage[day].requests
            for account in relay.accounts
            if day in account.usage
        }
    deleted = relay.key("prototype")
    assert deleted.usage_in("2026-11-10").requests > 0
    assert deleted.id not in {key_id for row in rows for key_id in row["apiKeys"]}


def test_a_plain_date_is_midnight_in_utc(admin: Admin) -> None:
    relay = admin.relay
    key = relay.key("team-alpha")
    offset, relay.utc_offset_hours = relay.utc_offset_hours, -5
    try:

        def requests_on(date: str) -> int:
            path = f"api-keys/{key.id}/model-stats?period=custom&startDate={date}&endDate={date}"
            return sum(row["requests"] for row in admin.get(path)["data"])

        assert requests_on("2026-11-20") == key.usage_in("2026-11-19").requests
        assert requests_on("2026-11-20T12:00:00Z") == key.usage_in("2026-11-20").requests
    finally:
        relay.utc_offset_hours = offset


def test_the_past_costs_the_walks_that_the_facts_say(forgetful: Admin) -> None:
    """Every day has use here but those before the first."""
    assert forgetful.walks("usage-trend?days=40") == 0
    assert forgetful.walks("api-keys-usage-trend?days=33") == 1
    assert forgetful.walks("api-keys-usage-trend?days=40") == 1 + 2 * 7
    assert forgetful.walks("api-keys-usage-trend?days=40") == 1, "an empty day is remembered"
    assert forgetful.walks("account-usage-trend?days=34&group=claude") == 2
    assert forgetful.walks("account-usage-trend?days=40&group=bedrock") == 0, "it has none"
    path = "api-keys?sortBy=cost&costTimeRange=custom&costStartDate=2026-11-20"
    assert forgetful.walks(f"{path}&costEndDate=2026-11-20") == 1
    key = forgetful.relay.key("team-alpha")
    for day, walks in (("2026-11-20", 0), ("2026-01-01", 2)):
        noon = f"{day}T12:00:00Z"
        path = f"api-keys/{key.id}/model-stats?period=custom&startDate={noon}&endDate={noon}"
        assert forgetful.walks(path) == walks


def test_no_limit_is_passed_by_more_than_a_use(admin: Admin) -> None:
    relay = admin.relay
    alpha = relay.key("team-alpha")
    assert relay.life is not None
    assert relay.life.refused["team-alpha", "daily"] > 0
    assert relay.life.refused["intern", "daily"] > 0
    for key in relay.keys:
        limit = key.limits.daily_cost_limit
        spent = [usage.rated_usd for day, usage in key.totals.items() if len(day) == 10]
        assert not limit or max(spent, default=0) < 1.15 * limit
    assert alpha.usage_in().rated_usd < alpha.limits.total_cost_limit
    assert max(alpha.usage_in(day).rated_usd for day in days(relay, 33)) > 30


def test_what_happened_to_keys_and_accounts(admin: Admin) -> None:
    relay = admin.relay

    def last_day(name: str) -> str:
        return max(day for day in relay.key(name).totals if len(day) == 10)

    assert last_day("old-scripts") == "2026-11-12"
    assert last_day("prototype") == "2026-11-15"
    assert last_day("contractor") <= "2026-11-19"
    assert last_day("mobile") == "2026-11-21"
    assert "mobile-old" not in {key.name for key in relay.keys}
    assert relay.key("spare").usage_in().requests == 0
    gemini, max_1 = (
        next(account for account in relay.accounts if account.name == name)
        for name in ("gemini-1", "claude-max-1")
    )
    assert gemini.rate_limited(NOON)
    assert not gemini.rate_limited(NOON + 3600)
    assert max_1.rate_limited_at is not None, "its 5-hour limit was spent once"
    assert not max_1.rate_limited(NOON)


def test_today_ends_at_the_relays_midnight() -> None:
    clock = Clock()
    with living_relay(clock=clock, days=3, utc_offset_hours=-3.5) as relay:
        key = relay.key("support-bot")
        midnight = NOON + 15.5 * 3600
        clock.now = midnight - 1
        relay.catch_up()
        assert relay.day() == "2026-11-21"
        before = key.usage_in(relay.day()).requests
        clock.now = midnight
        relay.catch_up()
        assert relay.day() == "2026-11-22"
        assert key.usage_in(relay.day()).requests == 0 < before
        clock.now = midnight + 7200
        relay.catch_up()
        assert key.usage_in("2026-11-22").requests > 0
        assert key.usage_in("2026-11-21").requests == before


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(1, 40_000), max_size=12))
def test_it_is_the_same_in_whatever_steps_the_clock_goes_on(steps: list[float]) -> None:
    clock, other = Clock(), Clock()
    with living_relay(clock=clock, days=2) as one, living_relay(clock=other, days=2) as all_at_once:
        for step in steps:
            clock.now += step
            one.catch_up()
        other.now = clock.now
        all_at_once.catch_up()
        assert {key.name: key.usage for key in one.by_id.values()} == {
            key.name: key.usage for key in all_at_once.by_id.values()
        }
        assert [(a.usage, a.quota, a.rate_limited_until) for a in one.accounts] == [
            (a.usage, a.quota, a.rate_limited_until) for a in all_at_once.accounts
        ]


def test_another_seed_is_another_life() -> None:
    first, second = (living_relay(clock=Clock(), days=1, seed=seed) for seed in (1, 2))
    with first, second:
        assert first.usage_of_all() != second.usage_of_all()


def test_people_sleep_and_rest_and_batches_run_at_night() -> None:
    person = Member("p", 500, {"gpt-5": 1}, utc_offset_hours=0)
    batch = Member("b", 500, {"gpt-5": 1}, Rhythm.BATCH, utc_offset_hours=0)
    monday = 1_795_392_000 // 3600  # 2026-11-23T00:00:00Z
    by_hour = [expected(person, monday + hour) for hour in range(24)]
    assert max(by_hour[9:18]) > 20 * max(by_hour[1:6])
    assert expected(batch, monday + 2) > 5 * expected(batch, monday + 12)
    week = [sum(expected(person, monday + 24 * day + hour) for hour in range(24))
            for day in range(7)]  # fmt: skip
    assert max(week[5:]) < 0.3 * min(week[:5])
    asked = [use for hour in range(24) for use in uses(1, person, monday + hour)]
    assert sum(use.requests for use in asked) == pytest.approx(sum(by_hour), rel=0.25)
    assert [use.at_s for use in asked] == sorted(use.at_s for use in asked)


def test_incidents_come_now_and_then_and_end() -> None:
    found = [incident for day in range(20_000, 20_100) for incident in incidents(1, day)]
    assert 20 < len(found) < 60
    for one in found:
        assert 10 * 60 <= one.ends_s - one.begins_s < 3600
        assert incident_at(1, one.begins_s) == one
        assert incident_at(1, one.ends_s) != one


def test_a_relay_without_a_life_is_used_as_before() -> None:
    with ClaudeRelay([Key("k")], clock=Clock()) as relay:
        relay.catch_up()
        assert relay.usage_of_all().requests == 0
        relay.tick()
        assert relay.usage_of_all().requests > 0
