"""Secrets Manager and SQS on loopback, by moto: all of AWS that the functions talk to.

    with Aws({"relay_api_id": "…"}) as aws, Function(…, environment=aws.environment) as function:
        function.invoke({})
        print(aws.waiting(aws.spool_url))

moto runs in a child, since it reads the user's AWS configuration, which may be of any kind. The
child ends with this process, however that ends.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import boto3
import botocore.session
from botocore.config import Config

from local.closing import Closing

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

REGION: Final = "us-east-1"
_ROOT: Final = Path(__file__).parents[1]
# As the template has them, but for the encryption.
_QUEUE: Final[Mapping[QueueAttributeNameType, str]] = {
    "MessageRetentionPeriod": "1209600",
    "MaximumMessageSize": "1048576",
}


class Aws(Closing):
    """A moto server, from its making until `close`, with the secret and the queues in it.

    Args:
        secret: what the secret holds.

    Attributes:
        url: what `AWS_ENDPOINT_URL` is.
        secret_id: the secret's name.
        spool_url: the queue of what could not be pushed.
        dead_letters_url: the queue of what never can be.
        sqs: a client, to look into the queues.
        secrets_manager: a client, to change the secret.

    Raises:
        RuntimeError: moto did not start.
    """

    def __init__(self, secret: Mapping[str, object]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.aws"],
            cwd=_ROOT,
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(_ROOT), **_NOBODY},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.url = self._first_line()
            session = _session()
            config = Config(region_name=REGION, proxies={})
            self.secrets_manager: SecretsManagerClient = session.client(
                "secretsmanager", endpoint_url=self.url, config=config
            )
            self.sqs: SQSClient = session.client("sqs", endpoint_url=self.url, config=config)
            self.secret_id = "relay-metrics"  # noqa: S105 - its name
            self.secrets_manager.create_secret(
                Name=self.secret_id, SecretString=json.dumps(dict(secret))
            )
            self.dead_letters_url, self.spool_url = self._queues()
        except BaseException:
            self.close()
            raise

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a function finds all this."""
        return {
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "SECRET_ID": self.secret_id,
            "SPOOL_QUEUE_URL": self.spool_url,
        }

    def waiting(self, queue_url: str) -> int:
        """The messages in a queue, those included that are hidden for now."""
        counts = self.sqs.get_queue_attributes(
            QueueUrl=queue_url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )["Attributes"]
        return sum(map(int, counts.values()))

    def close(self) -> None:
        """Stop the server; its secret and queues are gone. Safe to call twice."""
        self._process.kill()
        # closes the pipes as well, and waits
        self._process.__exit__(None, None, None)

    def _first_line(self) -> str:
        line = self._process.stdout.readline().strip() if self._process.stdout else ""
        if not line:
            raise RuntimeError("moto, which stands in for AWS, did not start: see above")
        return line

    def _queues(self) -> tuple[str, str]:
        dead_letters = self.sqs.create_queue(QueueName="dead-letters", Attributes=_QUEUE)[
            "QueueUrl"
        ]
        arn = self.sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])
        redrive = {
            "deadLetterTargetArn": arn["Attributes"]["QueueArn"],
            "maxReceiveCount": 1000,
        }
        spool = self.sqs.create_queue(
            QueueName="spool",
            Attributes={
                **_QUEUE,
                "VisibilityTimeout": "1260",
                "RedrivePolicy": json.dumps(redrive),
            },
        )["QueueUrl"]
        return dead_letters, spool


_NOBODY: Final = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
}


def _session() -> boto3.Session:
    """A session that knows nothing of the user's profiles."""
    core = botocore.session.Session(
        {
            "profile": (None, [], None, None),
            "config_file": (None, [], os.devnull, None),
            "credentials_file": (None, [], os.devnull, None),
        }
    )
    core.set_credentials("local", "local")
    return boto3.Session(botocore_session=core)


def main() -> None:
    """Serve until standard input ends; the first line written is the URL."""
    # Ctrl-C reaches a whole group of processes, and this one ends with its parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from moto.server import ThreadedMotoServer

    # one line for each request would stand between those that a person wants to read
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
