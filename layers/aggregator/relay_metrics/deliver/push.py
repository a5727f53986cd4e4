"""Sends OTLP requests to a destination, with retries, and reports how each one ended.

It uses the SDK's encoder but not its exporter, which takes a redirect and a partial success for a
success, retries on a schedule of its own and does not return the status.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

from relay_metrics.deadline import Deadline
from relay_metrics.deliver.answers import MOST_READ, Taken, taken
from relay_metrics.deliver.pieces import Request
from relay_metrics.errors import ExchangeError, PushError, TimedOut, Unavailable
from relay_metrics.net.http import Answer, Client, OpenAnswer
from relay_metrics.settings import Destination, basic_user

PROMOTE_ALL = "x-greptime-otlp-metric-promote-all-resource-attrs"
"""Makes GreptimeDB turn all resource attributes into tags; without it, it drops most of them."""

MAX_ANSWER_BYTES = 1 << 20
"""Of the answer as received; at most `MOST_READ` bytes of it are read once decompressed."""
_OURS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_SHORTEST_TRY_S = 0.05
"""With less time left there is no retry: it would time out and hide the reason of the failure."""


class Sender:
    """Sends requests to one destination.

    Args:
        deadline: for all requests, retries included.
        renew: reads the secret again, at most once an invocation, and returns the destination as
            it is there; None if it is no longer there.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        destination: Destination,
        client: Client,
        deadline: Deadline,
        renew: Callable[[], Destination | None],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.deadline = deadline
        self._destination = destination
        self._client = client
        self._renew = renew
        self._renewed = False
        self._sleep = sleep

    @property
    def name(self) -> str:
        """The name of the destination."""
        return self._destination.name

    def send(self, request: Request) -> Taken:
        """Send a request until the destination accepts it, refuses it, or the time is over.

        After a temporary failure it is sent again, after a pause that doubles each time or is as
        long as the destination asks. If the credential is refused, the secret is read again and
        the request sent once more.

        Raises:
            PushError: the destination did not accept it.
        """
        pause = _FIRST_PAUSE_S
        error: PushError = Unavailable(self.name, "there was no time left to send anything")
        while self.deadline.left > 0:
            try:
                return self._once(request)
            except Unavailable as unavailable:
                error = unavailable
                if unavailable.timed_out and request.large:
                    break
                # The pause is never shorter than ours, even with `Retry-After: 0`.
                spread = random.uniform(1, 1.2)  # noqa: S311 - it spreads retries, it guards nothing
                wanted = max(pause * spread, unavailable.retry_after_s or 0.0)
                if wanted + _SHORTEST_TRY_S >= self.deadline.left:
                    break
                self._sleep(wanted)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            except PushError as refused:
                error = refused
                if refused.status not in (401, 403) or self._renewed:
                    break
                self._renewed = True
                fresh = self._renew()
                if fresh is None:
                    break
                self._destination = fresh
        raise error

    def _once(self, request: Request) -> Taken:
        destination = self._destination
        try:
            with self._client.open(
                "POST",
                destination.url,
                seconds=self.deadline.left,
                max_bytes=MAX_ANSWER_BYTES,
                # Names in any case. Configured headers do not replace those that describe the body:
                # OTEL_EXPORT_HEADERS of the Compose stack set JSON's.
                headers={PROMOTE_ALL: "true", **destination.headers, **_OURS},
                body=request.body,
            ) as opened:
                answer = Answer(opened.status, opened.headers, _body(opened))
        except ExchangeError as error:
            timed_out = isinstance(error, TimedOut)
            failure = Unavailable(destination.name, str(error), timed_out=timed_out)
            failure.type = error.type
            raise failure from None
        return taken(destination.name, answer, basic_user(destination.headers))


def _body(answer: OpenAnswer) -> bytes:
    """The beginning of a body; if it cannot be read, why, so that the status decides by itself.

    Raises:
        ExchangeError: another attempt may give what the status leaves open: which points were
            rejected, or whether a 400 is temporary.
    """
    try:
        return _beginning(answer.blocks())
    except ExchangeError as error:
        if error.type != "encoding" and (200 <= answer.status < 300 or answer.status == 400):
            raise
        return str(error).encode()


def _beginning(blocks: Iterable[bytes]) -> bytes:
    """The first bytes of a body: at most one more than `MOST_READ`, which shows that it is cut."""
    body = b""
    for block in blocks:
        body += block
        if len(body) > MOST_READ:
            break
    return body[: MOST_READ + 1]
