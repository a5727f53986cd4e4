"""What both functions do around their work: keep what is warm, tell the time, name a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from relay_metrics.errors import RelayMetricsError, SettingsError
from relay_metrics.observability import logger, redact
from relay_metrics.runtime import Runtime

_SECONDS_WITHOUT_CONTEXT = 60.0


class Context(Protocol):
    """What Lambda tells an invocation, as far as it is needed."""

    def get_remaining_time_in_millis(self) -> int:
        """How long the invocation may still take."""


class Handler:
    """A Lambda handler.

    Args:
        work: is given what is kept warm, the event and the seconds left; gives the answer.
        unset: is given the event and what is wrong with the environment's variables; gives the
            answer to an event that has one even so, and raises the error to others.
    """

    def __init__(
        self,
        work: Callable[[Runtime, Any, float], dict[str, Any]],
        unset: Callable[[Any, SettingsError], dict[str, Any]] | None = None,
    ) -> None:
        self._work = work
        self._unset = unset
        self._warm: Runtime | None = None
        self._cold = True

    def __call__(self, event: Any, context: Context | None) -> dict[str, Any]:
        """The answer to an event.

        Raises:
            RelayMetricsError: the work failed; its text is what Lambda shows, without a traceback
                of libraries, whose exceptions can hold what they were sent.
        """
        # As Powertools itself calls them: its standard queries look for these keys.
        logger.append_keys(cold_start=self._cold)
        self._cold = False
        if context is not None:
            logger.append_keys(function_request_id=getattr(context, "aws_request_id", None))
        try:
            if self._warm is None:
                try:
                    self._warm = Runtime()
                except SettingsError as error:
                    if self._unset is None:
                        raise
                    return self._unset(event, error)
            remaining_ms = getattr(context, "get_remaining_time_in_millis", None)
            seconds = remaining_ms() / 1000 if remaining_ms else _SECONDS_WITHOUT_CONTEXT
            return self._work(self._warm, event, seconds)
        except RelayMetricsError as error:
            logger.error(str(error), extra={"error": type(error).__name__})
            error.args = (redact(str(error)),)
            raise error.with_traceback(None) from None
        except Exception as fault:  # noqa: BLE001 - it is logged, and fails the invocation
            logger.exception("a fault of relay-metrics")
            name = type(fault).__name__
            raise RelayMetricsError(f"a fault of relay-metrics ({name}): see the log") from None
