"""What is generated is current, and every query keeps within GreptimeDB's PromQL."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from dashboards.build import FOLDER, dashboards, written
from relay_metrics.catalogue import METRICS, TIMED, Metric
from scripts import metrics_reference
from tests import ROOT, promql
from tests.queries import ALERTS, RUNBOOKS, all_promql, panels, rules, variables

FILES = sorted(dashboards())
PROMQL = all_promql()


def test_the_metrics_reference_is_current() -> None:
    text = metrics_reference.FILE.read_text("utf-8")
    assert text == metrics_reference.reference(), "run `make docs`"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_metric_has_its_row_in_the_reference(metric: Metric) -> None:
    text = metrics_reference.FILE.read_text("utf-8")
    assert text.count(f'\n| <a id="{metric.name}"></a>') == 1


def test_the_reference_says_each_query_once() -> None:
    text = metrics_reference.FILE.read_text("utf-8")
    for name in (metric.name for metric in METRICS):
        text = text.replace(name, "METRIC")
    for section in text.split("\n## "):
        queries = re.findall(r"```(?:sql|promql)\n.*?```", section, re.DOTALL)
        assert len(queries) == len(set(queries))


def test_no_other_dashboard_is_there() -> None:
    assert sorted(file.name for file in FOLDER.glob("*.json")) == FILES


@pytest.mark.parametrize("name", FILES)
def test_the_dashboards_are_current(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    assert text == written(dashboards()[name]), "run `make docs`"


@pytest.mark.parametrize("name", FILES)
def test_each_panel_has_a_unit_a_description_and_a_word_where_nothing_is(name: str) -> None:
    for panel in panels(name):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"]
        assert len(panel["description"]) > 20, panel["title"]
        assert defaults["unit"], panel["title"]
        assert len(defaults["noValue"]) > 5, panel["title"]


@pytest.mark.parametrize("name", FILES)
def test_each_panels_description_is_its_own(name: str) -> None:
    said = [panel["description"] for panel in panels(name)]
    assert len(said) == len(set(said))
    if name == "wyolet-relay.json":  # whose relay_requests_total is another than a key's
        assert not any("API key" in one for one in said)


@pytest.mark.parametrize("name", FILES)
def test_what_is_drawn_over_time_says_last_max_and_mean_and_is_chosen_once(name: str) -> None:
    for panel in panels(name):
        if panel["type"] == "timeseries":
            legend = panel["options"]["legend"]
            assert legend["calcs"][:3] == ["lastNotNull", "max", "mean"], panel["title"]
            for target in panel["targets"]:
                # `topk` would choose anew at each step; by the labels that are joined it names one
                assert not re.search(r"\btopk\(", target["expr"]), panel["title"]


@pytest.mark.parametrize("name", FILES)
def test_a_rate_says_of_which_time_it_is_in_its_unit_and_along_its_axis(name: str) -> None:
    for panel in panels(name):
        defaults = panel["fieldConfig"]["defaults"]
        first = panel["targets"][0]["expr"]
        of = next(
            (of for by, of in (("3600 *", "/h"), ("60 *", "/min")) if first.startswith(by)), ""
        )
        if of:
            assert defaults["unit"].endswith(of), panel["title"]
        if panel["type"] == "timeseries" and defaults["unit"].startswith("count:"):
            assert defaults["custom"]["axisLabel"] == defaults["unit"].removeprefix("count:")


def test_a_variable_that_chooses_is_hidden_and_asks_for_the_time_shown() -> None:
    chosen = [one for name in FILES for one in variables(name) if one["name"].startswith("top_")]
    assert len(chosen) == 7
    for one in chosen:
        assert one["hide"] == 2
        assert "topk(" in one["query"]["query"]
        assert "[$__range]" in one["query"]["query"]
        match = re.search(one["regex"].strip("/"), '{relay_key_id="a", relay_account_id="a"} 1 2')
        assert match
        assert match[1] == "a"


def test_what_the_runbooks_call_by_name_is_there() -> None:
    there = set()
    for name in FILES:
        for panel in json.loads((FOLDER / name).read_text("utf-8"))["panels"]:
            there.add(panel["title"])
            for transformation in panel.get("transformations", []):
                there |= set(transformation["options"].get("renameByName", {}).values())
    named = set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", RUNBOOKS.read_text("utf-8")))
    assert len(named) > 5
    assert {re.sub(r"\s+", " ", one) for one in named} - there == set()


@pytest.mark.parametrize("name", FILES)
def test_no_two_panels_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(name):
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", FILES)
def test_each_dashboard_leads_to_the_others(name: str) -> None:
    dashboard: dict[str, Any] = json.loads((FOLDER / name).read_text("utf-8"))
    [link] = dashboard["links"]
    assert link["type"] == "dashboards"
    assert set(link["tags"]) <= set(dashboard["tags"])


@pytest.mark.parametrize(("where", "query"), PROMQL, ids=[where for where, _ in PROMQL])
def test_each_query_keeps_within_what_greptimedb_can(where: str, query: str) -> None:
    promql.check(query)


def test_each_query_asks_for_metrics_that_exist() -> None:
    text = (ROOT / "tests/recordings/prometheus/wyolet-relay.prom").read_text("utf-8")
    exposition = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    known = {metric.name for metric in METRICS} | exposition
    known |= {f"{name}_{part}" for name in exposition for part in ("bucket", "sum", "count")}
    asked = {name for _, query in PROMQL for name in promql.metrics(query)}
    assert asked - known == set()


def test_each_metric_is_on_a_dashboard_or_is_named_here() -> None:
    shown = {
        name
        for where, query in PROMQL
        if where.startswith("dashboards/")
        for name in promql.metrics(query)
    }
    assert {metric.name for metric in METRICS} - shown == NOT_SHOWN


KINDS_OF_TOKEN = ("input_tokens", "output_tokens", "cache_create_tokens", "cache_read_tokens")
ACCOUNT_TOTALS = ("requests", "tokens", *KINDS_OF_TOKEN)
ALL_KEYS_MODEL = ("requests", *KINDS_OF_TOKEN, "cost_usd")
OF_TIME = {
    *("relay_day_cost_usd", "relay_day_model_cost_usd", "relay_day_all_keys_requests"),
    "relay_usage_by_key_cost_usd",
    *(f"relay_usage_by_model_{kind}" for kind in (*KINDS_OF_TOKEN, "requests", "errors")),
    *(f"relay_usage_by_model_{kind}" for kind in ("unpriced_requests", "cost_usd")),
}
NOT_SHOWN = {
    # of minutes and days: what queries of one's own are made of
    *(
        metric.name
        for metric in METRICS
        if (metric.scope in TIMED or metric.name.startswith("relay_day_"))
        and metric.name not in OF_TIME
    ),
    # delivered of accounts, models and the relay for questions of one's own
    *(f"relay_account_{name}_total" for name in ACCOUNT_TOTALS),
    *(f"relay_all_keys_model_{name}" for name in ALL_KEYS_MODEL),
    *("relay_account_active_tasks", "relay_account_task_limit"),
    "relay_account_subscription_expiry_timestamp_seconds",
    "relay_account_token_expiry_timestamp_seconds",
    "relay_account_seven_day_opus_utilization_percent",
    "relay_account_seven_day_opus_reset_seconds_remaining",
    "relay_account_model_rate_limited",
    "relay_account_model_rate_limit_seconds_remaining",
    "relay_key_active_requests",
    # limits and lengths that other panels are shares of, or that mean little alone
    *("relay_current_window_tokens", "relay_token_limit", "relay_concurrency_limit"),
    "relay_rate_limit_window_minutes",
    # shown by another figure
    *("relay_stats_staleness_seconds", "relay_account_rate_limited"),
    *("relay_monthly_requests", "relay_monthly_tokens", "relay_account_daily_tokens"),
    "relay_model_rated_cost_usd",
    *(f"relay_model_{kind}_tokens" for kind in ("input", "output", "cache_create", "cache_read")),
    *(metric.name for metric in METRICS if metric.name.startswith("relay_all_keys_")),
    "relay_uptime_seconds",
}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_each_alert_says_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    headings = re.findall(r"^## (\S+)$", RUNBOOKS.read_text("utf-8"), re.MULTILINE)
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert path == "docs/runbooks.md"
    assert anchor in [heading.lower() for heading in headings]


def test_there_is_a_runbook_for_each_alert_and_no_other() -> None:
    headings = re.findall(r"^## (\S+)$", RUNBOOKS.read_text("utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in rules())


def test_the_rules_are_yaml_of_the_known_form() -> None:
    document = yaml.safe_load(ALERTS.read_text("utf-8"))
    assert list(document) == ["groups"]
    for group in document["groups"]:
        assert set(group) == {"name", "rules"}
