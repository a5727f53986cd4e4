"""Runs concurrent requests in phases: a phase starts when the phases that it needs have ended."""

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
"""The position of a request: the index of its phase, and how many requests started before it."""

_GRACE_S = 0.1


class Request(NamedTuple, Generic[T]):
    """A request that runs at the same time as others.

    Attributes:
        endpoint: the endpoint under which it is counted if it cannot be sent in time.
        ask: sends it, in a thread of the pool; may raise a RelayError.
        take: called with the result of `ask`.
        failed: called with the error that `ask` raised, which is counted in any case.
    """

    endpoint: str
    ask: Callable[[], T]
    take: Callable[[T], None]
    failed: Callable[[RelayError], None] = lambda _: None


class Phase(NamedTuple):
    """A group of requests.

    Attributes:
        name: the name by which other phases need it.
        needs: the names of the phases whose answers it needs.
        rounds: its requests, in rounds; a round is requested from the iterator when all answers of
            the round before were taken.
    """

    name: str
    needs: tuple[str, ...]
    rounds: Callable[[], Iterable[Iterable[Request[Any]]]]


class _UnderWay(NamedTuple):
    place: Place
    phase: str
    request: Request[Any]


class PhaseRunner:
    """Sends the requests of phases, and takes the answers in one thread, as they arrive.

    Args:
        phases: phases that become ready at the same time start in this order.
        pool: runs the requests.
        deadline: when all of them end.
        failed: called with each error and the place of its request.
        timed_out: makes the error of a request that did not end, from its endpoint.
        idle: called while there is no answer to take; does a little work, or returns False.
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
        """Run all phases. Returns when every phase has ended, or the time is over."""
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
        """Start all phases that are ready, and the next rounds of phases whose round has ended."""
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
        """Count the requests that hang without a time-out, or were not sent before the deadline."""
        for future, one in self._under_way.items():
            future.cancel()
            self._failed(self._timed_out(one.request.endpoint), one.place)
        self._under_way.clear()
        self._left.clear()
