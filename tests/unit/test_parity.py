"""What the former publisher made of two recorded answers, and what is made of them now."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from tests import RECORDINGS
from tests.collecting import Collector
from tests.exchanges import ExchangeServer
from tests.otlp import attributes_of

FORMER = json.loads((RECORDINGS / "parity/relay-metrics-publisher.json").read_text("utf-8"))

# The differences that are meant; all else is the same.
RUNNING = {
    *("relay_requests_total", "relay_tokens_total"),
    *("relay_input_tokens_total", "relay_output_tokens_total"),
    *("relay_cache_create_tokens_total", "relay_cache_read_tokens_total"),
}
"""Monotonic cumulative Sums now; the former publisher pushed gauges only."""

NEW_METRICS = {
    *("relay_key_day_reset_timestamp_seconds", "relay_key_week_reset_timestamp_seconds"),
    *("relay_daily_requests", "relay_daily_tokens"),
    *("relay_monthly_requests", "relay_monthly_tokens", "relay_monthly_cost_usd"),
    *("relay_model_requests", "relay_model_rated_cost_usd"),
    *("relay_model_input_tokens", "relay_model_output_tokens"),
    *("relay_model_cache_create_tokens", "relay_model_cache_read_tokens"),
}
NEW_ATTRIBUTES = {"period"}
NEW_RESOURCE_ATTRIBUTES = {
    *("deployment.environment.name", "relay.name", "relay.kind"),
    *("relay.key.id", "relay.key.name"),
}


class Pushed(NamedTuple):
    resource: dict[str, str]
    metrics: list[Any]
    url: str


@pytest.fixture
def pushed() -> Pushed:
    """What is pushed of the key whose answers the former publisher was given."""
    batch = "claude-relay/batch-stats.json"
    with ExchangeServer([{"recording": path} for path in FORMER["from"]]) as recorded:
        key_id = recorded.exchanges[0].body["apiId"]
    batch_request = {"body": {"apiIds": [key_id]}}
    exchanges = [
        *({"recording": path} for path in FORMER["from"]),
        {"recording": batch, "request": batch_request},
    ]
    with ExchangeServer(exchanges) as relay:
        environment = {"RELAY_BASE_URL": relay.url, "RELAY_ENVIRONMENT": "prod"}
        secret = {"relay_api_id": key_id}
        with Collector(environment, secret, secret) as collector:
            (request,) = collector.run("2026-11-21T21:00:00Z").pushed
        url = relay.url
    resources = {
        attributes["service.instance.id"]: (attributes, resource)
        for resource in request.resource_metrics
        for attributes in [attributes_of(resource.resource.attributes)]
    }
    attributes, resource = resources[FORMER["resource"]["service.instance.id"]]
    return Pushed(attributes, list(resource.scope_metrics[0].metrics), url)


def test_resource(pushed: Pushed) -> None:
    former = {**FORMER["resource"], "service.endpoint": pushed.url}
    assert former.items() <= pushed.resource.items()
    assert pushed.resource.keys() - former.keys() == NEW_RESOURCE_ATTRIBUTES


def test_names(pushed: Pushed) -> None:
    former = {metric["name"] for metric in FORMER["metrics"]}
    assert {metric.name for metric in pushed.metrics} == former | NEW_METRICS
    assert former & NEW_METRICS == set()


def test_descriptions(pushed: Pushed) -> None:
    now = {metric.name: metric.description for metric in pushed.metrics}
    for metric in FORMER["metrics"]:
        assert now[metric["name"]] == metric["description"]


def test_values_and_attributes(pushed: Pushed) -> None:
    former = sorted(
        (metric["name"], sorted(metric["attributes"].items()), metric["value"])
        for metric in FORMER["metrics"]
    )
    now = []
    new_attributes = set()
    for metric in pushed.metrics:
        if metric.name in NEW_METRICS:
            continue
        for point in getattr(metric, metric.WhichOneof("data")).data_points:
            attributes = attributes_of(point.attributes)
            new_attributes |= attributes.keys() & NEW_ATTRIBUTES
            kept = sorted(item for item in attributes.items() if item[0] not in NEW_ATTRIBUTES)
            now.append((metric.name, kept, getattr(point, point.WhichOneof("value"))))
    assert sorted(now) == former
    assert new_attributes == NEW_ATTRIBUTES


def test_types(pushed: Pushed) -> None:
    sums = {metric.name: metric.sum for metric in pushed.metrics if metric.HasField("sum")}
    assert sums.keys() == RUNNING
    assert all(data.is_monotonic for data in sums.values())
    rest = [metric for metric in pushed.metrics if metric.name not in sums]
    assert all(metric.HasField("gauge") for metric in rest)
