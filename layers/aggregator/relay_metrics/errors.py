"""One tree of exceptions; each carries what an operator needs, and no secret.

RelayMetricsError
├── SettingsError           a variable, a key of the secret or a field of an event is wrong
│   └── Unfilled            … because it still is the placeholder that the template writes
├── SecretError             Secrets Manager did not give the secret
├── ExchangeError           an HTTP exchange ended without a whole answer
│   └── TimedOut            … because its time ran out
├── RelayError              a relay did not give what it was asked for
│   ├── Unauthorised        … because it did not accept the credential
│   ├── InvalidAnswer       … because what it gave is not what it should be
│   └── Declined            … because it was not asked: a back-fill of it takes more than allowed
├── SnapshotError           a written snapshot cannot be read
├── EncodingError           metrics that no destination could be sent
├── PushError               a destination did not take a request
│   ├── Refused             … until an operator fixes something: spooled
│   ├── Unavailable         … for a passing reason: retried, then spooled
│   ├── TooLarge            … because it is too large: split
│   └── Impossible          … and never will: split, and what is refused to the dead-letter queue
├── SpoolError              the queue did not take a snapshot
└── NotDelivered            a snapshot could be neither pushed nor spooled
"""

from __future__ import annotations


class RelayMetricsError(Exception):
    """Anything that this project raises on purpose. Its text is fit to be logged."""


class SettingsError(RelayMetricsError):
    """A variable, a key of the secret or a field of an event is missing or wrong.

    The text names it and says what is allowed; it never shows the value.
    """


class Unfilled(SettingsError):
    """A key of the secret still has the placeholder of a stack that was just made."""


class SecretError(RelayMetricsError):
    """Secrets Manager did not give the secret. `key` where it may not be decrypted."""

    def __init__(self, message: str, *, key: bool = False) -> None:
        super().__init__(message)
        self.key = key


class ExchangeError(RelayMetricsError):
    """An HTTP exchange ended without a whole answer.

    `type` is one of `dns`, `proxy`, `connection`, `tls`, `timeout`, `too_large`, `truncated`,
    `encoding`, `memory`: the `error.type` of what is counted. `dropped` where the other side closed
    the connection.
    """

    dropped = False

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type


class TimedOut(ExchangeError):
    """The exchange's time ran out, at whichever step."""

    def __init__(self, seconds: float) -> None:
        super().__init__("timeout", f"no whole answer within {seconds:.3g} s")


class RelayError(RelayMetricsError):
    """A relay did not give what it was asked for.

    `endpoint` is the path without its leading slash, `status` the HTTP status where there was one,
    `type` what is counted as `error.type`: the status as text, or a word. `page` where the answer
    was a web page.
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
    """The relay answered 401: the secret is worth reading anew."""


class InvalidAnswer(RelayError):
    """The relay answered with success, but not with what the endpoint promises."""


class Declined(RelayError):
    """A back-fill of the relay was not begun: it cannot be had, or takes more than is allowed."""

    def __init__(self, relay: str, message: str) -> None:
        super().__init__(relay, "backfill", "declined", message)


class SnapshotError(RelayMetricsError):
    """A written snapshot cannot be read: it is damaged, or of a newer schema."""


class EncodingError(RelayMetricsError):
    """Metrics that cannot be encoded: no destination will ever take them."""


class PushError(RelayMetricsError):
    """A destination did not take a request.

    `status` is None where no answer came; then `type` is that of the `ExchangeError`. `page` where
    the answer was a web page.
    """

    type = ""
    page = False

    def __init__(self, destination: str, message: str, status: int | None = None) -> None:
        super().__init__(f"destination {destination}: {message}")
        self.destination = destination
        self.status = status


class Refused(PushError):
    """The destination refuses until an operator fixes it: 3xx, 401, 403, 404, a foreign answer."""


class Unavailable(PushError):
    """A passing failure: 408, 429, 5xx, a reset, a time-out, no connection.

    `retry_after_s` is how long the destination asked to be left alone; None where it did not.
    `timed_out` says that it took too long: a large request is better split than repeated.
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
    """The request can never succeed: 400, incompatible tables, what cannot be encoded."""


class SpoolError(RelayMetricsError):
    """The queue did not take a snapshot, or there is no queue."""


class NotDelivered(RelayMetricsError):
    """At least one snapshot could be neither pushed nor spooled: its samples are lost."""
