"""One tree of exceptions; each carries what an operator needs, and no secret.

RelayMetricsError
├── SettingsError           a variable, a key of the secret or a field of an event is wrong
│   └── Unfilled            … because it still is the placeholder that the template writes
├── SecretError             Secrets Manager did not give the secret
├── ExchangeError           an HTTP exchange ended without a complete answer
│   └── TimedOut            … because its time ran out
├── RelayError              a request to a relay failed
│   ├── Unauthorised        … because the relay did not accept the credential
│   ├── InvalidAnswer       … because the answer is not in the expected form
│   └── Declined            … because it was not sent: the back-fill takes more than is allowed
├── SnapshotError           a written snapshot cannot be read
├── EncodingError           metrics that cannot be encoded as OTLP
├── PushError               a destination did not accept a request
│   ├── Refused             … until an operator fixes something: spooled
│   ├── Unavailable         … because of a temporary failure: retried, then spooled
│   ├── TooLarge            … because the request is too large: split
│   └── Impossible          … and never will: split, the refused part goes to the dead-letter queue
│       └── Incompatible    … because only some of its tables were made by OTLP
├── SpoolError              the queue did not accept a snapshot
└── NotDelivered            a snapshot could be neither pushed nor spooled
"""

from __future__ import annotations


class RelayMetricsError(Exception):
    """The base of all exceptions of this project. Its text holds no secret and may be logged."""


class SettingsError(RelayMetricsError):
    """A variable, a key of the secret or a field of an event is missing or wrong.

    The text names it and says what is allowed; it never shows the value.
    """


class Unfilled(SettingsError):
    """A key of the secret still has the placeholder of a newly created stack."""


class SecretError(RelayMetricsError):
    """Secrets Manager did not give the secret.

    `key` is True if the role may not decrypt it with its KMS key.
    """

    def __init__(self, message: str, *, key: bool = False) -> None:
        super().__init__(message)
        self.key = key


class ExchangeError(RelayMetricsError):
    """An HTTP exchange ended without a complete answer.

    `type` is one of `dns`, `proxy`, `connection`, `tls`, `timeout`, `too_large`, `truncated`,
    `encoding`, `memory`; failures are counted under it as `error.type`. `dropped` is True if the
    other side closed the connection.
    """

    dropped = False

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type


class TimedOut(ExchangeError):
    """The exchange's time ran out, in any of its steps.

    Args:
        more: what the message says of the way that the exchange took.
    """

    def __init__(self, seconds: float, more: str = "") -> None:
        super().__init__("timeout", f"no whole answer within {seconds:.3g} s{more}")


class RelayError(RelayMetricsError):
    """A request to a relay failed.

    `endpoint` is the path without its leading slash; `status` is the HTTP status, or None without
    an answer; `type` is the status as text, or a word, and becomes the attribute `error.type`.
    `page` is True if the answer was a web page.
    """

    page = False

    def __init__(
        self, relay: str, endpoint: str, type: str, message: str, status: int | None = None
    ) -> None:
        super().__init__(f"relay {relay}: {endpoint}: {message}")
        self.relay = relay
        self.endpoint = endpoint
        self.type = type
        self.status = status


class Unauthorised(RelayError):
    """The relay answered 401. The secret may have changed and should be read again."""


class InvalidAnswer(RelayError):
    """The relay answered with success, but the body is not in the form of this endpoint."""


class Declined(RelayError):
    """A back-fill was not started: the relay has no past, or it takes more than is allowed."""

    def __init__(self, relay: str, message: str) -> None:
        super().__init__(relay, "backfill", "declined", message)


class SnapshotError(RelayMetricsError):
    """A written snapshot cannot be read: it is damaged, or has a newer schema."""


class EncodingError(RelayMetricsError):
    """Metrics cannot be encoded as OTLP, so that no destination can ever accept them."""


class PushError(RelayMetricsError):
    """A destination did not accept a request.

    `status` is None if no answer came; then `type` is that of the `ExchangeError`. `page` is True
    if the answer was a web page.
    """

    type = ""
    page = False

    def __init__(self, destination: str, message: str, status: int | None = None) -> None:
        super().__init__(f"destination {destination}: {message}")
        self.destination = destination
        self.status = status


class Refused(PushError):
    """The destination refuses until an operator fixes something: 3xx, 401, 403, 404, not OTLP."""


class Unavailable(PushError):
    """A temporary failure: 408, 429, 5xx, a reset, a time-out, no connection.

    `retry_after_s` is the wait that the destination asked for, or None. `timed_out` is True if the
    request took too long; a large one is then split instead of sent again.
    """

    def __init__(
        self,
        destination: str,
        message: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        *,
        timed_out: bool = False,
    ) -> None:
        super().__init__(destination, message, status)
        self.retry_after_s = retry_after_s
        self.timed_out = timed_out


class TooLarge(PushError):
    """The destination answered 413."""


class Impossible(PushError):
    """The request can never succeed: 400, incompatible tables, metrics that cannot be encoded."""


class Incompatible(Impossible):
    """Some tables of the request were made by OTLP, others by something else.

    A request that names only the others would be accepted, and would damage them.
    """


class SpoolError(RelayMetricsError):
    """The queue did not accept a snapshot, or there is no queue."""


class NotDelivered(RelayMetricsError):
    """At least one snapshot could be neither pushed nor spooled: its samples are lost."""
