"""Delivers a snapshot to one destination. The collector and the redriver both use it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from relay_metrics.deadline import Deadline
from relay_metrics.deliver.answers import Taken
from relay_metrics.deliver.pieces import By, Piece, Request, in_parts
from relay_metrics.deliver.push import Sender
from relay_metrics.errors import (
    EncodingError,
    Impossible,
    Incompatible,
    PushError,
    Refused,
    TooLarge,
    Unavailable,
)
from relay_metrics.observability import logger
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.settings import Destination, usable
from relay_metrics.snapshot import Snapshot

MOST_REFUSALS = 16
"""If nothing was accepted before this many refusals, the rest of the snapshot is not tried."""

_TOO_LARGE = "answered 413 for what cannot be split further"


class Left(NamedTuple):
    """A piece that was not accepted, why, and how many data points it has."""

    piece: Piece
    error: PushError
    points: int


@dataclass
class Outcome:
    """How the delivery of a snapshot ended; the counts add up to all of its data points.

    Attributes:
        pushed: how many points the destination accepted.
        rejected: how many points it rejected within requests that it accepted.
        left: the pieces that it did not accept, joined where they have the same reason.
        remark: the message that it gave for the rejected points.
        write_cost: the cost of the writes as it reports it; None if it does not.
    """

    pushed: int = 0
    rejected: int = 0
    left: list[Left] = field(default_factory=list)
    remark: str = ""
    write_cost: float | None = None

    @property
    def error(self) -> PushError | None:
        """Why a piece was not accepted; None if all were."""
        return self.left[0].error if self.left else None

    def add(self, other: Outcome) -> None:
        """Add the counts and pieces of another outcome."""
        self.pushed += other.pushed
        self.rejected += other.rejected
        self.left += other.left
        self.remark = self.remark or other.remark
        if other.write_cost is not None:
            self.write_cost = (self.write_cost or 0) + other.write_cost

    @classmethod
    def failed(cls, piece: Piece, error: PushError) -> Outcome:
        """The outcome if nothing of a piece was accepted."""
        return cls(left=[Left(piece, error, piece.points)])


def deliver(
    piece: Piece,
    destination: Destination,
    runtime: Runtime,
    invocation: Invocation,
    deadline: Deadline,
) -> Outcome:
    """Push a piece to a destination before the deadline, split as far as necessary.

    It never raises: a fault of the code itself becomes an outcome with `Unavailable`.
    """
    try:
        if destination.wrong is not None:
            refused = Refused(destination.name, str(destination.wrong))
            return Outcome.failed(piece, refused)
        return push(piece, sender(destination, runtime, invocation, deadline))
    except Exception as fault:  # noqa: BLE001 - a fault of ours must not cost what was fetched
        logger.exception("a fault while pushing", extra={"destination": destination.name})
        message = f"a fault of relay-metrics ({type(fault).__name__}), see the log"
        return Outcome.failed(piece, Unavailable(destination.name, message))


def sender(
    destination: Destination, runtime: Runtime, invocation: Invocation, deadline: Deadline
) -> Sender:
    """A sender of requests to a destination that can renew its credential from the secret."""
    return Sender(
        destination,
        runtime.client(destination.ca_pem),
        deadline,
        lambda: usable(invocation.renew().destination(destination.name)),
    )


def push(piece: Piece, sender: Sender) -> Outcome:
    """Push a piece, split until everything is accepted that the destination can accept.

    A request that is too large, or takes too long, is split by size; one that is refused is split
    by metric. After a failure that the other parts would have as well, nothing more is sent.
    """
    delivery = _Delivery(sender)
    in_parts(piece, delivery.take)
    outcome = delivery.outcome
    if len(outcome.left) != 1 or outcome.pushed + outcome.rejected:
        return outcome
    return replace(outcome, left=[Left(piece, outcome.left[0].error, piece.points)])


class _Delivery:
    """The delivery of one snapshot to one destination, while it goes on."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._outcome = Outcome()
        self._refusals = 0
        self._over: PushError | None = None
        self._too_large: Request | None = None

    def take(self, piece: Piece) -> By | None:
        """Push a piece. Returns how it must be split, None if it is done."""
        by, error = self._push(piece) if self._over is None else (None, self._over)
        if by is not None and piece.split(by):
            return by
        if error is not None:
            self._outcome.left.append(Left(piece, error, piece.points))
        return None

    def _push(self, piece: Piece) -> tuple[By | None, PushError | None]:
        """Push a piece. Returns how to split it, and the error if it cannot be split."""
        name = self._sender.name
        try:
            request = piece.request
        except EncodingError as error:
            if self._sender.deadline.left <= 0:
                self._over = Unavailable(name, "there was no time left to send anything")
                return None, self._over
            return By.SIZE, Impossible(name, str(error))
        if request is None or request.points == 0:
            # without a point it is only the repeated `relay_up` of a later part
            return By.SIZE if request is None else None, None
        if self._known_too_large(request):
            return By.SIZE, Impossible(name, _TOO_LARGE, 413)
        try:
            self._count(request, self._sender.send(request))
        except TooLarge:
            self._too_large = request
            return By.SIZE, Impossible(name, _TOO_LARGE, 413)
        except Impossible as error:
            self._refused(piece, error)
            # without a `relay_up` to repeat, a part could name only tables that it would damage
            safe = piece.snapshot.scrape is not None or not isinstance(error, Incompatible)
            return By.METRIC if safe else None, error
        except PushError as error:
            slow = isinstance(error, Unavailable) and error.timed_out and request.large
            # without a status our own time is over; with one, a proxy gave up: the rest may pass
            if not slow or error.status is None:
                self._over = error
            return By.SIZE if slow else None, error
        return None, None

    def _refused(self, piece: Piece, error: Impossible) -> None:
        self._refusals += 1
        if self._outcome.pushed or self._refusals != MOST_REFUSALS:
            return
        if not self._accepts_relay_up(piece.snapshot):
            self._over = error

    def _accepts_relay_up(self, snapshot: Snapshot) -> bool:
        """Whether the destination accepts the repeated `relay_up` of a later part by itself.

        Of a snapshot with a record of its own, the record is pushed before the first metric.
        """
        carries = snapshot.scrape is not None and snapshot.scrape.carried
        request = Piece(snapshot.part(0, 0)).request if carries else None
        if request is None:
            return False
        try:
            self._sender.send(request)
        except PushError:
            return False
        return True

    def _count(self, request: Request, taken: Taken) -> None:
        rejected = min(taken.rejected, request.points)
        pushed = request.points - rejected
        self._outcome.add(Outcome(pushed, rejected, [], taken.remark, taken.write_cost))

    @property
    def outcome(self) -> Outcome:
        """The outcome of all pieces; those that can never succeed are joined by their reason."""
        left: list[Left] = []
        never: dict[str, list[Left]] = {}
        for one in self._outcome.left:
            if isinstance(one.error, Impossible):
                never.setdefault(str(one.error), []).append(one)
            else:
                left.append(one)
        return replace(self._outcome, left=[*left, *map(_together, never.values())])

    def _known_too_large(self, request: Request) -> bool:
        """Whether a request is at least as large, packed and unpacked, as one that got 413."""
        known = self._too_large
        if known is None:
            return False
        return len(request.body) >= len(known.body) and request.size >= known.size


def _together(left: list[Left]) -> Left:
    first, *others = left
    if not others:
        return first
    joined = first.piece.snapshot.joined([one.piece.snapshot for one in others])
    return Left(Piece(joined), first.error, sum(one.points for one in left))
