"""One OTLP request to a destination, and the truth about what happened to it.

The encoder is the SDK's; the POST is ours. The exporter of the same package calls a redirect and a
partial success a success, retries by its own clock and keeps the status to itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

from relay_metrics.deadline import Deadline
from relay_metrics.deliver.answers import MOST_READ, Taken, taken
from relay_metrics.deliver.pieces import Request
from relay_metrics.errors import ExchangeError, PushError, TimedOut, Unavailable
from relay_metrics.net.http import Answer, Client
from relay_metrics.settings import Destination

PROMOTE_ALL = "x-greptime-otlp-metric-promote-all-resource-attrs"
"""Has GreptimeDB make tags of all resource attributes, of which it drops most otherwise."""

MAX_ANSWER_BYTES = 1 << 20
"""Packed: what is read of it unpacked is much less."""
_OURS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_SHORTEST_TRY_S = 0.05
"""With less time left, a try would only put a time-out in the place of the reason."""


class Sender:
    """Sends requests to one destination.

    Args:
        deadline: for all of them, retries included.
        renew: gives the destination by the secret as it is now, which is read anew once an
            invocation; None where it is not there any more.
        sleep: waits so many seconds.
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
        """The destination's."""
        return self._destination.name

    def send(self, request: Request) -> Taken:
        """Send a request until the destination takes it, refuses it, or the time is over.

        What fails for a passing reason is sent again after a pause that doubles, or that the
        destination asks for; where the credential is refused it is read anew and the request sent
        once more.

        Raises:
            PushError: it was not taken.
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
                # a pause even where the destination asks for none: it is in trouble
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
        # what the body is, is not for configuration to say: the former stack's were for JSON
        ours = {name.lower() for name in _OURS}
        given = {name.lower(): text for name, text in destination.headers.items()}
        headers = {name: text for name, text in given.items() if name not in ours}
        try:
            with self._client.open(
                "POST",
                destination.url,
                seconds=self.deadline.left,
                max_bytes=MAX_ANSWER_BYTES,
                headers={PROMOTE_ALL: "true", **headers, **_OURS},
                body=request.body,
            ) as opened:
                answer = Answer(opened.status, opened.headers, _beginning(opened.blocks()))
        except ExchangeError as error:
            timed_out = isinstance(error, TimedOut)
            failure = Unavailable(destination.name, str(error), timed_out=timed_out)
            failure.type = error.type
            raise failure from None
        return taken(destination.name, answer)


def _beginning(blocks: Iterable[bytes]) -> bytes:
    """The first bytes of a body: one more than `MOST_READ` where there are more."""
    body = b""
    for block in blocks:
        body += block
        if len(body) > MOST_READ:
            break
    return body[: MOST_READ + 1]
