"""The requests of one run to one relay: bounded, each failure typed and counted."""

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
from relay_metrics.relays.phases import Course, Phase, Request
from relay_metrics.settings import Environment, Relay
from relay_metrics.snapshot import Failure, Reading

_STEP = 2 << 20
_MOST_SAID = 4096
"""Of an answer that is none: what it says of itself is in its first few words."""
MOST_SILENCES = 2
"""Time-outs one after the other, without an answer between them, until a relay is not asked again
in a run. Requests that were under way together count once: the first silence may be a restart or a
pause of a relay that is well, after the second one it hangs, and each further one would take the
time and the turns of relays that do not."""


@dataclass(frozen=True)
class Shard:
    """The part of a relay's keys that an invocation is for: `index` of `count`, from 1."""

    index: int = 1
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that speaks for the relay at large."""
        return self.index == 1

    @property
    def name(self) -> str:
        """As an event has it, `2/4`; empty where there is only one."""
        return f"{self.index}/{self.count}" if self.count > 1 else ""


class RelayClient:
    """What a fetch asks a relay through, and where it counts what went wrong.

    Args:
        relay: who is asked.
        environment: bounds of time and size.
        client: the connections to the relay.
        pool: runs the requests.
        limiter: tells when a request may begin.
        memory: what the answers may take.
        deadline: when all of them end.
        renew: reads the secret anew, once an invocation, and gives the relay as it is then.
        time_ms: the run's time, epoch milliseconds.
        scheduled_s: the instant that the run was scheduled for, epoch seconds.
        shard: the part of the keys that this run is for.
        checking: whether this is a check, which tells nobody what it is answered.
        clock: epoch nanoseconds.

    Attributes:
        ready: called with readings that are handed over before the fetch ends.
        handed_over: all of those readings.
    """

    def __init__(  # noqa: PLR0913 - what a run is made of, handed over once
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
        """The seconds until its requests end."""
        return self._deadline.left

    @property
    def elapsed_s(self) -> int:
        """Whole seconds since the run's time.

        A relay counts what remains of a limit when it answers: at the instant that the figure is
        stamped with it was so much more.
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
        """One request to the relay and its answer, which has status 200.

        Args:
            path: behind the base URL, with its leading slash and its query.
            endpoint: what the request is counted as; the path without query where it is None.
            body: sent as JSON.

        Raises:
            Unauthorised: the relay answered 401.
            RelayError: no answer, or one with another status.
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
        """As `ask`, with room for the body where it is long."""
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
                            # twice, for the moment in which the blocks become one
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
        """GET a path: the answer, which has status 200, with its body still to be read.

        Raises:
            Unauthorised, RelayError: as `ask`; where the body breaks off, when it is read.
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
        """While a request is under way; gives when it ends.

        Raises:
            RelayError: the relay hangs, and is not asked again.
            TimedOut: it had no turn before the run's deadline.
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
        """One request and its answer as a JSON object.

        Args:
            says_success: whether the object is an answer only where it says `success: true`.

        Raises:
            InvalidAnswer: it is no JSON object, or does not say so.
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
        """An error of this relay for an answer that is not what it should be."""
        return InvalidAnswer(self.relay.name, endpoint, type, message, 200)

    def renewed(self) -> Relay:
        """The relay by the secret as it is now, which is read anew once an invocation."""
        return self._renew()

    # -- many requests

    def together(self, requests: Iterable[Request[Any]]) -> None:
        """Make requests side by side, and take each answer in this thread as soon as it is there.

        One that fails is counted, and so is one for which there is no time left.
        """
        self.in_phases([Phase("", (), lambda: [requests])])

    def in_phases(self, phases: Sequence[Phase], idle: Callable[[], bool] = lambda: False) -> None:
        """Make the requests of phases, as `together`: each begins when those it needs have ended.

        A phase that needs one that is not among them never begins.

        Args:
            idle: called while no answer is there to be taken; does a little work, or returns False.
        """
        Course(phases, self._pool, self._deadline, self.failed, self.timed_out, idle).run()

    def timed_out(self, endpoint: str) -> RelayError:
        """An error for a request that had no turn, or no end."""
        return RelayError(self.relay.name, endpoint, "timeout", "the run's time ran out")

    def hand_over(self, readings: Sequence[Reading]) -> None:
        """Deliver readings that no further answer changes, while other answers are waited for.

        The fetch does not return them again.
        """
        self.handed_over += readings
        self.ready(readings)

    # -- what went wrong

    def failed(self, error: RelayError, place: tuple[int, int] = (0, 0)) -> None:
        """Count a request that failed.

        Args:
            place: of the request among all: `error` is of the first, whichever failed first.
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
        """All that was counted, by endpoint and type."""
        with self._lock:
            counted = sorted(self._failures.items())
        return tuple(Failure(endpoint, type, count) for (endpoint, type), count in counted)

    @property
    def error(self) -> str | None:
        """A sentence on the requests that failed; None where none did."""
        with self._lock:
            sentences = sorted(self._sentences, key=self._sentences.__getitem__)
        if not sentences:
            return None
        more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
        return sentences[0] + more


def _apart(error: RelayError) -> RelayError:
    """An error without the frames that it came through, and without what JSON's own error quotes.

    They hold the body of the answer for as long as the error is kept.
    """
    error.__context__ = None
    return error.with_traceback(None)


def _reason(answer: Answer) -> str:
    """What the relay itself says in `error`, where that is a few plain words.

    Its `message` may be in another language, and may repeat what was sent.
    """
    if len(answer.body) > _MOST_SAID:
        return ""
    try:
        error = json.loads(answer.body).get("error")
    except (ValueError, RecursionError, AttributeError):
        return ""
    if isinstance(error, str) and len(error) <= 80 and error.isascii() and error.isprintable():
        return f" ({error})"
    return ""
