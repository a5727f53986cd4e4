"""The functions: their environment is the contract, and their limits fit together."""

from __future__ import annotations

from typing import Any

import pytest

from relay_metrics.settings import environment
from tests.template.deployed import deployed, of_type, source

# Each variable of the contract, and its default; None where the stack itself gives the value.
CONTRACT: dict[str, str | None] = {
    "RELAY_KIND": "claude-relay",
    "RELAY_BASE_URL": "https://relay.example.com",
    "RELAY_NAME": "",
    "RELAY_METRICS_PERIOD": "monthly",
    "RELAY_ENVIRONMENT": "production",
    "RELAY_TIMEOUT_MS": "5000",
    "RELAY_MAX_RESPONSE_BYTES": "8388608",
    "RELAY_CONCURRENCY": "16",
    "RELAY_SCANS_PER_RUN": "10",
    "RELAY_MAX_KEYS": "10000",
    "RELAY_MAX_MODELS_PER_KEY": "100",
    "RELAY_MAX_FAMILIES": "10000",
    "RELAY_USAGE_LOOKBACK_MINUTES": "60",
    "RELAY_KEY_LABELS": "",
    "RELAY_METRICS_SETTINGS": "",
    "RELAY_UTC_OFFSET_HOURS": "8",
    "SECRET_ID": None,
    "SECRET_MAX_AGE_SECONDS": "300",
    "OTEL_EXPORT_URL": "https://greptimedb.example.com",
    "GREPTIME_DATABASE": "public",
    "OTEL_EXPORT_HEADERS": "",
    "OTEL_TIMEOUT_MS": "5000",
    "OTEL_SERVICE_NAME": "relay-metrics",
    "OTEL_SERVICE_NAMESPACE": "",
    "OTEL_SERVICE_VERSION": "1.0.0",
    "OTEL_RESOURCE_ATTRIBUTES": "",
    "SPOOL_QUEUE_URL": None,
    "LOG_LEVEL": "INFO",
}
BY_PARAMETER = {
    *("RELAY_KIND", "RELAY_BASE_URL", "OTEL_EXPORT_URL", "GREPTIME_DATABASE"),
    *("OTEL_EXPORT_HEADERS", "OTEL_RESOURCE_ATTRIBUTES", "RELAY_METRICS_SETTINGS"),
}
"""The others are set by `RELAY_METRICS_SETTINGS`."""

OF_THE_STACK = {name for name, value in CONTRACT.items() if value is None}
POWERTOOLS = {"POWERTOOLS_SERVICE_NAME"}
FUNCTIONS = ["BackfillFunction", "CollectorFunction", "RedriverFunction"]


def function(name: str, **parameters: str) -> dict[str, Any]:
    properties = deployed(**parameters)[name]["Properties"]
    assert isinstance(properties, dict)
    return properties


def variables(name: str, **parameters: str) -> dict[str, Any]:
    found = function(name, **parameters)["Environment"]["Variables"]
    assert isinstance(found, dict)
    return found


