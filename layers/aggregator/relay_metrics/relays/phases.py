"""Requests side by side, and phase after phase where one goes by the answers of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from relay_metrics.deadline import Deadline
from relay_metrics.errors import RelayError

T = TypeVar("T")

Place = tuple[int, int]
"""Of a request: its phase, and how many requests of the run began before it."""

_GRACE_S = 0.1


class Request(NamedTuple, Generic[T]):
    """A request to make beside others.

    Attributes:
        endpoint: what it is counted as, should it have no turn.
        ask: makes it, in a thread of the pool; may raise a RelayError.
        take: is given what `ask` gave.
        failed: is told of the error that `ask` raised, which is counted in any case.
    """

    endpoint: str
    ask: Callable[[], T]
    take: Callable[[T], None]
    failed: Callable[[RelayError], None] = lambda _: None


class Phase(NamedTuple):
    """Requests of a fetch that belong together.

    Attributes:
        name: what the phases after it need it by.
        needs: the phases whose answers it goes by.
        rounds: its requests, round after round: the next round is asked for when all answers of
            the one before were taken.
    """

    name: str
    needs: tuple[str, ...]
    rounds: Callable[[], Iterable[Iterable[Request[Any]]]]


class _UnderWay(NamedTuple):
    place: Place
    phase: str
    request: Request[Any]


class Course:
    """Makes the requests of phases, and takes the answers in one thread, as they come.

    Args:
        phases: in the order in which those begin that need the same.
        pool: runs the requests.
        deadline: when all of them end.
        failed: is told of each error, and of the place of its request.
        timed_out: the error of a request that had no end, by its endpoint.
        idle: called while no answer is there to be taken; does a little work, or returns False.
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        pool: Executor,
        deadline: Deadline,
        failed: Callable[[RelayError, Place], None],
        timed_out: Callable[[str], RelayError],
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self._idle = idle
        self._phases = phases
        self._pool = pool
        self._deadline = deadline
        self._failed = failed
        self._timed_out = timed_out
        self._rounds: dict[str, Iterator[Iterable[Request[Any]]]] = {}
        self._ended: set[str] = set()
        self._under_way: dict[Future[Any], _UnderWay] = {}
        self._left: Counter[str] = Counter()
        self._begun = 0
        self._answered: SimpleQueue[Future[Any]] = SimpleQueue()

    def run(self) -> None:
        """Returns when every phase has ended, or the time is over."""
        self._go_on()
        while self._under_way:
            if self._answered.empty() and self._idle():
                continue
            try:
                # a request ends by itself at the deadline
                future = self._answered.get(timeout=self._deadline.left + _GRACE_S)
            except Empty:
                self._give_up()
            else:
                if future in self._under_way:
                    self._take(future)
            self._go_on()

    def _go_on(self) -> None:
        """Begin what can begin: phases, and the next rounds of those whose last one is over."""
        ended = -1
        while ended != len(self._ended):
            ended = len(self._ended)
            for place, phase in enumerate(self._phases):
                if phase.name in self._ended or self._left[phase.name]:
                    continue
                if phase.name in self._rounds or self._ended.issuperset(phase.needs):
                    self._next_round(place, phase)

    def _next_round(self, place: int, phase: Phase) -> None:
        if phase.name not in self._rounds:
            self._rounds[phase.name] = iter(phase.rounds())
        for requests in self._rounds[phase.name]:
            for request in requests:
                self._begun += 1
                future = self._pool.submit(request.ask)
                self._under_way[future] = _UnderWay((place, self._begun), phase.name, request)
                self._left[phase.name] += 1
                future.add_done_callback(self._answered.put)
            if self._left[phase.name]:
                return
        self._ended.add(phase.name)

    def _take(self, future: Future[Any]) -> None:
        place, phase, request = self._under_way.pop(future)
        self._left[phase] -= 1
        try:
            given = future.result()
        except RelayError as error:
            self._failed(error, place)
            request.failed(error)
        else:
            request.take(given)

    def _give_up(self) -> None:
        """Requests that hang where no time-out reaches, or had no turn before the deadline."""
        for future, one in self._under_way.items():
            future.cancel()
            self._failed(self._timed_out(one.request.endpoint), one.place)
        self._under_way.clear()
        self._left.clear()
