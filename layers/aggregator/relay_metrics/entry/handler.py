"""The Lambda handler of both functions: keeps the runtime, passes the time left, logs failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from relay_metrics.errors import RelayMetricsError, SettingsError
from relay_metrics.observability import logger, redact
from relay_metrics.runtime import Runtime

_SECONDS_WITHOUT_CONTEXT = 60.0


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """The milliseconds until the invocation times out."""


class Handler:
    """A Lambda handler.

    Args:
        work: takes the runtime, the event and the seconds left; returns the answer.
        unset: called if an environment variable is wrong, with the event and the error; returns
            the answer to an event that can be answered even then, and raises the error otherwise.
    """

    def __init__(
        self,
        work: Callable[[Runtime, Any, float], dict[str, Any]],
        unset: Callable[[Any, SettingsError], dict[str, Any]] | None = None,
    ) -> None:
        self._work = work
        self._unset = unset
        self._runtime: Runtime | None = None
        self._cold = True

    def __call__(self, event: Any, context: Context | None) -> dict[str, Any]:
        """Answer an event.

        Raises:
            RelayMetricsError: the work failed. It carries no traceback, because exceptions of
                libraries can hold parts of requests. Lambda shows its text.
        """
        # The keys have the names that Powertools' standard queries look for.
        logger.append_keys(cold_start=self._cold)
        self._cold = False
        if context is not None:
            logger.append_keys(function_request_id=getattr(context, "aws_request_id", None))
        try:
            if self._runtime is None:
                try:
                    self._runtime = Runtime()
                except SettingsError as error:
                    if self._unset is None:
                        raise
                    return self._unset(event, error)
            remaining_ms = getattr(context, "get_remaining_time_in_millis", None)
            seconds = remaining_ms() / 1000 if remaining_ms else _SECONDS_WITHOUT_CONTEXT
            return self._work(self._runtime, event, seconds)
        except RelayMetricsError as error:
            logger.error(str(error), extra={"error": type(error).__name__})
            error.args = (redact(str(error)),)
            raise error.with_traceback(None) from None
        except Exception as fault:  # noqa: BLE001 - it is logged, and fails the invocation
            logger.exception("a fault of relay-metrics")
            name = type(fault).__name__
            raise RelayMetricsError(f"a fault of relay-metrics ({name}): see the log") from None
