"""The redriver: delivers the snapshots of the spool, each with its original timestamp."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from relay_metrics.deadline import Deadline, Times
from relay_metrics.deliver.delivery import Left, Outcome, deliver
from relay_metrics.deliver.spool import Message, Spool
from relay_metrics.errors import (
    Impossible,
    PushError,
    Refused,
    SettingsError,
    SnapshotError,
    SpoolError,
)
from relay_metrics.observability import count, logger
from relay_metrics.relays.values import dig, number
from relay_metrics.runtime import Invocation, Runtime

FIRST_DELAY_S = 60
LONGEST_DELAY_S = 3600


def delay_s(receive_count: int, spread: float) -> int:
    """How long a message waits after its n-th receive: min(60 s × 2ⁿ⁻¹, 1 h) ± 20 %.

    An outage of 14 days so stays far below the queue's limit of 1,000 receives. The random spread
    keeps the messages from all coming back at once.

    Args:
        spread: from -1 to 1.
    """
    doubled: int = FIRST_DELAY_S << min(max(receive_count, 1) - 1, 10)
    return int(min(doubled, LONGEST_DELAY_S) * (1 + 0.2 * spread))


def redrive(runtime: Runtime, event: object, seconds: float) -> dict[str, Any]:
    """Deliver the messages of an SQS event.

    A message that fails temporarily comes back later. The rest of the batch for its destination is
    not tried and comes back as well. A message that can never succeed goes to the dead-letter
    queue.

    Args:
        seconds: the time that the invocation has left.

    Returns:
        `{batchItemFailures: [{itemIdentifier}]}`: the messages that come back.

    Raises:
        SettingsError: the event is not from SQS, or the settings are wrong.
        SecretError: the secret cannot be read.
        After any exception all messages come back, with the same delays.
    """
    records = _records(event)
    if runtime.spool is None:
        raise SettingsError("SPOOL_QUEUE_URL is not set: the redriver cannot do without it")
    times = Times.of(seconds, runtime.environment.push_timeout_s)
    try:
        invocation = Invocation(runtime, asks_relays=False)
        if invocation.settings.unfilled:
            for record in records:
                _postpone(runtime.spool, record)
            return {"batchItemFailures": [{"itemIdentifier": one["messageId"]} for one in records]}
        batch = _Batch(runtime, runtime.spool, invocation, times.push, records)
        failures = batch.failures()
    except Exception:
        for record in records:
            _postpone(runtime.spool, record)
        raise
    count("PointsRejected", batch.rejected)
    return {"batchItemFailures": failures}


def _records(event: object) -> list[Mapping[str, Any]]:
    """The messages of an event; only their IDs are certain to be there."""
    records = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(records, list) or not all(
        isinstance(one, Mapping) and isinstance(one.get("messageId"), str) for one in records
    ):
        raise SettingsError("the event must be one of SQS, with Records that have a messageId each")
    return records


class _Batch:
    """The messages of one event, and the destinations that have failed so far."""

    def __init__(
        self,
        runtime: Runtime,
        spool: Spool,
        invocation: Invocation,
        deadline: Deadline,
        records: list[Mapping[str, Any]],
    ) -> None:
        self._runtime = runtime
        self._spool = spool
        self._invocation = invocation
        self._deadline = deadline
        self._records = records
        self._failed: set[str] = set()
        self.rejected = 0

    def failures(self) -> list[dict[str, str]]:
        """The messages that come back; the others are delivered, or in the dead-letter queue."""
        destinations = [_destination(record) for record in self._records]
        return [
            {"itemIdentifier": record["messageId"]}
            for number, record in enumerate(self._records)
            if not self._settled(record, set(destinations[number + 1 :]))
        ]

    def _settled(self, record: Mapping[str, Any], later: set[str | None]) -> bool:
        try:
            message = Message.load(str(record.get("body", "")))
        except SnapshotError as error:
            return self._buried(record, str(error))
        if message.destination in self._failed:
            _postpone(self._spool, record)
            return False
        # Each destination gets an equal part of the time that is left. It is not divided among the
        # messages for one destination: after a failure the rest of them is not tried.
        pending = 1 + len(later - self._failed - {message.destination, None})
        outcome = self._deliver(message, self._deadline.or_after(self._deadline.left / pending))
        self.rejected += outcome.rejected
        passing = [one for one in outcome.left if not isinstance(one.error, Impossible)]
        if passing:
            self._failed.add(message.destination)
        if not outcome.left:
            return True
        if [one.piece for one in outcome.left] != [message.piece]:
            return self._kept(record, message, outcome.left)
        if passing:
            _postpone(self._spool, record)
            return False
        self.rejected += message.piece.points
        return self._buried(record, str(outcome.error))

    def _deliver(self, message: Message, deadline: Deadline) -> Outcome:
        destination = self._invocation.settings.destination(message.destination)
        if destination is None:
            destination = self._invocation.renew().destination(message.destination)
        if destination is None:
            outcome = Outcome.failed(message.piece, self._unknown(message.destination))
        else:
            outcome = deliver(message.piece, destination, self._runtime, self._invocation, deadline)
        level = logger.info if outcome.error is None else logger.warning
        level(
            "redriven" if outcome.error is None else "not redriven",
            extra={
                "relay": message.snapshot.relay,
                "destination": message.destination,
                "time_ms": message.snapshot.time_ms,
                "pushed": outcome.pushed,
                "rejected": outcome.rejected,
                "write_cost": outcome.write_cost,
                "error": None if outcome.error is None else str(outcome.error),
            },
        )
        return outcome

    def _unknown(self, name: str) -> PushError:
        """The error for a destination that no entry has; a wrong entry's name may be mistyped."""
        wrong = [one.wrong for one in self._invocation.settings.destinations if one.wrong]
        if wrong:
            return Refused(name, f"no destination has this name; {wrong[0]}")
        return Impossible(name, "there is no destination of this name any more")

    def _kept(self, record: Mapping[str, Any], message: Message, left: list[Left]) -> bool:
        """Queue the undelivered parts of a message as messages of their own.

        Returns False if the queue did not accept one: then the whole message comes back.
        """
        try:
            for one in left:
                part = Message(message.destination, one.piece)
                if isinstance(one.error, Impossible):
                    self._spool.bury(part, str(one.error))
                else:
                    self._spool.put(part, FIRST_DELAY_S)
        except SpoolError as error:
            logger.warning("a message comes back whole", extra={"reason": str(error)})
            _postpone(self._spool, record)
            return False
        for one in left:
            if isinstance(one.error, Impossible):
                self.rejected += one.points
                logger.error(
                    "a part of a message was moved to the dead-letter queue",
                    extra={"reason": str(one.error)},
                )
        return True

    def _buried(self, record: Mapping[str, Any], reason: str) -> bool:
        """Move a message unchanged to the dead-letter queue. Returns False if that failed."""
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


def _destination(record: Mapping[str, Any]) -> str | None:
    """The name of the destination that a message is for; None if it has none."""
    try:
        destination = json.loads(str(record.get("body")))["destination"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return destination if isinstance(destination, str) else None


def _postpone(spool: Spool, record: Mapping[str, Any]) -> None:
    """Have a message come back after the delay for its receive count."""
    received = number(dig(record, "attributes.ApproximateReceiveCount"))
    spread = random.uniform(-1, 1)  # noqa: S311 - it spreads retries, it guards nothing
    try:
        spool.postpone(str(record.get("receiptHandle")), delay_s(int(received or 1), spread))
    except SpoolError as error:
        logger.warning("a message comes back early", extra={"reason": str(error)})
