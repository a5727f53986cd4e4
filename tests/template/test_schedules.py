"""The schedules: EventBridge Scheduler and Lambda are the engine, each run's input its work."""

from __future__ import annotations

import json
from typing import Any

from tests.template.deployed import deployed, of_type, source

INPUTS = {
    "ScheduleInput": '{"shard": "1/4"}',
    "Schedule2Input": '{"shard": "2/4"}',
    "Schedule3Input": '{"shard": "3/4"}',
    "Schedule4Input": '{"shard": "4/4"}',
}


def schedules(**parameters: str) -> list[dict[str, Any]]:
    return list(of_type(deployed(**parameters), "AWS::Scheduler::Schedule").values())


def test_by_default_there_is_one_and_it_says_when_it_was_due() -> None:
    [schedule] = schedules()
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["State"] == "ENABLED"
    assert json.loads(schedule["Target"]["Input"]) == {"time": "<aws.scheduler.scheduled-time>"}


def test_expression_input_and_state_are_parameters() -> None:
    [schedule] = schedules(
        ScheduleExpression="rate(5 minutes)", ScheduleState="DISABLED", ScheduleInput="{}"
    )
    assert schedule["ScheduleExpression"] == "rate(5 minutes)"
    assert schedule["State"] == "DISABLED"
    assert schedule["Target"]["Input"] == "{}"


def test_more_schedules_share_the_work_of_the_first_and_differ_in_input_alone() -> None:
    four = schedules(**INPUTS)
    assert {one["Target"].pop("Input") for one in four} == set(INPUTS.values())
    for one in four:
        del one["Description"]
    assert all(one == four[0] for one in four)


def test_delivery_is_tried_again_for_a_minute_at_most() -> None:
    for schedule in schedules(**INPUTS):
        assert schedule["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"] == 60
        assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}


def test_they_are_in_a_group_of_the_stacks_own() -> None:
    for schedule in schedules(**INPUTS):
        assert schedule["GroupName"] == {"Ref": "ScheduleGroup"}


def test_the_command_for_still_more_makes_the_same_schedule() -> None:
    command = source()["Outputs"]["MoreSchedulesCommand"]["Value"]["Fn::Sub"]
    options = dict(item.split(maxsplit=1) for item in command.split(" --")[1:])
    [schedule] = schedules()
    target = json.loads(options["target"].strip("'"))
    assert options["schedule-expression"] == "'${ScheduleExpression}'"
    assert options["group-name"] == "${ScheduleGroup}"
    assert target["RetryPolicy"] == schedule["Target"]["RetryPolicy"]
    assert target["Arn"] == "${CollectorFunction.Arn}"
    assert target["RoleArn"] == "${ScheduleRole.Arn}"
