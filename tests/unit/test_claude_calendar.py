"""A relay's own clock: when its next day and a key's next week begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from relay_metrics.relays.claude.calendar import DAY_S, Calendar


def at(text: str, offset_hours: float = 8) -> Calendar:
    return Calendar.at(round(datetime.fromisoformat(text).timestamp() * 1000), offset_hours)


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def test_a_day_begins_at_the_relays_midnight() -> None:
    assert utc(at("2026-11-21T21:00:00Z").next_day_s) == "2026-11-22T16:00:00+00:00"
    assert utc(at("2026-11-21T21:00:00Z", 0).next_day_s) == "2026-11-22T00:00:00+00:00"
    assert utc(at("2026-11-21T21:00:00Z", -5.5).next_day_s) == "2026-11-22T05:30:00+00:00"


def test_at_midnight_the_next_day_is_a_day_away() -> None:
    assert utc(at("2026-11-21T16:00:00Z").next_day_s) == "2026-11-22T16:00:00+00:00"
    assert utc(at("2026-11-21T15:59:59.999Z").next_day_s) == "2026-11-21T16:00:00+00:00"


def test_a_week_begins_on_the_keys_day_and_hour() -> None:
    sunday_at_five = at("2026-11-21T21:00:00Z")
    assert utc(sunday_at_five.next_week_s(1, 0)) == "2026-11-22T16:00:00+00:00"
    assert utc(sunday_at_five.next_week_s(7, 6)) == "2026-11-21T22:00:00+00:00"
    assert utc(sunday_at_five.next_week_s(7, 5)) == "2026-11-28T21:00:00+00:00"
    assert utc(sunday_at_five.next_week_s(7, 4)) == "2026-11-28T20:00:00+00:00"
    assert utc(sunday_at_five.next_week_s(6, 23)) == "2026-11-28T15:00:00+00:00"


@given(
    time_ms=st.integers(1, 221_845_392_000_000),
    offset_hours=st.sampled_from([-14, -9.5, 0, 5.75, 8, 14]),
    day=st.integers(1, 7),
    hour=st.integers(0, 23),
)
def test_the_next_ones_are_ahead_and_no_further_than_one_is_long(
    time_ms: int, offset_hours: float, day: int, hour: int
) -> None:
    calendar = Calendar.at(time_ms, offset_hours)
    clock = timezone(timedelta(hours=offset_hours))
    assert 0 < calendar.next_day_s - time_ms / 1000 <= DAY_S
    midnight = datetime.fromtimestamp(calendar.next_day_s, clock)
    assert (midnight.hour, midnight.minute, midnight.second) == (0, 0, 0)
    week_s = calendar.next_week_s(day, hour)
    assert 0 < week_s - time_ms / 1000 <= 7 * DAY_S
    begins = datetime.fromtimestamp(week_s, clock)
    assert (begins.isoweekday(), begins.hour, begins.minute) == (day, hour, 0)
