"""The parameters as the console shows them, and the outputs."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from relay_metrics.errors import SettingsError
from relay_metrics.settings import environment
from tests import ROOT
from tests.template.deployed import REQUIRED, source

PARAMETERS = source()["Parameters"]
INTERFACE = source()["Metadata"]["AWS::CloudFormation::Interface"]


def test_an_operator_decides_about_twenty_five_things_at_most() -> None:
    assert len(PARAMETERS) <= 25


def test_the_changelog_says_where_a_parameter_is_now_that_a_release_had() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for release in (ROOT / "tests/e2e/releases").glob("*.yaml"):
        for name in yaml_parse(release.read_text("utf-8"))["Parameters"].keys() - PARAMETERS.keys():
            assert f"| `{name}` |" in changelog, name


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
        ("SecretKmsKeyArn", "arn:aws:kms:eu-central-1:123456789012:key/0a1b", True),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_before_anything_is_made(
    name: str, value: str, allowed: bool
) -> None:
    assert bool(re.fullmatch(PARAMETERS[name]["AllowedPattern"], value)) is allowed


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RELAY_BASE_URL", ""),
        ("RELAY_BASE_URL", "https://relay.example.com"),
        ("RELAY_BASE_URL", "HTTP://[::1]:3000/sub/"),
        ("RELAY_BASE_URL", "relay.example.com"),
        ("RELAY_BASE_URL", "ftp://relay.example.com"),
        ("RELAY_BASE_URL", "https://"),
        ("RELAY_BASE_URL", "https:///path"),
        ("RELAY_BASE_URL", "https://relay.example.com/?a=b"),
        ("RELAY_BASE_URL", "https://user:password@relay.example.com"),
        ("RELAY_BASE_URL", "https://relay.example.com/#x"),
        ("OTEL_EXPORT_URL", "https://greptimedb.example.com/v1/otlp?db=public"),
        ("OTEL_EXPORT_URL", "https://greptimedb.example.com?db=public"),
        ("OTEL_EXPORT_URL", "https://user@greptimedb.example.com"),
        ("OTEL_EXPORT_URL", "https://greptimedb.example.com/a b"),
        ("OTEL_EXPORT_URL", "https://greptimedb.example.com/a\\b"),
        ("OTEL_EXPORT_HEADERS", ' {"X-Scope": "b"} '),
        ("OTEL_EXPORT_HEADERS", "X-Scope=b"),
        ("OTEL_EXPORT_HEADERS", '["X-Scope"]'),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=a"),
        ("OTEL_RESOURCE_ATTRIBUTES", " team = a ,, b=c=d,"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=a,b"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=a,=b"),
        ("RELAY_METRICS_SETTINGS", "RELAY_CONCURRENCY=8 LOG_LEVEL=DEBUG "),
        ("RELAY_METRICS_SETTINGS", " "),
        ("RELAY_METRICS_SETTINGS", "RELAY_CONCURRENCY"),
        ("RELAY_METRICS_SETTINGS", "RELAY_CONCURRENCY = 8"),
        ("RELAY_METRICS_SETTINGS", "relay_concurrency=8"),
        ("RELAY_KIND", "wyolet-relay"),
        ("RELAY_KIND", "claude"),
    ],
)
def test_a_parameter_takes_what_the_code_takes(variable: str, value: str) -> None:
    assert _allowed(variable.title().replace("_", ""), value) is _understood({variable: value})


def _allowed(name: str, value: str) -> bool:
    parameter: dict[str, Any] = PARAMETERS[name]
    if "AllowedValues" in parameter:
        return value in parameter["AllowedValues"]
    return re.fullmatch(parameter["AllowedPattern"], value) is not None


def _understood(variables: dict[str, str]) -> bool:
    try:
        environment(variables)
    except SettingsError:
        return False
    return True


def test_the_application_says_the_version_and_the_licence_of_the_project() -> None:
    application = source()["Metadata"]["AWS::ServerlessRepo::Application"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert application["SemanticVersion"] == project["version"]
    assert application["SpdxLicenseId"] == project["license"]
    assert (ROOT / application["LicenseUrl"]).is_file()
    assert (ROOT / application["ReadmeUrl"]).is_file()


@pytest.mark.parametrize("name", source()["Outputs"])
def test_an_output_says_what_it_is(name: str) -> None:
    assert source()["Outputs"][name]["Description"]


def test_a_suppression_has_its_reason_beside_it() -> None:
    for name, resource in source()["Resources"].items():
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
            assert len(skip["comment"]) > 20, name
    assert "cfn-lint" not in (ROOT / "template.yaml").read_text("utf-8")
