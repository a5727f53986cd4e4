"""Least privilege: what each role may do is written here a second time, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.template.deployed import deployed, everything, of_type
from tests.template.granted import MAY

KEY = "arn:aws:kms:eu-central-1:123456789012:key/k"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mine-a1B2c3"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"

SECRETS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/secret"

FUNCTION_ROLES = ["BackfillRole", "CollectorRole", "RedriverRole"]
IN_VPC = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}


def grants(role: dict[str, Any]) -> dict[str, set[str]]:
    """What a role may do, by resource: a logical id where the stack made it."""
    found: dict[str, set[str]] = {}
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            assert statement.keys() <= {"Sid", "Effect", "Action", "Resource"}
            resource, actions = statement["Resource"], statement["Action"]
            if isinstance(resource, dict):
                [reference] = resource.values()
                resource = reference if isinstance(reference, str) else reference[0]
            found.setdefault(resource, set()).update(
                [actions] if isinstance(actions, str) else actions
            )
    return found


def test_there_are_no_roles_but_those_written_out() -> None:
    assert of_type(everything(), "AWS::IAM::Role").keys() == MAY.keys()
    for kind in ("ManagedPolicy", "Policy", "User", "UserPolicy", "RolePolicy"):
        assert of_type(everything(), f"AWS::IAM::{kind}") == {}


@pytest.mark.parametrize("name", MAY)
def test_a_role_may_do_what_is_written_here_and_nothing_else(name: str) -> None:
    assert grants(deployed()[name]["Properties"]) == MAY[name]


@pytest.mark.parametrize("name", FUNCTION_ROLES)
def test_options_add_only_what_they_need(name: str) -> None:
    options = deployed(
        KmsKeyArn=KEY, SecretArn=SECRET, SubnetIds="subnet-1", SecurityGroupIds="sg-1"
    )
    expected = {(SECRET if key == "Secret" else key): may for key, may in MAY[name].items()}
    expected[KEY] = {"kms:Decrypt"} | ({"kms:GenerateDataKey"} if name != "BackfillRole" else set())
    expected["*"] = IN_VPC
    assert grants(options[name]["Properties"]) == expected


@pytest.mark.parametrize("name", FUNCTION_ROLES)
def test_a_key_of_the_secret_alone_may_be_used_to_read_it(name: str) -> None:
    options = deployed(SecretKmsKeyArn=SECRETS_KEY, SecretArn=SECRET)
    assert grants(options[name]["Properties"])[SECRETS_KEY] == {"kms:Decrypt"}
    assert "KmsKeyArn" not in options["CollectorFunction"]["Properties"]
    assert "KmsMasterKeyId" not in options["Spool"]["Properties"]


@pytest.mark.parametrize("name", MAY)
def test_no_role_has_a_managed_policy_or_a_name(name: str) -> None:
    properties = everything()[name]["Properties"]
    assert "ManagedPolicyArns" not in properties
    assert "RoleName" not in properties


@pytest.mark.parametrize("name", MAY)
def test_each_role_keeps_within_the_boundary_where_one_is_given(name: str) -> None:
    assert "PermissionsBoundary" not in deployed()[name]["Properties"]
    bounded = deployed(PermissionsBoundaryArn=BOUNDARY)[name]["Properties"]
    assert bounded["PermissionsBoundary"] == BOUNDARY


@pytest.mark.parametrize("name", FUNCTION_ROLES)
def test_only_lambda_takes_on_a_functions_role(name: str) -> None:
    [statement] = deployed()[name]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }


def test_only_the_scheduler_on_behalf_of_this_account_takes_on_the_schedules_role() -> None:
    document = deployed()["ScheduleRole"]["Properties"]["AssumeRolePolicyDocument"]
    [statement] = document["Statement"]
    assert statement["Principal"] == {"Service": "scheduler.amazonaws.com"}
    bound = statement["Condition"]["StringEquals"]
    assert bound["aws:SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert bound["aws:SourceArn"]["Fn::Sub"].endswith(":schedule-group/${ScheduleGroup}")


def test_every_function_and_schedule_has_the_role_meant_for_it() -> None:
    resources = deployed(Schedule2Input="{}", Schedule3Input="{}", Schedule4Input="{}")
    functions = of_type(resources, "AWS::Lambda::Function")
    assert {name: one["Role"]["Fn::GetAtt"][0] for name, one in functions.items()} == {
        "BackfillFunction": "BackfillRole",
        "CollectorFunction": "CollectorRole",
        "RedriverFunction": "RedriverRole",
    }
    schedules = of_type(resources, "AWS::Scheduler::Schedule")
    assert len(schedules) == 4
    for schedule in schedules.values():
        assert schedule["Target"]["RoleArn"] == {"Fn::GetAtt": ["ScheduleRole", "Arn"]}


def test_nobody_outside_may_invoke_a_function() -> None:
    assert of_type(everything(), "AWS::Lambda::Permission") == {}
    assert of_type(everything(), "AWS::Lambda::Url") == {}


@pytest.mark.parametrize("queue", ["Spool", "DeadLetterQueue"])
def test_a_queue_is_reached_over_tls_alone(queue: str) -> None:
    policy = deployed()[f"{queue}Policy"]["Properties"]
    assert policy["Queues"] == [{"Ref": queue}]
    [statement] = policy["PolicyDocument"]["Statement"]
    del statement["Sid"]
    assert statement == {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": {"Fn::GetAtt": [queue, "Arn"]},
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
