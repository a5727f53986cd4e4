"""How relays share the requests that may be under way at once."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from relay_metrics.deadline import Deadline
from relay_metrics.errors import TimedOut
from relay_metrics.relays.limiter import Limiter

SOON, LATER = 0.02, 10.0


def may_begin(limiter: Limiter, relay: str, held: ExitStack) -> bool:
    try:
        held.enter_context(limiter.request(relay, Deadline.after(SOON)))
    except TimedOut:
        return False
    return True


def begun(limiter: Limiter, relay: str, held: ExitStack) -> int:
    """How many requests of a relay begin until one does not."""
    count = 0
    while may_begin(limiter, relay, held):
        count += 1
    return count


def test_a_single_relay_has_all() -> None:
    with ExitStack() as held:
        assert begun(Limiter(5, ["a"]), "a", held) == 5


def test_each_has_its_share_and_no_more() -> None:
    limiter = Limiter(16, ["a", "b", "c"])
    with ExitStack() as held:
        assert [begun(limiter, relay, held) for relay in "abc"] == [5, 5, 5]


def test_one_that_is_done_leaves_its_share() -> None:
    limiter = Limiter(4, ["a", "b"])
    with ExitStack() as held:
        assert begun(limiter, "a", held) == 2
        limiter.leave("b")
        assert begun(limiter, "a", held) == 2
        limiter.leave("a")
        assert begun(limiter, "a", held) == 0, "what waits although all are done ends in time"


@pytest.mark.parametrize("ends", ["its own request", "the other relay"])
def test_who_waits_begins_as_soon_as_there_is_room(ends: str) -> None:
    """Not only at the end of its wait, when it looks by itself."""
    limiter = Limiter(2, ["a", "b"])
    begun = threading.Event()

    def wait() -> None:
        with limiter.request("a", Deadline.after(6 * LATER)):
            begun.set()

    with ThreadPoolExecutor(1) as pool, ExitStack() as held:
        assert may_begin(limiter, "a", held)
        waiting = pool.submit(wait)
        assert not begun.wait(SOON)
        if ends == "its own request":
            held.close()
        else:
            limiter.leave("b")
        assert begun.wait(LATER)
        waiting.result()


def test_with_more_relays_than_requests_each_has_one_in_turn() -> None:
    limiter = Limiter(2, ["a", "b", "c"])
    with ExitStack() as held:
        assert [begun(limiter, relay, held) for relay in "abc"] == [1, 1, 0]


def test_a_request_that_ends_makes_room_also_by_an_error() -> None:
    limiter = Limiter(1, ["a"])
    with pytest.raises(ValueError, match="broken"), limiter.request("a", Deadline.after(SOON)):
        raise ValueError("broken")
    with ExitStack() as held:
        assert begun(limiter, "a", held) == 1


def test_there_are_never_more_than_the_most() -> None:
    limiter = Limiter(3, ["a", "b"])
    lock = threading.Lock()
    under_way: Counter[str] = Counter()
    highest: list[int] = []

    def request(relay: str) -> None:
        with limiter.request(relay, Deadline.after(LATER)):
            with lock:
                under_way[relay] += 1
                highest.append(under_way.total())
            with lock:
                under_way[relay] -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(request, ["a", "b"] * 200))
    assert len(highest) == 400
    assert max(highest) <= 3
