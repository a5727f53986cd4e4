"""The stack, created and updated by moto's CloudFormation, and its code run as it was deployed.

moto passes over `AWS::SecretsManager::Secret`, `AWS::Scheduler::*`, `AWS::CloudWatch::Alarm`,
`AWS::SQS::QueuePolicy` and `AWS::Lambda::EventInvokeConfig`, and over what a function has as
layers and architecture: `tests/template` reads these from the transformed template.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.awslambda.models import LambdaBackend, LayerVersion
from moto.server import ThreadedMotoServer

from local.greptimedb import GreptimeDB
from local.http_server import HttpServer, Request, Response
from local.relay import ClaudeRelay, for_demo, living_relay
from local.relay.demo import ADMIN
from local.runtime_api import Function, Result
from tests import ROOT
from tests.e2e.conftest import HERE, LAYERS
from tests.template.deployed import transformed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore:Tried to parse AWS.*moto's CloudFormation:UserWarning"),
]

REGION = "eu-central-1"
RELEASES = sorted((Path(__file__).parent / "releases").glob("*.yaml"))
CODE = ["BackfillFunction", "CollectorFunction", "RedriverFunction", *LAYERS.values()]
USERNAME, PASSWORD = "writer", "a-password-for-the-store"


@dataclass(frozen=True)
class Account:
    """An AWS account on this machine."""

    endpoint: str

    def client(self, service: str) -> Any:
        """A client of one of its services."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def deploy(
        self, stack: str, template: dict[str, Any], *, update: bool, **parameters: str
    ) -> None:
        """Create or update a stack, and wait for it."""
        client = self.client("cloudformation")
        do, done = (
            (client.update_stack, "UPDATE_COMPLETE")
            if update
            else (client.create_stack, "CREATE_COMPLETE")
        )
        do(
            StackName=stack,
            TemplateBody=json.dumps(template),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_IAM"],
        )
        [description] = client.describe_stacks(StackName=stack)["Stacks"]
        assert description["StackStatus"] == done

    def resources(self, stack: str) -> dict[str, str]:
        """The physical ids of a stack's resources, by logical id; of those that moto makes."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return {
            one["LogicalResourceId"]: one["PhysicalResourceId"]
            for page in pages.paginate(StackName=stack)
            for one in page["StackResourceSummaries"]
            if one.get("PhysicalResourceId")
        }


@pytest.fixture(scope="module")
def account(built: Path) -> Iterator[Account]:
    """An account with the built code in its bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        account = Account("http://{}:{}".format(*server.get_host_and_port()))
        storage = account.client("s3")
        storage.create_bucket(
            Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        for name in CODE:
            storage.put_object(Bucket="bucket", Key=f"{name}.zip", Body=_zipped(built / name))
        yield account
    finally:
        server.stop()


def _zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def relay() -> Iterator[ClaudeRelay]:
    with for_demo() as relay:
        yield relay


@pytest.fixture(scope="module")
def database() -> Iterator[GreptimeDB]:
    with GreptimeDB(username=USERNAME, password=PASSWORD) as database:
        yield database


@pytest.fixture(scope="module")
def stack(account: Account, relay: ClaudeRelay, database: GreptimeDB) -> str:
    """A deployed stack for the relay and the database, its secret filled in."""
    secret = account.client("secretsmanager").create_secret(
        Name="relay-metrics",
        SecretString=json.dumps(
            {
                "relays": [
                    {
                        "name": "main",
                        "base_url": relay.url,
                        "api_ids": [key.id for key in relay.keys],
                    }
                ],
                "greptime_username": USERNAME,
                "greptime_password": PASSWORD,
            }
        ),
    )
    account.deploy(
        "relay-metrics",
        transformed(),
        update=False,
        RelayBaseUrl="",
        OtelExportUrl=database.url,
        SecretArn=secret["ARN"],
        Architecture=HERE,
        AlarmTopicArn=f"arn:aws:sns:{REGION}:123456789012:operators",
        Schedule2Input='{"shard": "2/2"}',
    )
    return "relay-metrics"


@pytest.fixture(scope="module")
def functions(
    account: Account, stack: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Function]]:
    """The deployed functions, by logical id, laid out as Lambda does: task root and /opt."""
    folder = tmp_path_factory.mktemp("lambda")
    made = {
        name: _deployed(account, stack, name, folder)
        for name in ("CollectorFunction", "RedriverFunction")
    }
    yield made
    for function in made.values():
        function.close()


