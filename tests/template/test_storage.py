"""What holds data: the secret and the queues."""

from __future__ import annotations

import json

import pytest

from tests.template.deployed import deployed, everything, of_type

KEY = "arn:aws:kms:eu-central-1:123456789012:key/k"
FOURTEEN_DAYS = 14 * 24 * 3600
QUEUES = ["Spool", "DeadLetterQueue"]

# As the first release wrote it. CloudFormation writes a secret's value again where this text
# changes, over what an operator filled in: it must never change.
PLACEHOLDERS = (
    '{"greptime_username": "REPLACE_ME", "greptime_password": "REPLACE_ME", '
    '"relay_api_id": "REPLACE_ME"}'
)


def test_the_placeholders_never_change() -> None:
    assert deployed()["Secret"]["Properties"]["SecretString"] == PLACEHOLDERS


def test_the_placeholders_are_a_secret_to_fill_in() -> None:
    assert set(json.loads(PLACEHOLDERS).values()) == {"REPLACE_ME"}


@pytest.mark.parametrize("name", ["Secret", *QUEUES])
def test_data_outlives_the_stack_but_not_a_deployment_that_failed(name: str) -> None:
    assert everything()[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert everything()[name]["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_keeps_fourteen_days_of_any_message(name: str) -> None:
    properties = deployed()[name]["Properties"]
    assert properties["MessageRetentionPeriod"] == FOURTEEN_DAYS
    assert properties["MaximumMessageSize"] == 1024 * 1024


def test_the_spool_gives_up_after_a_thousand_receives() -> None:
    assert deployed()["Spool"]["Properties"]["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]},
        "maxReceiveCount": 1000,
    }


def test_a_redriver_that_cannot_start_uses_up_no_message_s_receives_within_fourteen_days() -> None:
    resources = deployed()
    hidden_s = resources["Spool"]["Properties"]["VisibilityTimeout"]
    assert hidden_s >= 1260
    assert hidden_s >= 6 * resources["RedriverFunction"]["Properties"]["Timeout"], "Lambda's wish"
    receives = resources["Spool"]["Properties"]["RedrivePolicy"]["maxReceiveCount"]
    assert receives * hidden_s > FOURTEEN_DAYS


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_is_encrypted_by_sqs_or_by_the_key_given(name: str) -> None:
    plain, keyed = deployed()[name]["Properties"], deployed(KmsKeyArn=KEY)[name]["Properties"]
    assert plain["SqsManagedSseEnabled"] is True
    assert "KmsMasterKeyId" not in plain
    assert keyed["KmsMasterKeyId"] == KEY
    assert "SqsManagedSseEnabled" not in keyed


def test_a_key_of_the_secret_s_own_wins_over_the_key_of_everything() -> None:
    own = KEY + "-own"
    resources = deployed(SecretKmsKeyArn=own, KmsKeyArn=KEY)
    assert resources["Secret"]["Properties"]["KmsKeyId"] == own
    assert resources["Spool"]["Properties"]["KmsMasterKeyId"] == KEY


@pytest.mark.parametrize(
    "name", ["Secret", "BackfillLogGroup", "CollectorLogGroup", "RedriverLogGroup"]
)
def test_the_key_given_encrypts_the_secret_and_the_logs_too(name: str) -> None:
    assert "KmsKeyId" not in deployed()[name]["Properties"]
    assert deployed(KmsKeyArn=KEY)[name]["Properties"]["KmsKeyId"] == KEY


def test_nothing_has_a_fixed_name() -> None:
    names = {"FunctionName", "LayerName", "LogGroupName", "Name", "QueueName", "RoleName"}
    named = {
        name
        for name, resource in everything().items()
        if names & resource.get("Properties", {}).keys()
        and not resource["Type"].startswith(("AWS::Lambda::Event", "AWS::Lambda::Layer"))
    }
    assert named == set()


def test_everything_that_can_be_tagged_is() -> None:
    untaggable = {
        "AWS::CloudWatch::Dashboard",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::LayerVersion",
        "AWS::SQS::QueuePolicy",
        "AWS::Scheduler::Schedule",
    }
    kinds = {resource["Type"] for resource in everything().values()} - untaggable
    for kind in kinds:
        for name, properties in of_type(everything(), kind).items():
            assert {"Key": "application", "Value": "relay-metrics"} in properties["Tags"], name
