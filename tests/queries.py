"""Every query that the repository holds: of dashboards, alerts and documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from tests import ROOT

ALERTS: Final = ROOT / "alerts" / "relay-metrics.yaml"
RUNBOOKS: Final = ROOT / "docs" / "runbooks.md"

# What Grafana puts in place of its variables where everything is chosen.
_CHOSEN: Final = {
    "$__rate_interval": "4m",
    "$__interval": "1m",
    "$__range": "1d",
    "$__range_s": "86400",
    "${__range_s}": "86400",
    "$relay": ".+",
    "$key": ".+",
    "$model": ".+",
    "$period": ".+",
    "$source": ".+",
    "$turn": "1h",
    "$label": "team",
    "$input_price": "3",
    **dict.fromkeys(("$top_spenders", "$top_users", "$top_accounts", "$top_keys"), ".+"),
    **dict.fromkeys(("$top_weekly", "$top_total", "$top_window"), ".+"),
}


def filled_in(query: str, **chosen: str) -> str:
    """A query as Grafana sends it, with a step of a minute.

    Args:
        chosen: values of variables, all of them where nothing is said.
    """
    values = _CHOSEN | {f"${name}": value for name, value in chosen.items()}
    for name in sorted(values, key=len, reverse=True):
        query = query.replace(name, values[name])
    assert "$" not in query, query
    return query


def dashboard(name: str) -> Any:
    """A dashboard as it is committed."""
    return json.loads((ROOT / "dashboards" / name).read_text("utf-8"))


def panels(name: str) -> list[dict[str, Any]]:
    """The panels of a dashboard, its rows aside."""
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def variables(name: str) -> list[dict[str, Any]]:
    """The variables of a dashboard that a query fills."""
    return [one for one in dashboard(name)["templating"]["list"] if one["type"] == "query"]


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    document = yaml.safe_load(ALERTS.read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def blocks(language: str) -> list[tuple[str, str]]:
    """The queries of the documents in a language, each with where it stands."""
    found = []
    for file in sorted((ROOT / "docs").glob("*.md")):
        heading = ""
        for match in re.finditer(
            r"^#+ ([^\n]+)$|^```(\w+)\n(.*?)^```", file.read_text("utf-8"), _FLAGS
        ):
            if match[1]:
                heading = match[1]
            elif match[2] == language:
                found.append((f"docs/{file.name}: {heading}", match[3].strip()))
    return found


_FLAGS: Final = re.MULTILINE | re.DOTALL


def all_promql() -> list[tuple[str, str]]:
    """Every PromQL query with where it stands."""
    return [
        *_of_dashboards(),
        *((f"alerts: {one['alert']}", one["expr"]) for one in rules()),
        *blocks("promql"),
    ]


def variable_query(variable: dict[str, Any]) -> str:
    """The PromQL that finds a variable's values."""
    query = str(variable["query"]["query"])
    match = re.fullmatch(r"label_values\((.+), (\w+)\)|query_result\((.+)\)", query)
    assert match, query
    return match[1] or match[3]


def _of_dashboards() -> Iterator[tuple[str, str]]:
    for file in sorted((ROOT / "dashboards").glob("*.json")):
        for panel in panels(file.name):
            for target in panel["targets"]:
                where = f"dashboards/{file.name}: {panel['title']} {target['refId']}"
                yield where, filled_in(target["expr"])
        for variable in variables(file.name):
            yield (
                f"dashboards/{file.name}: ${variable['name']}",
                filled_in(variable_query(variable)),
            )
