"""The alarms: made where an SNS topic is given, each saying what to do."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from relay_metrics.observability import NAMESPACE
from tests import ROOT
from tests.template.deployed import deployed, everything, of_type, source

TOPIC = "arn:aws:sns:eu-central-1:123456789012:operators"
ALARM = "AWS::CloudWatch::Alarm"
ALARMS = sorted(of_type(everything(), ALARM))
PRICE_USD = 0.10  # a month for each metric that an alarm watches


def alarm(name: str) -> dict[str, Any]:
    return of_type(deployed(AlarmTopicArn=TOPIC), ALARM)[name]


def watched(properties: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics that an alarm reads."""
    if "Metrics" not in properties:
        return [properties]
    return [one["MetricStat"]["Metric"] for one in properties["Metrics"] if "MetricStat" in one]


def test_without_a_topic_there_are_none() -> None:
    assert of_type(deployed(), ALARM) == {}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_notifies_the_topic_when_it_begins_and_ends_and_says_what_to_do(name: str) -> None:
    properties = alarm(name)
    assert properties["AlarmActions"] == properties["OKActions"] == [TOPIC]
    assert " Do: " in properties["AlarmDescription"]
    assert len(properties["AlarmDescription"]) <= 1024


@pytest.mark.parametrize("name", ALARMS)
def test_an_output_that_an_alarm_names_exists(name: str) -> None:
    words = alarm(name)["AlarmDescription"].replace(")", " ").replace(",", " ").split()
    named = {words[at + 1] for at, word in enumerate(words) if word == "(output"}
    assert named <= source()["Outputs"].keys()


def test_they_watch_what_can_go_wrong() -> None:
    assert {
        (metric["Namespace"], metric["MetricName"])
        for name in ALARMS
        for metric in watched(alarm(name))
    } == {
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Invocations"),
        ("AWS/Lambda", "Duration"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "AsyncEventsDropped"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/SQS", "ApproximateNumberOfMessagesNotVisible"),
        ("AWS/Scheduler", "InvocationDroppedCount"),
        ("RelayMetrics", "RelaysDown"),
        ("RelayMetrics", "PointsRejected"),
    }


def test_our_own_metrics_are_read_as_the_functions_write_them() -> None:
    environment = deployed()["CollectorFunction"]["Properties"]["Environment"]["Variables"]
    for name in ("RelayDownAlarm", "PointsRejectedAlarm"):
        assert alarm(name)["Namespace"] == NAMESPACE
        assert alarm(name)["Dimensions"] == [
            {"Name": "service", "Value": environment["POWERTOOLS_SERVICE_NAME"]}
        ]


def test_silence_is_an_alarm_unless_it_was_asked_for() -> None:
    properties = alarm("CollectorSilentAlarm")
    assert properties["TreatMissingData"] == "breaching"
    paused = deployed(AlarmTopicArn=TOPIC, ScheduleState="DISABLED")
    assert "CollectorSilentAlarm" not in paused


@pytest.mark.parametrize(
    ("name", "bad"),
    [("CollectorSilentAlarm", "70"), ("CollectorSlowAlarm", 3), ("RelayDownAlarm", 3)],
)
def test_an_alarm_on_runs_looks_back_as_far_as_the_parameter_says(name: str, bad: object) -> None:
    properties = deployed(AlarmTopicArn=TOPIC, AlarmWindowMinutes="70")[name]["Properties"]
    assert properties["Period"] == 60
    assert properties["EvaluationPeriods"] == "70"
    assert properties["DatapointsToAlarm"] == bad


@pytest.mark.parametrize("name", sorted(set(ALARMS) - {"CollectorSilentAlarm"}))
def test_nothing_to_see_is_no_alarm(name: str) -> None:
    assert alarm(name)["TreatMissingData"] == "notBreaching"


def test_the_time_out_is_near_at_nine_tenths_of_it() -> None:
    time_out = deployed()["CollectorFunction"]["Properties"]["Timeout"]
    assert alarm("CollectorSlowAlarm")["Threshold"] == 900 * time_out


def test_each_has_its_place_in_the_document_on_operations() -> None:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    assert sorted(re.findall(r"(?m)^### (\w+Alarm)$", text)) == ALARMS


def test_the_documents_say_how_many_there_are_and_on_how_many_metrics() -> None:
    numbers = dict(enumerate(["ten", "eleven", "twelve", "thirteen", "fourteen"], start=10))
    alarms = numbers[len(ALARMS)]
    metrics = numbers[sum(len(watched(alarm(name))) for name in ALARMS)]
    assert f"names an SNS topic: {alarms}, on metrics" in (ROOT / "docs/operations.md").read_text()
    assert f"there are {alarms} on {metrics} metrics" in (ROOT / "docs/cost.md").read_text("utf-8")


def test_the_dashboard_shows_what_the_alarms_watch() -> None:
    assert of_type(deployed(), "AWS::CloudWatch::Dashboard") == {}
    [dashboard] = of_type(deployed(StackDashboard="ENABLED"), "AWS::CloudWatch::Dashboard").values()
    widgets = json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]
    shown: set[tuple[str, str]] = set()
    for widget in widgets:
        before: list[Any] = []
        for line in widget["properties"].get("metrics", ()):
            # "." stands for the same as in the line before, "..." for all of it
            words = [word for word in line if isinstance(word, str)]
            words = before if words == ["..."] else words
            before = [
                old if new == "." else new for new, old in zip(words, before or words, strict=True)
            ]
            shown.add((before[0], before[1]))
    assert shown == {
        (metric["Namespace"], metric["MetricName"])
        for name in ALARMS
        for metric in watched(alarm(name))
    }
    [line] = [one for one in widgets if "annotations" in one["properties"]]
    [threshold] = line["properties"]["annotations"]["horizontal"]
    assert alarm(threshold["label"])["Threshold"] == threshold["value"]


def test_they_cost_less_than_two_dollars_a_month() -> None:
    assert sum(len(watched(alarm(name))) for name in ALARMS) * PRICE_USD < 2
