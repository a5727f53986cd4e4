"""When a message comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay_metrics.redrive import delay_s

COUNT = st.integers(0, 10_000)
SPREAD = st.floats(-1, 1)


@given(COUNT, SPREAD)
def test_a_delay_is_within_a_fifth_of_the_rule(count: int, spread: float) -> None:
    rule = min(60 * 2 ** (max(count, 1) - 1), 3600)
    assert int(0.8 * rule) <= delay_s(count, spread) <= 1.2 * rule


@given(COUNT, SPREAD)
def test_sqs_takes_any_delay(count: int, spread: float) -> None:
    assert 0 < delay_s(count, spread) <= 43_200


def test_the_delays_in_order() -> None:
    assert [delay_s(count, 0) for count in range(1, 9)] == [
        60, 120, 240, 480, 960, 1920, 3600, 3600
    ]  # fmt: skip


def test_an_outage_of_14_days_stays_far_below_the_limit_of_receives() -> None:
    passed, receives = 0, 0
    while passed < 14 * 86_400:
        receives += 1
        passed += delay_s(receives, -1)
    assert receives < 500
