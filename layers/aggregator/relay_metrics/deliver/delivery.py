"""A snapshot's way to one destination, by the same convert and push for whoever delivers it."""

from __future__ import annotations

from relay_metrics.convert import convert
from relay_metrics.deadline import Deadline
from relay_metrics.deliver.push import Encoded, Outcome, push
from relay_metrics.errors import EncodingError, Impossible, Unavailable
from relay_metrics.observability import logger
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.settings import Destination
from relay_metrics.snapshot import Snapshot


def encode(snapshot: Snapshot) -> Encoded | EncodingError:
    """A snapshot as an OTLP request, or why it can be none."""
    try:
        return Encoded.of(convert(snapshot))
    except EncodingError as error:
        return error
    except Exception as fault:  # noqa: BLE001 - a fault of ours must not cost the other relays
        logger.exception("a fault while converting a snapshot", extra={"relay": snapshot.relay})
        return EncodingError(f"a fault of relay-metrics ({type(fault).__name__}), see the log")


def deliver(
    encoded: Encoded | EncodingError,
    destination: Destination,
    runtime: Runtime,
    invocation: Invocation,
    deadline: Deadline,
) -> Outcome:
    """Push to a destination within `OTEL_TIMEOUT_MS` and the deadline, and tell the outcome."""
    if isinstance(encoded, EncodingError):
        return Outcome(error=Impossible(destination.name, str(encoded)))
    try:
        return push(
            encoded,
            destination,
            runtime.client(destination.ca_pem),
            deadline.or_after(runtime.environment.push_timeout_s),
            lambda: invocation.renew().destination(destination.name),
        )
    except Exception as fault:  # noqa: BLE001 - a fault of ours must not cost what was fetched
        logger.exception("a fault while pushing", extra={"destination": destination.name})
        message = f"a fault of relay-metrics ({type(fault).__name__}), see the log"
        return Outcome(error=Unavailable(destination.name, message))
