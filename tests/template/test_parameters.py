"""The parameters as the console shows them, and the outputs."""

from __future__ import annotations

import re

import pytest

from tests.template.deployed import REQUIRED, ROOT, source

PARAMETERS = source()["Parameters"]
INTERFACE = source()["Metadata"]["AWS::CloudFormation::Interface"]


def test_all_but_the_two_addresses_have_a_default() -> None:
    assert {name for name, one in PARAMETERS.items() if "Default" not in one} == REQUIRED.keys()


def test_each_is_in_one_group_and_has_a_label() -> None:
    grouped = [name for group in INTERFACE["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(PARAMETERS)
    assert sorted(INTERFACE["ParameterLabels"]) == sorted(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_says_what_it_is(name: str) -> None:
    assert PARAMETERS[name]["Description"].endswith(".")


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_default_is_allowed(name: str) -> None:
    parameter = PARAMETERS[name]
    default = parameter.get("Default")
    if "AllowedValues" in parameter:
        assert default in parameter["AllowedValues"]
    if "AllowedPattern" in parameter and default is not None:
        assert re.fullmatch(parameter["AllowedPattern"], default)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("RelayBaseUrl", "https://relay.example.com/base", True),
        ("RelayBaseUrl", "", True),
        ("RelayBaseUrl", "relay.example.com", False),
        ("SecretArn", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:a/b-a1B2c3", True),
        ("SecretArn", "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:a-a1B2c3", True),
        ("SecretArn", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:a", False),
        ("SecretArn", "my-secret", False),
        ("KmsKeyArn", "arn:aws:kms:eu-central-1:123456789012:key/0a1b", True),
        ("KmsKeyArn", "arn:aws:kms:eu-central-1:123456789012:alias/mine", False),
        ("AlarmTopicArn", "arn:aws:sns:eu-central-1:123456789012:operators", True),
        ("PermissionsBoundaryArn", "arn:aws:iam::123456789012:policy/path/boundary", True),
        ("RedriverReservedConcurrency", "1", False),
        ("RedriverReservedConcurrency", "10", True),
        ("CollectorReservedConcurrency", "1", True),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_before_anything_is_made(
    name: str, value: str, allowed: bool
) -> None:
    assert bool(re.fullmatch(PARAMETERS[name]["AllowedPattern"], value)) is allowed


@pytest.mark.parametrize("name", source()["Outputs"])
def test_an_output_says_what_it_is(name: str) -> None:
    assert source()["Outputs"][name]["Description"]


def test_a_suppression_has_its_reason_beside_it() -> None:
    for name, resource in source()["Resources"].items():
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
            assert len(skip["comment"]) > 20, name
    assert "cfn-lint" not in (ROOT / "template.yaml").read_text("utf-8")
