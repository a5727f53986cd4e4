"""Whose turn it is: fair, bounded, and known by the clock alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay_metrics.relays.rotation import in_turn, shuffled

MINUTE = 60


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True, max_size=20),
    st.integers(0, 10**10),
)
def test_the_same_minute_is_the_same_order_of_the_same_names(names: list[str], at: int) -> None:
    order = shuffled(names, at)
    assert sorted(order) == sorted(names)
    assert shuffled(reversed(names), at // 60 * 60 + 59.9) == order


def test_each_has_each_place_in_some_minute() -> None:
    orders = [shuffled("abcdefgh", minute * MINUTE) for minute in range(100)]
    assert all(set(place) == set("abcdefgh") for place in zip(*orders, strict=True))


def test_all_have_their_turn_where_there_is_room() -> None:
    assert in_turn(["a", "b"], 2, 0) == ["a", "b"]
    assert in_turn([], 5, 0) == []


def test_none_has_a_turn_where_there_is_no_room() -> None:
    assert in_turn(["a", "b"], 0, 12345) == []


def test_the_same_minute_is_the_same_turn() -> None:
    items = list(range(100))
    assert in_turn(items, 7, 6000) == in_turn(items, 7, 6059.9)
    assert in_turn(items, 7, 6000) != in_turn(items, 7, 6060)


@given(size=st.integers(1, 200), count=st.integers(1, 20), start=st.integers(0, 10**7))
def test_in_two_rounds_of_minutes_each_has_a_turn(size: int, count: int, start: int) -> None:
    """Wherever a round begins, a whole one lies in two rounds' time."""
    items = list(range(size))
    minutes = 2 * -(-size // count)
    seen: set[int] = set()
    for minute in range(start, start + minutes):
        chosen = in_turn(items, count, minute * MINUTE)
        assert len(chosen) <= count
        assert len(set(chosen)) == len(chosen)
        seen.update(chosen)
    assert seen == set(items)


def test_a_slow_schedule_comes_to_all_of_them() -> None:
    """Every fifth minute with a count that divides the items: no item is always left out."""
    items = list(range(50))
    seen = {item for run in range(400) for item in in_turn(items, 5, 1_795_294_800 + 300 * run)}
    assert seen == set(items)
