"""What runs out next, as the page has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.page import outlook
from local.page.series import Series, rates

HOUR_MS = 3_600_000
RUNS = [hour * HOUR_MS for hour in range(3)]
NOW = RUNS[-1] / 1000
KEY = {"relay_name": "relay", "relay_key_id": "1", "relay_key_name": "one"}
ACCOUNT = {
    "relay_name": "relay",
    "platform": "claude",
    "relay_account_id": "a",
    "relay_account_name": "max",
}


def got(**metrics: tuple[Mapping[str, str], list[float]]) -> dict[str, Any]:
    """The limits that metrics give by their values run by run, the last at the latest run."""
    series = {name: Series() for name in (*outlook.OF_KEYS, *outlook.OF_ACCOUNTS)}
    for name, (labels, values) in metrics.items():
        runs = RUNS[-len(values) :]
        series[name].add(
            {**labels, "greptime_timestamp": run, "greptime_value": value}
            for run, value in zip(runs, values, strict=True)
        )
    return outlook.limits(series, RUNS)


def daily(spent: list[float], resets_in_s: float) -> dict[str, Any]:
    [one] = got(
        relay_daily_cost_usd=(KEY, spent[-1:]),
        relay_daily_cost_limit_usd=(KEY, [10]),
        relay_cost_total_usd=(KEY, spent),
        relay_key_day_reset_timestamp_seconds=(KEY, [NOW + resets_in_s]),
    )["soon"]
    assert isinstance(one, dict)
    return one


def test_a_limit_ends_when_the_last_hours_pace_reaches_it_before_the_day_starts_over() -> None:
    one = daily([1, 2, 4], 9 * 3600)
    assert (one["state"], one["at"]) == ("ends", NOW + 3 * 3600)
    assert (one["of"], one["what"], one["share"]) == ("one", "day's limit", 0.4)
    assert daily([1, 2, 4], 2 * 3600)["state"] == "holds"
    assert daily([4, 4, 4], 9 * 3600)["state"] == "holds"
    assert daily([4], 9 * 3600)["state"] == "holds"
    used_up = daily([1, 9, 10], 9 * 3600)
    assert (used_up["state"], used_up["resets"]) == ("out", NOW + 9 * 3600)


def test_what_ends_first_comes_first_and_what_is_out_before_it() -> None:
    found = got(
        relay_account_up=(ACCOUNT, [1]),
        relay_account_schedulable=(ACCOUNT, [1]),
        relay_account_rate_limit_seconds_remaining=(ACCOUNT, [600]),
        relay_account_five_hour_utilization_percent=(ACCOUNT, [80, 90]),
        relay_account_five_hour_reset_seconds_remaining=(ACCOUNT, [7200]),
        relay_account_seven_day_utilization_percent=(ACCOUNT, [30, 30]),
        relay_account_seven_day_reset_seconds_remaining=(ACCOUNT, [0]),
        relay_key_expiry_timestamp_seconds=(KEY, [NOW + 86_400]),
        relay_cost_total_usd=(KEY, [5, 7]),
    )
    assert [(one["what"], one["state"], one["at"]) for one in found["soon"]] == [
        ("limited by its provider", "out", None),
        ("5-hour window", "ends", NOW + 3600),
        ("expires", "ends", NOW + 86_400),
        ("7-day window", "holds", None),
    ]
    assert found["rate_usd"] == 2
    [account] = found["accounts"]
    assert (account["state"], account["back"]) == ("limited", NOW + 600)
    assert account["five_hours"]["share"] == 0.9
    # a window that has not begun has no end
    assert account["seven_days"]["resets"] is None


def test_nothing_is_shown_of_a_limit_of_none_or_of_a_relay_without_runs() -> None:
    none = got(
        relay_daily_cost_usd=(KEY, [4]),
        relay_daily_cost_limit_usd=(KEY, [0]),
        relay_key_expiry_timestamp_seconds=(KEY, [NOW + 30 * 86_400]),
    )
    assert none == {"soon": [], "rate_usd": None, "accounts": []}
    assert outlook.limits({}, []) == none


def test_a_month_is_projected_by_the_mean_of_seven_whole_days() -> None:
    today = date(2026, 11, 27)
    spent = {today - timedelta(days=back): 10.0 for back in range(60)}
    spent[today] = 4
    got = outlook.month(today, spent, 264)
    assert got["projected"] == pytest.approx(264 + 6 + 3 * 10)
    assert (got["before"], got["ends"]) == (270, "2026-11-30")
    del spent[date(2026, 10, 3)], spent[date(2026, 11, 22)]
    got = outlook.month(today, spent, 264)
    assert (got["projected"], got["before"]) == (None, None)


@given(
    st.lists(st.integers(0, 100), min_size=2, max_size=30),
    st.integers(1, 20),
)
def test_a_rate_times_its_window_is_what_grew(steps: list[int], window: int) -> None:
    totals = [sum(steps[: place + 1]) for place in range(len(steps))]
    runs = [60_000 * place for place in range(len(steps))]
    got = rates(dict(zip(runs, totals, strict=True)), runs, 60_000 * window)
    assert got[0] is None
    for place, rate in enumerate(got[1:], start=1):
        before = max(0, place - window)
        assert rate == pytest.approx((totals[place] - totals[before]) / (60 * (place - before)))