def _deployed(account: Account, stack: str, name: str, folder: Path) -> Function:
    """A function of a stack, with the code, the layer and the settings that it was given."""
    for artefact, place in ((name, folder / name), (LAYERS[HERE], folder / "opt")):
        if not place.exists():
            _unpack(account, artefact, place)
    configuration = account.client("lambda").get_function_configuration(
        FunctionName=account.resources(stack)[name]
    )
    variables = configuration["Environment"]["Variables"]
    return Function(
        folder / name,
        configuration["Handler"],
        {key: str(value) for key, value in variables.items()}
        | {"AWS_ENDPOINT_URL": account.endpoint, "AWS_REGION": REGION},
        layer_path=folder / "opt",
        memory_mb=configuration["MemorySize"],
        timeout_s=configuration["Timeout"],
        isolated=True,
    )


def _unpack(account: Account, name: str, folder: Path) -> None:
    body = account.client("s3").get_object(Bucket="bucket", Key=f"{name}.zip")["Body"].read()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        archive.extractall(folder)


def invoke(functions: dict[str, Function], name: str) -> Result:
    """Invoke the function that an event file is for with it."""
    event = json.loads((ROOT / "events" / f"{name}.json").read_text("utf-8"))
    result = functions["RedriverFunction" if name == "redrive" else "CollectorFunction"].invoke(
        event
    )
    assert result.error is None, result.logs
    return result


def test_the_stack_is_made(account: Account, stack: str) -> None:
    made = account.resources(stack)
    assert {"Spool", "DeadLetterQueue", "CollectorFunction", "RedriverFunction"} <= made.keys()
    [description] = account.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in description["Outputs"]}
    assert outputs["SpoolUrl"] == made["Spool"]
    assert made["CollectorFunction"] in outputs["CheckCommand"]
    assert not [name for name, value in outputs.items() if not value or "None" in value]


def test_the_spool_is_as_promised(account: Account, stack: str) -> None:
    queues, made = account.client("sqs"), account.resources(stack)
    spool, dead = (
        queues.get_queue_attributes(QueueUrl=made[name], AttributeNames=["All"])["Attributes"]
        for name in ("Spool", "DeadLetterQueue")
    )
    assert spool["MessageRetentionPeriod"] == dead["MessageRetentionPeriod"] == "1209600"
    assert spool["VisibilityTimeout"] == "1260"
    assert json.loads(spool["RedrivePolicy"]) == {
        "deadLetterTargetArn": dead["QueueArn"],
        "maxReceiveCount": 1000,
    }


def test_the_redriver_is_fed_by_the_spool(account: Account, stack: str) -> None:
    made = account.resources(stack)
    mappings = account.client("lambda").list_event_source_mappings(
        FunctionName=made["RedriverFunction"]
    )
    [mapping] = mappings["EventSourceMappings"]
    assert mapping["EventSourceArn"].rpartition(":")[2] == made["Spool"].rpartition("/")[2]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 2}


def test_the_roles_have_one_policy_each_and_no_managed_one(account: Account, stack: str) -> None:
    iam, made = account.client("iam"), account.resources(stack)
    for role in ("BackfillRole", "CollectorRole", "RedriverRole", "ScheduleRole"):
        assert iam.list_attached_role_policies(RoleName=made[role])["AttachedPolicies"] == []
        assert len(iam.list_role_policies(RoleName=made[role])["PolicyNames"]) == 1


@pytest.mark.parametrize("event", ["schedule", "relays", "shard"])
def test_a_run_brings_the_relay_into_the_database(
    functions: dict[str, Function], database: GreptimeDB, event: str
) -> None:
    report = invoke(functions, event).payload
    [relay], [destination] = report["relays"], report["destinations"]
    assert (relay["name"], relay["up"], relay["error"]) == ("main", True, None)
    assert destination["pushed"] > 0
    assert destination["error"] is None
    [row] = database.sql("SELECT count(*) AS rows FROM relay_up WHERE relay_name = 'main'")
    assert row["rows"] > 0
    assert database.errors == []


def test_the_check_finds_everything_in_order(functions: dict[str, Function]) -> None:
    answer = invoke(functions, "check").payload
    # The relay and the database are on this machine, over plain http: no other finding.
    assert answer["ok"] is True, answer["findings"]
    assert len(answer["findings"]) >= 3


