"""Secrets Manager and SQS for a test: moto, behind a server that can be made to misbehave."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import urllib3
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs.models import Message as HeldMessage
from moto.sqs.models import sqs_backends

from local.http_server import Fault, HttpServer, Request, Response
from relay_metrics.deliver.spool import Message

REGION = "eu-central-1"
NOT_PASSED_ON = frozenset({"connection", "transfer-encoding", "content-length", "host"})


@dataclass(frozen=True)
class Held:
    """A message in a queue.

    Attributes:
        reason: the attribute of that name.
        waits_s: until it can be received.
    """

    body: str
    reason: str | None
    received: int
    waits_s: float

    @property
    def message(self) -> Message:
        """What it says."""
        return Message.load(self.body)


class Aws:
    """A secret and two queues of their own, for one test.

    Args:
        moto_url: of the moto server, which is in this process.

    Attributes:
        faults: how the answers to an operation go wrong, by its name (`SendMessage`).
        asked: the operations that were asked for.
        role: the role of the function that runs.
        exercised: (role, resource, action) of all that functions asked for.
    """

    def __init__(self, moto_url: str) -> None:
        self.faults: dict[str, Fault] = {}
        self.asked: list[str] = []
        self.role = ""
        self.exercised: set[tuple[str, str, str]] = set()
        self._moto_url = moto_url
        self._pool = urllib3.PoolManager()
        self.server = HttpServer(self._pass_on)
        self.server.fault = self._fault
        self.sqs = self._client("sqs")
        self._secrets = self._client("secretsmanager")
        name = uuid.uuid4().hex
        self.secret_id = f"secret-{name}"
        self.has_secret = False
        self.spool_name, self.dead_name = f"spool-{name}", f"dead-{name}"
        size = {"MaximumMessageSize": "1048576"}
        self.dead_url = self.sqs.create_queue(QueueName=self.dead_name, Attributes=size)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.dead_url, AttributeNames=["QueueArn"])
        self.dead_arn = arn["Attributes"]["QueueArn"]
        policy = {"deadLetterTargetArn": self.dead_arn, "maxReceiveCount": 1000}
        self.spool_url = self.sqs.create_queue(
            QueueName=self.spool_name,
            Attributes={
                **size,
                "RedrivePolicy": json.dumps(policy),
                "VisibilityTimeout": "360",
            },
        )["QueueUrl"]

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a function finds all this."""
        return {
            "AWS_ENDPOINT_URL": self.server.url,
            "SECRET_ID": self.secret_id,
            "SPOOL_QUEUE_URL": self.spool_url,
        }

    def put_secret(self, secret: Mapping[str, Any] | str) -> None:
        """Make the secret, or change it."""
        self.has_secret = True
        text = secret if isinstance(secret, str) else json.dumps(secret)
        try:
            self._secrets.put_secret_value(SecretId=self.secret_id, SecretString=text)
        except self._secrets.exceptions.ResourceNotFoundException:
            self._secrets.create_secret(Name=self.secret_id, SecretString=text)

    def spooled(self) -> list[Held]:
        """What the spool holds, those included that are hidden for now."""
        return self._held(self.spool_name)

    def dead(self) -> list[Held]:
        """What the dead-letter queue holds."""
        return self._held(self.dead_name)

    def event(self, most: int = 10) -> dict[str, Any]:
        """An event of the spool as Lambda makes it; its messages are received by that."""
        got = self.sqs.receive_message(
            QueueUrl=self.spool_url, MaxNumberOfMessages=most, MessageSystemAttributeNames=["All"]
        )
        return {
            "Records": [
                {
                    "messageId": one["MessageId"],
                    "receiptHandle": one["ReceiptHandle"],
                    "body": one["Body"],
                    "attributes": one["Attributes"],
                    "messageAttributes": {},
                    "eventSource": "aws:sqs",
                    "eventSourceARN": f"arn:aws:sqs:{REGION}:{DEFAULT_ACCOUNT_ID}:spool",
                    "awsRegion": REGION,
                }
                for one in got.get("Messages", [])
            ]
        }

    def settle(self, event: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Delete what a redriver's answer says is done with, as Lambda does."""
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        for record in event["Records"]:
            if record["messageId"] not in failed:
                self.sqs.delete_message(
                    QueueUrl=self.spool_url, ReceiptHandle=record["receiptHandle"]
                )

    def let_time_pass(self) -> None:
        """Have everything in the spool visible."""
        for held in _messages(self.spool_name):
            held.visible_at = held.delayed_until = 0

    def bring_back(self) -> None:
        """Move the dead-letter queue's messages to the spool, as the docs ask an operator to."""
        for held in self.dead():
            self.sqs.send_message(QueueUrl=self.spool_url, MessageBody=held.body)
        # SQS, and moto, purge a queue once a minute only
        sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[self.dead_name]._messages.clear()

    def close(self) -> None:
        """Stop the server."""
        self.server.close()
        self._pool.clear()

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]
            region_name=REGION,
            endpoint_url=self._moto_url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    @staticmethod
    def _held(name: str) -> list[Held]:
        now_ms = time.time() * 1000
        return [
            Held(
                body=held.body,
                reason=_reason(held),
                received=held.approximate_receive_count,
                waits_s=max(0.0, max(held.visible_at, held.delayed_until) - now_ms) / 1000,
            )
            for held in _messages(name)
        ]

    def _fault(self, request: Request) -> Fault | None:
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        self.asked.append(operation)
        if request.headers.get("x-amz-target", "").startswith("AmazonSQS"):
            asked = request.json()
            dead = self.dead_url == asked.get("QueueUrl") or self.dead_name == asked.get(
                "QueueName"
            )
            resource = "DeadLetterQueue" if dead else "Spool"
            self.exercised.add((self.role, resource, f"sqs:{operation}"))
        return self.faults.get(operation)

    def _pass_on(self, request: Request) -> Response:
        headers = {
            name: text for name, text in request.headers.items() if name not in NOT_PASSED_ON
        }
        answer = self._pool.request(
            request.method,
            self._moto_url + request.path,
            headers=headers,
            body=request.body,
            retries=False,
        )
        kind = answer.headers.get("content-type", "application/x-amz-json-1.0")
        more = {
            name: text for name, text in answer.headers.items() if name.lower().startswith("x-amz")
        }
        return Response(answer.status, answer.data, kind, more)


def _messages(name: str) -> list[HeldMessage]:
    return list(sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[name]._messages)


def _reason(held: HeldMessage) -> str | None:
    attribute = held.message_attributes.get("reason")
    return None if attribute is None else attribute["StringValue"]
