"""An upstream account's row, as each platform writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from local.relay import Account, ClaudeRelay
from local.relay.account_rows import PLATFORMS as SIMULATED
from local.relay.account_rows import rows
from local.relay.demo import demo_accounts
from relay_metrics.relays.claude.accounts import PLATFORMS, account
from relay_metrics.relays.claude.accounts import Account as Row
from relay_metrics.snapshot import Number
from tests import recorded
from tests.collecting import Clock
from tests.unit.claude import NOW

MINUTE = 60
NOW_MS = round(NOW * 1000)
TODAY: dict[str, Number] = {
    "usage.daily.requests": 0,
    "usage.daily.allTokens": 0,
    "usage.daily.cost": 0,
}
EVER: dict[str, Number] = {
    f"usage.total.{name}": 0
    for name in (
        *("requests", "allTokens", "inputTokens", "outputTokens"),
        *("cacheCreateTokens", "cacheReadTokens"),
    )
}
WELL: dict[str, Number] = {"up": 1, "schedulable": 1, "rate_limited": 0, "rate_limit_s": 0}


def fields(platform: str, row: object, left_out: list[str] | None = None) -> dict[str, Number]:
    counted: list[str] = []
    made = account(platform, row, NOW_MS, counted.append)
    assert counted == (left_out or [])
    assert made is not None
    return dict(made.reading.fields)


def listed(platform: str) -> Any:
    return recorded(f"admin.{platform}-accounts")["body"]["data"][0]


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def row(**more: Any) -> dict[str, Any]:
    daily = {"requests": 0, "allTokens": 0, "cost": 0}
    return {"id": "a", "isActive": True, "usage": {"daily": daily}, **more}


def test_a_console_account_as_listed() -> None:
    tasks = {"maxConcurrentTasks": 5, "active_tasks": 0}
    expected = {**WELL, **TODAY, **EVER, **tasks, "dailyQuota": 100, "quota_used": 0}
    assert fields("claude-console", listed("claude-console")) == expected


def test_figures_that_are_text_as_listed() -> None:
    expected = {**WELL, **TODAY, **EVER, "dailyQuota": 20, "quota_used": 0}
    assert fields("openai-responses", listed("openai-responses")) == expected


def test_who_it_is() -> None:
    made = account("claude", {"id": " a ", "name": "b \ud800"}, NOW_MS, lambda _: None)
    assert made is not None
    reading = made.reading
    assert reading.resource == {}
    assert reading.attributes == {
        "platform": "claude",
        "relay.account.id": "a",
        "relay.account.name": "b \ufffd",
    }


def test_every_platform_that_the_relay_has_is_asked_for() -> None:
    assert set(PLATFORMS) == set(SIMULATED)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("active", [True, False])
def test_up_and_limited_on_every_platform(platform: str, active: bool) -> None:
    limited = Account(
        platform, "a", active=active, rate_limited_at=NOW - 60, rate_limited_until=NOW + 1800
    )
    with ClaudeRelay(accounts=[limited], clock=Clock(NOW)) as relay:
        found = fields(platform, rows(relay, platform)[0])
    assert found["up"] == int(active)
    assert found["schedulable"] == 1
    # of that one the relay does not know, and the simulated azure one is never limited
    known = platform != "bedrock"
    delivered = platform != "azure-openai"
    assert found.get("rate_limited") == (int(delivered) if known else None)
    # and of that one not for how long
    seconds = 1800 if delivered else 0
    assert found.get("rate_limit_s") == (seconds if known and platform != "droid" else None)


@pytest.mark.parametrize(
    ("more", "up"),
    [
        ({"status": "active"}, 1),
        ({"status": "rate_limited"}, 1),
        ({"status": None}, 1),
        ({"status": "blocked"}, 0),
        ({"status": "unauthorized"}, 0),
        ({"isActive": "false"}, 0),
        ({"isActive": "true"}, 1),
    ],
)
def test_up_is_what_the_relays_dashboard_does_not_call_abnormal(
    more: dict[str, Any], up: int
) -> None:
    assert fields("claude", row(**more))["up"] == up


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, {"rate_limited": 0, "rate_limit_s": 0}),
        ("", {"rate_limited": 0, "rate_limit_s": 0}),
        ("normal", {"rate_limited": 0, "rate_limit_s": 0}),
        ("limited", {"rate_limited": 1}),
        ("something new", {}),
        (7, {}),
        ({"isRateLimited": "yes"}, {}),
        ({"isRateLimited": False, "minutesRemaining": 5}, {"rate_limited": 0, "rate_limit_s": 0}),
        ({"isRateLimited": True, "minutesRemaining": 5}, {"rate_limited": 1, "rate_limit_s": 300}),
        ({"isRateLimited": True}, {"rate_limited": 1}),
        (
            {"isRateLimited": True, "rateLimitResetAt": iso(NOW + 90), "minutesRemaining": 2},
            {"rate_limited": 1, "rate_limit_s": 90},
        ),
        (
            {"isRateLimited": True, "rateLimitResetAt": iso(NOW - 90)},
            {"rate_limited": 1, "rate_limit_s": 0},
        ),
    ],
)
def test_rate_limits(state: object, expected: dict[str, Number]) -> None:
    assert fields("openai", row(rateLimitStatus=state)) == {"up": 1, **TODAY, **expected}


def claude(age_s: float, percent: object = 42, seconds: object = 9000) -> dict[str, Any]:
    window = {"utilization": percent, "remainingSeconds": seconds}
    usage = {"updatedAt": iso(NOW - age_s), "fiveHour": window, "sevenDay": window}
    return fields("claude", row(claudeUsage=usage | {"sevenDayOpus": window}))


BOTH = {
    "five_hour_percent": 42,
    "five_hour_reset_s": 9000,
    "seven_day_percent": 42,
    "seven_day_reset_s": 9000,
    "seven_day_opus_percent": 42,
    "seven_day_opus_reset_s": 9000,
}
RESETS = {name: figure for name, figure in BOTH.items() if name.endswith("_s")}


def test_utilisation_is_left_out_once_it_is_old_and_the_seconds_are_not() -> None:
    of_account = {"up": 1, **TODAY}
    assert claude(0) == claude(30 * MINUTE) == {**of_account, **BOTH}
    assert claude(30 * MINUTE + 1) == {**of_account, **RESETS}


def test_a_limit_that_has_reset_since_is_no_longer_used() -> None:
    resets = dict.fromkeys(RESETS, 0)
    assert claude(0, seconds=0) == {"up": 1, **TODAY, **resets}
    assert claude(31 * MINUTE, seconds=0) == {"up": 1, **TODAY}, "it may have begun anew"


def test_a_limit_that_is_not_begun() -> None:
    found = claude(0, percent=0, seconds=None)
    assert found == {"up": 1, **TODAY, **{name: 0 for name in BOTH if "percent" in name}}


@pytest.mark.parametrize(
    "usage",
    [
        None,
        7,
        {},
        {"updatedAt": None, "fiveHour": {"utilization": 1}},
        {"updatedAt": iso(NOW), "fiveHour": None, "sevenDay": "x", "primary": 7},
        {"updatedAt": iso(NOW), "fiveHour": {"utilization": None, "remainingSeconds": None}},
        {"updatedAt": iso(NOW), "primary": {"usedPercent": 1, "windowMinutes": 60}},
        {"updatedAt": iso(NOW), "limits": [{"limitId": "codex", "primary": {}}]},
    ],
)
def test_usage_that_says_nothing(usage: object) -> None:
    assert fields("claude", row(claudeUsage=usage)) == {"up": 1, **TODAY}
    assert fields("openai", row(codexUsage=usage)) == {"up": 1, **TODAY}


def test_zeros_of_a_used_account_are_left_out() -> None:
    daily = {"requests": 0, "allTokens": 0, "cost": 0}
    total = {name.removeprefix("usage.total."): 0 for name in EVER}
    used = row(lastUsedAt=iso(NOW), usage={"daily": daily, "total": total}, dailyQuota=5)
    quota = {"dailyQuota": 5, "quota_used": 0}
    assert fields("ccr", used, ["zero_of_used"]) == {"up": 1, **TODAY, **quota}
    assert fields("ccr", used | {"lastUsedAt": ""}) == {"up": 1, **TODAY, **EVER, **quota}
    today = used | {"usage": {"daily": daily | {"requests": 3}, "total": total}}
    found = fields("ccr", today, ["zero_of_used"])
    assert found == {"up": 1, **TODAY, **quota, "usage.daily.requests": 3}


UNREAD = {"tokens": 0, "requests": 0, "allTokens": 0}


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    ("daily", "total", "missing"),
    [
        # where it reads the accounts one by one, and where it reads them together
        (UNREAD, UNREAD, 5),
        ({"cost": 0}, {}, 8),
    ],
)
def test_zeros_of_an_account_whose_usage_the_relay_could_not_read_are_left_out(
    platform: str, daily: dict[str, int], total: dict[str, int], missing: int
) -> None:
    with ClaudeRelay(accounts=[Account(platform, "a")], clock=Clock(NOW)) as relay:
        (listed,) = rows(relay, platform)
    before = fields(platform, listed)
    unread = {**listed, "usage": {"daily": daily, "total": total}}
    found = fields(platform, unread, ["missing_field"] * missing)
    assert before.keys() - found.keys() == {*TODAY, *EVER, "quota_used"} & before.keys()
    assert found == {name: before[name] for name in found}


def test_codex_windows_are_distinguished_by_their_length() -> None:
    week = {"usedPercent": 12, "windowMinutes": 10_080, "remainingSeconds": 5}
    hours = {"usedPercent": "27", "windowMinutes": "300", "remainingSeconds": 6}
    usage = {"updatedAt": iso(NOW), "primary": week, "secondary": hours}
    assert fields("openai", row(codexUsage=usage)) == {
        "up": 1,
        **TODAY,
        "five_hour_percent": 27,
        "five_hour_reset_s": 6,
        "seven_day_percent": 12,
        "seven_day_reset_s": 5,
    }


def console(**more: Any) -> Row:
    made = account("claude-console", row(**more), NOW_MS, lambda _: None)
    assert made is not None
    return made


LIMITED: dict[str, Any] = {
    "isActive": False,
    "schedulable": False,
    "status": "rate_limited",
    "rateLimitInfo": {"isRateLimited": True, "minutesRemaining": 5},
}
"""A console account whose provider answered 429."""


@pytest.mark.parametrize(
    ("more", "up", "state"),
    [
        (LIMITED, 1, "rate_limited"),
        # the limit is over, or the relay took it off for something else
        ({**LIMITED, "rateLimitInfo": {"isRateLimited": False}}, 0, "abnormal"),
        ({**LIMITED, "status": "unauthorized"}, 0, "abnormal"),
        ({**LIMITED, "status": "quota_exceeded"}, 0, "abnormal"),
        ({"schedulable": False}, 1, "paused"),
        ({}, 1, "normal"),
    ],
)
def test_a_console_account_that_is_limited_is_not_abnormal(
    more: dict[str, Any], up: int, state: str
) -> None:
    made = console(**more)
    assert (made.reading.fields["up"], made.state) == (up, state)


@pytest.mark.parametrize(
    ("more", "state"),
    [({}, "unavailable"), (LIMITED, "unavailable"), ({"isActive": False}, "abnormal")],
)
def test_an_account_that_is_out_of_service(more: dict[str, Any], state: str) -> None:
    made = console(**more)
    out = made.out_for(580)
    assert out.state == state
    assert out.reading.fields == {**made.reading.fields, "up": 0, "unavailable_s": 580}
    back = made.out_for(0)
    assert back.state == made.state
    assert back.reading.fields == {**made.reading.fields, "unavailable_s": 0}


def test_one_that_does_not_say_whether_it_is_up_is_not_made_down() -> None:
    made = account("ccr", {"id": "a"}, NOW_MS, lambda _: None)
    assert made is not None
    assert made.out_for(580).reading.fields == {"unavailable_s": 580}


def test_a_family_of_models_that_does_not_say_whether_it_is_limited_is_left_out() -> None:
    limits = {"opus": {"isRateLimited": True}, "sonnet": {"isRateLimited": None}, "haiku": 7}
    made = account("claude", row(modelRateLimitStatus=limits), NOW_MS, lambda _: None)
    assert made is not None
    assert [one.attributes["model.family"] for one in made.families] == ["opus"]


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ({"minutesRemaining": 5}, 320),
        ({"remainingTimeMs": 5000}, 25),
        # the end itself is the same whenever it is delivered
        ({"rateLimitExpireAt": iso(NOW + 300), "remainingTimeMs": 280_000}, 300),
    ],
)
def test_seconds_that_remain_hold_at_the_runs_instant(
    limit: dict[str, Any], seconds: float
) -> None:
    limited = row(rateLimitInfo={"isRateLimited": True, **limit})
    made = account("ccr", limited, NOW_MS, lambda _: None, elapsed_s=20)
    assert made is not None
    assert made.reading.fields["rate_limit_s"] == seconds


def test_the_demo_relays_accounts() -> None:
    with ClaudeRelay(accounts=demo_accounts(NOW), clock=Clock(NOW)) as relay:
        found = {
            one["name"]: fields(platform, one)
            for platform in PLATFORMS
            for one in rows(relay, platform)
        }
    assert found["claude-max-1"]["five_hour_percent"] == 42
    assert found["claude-max-2"] == {
        **WELL,
        **EVER,
        "token_expires_s": NOW + 8 * 3600,
        "schedulable": 0,
        **TODAY,
        "five_hour_reset_s": 1800,
        "seven_day_reset_s": 302_400,
    }
    assert found["codex-1"]["seven_day_percent"] == 12
    assert found["gemini-1"]["rate_limit_s"] == 3000


@pytest.mark.parametrize("odd", [None, 7, "a", [], {}, {"id": ""}, {"id": 7}])
def test_a_row_that_names_no_account_is_counted(odd: object) -> None:
    counted: list[str] = []
    assert account("claude", odd, NOW_MS, counted.append) is None
    assert counted == ["invalid_row"]


def test_what_is_not_sent_is_counted_and_never_zero() -> None:
    missing = ["missing_field"] * 4
    assert fields("claude", {"id": "a"}, missing) == {}
    odd = {"id": "a", "isActive": 1, "usage": {"daily": {"requests": "x", "allTokens": None}}}
    assert fields("claude", odd, ["missing_field", "invalid_value", "null", "missing_field"]) == {}
    quota = row(dailyQuota=None)
    assert fields("ccr", quota, ["null"]) == {"up": 1, **TODAY, "quota_used": 0}