def test_a_dry_run_shows_what_would_be_sent(
    functions: dict[str, Function], database: GreptimeDB
) -> None:
    before = len(database.requests)
    answer = invoke(functions, "dry-run").payload
    assert "relay_requests_total" in {metric["name"] for metric in answer["metrics"]}
    assert len(database.requests) == before


def test_the_redriver_delivers_a_message_with_its_instant(
    functions: dict[str, Function], database: GreptimeDB
) -> None:
    assert invoke(functions, "redrive").payload == {"batchItemFailures": []}
    instant = 1_782_864_000_000
    rows = database.sql(
        "SELECT epoch_ms(greptime_timestamp) AS instant, greptime_value FROM relay_requests_total "
        "WHERE relay_key_name = 'example'"
    )
    assert rows == [{"instant": instant, "greptime_value": 1250.0}]


def test_make_backfill_delivers_the_past_through_the_stack_s_function(
    account: Account, tmp_path: Path
) -> None:
    """The command gets the stack's name alone. moto would run the function in Docker."""
    with (
        living_relay(days=5) as relay,
        GreptimeDB(username=USERNAME, password=PASSWORD) as database,
    ):
        login = {"relay_admin_username": ADMIN[0], "relay_admin_password": ADMIN[1]}
        to_write = {"greptime_username": USERNAME, "greptime_password": PASSWORD}
        secret = account.client("secretsmanager").create_secret(
            Name="with-a-past", SecretString=json.dumps({**login, **to_write})
        )
        account.deploy(
            "with-a-past",
            transformed(),
            update=False,
            RelayBaseUrl=relay.url,
            OtelExportUrl=database.url,
            SecretArn=secret["ARN"],
            Architecture=HERE,
        )
        name = account.resources("with-a-past")["BackfillFunction"]
        events: list[Any] = []
        with _deployed(account, "with-a-past", "BackfillFunction", tmp_path) as function:

            def invoked(request: Request) -> Response:
                assert request.path == f"/2015-03-31/functions/{name}/invocations"
                events.append(request.json())
                result = function.invoke(events[-1])
                assert result.error is None, result.logs
                return Response.of_json(result.payload)

            with HttpServer(invoked) as functions:
                said = _make_backfill(account, functions.url, "with-a-past")
                assert functions.errors == []
        assert [event.get("dry_run", False) for event in events] == [True, False]
        assert "5 of 5 days" in said
        [row] = database.sql("SELECT sum(greptime_value) AS requests FROM relay_day_requests")
        assert row["requests"] > 0
        assert database.errors == []


def _make_backfill(account: Account, functions: str, stack: str) -> str:
    """What `make backfill STACK=…` prints, where AWS is on this machine."""
    done = subprocess.run(
        [sys.executable, "-m", "local.backfill"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL": account.endpoint,
            "AWS_ENDPOINT_URL_LAMBDA": functions,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "STACK": stack,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_a_release_is_updated_in_place(
    account: Account, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where a stack's update changes a function, moto hands over the layer itself, not its ARN.
    by_arn = LambdaBackend.layers_versions_by_arn
    monkeypatch.setattr(
        LambdaBackend,
        "layers_versions_by_arn",
        lambda backend, layer: layer if isinstance(layer, LayerVersion) else by_arn(backend, layer),
    )
    parameters = {"RelayBaseUrl": "https://relay.example.com", "OtelExportUrl": ""}
    stack = f"from-{release.stem.replace('.', '-')}"
    old, new = transformed(release), transformed()
    account.deploy(stack, old, update=False, **parameters)
    before = account.resources(stack)
    # Into the queue that no function reads: moto would run the redriver, in Docker.
    account.client("sqs").send_message(QueueUrl=before["DeadLetterQueue"], MessageBody="kept")

    # Without a change there is nothing to update, as in CloudFormation.
    new["Description"] += " "
    account.deploy(stack, new, update=True, **parameters)

    after = account.resources(stack)
    for name in ("Spool", "DeadLetterQueue", "CollectorFunction", "RedriverFunction"):
        assert after[name] == before[name]
    held = account.client("sqs").receive_message(QueueUrl=after["DeadLetterQueue"])["Messages"]
    assert [message["Body"] for message in held] == ["kept"]
    # CloudFormation writes the secret's value again only where the template's text has changed.
    secrets = [one["Resources"]["Secret"]["Properties"]["SecretString"] for one in (old, new)]
    assert secrets[0] == secrets[1]
    # As `sam deploy` has it: what a stack was given stays, where it still is a parameter.
    assert parameters.keys() <= new["Parameters"].keys()
