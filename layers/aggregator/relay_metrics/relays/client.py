"""The client of one relay in one run: bounds its requests, and types and counts each failure."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from relay_metrics.deadline import Deadline
from relay_metrics.errors import ExchangeError, InvalidAnswer, RelayError, TimedOut, Unauthorised
from relay_metrics.net.http import Answer, Client, OpenAnswer
from relay_metrics.relays.limiter import Limiter
from relay_metrics.relays.memory import Memory, Parsed, Room, json_size
from relay_metrics.relays.phases import Phase, PhaseRunner, Request
from relay_metrics.settings import Environment, Relay
from relay_metrics.snapshot import Failure, Reading

_STEP = 2 << 20
_MAX_ERROR_BYTES = 4096
"""Longer answers with an error status are not searched for a message."""
MOST_SILENCES = 2
"""After how many consecutive time-outs a relay gets no more requests in a run. Time-outs of
concurrent requests count as one. The first may be a restart or a pause of a healthy relay; after
the second the relay hangs, and further requests would take the time of other relays."""


@dataclass(frozen=True)
class Shard:
    """The part of a relay's keys that an invocation scrapes: `index` of `count`, from 1."""

    index: int = 1
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the first shard, which also reports the relay as a whole."""
        return self.index == 1

    @property
    def name(self) -> str:
        """The shard as in an event, `2/4`; empty if there is only one."""
        return f"{self.index}/{self.count}" if self.count > 1 else ""


class RelayClient:
    """Sends the requests of a scrape to one relay, and counts failures.

    Args:
        relay: the relay.
        environment: the bounds of time and size.
        client: the HTTP client.
        pool: runs the requests.
        limiter: limits the concurrent requests.
        memory: limits the memory of the answers.
        deadline: when all requests end.
        renew: reads the secret again, once an invocation, and returns the relay's settings in it.
        time_ms: the time of the run, epoch milliseconds.
        scheduled_s: the scheduled time of the run, epoch seconds.
        shard: the part of the keys that this run scrapes.
        checking: whether this is a check, whose figures are not delivered.
        clock: returns epoch nanoseconds.

    Attributes:
        ready: called with readings that are handed over before the scrape ends.
        handed_over: all of those readings.
        first_failure: in a check, the error of the first request that failed.
    """

    def __init__(  # noqa: PLR0913 - the parts of a run, passed once
        self,
        relay: Relay,
        environment: Environment,
        client: Client,
        pool: Executor,
        limiter: Limiter,
        memory: Memory,
        deadline: Deadline,
        renew: Callable[[], Relay],
        *,
        time_ms: int,
        scheduled_s: float,
        shard: Shard = Shard(),
        checking: bool = False,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.ready: Callable[[Sequence[Reading]], None] = lambda _: None
        self.handed_over: list[Reading] = []
        self.relay = relay
        self.environment = environment
        self.time_ms = time_ms
        self.scheduled_s = scheduled_s
        self.shard = shard
        self.checking = checking
        self._clock = clock
        self._client = client
        self._pool = pool
        self._limiter = limiter
        self._memory = memory
        self._deadline = deadline
        self._renew = renew
        self._failures: Counter[tuple[str, str]] = Counter()
        self._sentences: dict[str, tuple[int, int]] = {}
        self.first_failure: RelayError | None = None
        self._first_place: tuple[int, int] | None = None
        self._silences, self._silent_since = 0, 0.0
        self._lock = threading.Lock()

    @property
    def seconds_left(self) -> float:
        """The seconds until the deadline of the requests."""
        return self._deadline.left

    @property
    def elapsed_s(self) -> int:
        """Whole seconds since the time of the run.

        A relay computes the rest of a limit when it answers. At the figure's timestamp, the time of
        the run, the rest was this many seconds more.
        """
        return max(0, self._clock() // 1_000_000 - self.time_ms) // 1000

    # -- one request

    def ask(
        self,
        method: str,
        path: str,
        *,
        endpoint: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer:
        """Send one request and return its answer, which has status 200.

        Args:
            path: appended to the base URL; with its leading slash and its query.
            endpoint: the endpoint under which failures are counted; by default the path without
                query.
            body: sent as JSON.

        Raises:
            Unauthorised: the relay answered 401.
            RelayError: there was no answer, or one with another status.
        """
        room = self._memory.room(self.relay.name)
        try:
            return self._ask(method, path, endpoint, headers, body, room)
        except RelayError as error:
            raise _apart(error) from None
        finally:
            room.give_back()

    def _ask(
        self,
        method: str,
        path: str,
        endpoint: str | None,
        headers: Mapping[str, str] | None,
        body: object,
        room: Room,
    ) -> Answer:
        """As `ask`; a long body takes its memory from `room`."""
        endpoint = endpoint or path.partition("?")[0].strip("/")
        sent = {**self.relay.headers, **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        blocks: list[bytes] = []
        size, counted = 0, _STEP
        try:
            with self._turn(endpoint) as deadline:
                with self._client.open(
                    method,
                    self.relay.base_url + path,
                    seconds=deadline.left,
                    max_bytes=self.environment.max_response_bytes,
                    headers=sent,
                    body=None if body is None else json.dumps(body).encode(),
                ) as opened:
                    for block in opened.blocks():
                        size += len(block)
                        if size > counted:
                            # twice the size, as the blocks and the joined body exist together
                            room.take(2 * (_STEP if room.size else counted + _STEP), deadline)
                            counted += _STEP
                        blocks.append(block)
                answer = Answer(opened.status, opened.headers, b"".join(blocks))
        except ExchangeError as error:
            raise RelayError(self.relay.name, endpoint, error.type, str(error)) from None
        if answer.status != 200:
            raise self._other_status(endpoint, answer)
        return answer

    @contextmanager
    def stream(
        self, path: str, *, endpoint: str, headers: Mapping[str, str]
    ) -> Iterator[OpenAnswer]:
        """GET a path. The answer has status 200, and its body was not read yet.

        Raises:
            Unauthorised, RelayError: as `ask`; also when the body is read and breaks off.
        """
        try:
            with (
                self._turn(endpoint) as deadline,
                self._client.open(
                    "GET",
                    self.relay.base_url + path,
                    seconds=deadline.left,
                    max_bytes=self.environment.max_response_bytes,
                    headers={**self.relay.headers, **headers},
                ) as opened,
            ):
                if opened.status != 200:
                    answer = Answer(opened.status, opened.headers, opened.read())
                    raise self._other_status(endpoint, answer)
                yield opened
        except ExchangeError as error:
            raise RelayError(self.relay.name, endpoint, error.type, str(error)) from None

    @contextmanager
    def _turn(self, endpoint: str) -> Iterator[Deadline]:
        """Wait until a request may be sent; the `with` gives the request's deadline.

        Raises:
            RelayError: the relay hangs and gets no more requests.
            TimedOut: the run's deadline passed first.
        """
        self._unless_it_hangs(endpoint)
        with self._limiter.request(self.relay.name, self._deadline):
            self._unless_it_hangs(endpoint)
            began, silent = time.monotonic(), False
            try:
                yield self._deadline.or_after(self.environment.relay_timeout_s)
            except TimedOut:
                silent = True
                raise
            finally:
                self._heard(began, silent=silent)

    def _unless_it_hangs(self, endpoint: str) -> None:
        if self._silences >= MOST_SILENCES:
            message = f"not asked, after {MOST_SILENCES} time-outs one after the other"
            raise RelayError(self.relay.name, endpoint, "given_up", message)

    def _heard(self, began: float, *, silent: bool) -> None:
        with self._lock:
            if not silent:
                self._silences = 0
            elif began >= self._silent_since:
                self._silences += 1
                self._silent_since = time.monotonic()

    def _other_status(self, endpoint: str, answer: Answer) -> RelayError:
        kind = Unauthorised if answer.status == 401 else RelayError
        status = str(answer.status)
        message = f"answered {status}{_reason(answer)}"
        if answer.web_page:
            message += " with HTML"
        if answer.redirects_to:
            message += f", to {answer.redirects_to}"
        error = kind(self.relay.name, endpoint, status, message, answer.status)
        error.page = answer.web_page
        return error

    def ask_json(
        self,
        method: str,
        path: str,
        *,
        endpoint: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        says_success: bool = True,
    ) -> dict[str, Any]:
        """Send one request and return its answer, a JSON object.

        Args:
            says_success: whether the object must have `success: true`.

        Raises:
            InvalidAnswer: the answer is no JSON object, or lacks `success: true`.
            RelayError: as `ask`.
        """
        endpoint = endpoint or path.partition("?")[0].strip("/")
        room = self._memory.room(self.relay.name)
        try:
            return self._parsed(
                self._ask(method, path, endpoint, headers, body, room), endpoint, says_success, room
            )
        except RelayError as error:
            room.give_back()
            raise _apart(error) from None

    def _parsed(
        self, answer: Answer, endpoint: str, says_success: bool, room: Room
    ) -> dict[str, Any]:
        deadline = self._deadline.or_after(self.environment.relay_timeout_s)
        try:
            needed = len(answer.body) + json_size(answer.body)
            room.take(max(0, needed - room.size), deadline)
            value = json.loads(answer.body)
        except ExchangeError as error:
            raise self.invalid(endpoint, error.type, str(error)) from None
        except (ValueError, RecursionError):
            what = "HTML" if answer.media_type == "text/html" else "no JSON"
            raise self.invalid(endpoint, "not_json", f"answered 200 with {what}") from None
        if not isinstance(value, dict):
            raise self.invalid(endpoint, "not_json", "answered 200 with other than a JSON object")
        if says_success and value.get("success") is not True:
            raise self.invalid(endpoint, "unsuccessful", "answered 200 without success")
        if not room.size:
            return value
        parsed = Parsed(value)
        parsed.room = room
        return parsed

    def invalid(self, endpoint: str, type: str, message: str) -> InvalidAnswer:
        """An error for an answer with status 200 that is not in the expected form."""
        return InvalidAnswer(self.relay.name, endpoint, type, message, 200)

    def renewed(self) -> Relay:
        """Read the secret again, once an invocation, and return the relay's settings in it."""
        return self._renew()

    # -- many requests

    def together(self, requests: Iterable[Request[Any]]) -> None:
        """Send requests at the same time, and take each answer in this thread as it arrives.

        A request that fails is counted, and so is one for which there is no time left.
        """
        self.in_phases([Phase("", (), lambda: [requests])])

    def in_phases(self, phases: Sequence[Phase], idle: Callable[[], bool] = lambda: False) -> None:
        """Send the requests of phases as `together` does. See `Phase` for when each one starts.

        A phase that needs a phase that is not in `phases` never starts.

        Args:
            idle: called while there is no answer to take; does a little work, or returns False.
        """
        PhaseRunner(phases, self._pool, self._deadline, self.failed, self.timed_out, idle).run()

    def timed_out(self, endpoint: str) -> RelayError:
        """An error for a request that was not sent, or did not end, before the deadline."""
        return RelayError(self.relay.name, endpoint, "timeout", "the run's time ran out")

    def hand_over(self, readings: Sequence[Reading]) -> None:
        """Deliver readings that are complete, while the scrape waits for other answers.

        The result of the scrape must not have them again.
        """
        self.handed_over += readings
        self.ready(readings)

    # -- what went wrong

    def failed(self, error: RelayError, place: tuple[int, int] = (0, 0)) -> None:
        """Count a request that failed.

        Args:
            place: the position of the request. `error` is that of the lowest position, so that it
                does not depend on which request fails first.
        """
        with self._lock:
            self._failures[error.endpoint, error.type] += 1
            self._sentences[str(error)] = min(place, self._sentences.get(str(error), place))
            if self._first_place is None or place < self._first_place:
                self._first_place = place
                self.first_failure = _apart(error) if self.checking else None

    def left_out(self, endpoint: str, type: str, count: int = 1) -> None:
        """Count values of an answer that are left out."""
        with self._lock:
            self._failures[endpoint, type] += count

    @property
    def failures(self) -> tuple[Failure, ...]:
        """All counts of failures and left-out values, by endpoint and type."""
        with self._lock:
            counted = sorted(self._failures.items())
        return tuple(Failure(endpoint, type, count) for (endpoint, type), count in counted)

    @property
    def error(self) -> str | None:
        """A sentence on the requests that failed; None if none did."""
        with self._lock:
            sentences = sorted(self._sentences, key=self._sentences.__getitem__)
        if not sentences:
            return None
        more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
        return sentences[0] + more


def _apart(error: RelayError) -> RelayError:
    """An error without traceback and context, which would keep the body of the answer in memory."""
    error.__context__ = None
    return error.with_traceback(None)


def _reason(answer: Answer) -> str:
    """The relay's own error message in brackets, from `error`, if it is short and plain.

    `message` is not used: it may be in another language, and may repeat parts of the request.
    """
    if len(answer.body) > _MAX_ERROR_BYTES:
        return ""
    try:
        error = json.loads(answer.body).get("error")
    except (ValueError, RecursionError, AttributeError):
        return ""
    if isinstance(error, str) and len(error) <= 80 and error.isascii() and error.isprintable():
        return f" ({error})"
    return ""