class Asked(dict[str, str]):
    """Variables that remember which of them were asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def test_the_functions_read_the_contracts_variables_and_no_others() -> None:
    asked = Asked({})
    environment(asked)
    own = {"AWS_SAM_LOCAL", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"}
    assert asked.names == CONTRACT.keys() | own


def test_the_defaults_are_those_of_a_function_without_any() -> None:
    addresses = {"RELAY_BASE_URL", "OTEL_EXPORT_URL"}
    given = {
        name: value
        for name, value in CONTRACT.items()
        if value is not None and name not in addresses
    }
    got, untold = environment(given), environment({})
    labels = {"deployment_environment", "service_name", "service_version"}
    for name, value in got._asdict().items():
        if name not in labels:
            assert value == getattr(untold, name), name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_environment_is_the_contract(name: str) -> None:
    assert variables(name).keys() == BY_PARAMETER | OF_THE_STACK | POWERTOOLS


@pytest.mark.parametrize("variable", sorted(BY_PARAMETER))
def test_a_variables_default_is_the_contracts(variable: str) -> None:
    for name in FUNCTIONS:
        assert str(variables(name)[variable]) == CONTRACT[variable]


@pytest.mark.parametrize("variable", sorted(BY_PARAMETER))
def test_a_parameter_sets_the_variable_of_its_name(variable: str) -> None:
    parameter = variable.title().replace("_", "")
    for name in FUNCTIONS:
        assert variables(name, **{parameter: "42"})[variable] == "42"


def test_the_secret_is_the_stacks_own_or_the_one_given() -> None:
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mine-a1B2c3"
    for name in FUNCTIONS:
        assert variables(name)["SECRET_ID"] == {"Ref": "Secret"}
        assert variables(name, SecretArn=arn)["SECRET_ID"] == arn
    assert "Secret" not in deployed(SecretArn=arn)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_spool_is_the_stacks_own(name: str) -> None:
    assert variables(name)["SPOOL_QUEUE_URL"] == {"Ref": "Spool"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_two_stacks_in_one_account_have_metrics_of_their_own(name: str) -> None:
    assert variables(name)["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("architecture", "suffix"), [("arm64", "Arm64"), ("x86_64", "X8664")])
def test_a_function_gets_the_layer_of_its_processor(
    name: str, architecture: str, suffix: str
) -> None:
    resources = deployed(Architecture=architecture)
    properties = resources[name]["Properties"]
    assert properties["Runtime"] == "python3.13"
    assert properties["Architectures"] == [architecture]
    [(layer, content)] = of_type(resources, "AWS::Lambda::LayerVersion").items()
    assert layer.startswith(f"AggregatorLayer{suffix}")
    assert content["CompatibleArchitectures"] == [architecture]
    assert properties["Layers"] == [{"Ref": layer}]


def test_arm64_is_the_default() -> None:
    assert function("CollectorFunction")["Architectures"] == ["arm64"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_logs_to_its_own_group_which_forgets(name: str) -> None:
    group = name.replace("Function", "LogGroup")
    assert function(name)["LoggingConfig"] == {"LogGroup": {"Ref": group}, "LogFormat": "Text"}
    assert deployed(LogRetentionDays="7")[group]["Properties"]["RetentionInDays"] == "7"
    assert "LogGroupName" not in deployed()[group]["Properties"]


def test_a_back_fill_is_the_collectors_code_with_all_the_time_there_is_and_no_schedule() -> None:
    written = source()["Resources"]
    backfill, collector = (
        written[name]["Properties"] for name in ("BackfillFunction", "CollectorFunction")
    )
    assert backfill["CodeUri"] == collector["CodeUri"]
    assert backfill["Timeout"] == 900
    assert "Events" not in backfill


def test_a_run_ends_before_the_next_begins() -> None:
    assert source()["Parameters"]["ScheduleExpression"]["Default"] == "rate(1 minute)"
    assert function("CollectorFunction")["Timeout"] < 60


def test_an_event_is_not_retried_and_not_kept_beyond_its_minute() -> None:
    configs = {
        one.pop("FunctionName")["Ref"]: one
        for one in of_type(deployed(), "AWS::Lambda::EventInvokeConfig").values()
    }
    assert configs.keys() == {"BackfillFunction", "CollectorFunction"}
    for config in configs.values():
        assert config["MaximumRetryAttempts"] == 0
    assert configs["CollectorFunction"]["MaximumEventAgeInSeconds"] == 60


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_left_out_unless_given(name: str) -> None:
    plain = function(name)
    options = {"VpcConfig", "KmsKeyArn", "ReservedConcurrentExecutions", "TracingConfig"}
    assert not options & plain.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_reach_the_function(name: str) -> None:
    key = "arn:aws:kms:eu-central-1:123456789012:key/k"
    properties = function(
        name,
        SubnetIds="subnet-1",
        SecurityGroupIds="sg-1",
        KmsKeyArn=key,
        MemorySize="512",
    )
    assert properties["VpcConfig"] == {"SubnetIds": "subnet-1", "SecurityGroupIds": "sg-1"}
    assert properties["KmsKeyArn"] == key
    assert properties["MemorySize"] == "512"


def test_the_redriver_answers_for_each_message_and_runs_at_most_twice_at_once() -> None:
    [mapping] = of_type(deployed(), "AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionName"] == {"Ref": "RedriverFunction"}
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["Spool", "Arn"]}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 2}
    assert mapping["BatchSize"] == 10
