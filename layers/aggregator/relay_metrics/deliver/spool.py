"""The spool: an SQS queue for snapshots that could not be pushed, and its dead-letter queue.

A message's body is a JSON object. `destination`, `relay` and `time` are there for people who look
at the queue; `snapshot` is the whole snapshot as JSON, gzip, base64. A message of the dead-letter
queue has the reason as its attribute `reason`.
"""

from __future__ import annotations

import json
import threading
import zlib
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from relay_metrics.aws import CONFIG, error_code
from relay_metrics.deliver.pieces import MAX_SNAPSHOT_BYTES, By, Piece, in_parts
from relay_metrics.errors import SnapshotError, SpoolError
from relay_metrics.observability import redact
from relay_metrics.snapshot import Snapshot

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef

MAX_MESSAGE_BYTES = 1 << 20
"""The largest message that SQS accepts, its attributes included."""

_ROOM_FOR_REASON = 4096
_COUNTS: tuple[QueueAttributeNameType, ...] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class Message(NamedTuple):
    """A snapshot, or a part of one, for one destination."""

    destination: str
    piece: Piece

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot that the message holds."""
        return self.piece.snapshot

    def dump(self) -> str | None:
        """The body of the message; None if it is larger than a message may be."""
        packed = self.piece.packed
        if packed is None:
            return None
        time = datetime.fromtimestamp(self.snapshot.time_ms / 1000, UTC)
        body = json.dumps(
            {
                "destination": self.destination,
                "relay": self.snapshot.relay,
                "time": time.isoformat(timespec="milliseconds"),
                "snapshot": packed,
            }
        )
        return body if len(body) <= MAX_MESSAGE_BYTES - _ROOM_FOR_REASON else None

    @classmethod
    def load(cls, body: str) -> Message:
        """Read a body that `dump` wrote.

        Raises:
            SnapshotError: it is something else, or damaged.
        """
        try:
            written = json.loads(body)
            destination = written["destination"]
            inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            packed = b64decode(written["snapshot"])
            unfolded = inflate.decompress(packed, MAX_SNAPSHOT_BYTES)
        except (ValueError, KeyError, TypeError, RecursionError, zlib.error):
            raise SnapshotError("the message is none of ours, or damaged") from None
        if not isinstance(destination, str) or not inflate.eof:
            raise SnapshotError("the message is none of ours, or damaged")
        return cls(destination, Piece(Snapshot.load(unfolded)))


class Spool:
    """The queue.

    Args:
        url: of the queue; its redrive policy names the dead-letter queue.
        client: of SQS; if None, it is created when first needed.
    """

    def __init__(self, url: str, client: SQSClient | None = None) -> None:
        self._url = url
        self._client = client
        self._dead_letters: str | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> SQSClient:
        """The client of SQS."""
        # boto3's clients are safe to share among threads, but creating one is not thread-safe.
        with self._lock:
            if self._client is None:
                self._client = boto3.client("sqs", config=CONFIG)
            return self._client

    def waiting(self) -> int:
        """How many messages the queue holds, including those that wait for their next attempt.

        Raises:
            SpoolError: SQS did not give the count.
        """
        return self._count(lambda: self._url)

    def buried(self) -> int:
        """How many messages the dead-letter queue holds.

        Raises:
            SpoolError: SQS did not give the count, or there is no dead-letter queue.
        """
        return self._count(self._dead_letter_url)

    def _count(self, url: Callable[[], str]) -> int:
        try:
            got = self.client.get_queue_attributes(QueueUrl=url(), AttributeNames=[*_COUNTS])
            return sum(int(got["Attributes"][name]) for name in _COUNTS)
        except (ClientError, BotoCoreError) as error:
            raise SpoolError(f"SQS did not describe the queue ({error_code(error)})") from None
        except (LookupError, ValueError):  # botocore takes any 200 for an answer
            raise SpoolError("SQS did not describe the queue (no counts)") from None

    def put(self, message: Message, delay_s: int = 0) -> None:
        """Queue a snapshot for the redriver, in several messages if one is too small.

        Args:
            delay_s: seconds until the redriver receives it, at most 900.

        Raises:
            SpoolError: the queue did not accept it.
        """
        self._put(message, None, delay_s)

    def bury(self, message: Message, reason: str) -> None:
        """Put a snapshot that can never be delivered into the dead-letter queue, with the reason.

        Raises:
            SpoolError: the queue did not accept it, or the spool has no dead-letter queue.
        """
        self._put(message, reason)

    def bury_body(self, body: str, reason: str) -> None:
        """Put the body of a message, unchanged, into the dead-letter queue, with the reason.

        Raises:
            SpoolError: as `bury`.
        """
        self._send(body, reason)

    def _put(self, message: Message, reason: str | None, delay_s: int = 0) -> None:
        too_large: list[Piece] = []

        def take(piece: Piece) -> By | None:
            body = Message(message.destination, piece).dump()
            if body is not None:
                self._send(body, reason, delay_s)
            elif piece.split(By.SIZE):
                return By.SIZE
            else:
                too_large.append(piece)
            return None

        in_parts(message.piece, take)
        if too_large:  # only now, so that it costs no other figure
            raise SpoolError("a single figure is larger than a message of the queue")

    def _send(self, body: str, reason: str | None, delay_s: int = 0) -> None:
        attributes: dict[str, MessageAttributeValueTypeDef] = {}
        try:
            url = self._url
            if reason is not None:
                url = self._dead_letter_url()
                if text := _reason(reason, body):
                    attributes["reason"] = {"DataType": "String", "StringValue": text}
            receipt = self.client.send_message(
                QueueUrl=url,
                MessageBody=body,
                MessageAttributes=attributes,
                DelaySeconds=delay_s,
            )
        except (ClientError, BotoCoreError) as error:
            raise SpoolError(f"SQS did not take a message ({error_code(error)})") from None
        if not receipt.get("MessageId"):  # botocore takes any 200 for an answer
            raise SpoolError("SQS did not take a message (no receipt)")

    def _dead_letter_url(self) -> str:
        if self._dead_letters is None:
            got = self.client.get_queue_attributes(
                QueueUrl=self._url, AttributeNames=["RedrivePolicy"]
            )
            policy = got.get("Attributes", {}).get("RedrivePolicy")
            if policy is None:
                raise SpoolError("the spool has no dead-letter queue")
            try:
                *_, account, name = json.loads(policy)["deadLetterTargetArn"].split(":")
                found = self.client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
                self._dead_letters = found["QueueUrl"]
            # botocore takes any 200 for an answer
            except (ValueError, LookupError, TypeError, AttributeError):
                raise SpoolError("SQS did not name the dead-letter queue") from None
        return self._dead_letters

    def postpone(self, receipt_handle: str, seconds: int) -> None:
        """Have a received message come back after some seconds.

        Raises:
            SpoolError: SQS did not accept the request; the message comes back at the end of its
                visibility time-out.
        """
        try:
            self.client.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
            )
        except (ClientError, BotoCoreError) as error:
            raise SpoolError(f"SQS did not postpone a message ({error_code(error)})") from None


def _reason(reason: str, body: str) -> str:
    """A reason as a message attribute: one line, cut to the room that the body leaves."""
    room = MAX_MESSAGE_BYTES - len(body.encode()) - len("reasonString")
    line = "".join(c if c.isprintable() else " " for c in redact(reason))[:1000]
    return line.encode()[: max(room, 0)].decode("utf-8", "ignore")
