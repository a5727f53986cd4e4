"""The bill: below what is promised, by the template as it is, and in the document as computed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from local.greptimedb.server import Received
from relay_metrics.settings import environment
from scripts import cost
from scripts.cost import PRICES, Item
from scripts.cost_measurement import LAMBDAS_LINES, WARM_RUNS, Measured, Push, log_bytes
from tests import ROOT
from tests.template.deployed import deployed, of_type, source

TOPIC = "arn:aws:sns:us-east-1:123456789012:operators"
MEASURED = Measured.recorded()
ONE_KEY = MEASURED.by_keys[1]


def quantity(items: list[Item], price: str) -> float:
    return sum(item.quantity for item in items if item.price is PRICES[price])


def resources(kind: str, **parameters: str) -> list[dict[str, Any]]:
    return [*of_type(deployed(**parameters), kind).values()]


def test_the_default_stack_stays_under_one_dollar_a_month() -> None:
    assert 0.4 < cost.usd(cost.stack(ONE_KEY)) < 1


def test_the_alarms_stay_under_two_more() -> None:
    assert cost.usd(cost.alarms()) < 2


def test_the_readme_says_the_bill_with_all_alarms() -> None:
    together = cost.usd(cost.stack(ONE_KEY)) + cost.usd(cost.alarms())
    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"[less than a dollar a month](docs/cost.md) ({together:.2f} with all alarms)" in readme


def test_the_template_has_what_is_counted() -> None:
    items = cost.stack(ONE_KEY)
    assert len(resources("AWS::SecretsManager::Secret")) == quantity(items, "secret")
    assert len(resources("AWS::Scheduler::Schedule")) * cost.RUNS == quantity(items, "scheduler")
    [mapping] = resources("AWS::Lambda::EventSourceMapping")
    # Five pollers: without it Lambda may go down to two.
    assert "MaximumConcurrency" in mapping["ScalingConfig"]
    default = {name: one.get("Default") for name, one in source()["Parameters"].items()}
    assert default["ScheduleExpression"] == "rate(1 minute)"
    assert default["Architecture"] == "arm64"
    assert default["MemorySize"] == cost.MEMORY_MB
    assert default["LogRetentionDays"] == cost.RETENTION_DAYS
    code = environment({})
    assert code.secret_max_age_s == cost.SECRET_MAX_AGE_S
    assert code.concurrency == cost.RELAY_CONCURRENCY
    assert code.push_timeout_s == cost.PUSH_TIMEOUT_S


def test_the_template_has_the_alarms_that_are_counted() -> None:
    assert resources("AWS::CloudWatch::Alarm") == []
    watched = [
        one["MetricStat"]["Metric"] if "MetricStat" in one else one
        for alarm in resources("AWS::CloudWatch::Alarm", AlarmTopicArn=TOPIC)
        for one in alarm.get("Metrics", [alarm])
        if "Expression" not in one
    ]
    assert len(watched) == quantity(cost.alarms(), "alarm")
    ours = [metric for metric in watched if not metric["Namespace"].startswith("AWS/")]
    assert len(ours) == quantity(cost.alarms(), "metric")


def test_the_dashboard_s_price_is_in_the_document() -> None:
    assert resources("AWS::CloudWatch::Dashboard") == []
    assert len(resources("AWS::CloudWatch::Dashboard", StackDashboard="ENABLED")) == 1
    said = f"{PRICES['dashboard'].usd:.2f} USD a month"
    [line] = [one for one in cost.FILE.read_text("utf-8").splitlines() if "`StackDashboard`" in one]
    assert said in line


def test_every_resource_that_is_paid_for_has_an_item() -> None:
    free = {
        "AWS::IAM::Role",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::LayerVersion",
        "AWS::Lambda::Permission",
        "AWS::Scheduler::ScheduleGroup",
        "AWS::SQS::QueuePolicy",
    }
    priced = {
        "AWS::CloudWatch::Alarm": "alarm",
        "AWS::Lambda::EventSourceMapping": "sqs",
        "AWS::Lambda::Function": "duration",
        "AWS::Logs::LogGroup": "logs",
        "AWS::SQS::Queue": "sqs",
        "AWS::Scheduler::Schedule": "scheduler",
        "AWS::SecretsManager::Secret": "secret",
    }
    kinds = {one["Type"] for one in deployed(AlarmTopicArn=TOPIC).values()}
    assert kinds - free == priced.keys()
    items = [*cost.stack(ONE_KEY), *cost.alarms()]
    assert {PRICES[name] for name in priced.values()} <= {item.price for item in items}


def test_a_bill_is_by_hand_what_it_is_by_the_script() -> None:
    used = dataclasses.replace(
        ONE_KEY,
        cpu_s=0.0,
        start_cpu_s=0.0,
        log_bytes=1000,
        relay_requests=17.0,
        pushes=1.0,
        bytes_out=3000,
    )
    items = cost.stack(used)
    assert quantity(items, "secret calls") == 8760 + 730
    assert quantity(items, "sqs") == 5 * 3 * 60 * 730
    assert quantity(items, "logs") == pytest.approx(0.0438)
    # 17 connections, since 16 requests at most are under way at once
    assert quantity(items, "transfer") == pytest.approx(43_800 * (3000 + 17 * 1000) / 1e9)
    # connecting twice, two rounds and a push; 17 handshakes at a seventh of a slower processor
    seconds = 2 * 0.1 + 3 * 0.15 + 17 * 0.003 * 1.5 * 1769 / 256
    assert quantity(items, "duration") == pytest.approx(43_800 * seconds / 4)
    assert PRICES["duration"].of(1_000_000) == pytest.approx(13.3334)


def test_work_costs_the_same_with_more_memory() -> None:
    assert 256 * cost.at_memory(2.0, 256) == pytest.approx(1024 * cost.at_memory(2.0, 1024))
    assert cost.at_memory(2.0, 3538) == cost.at_memory(2.0, 1769)


def test_a_day_without_the_database_is_counted_by_the_redrivers_rule() -> None:
    items = cost.outage(ONE_KEY)
    tries = quantity(items, "requests")
    assert quantity(items, "duration") == (1440 + tries) * 5 / 4
    assert quantity(items, "sqs") == 3 * 1440 + 2 * tries
    assert tries == sum(cost._tries(60 * minutes) for minutes in range(1, 1441))
    # tried after 0, 1, 3, 7, 15, 31 and 63 minutes, and each hour from then on
    assert [cost._tries(60 * minutes) for minutes in (1, 2, 4, 63, 64, 1440)] == [
        1,
        2,
        3,
        6,
        7,
        29,
    ]


@pytest.mark.parametrize("keys", [1, 100, 1000])
def test_the_cadence_is_the_shortest_that_the_small_plan_has_room_for(keys: int) -> None:
    used = MEASURED.by_keys[keys]
    minutes = cost.cadence(used)
    assert used.units_by_table <= 20 * 60 * minutes
    shorter = [one for one in cost.CADENCES if one < minutes]
    assert all(used.units_by_table > 20 * 60 * one for one in shorter)


def test_what_is_too_much_for_an_hour_has_no_cadence() -> None:
    used = dataclasses.replace(ONE_KEY, units_by_table=20 * 3600 + 1)
    with pytest.raises(StopIteration):
        cost.cadence(used)


def test_log_lines_are_counted_with_what_cloudwatch_adds() -> None:
    assert log_bytes(["é", "ab"]) == 2 + 26 + 2 + 26
    assert [line.split()[0] for line in LAMBDAS_LINES] == ["START", "END", "REPORT"]


def test_a_push_is_metered_by_the_columns_of_its_rows() -> None:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    for name, text in (("relay.name", "r" * 1000), ("not.promoted", "n" * 5000)):
        attribute = resource.resource.attributes.add()
        attribute.key, attribute.value.string_value = name, text
    scope = resource.scope_metrics.add()
    for name in ("first", "second"):
        metric = scope.metrics.add()
        metric.name = name
        metric.gauge.data_points.add(as_double=1.0, time_unix_nano=10**18)
    headers = {"x-greptime-otlp-metric-promote-resource-attrs": "relay.name;relay.kind"}
    body = request.SerializeToString()
    push = Push.of(Received("POST", "/v1/otlp/v1/metrics", headers, body))
    assert (push.rows, push.row_bytes) == (2, 2 * 1016)
    assert (push.units_by_request, push.units_by_table) == (2, 2)
    assert push.bytes_out > len(body)

    for metric in scope.metrics:
        metric.gauge.data_points.add(as_double=1.0, time_unix_nano=2 * 10**18)
    push = Push.of(Received("POST", "/v1/otlp/v1/metrics", headers, request.SerializeToString()))
    assert (push.row_bytes, push.units_by_request, push.units_by_table) == (4 * 1016, 4, 4)


def test_the_record_is_of_what_would_be_measured_anew() -> None:
    assert MEASURED.by_keys.keys() == WARM_RUNS.keys()
    for used in MEASURED.by_keys.values():
        assert all(value > 0 for value in dataclasses.astuple(used))
        assert used.units_by_request <= used.units_by_table


def test_the_document_has_the_tables_as_they_are_computed() -> None:
    text = cost.FILE.read_text("utf-8")
    assert cost.document(text, MEASURED) == text, "make docs"


def test_a_document_without_a_place_for_a_table_is_none() -> None:
    with pytest.raises(ValueError, match="no place for the table 'bill'"):
        cost.document("# What it costs\n", MEASURED)
