"""Delivering what the spool holds, each snapshot with its original instant."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from relay_metrics.deadline import Times
from relay_metrics.deliver.delivery import deliver, encode
from relay_metrics.deliver.spool import Message, Spool
from relay_metrics.errors import (
    Impossible,
    PushError,
    RelayMetricsError,
    SettingsError,
    SnapshotError,
    SpoolError,
)
from relay_metrics.observability import count, logger
from relay_metrics.relays.values import number
from relay_metrics.runtime import Invocation, Runtime

FIRST_DELAY_S = 60
LONGEST_DELAY_S = 3600


def delay_s(receive_count: int, spread: float) -> int:
    """How long a message waits after its n-th receive: min(60 s × 2ⁿ⁻¹, 1 h) ± 20 %.

    So an outage of 14 days stays far below the queue's limit of 1,000 receives, and the messages
    do not all come back at once.

    Args:
        spread: from -1 to 1.
    """
    doubled: int = FIRST_DELAY_S << min(max(receive_count, 1) - 1, 10)
    return int(min(doubled, LONGEST_DELAY_S) * (1 + 0.2 * spread))


def redrive(runtime: Runtime, event: object, seconds: float) -> dict[str, Any]:
    """Deliver the messages of an SQS event.

    What fails for a passing reason comes back later, and so does the rest of the batch for the
    same destination, which is not tried. What never can succeed goes to the dead-letter queue.

    Args:
        seconds: what the invocation has left.

    Returns:
        `{batchItemFailures: [{itemIdentifier}]}`: the messages that come back.

    Raises:
        SettingsError: the event is none of SQS, or the settings are wrong.
        SecretError: the secret cannot be read.
        In either case all messages come back, and by the same rule.
    """
    records = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(records, list):
        raise SettingsError("the event must be one of SQS, with Records")
    if runtime.spool is None:
        raise SettingsError("SPOOL_QUEUE_URL is not set: the redriver cannot do without it")
    times = Times.of(seconds, runtime.environment.push_timeout_s)
    try:
        invocation = Invocation(runtime, asks_relays=False)
    except RelayMetricsError:
        for record in records:
            _postpone(runtime.spool, record)
        raise
    batch = _Batch(runtime, runtime.spool, invocation, times)
    failures = [
        {"itemIdentifier": record["messageId"]} for record in records if not batch.settled(record)
    ]
    count("PointsRejected", batch.rejected)
    return {"batchItemFailures": failures}


class _Batch:
    """The messages of one event, and which destinations have failed in it."""

    def __init__(
        self, runtime: Runtime, spool: Spool, invocation: Invocation, times: Times
    ) -> None:
        self._warm = runtime
        self._spool = spool
        self._invocation = invocation
        self._deadline = times.push
        self._failed: set[str] = set()
        self.rejected = 0

    def settled(self, record: Mapping[str, Any]) -> bool:
        """Whether a message is done with: delivered, or in the dead-letter queue."""
        try:
            message = Message.load(str(record.get("body", "")))
        except SnapshotError as error:
            return self._buried(record, str(error))
        if message.destination not in self._failed:
            failure = self._deliver(message)
            if failure is None:
                return True
            if isinstance(failure, Impossible):
                self.rejected += message.snapshot.samples
                return self._buried(record, str(failure))
            self._failed.add(message.destination)
        _postpone(self._spool, record)
        return False

    def _deliver(self, message: Message) -> PushError | None:
        destination = self._invocation.settings.destination(message.destination)
        if destination is None:
            destination = self._invocation.renew().destination(message.destination)
        if destination is None:
            return Impossible(message.destination, "there is no destination of this name any more")
        encoded = encode(message.snapshot)
        outcome = deliver(encoded, destination, self._warm, self._invocation, self._deadline)
        self.rejected += outcome.rejected
        level = logger.info if outcome.error is None else logger.warning
        level(
            "redriven" if outcome.error is None else "not redriven",
            extra={
                "relay": message.snapshot.relay,
                "destination": message.destination,
                "time_ms": message.snapshot.time_ms,
                "pushed": outcome.pushed,
                "rejected": outcome.rejected,
                "error": None if outcome.error is None else str(outcome.error),
            },
        )
        return outcome.error

    def _buried(self, record: Mapping[str, Any], reason: str) -> bool:
        """Whether a message is, as it was, in the dead-letter queue now."""
        try:
            self._spool.bury_body(str(record.get("body") or "(no body)"), reason)
        except SpoolError as error:
            logger.error(
                "a message cannot be moved to the dead-letter queue", extra={"reason": str(error)}
            )
            _postpone(self._spool, record)
            return False
        logger.error("a message was moved to the dead-letter queue", extra={"reason": reason})
        return True


def _postpone(spool: Spool, record: Mapping[str, Any]) -> None:
    """Have a message come back by its receive count, not at the end of its visibility."""
    received = number(record.get("attributes", {}).get("ApproximateReceiveCount"))
    spread = random.uniform(-1, 1)  # noqa: S311 - it spreads retries, it guards nothing
    try:
        spool.postpone(str(record.get("receiptHandle")), delay_s(int(received or 1), spread))
    except SpoolError as error:
        logger.warning("a message comes back early", extra={"reason": str(error)})
