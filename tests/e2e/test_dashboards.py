"""A day of demo data in VictoriaMetrics and the stand-in, and every query asked of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from local.relay import Usage
from local.relay.exposition import Histogram
from local.relay.model import sum_of
from local.relay.wyolet import OVERHEAD_BOUNDS
from tests.e2e.demo_day import END, LIMITED_FOR_S, MINUTES, RELAY_FAILS, DemoDay
from tests.queries import (
    all_promql,
    blocks,
    filled_in,
    panels,
    rules,
    variable_query,
    variables,
)

pytestmark = pytest.mark.e2e

FILES = ("claude-relay.json", "wyolet-relay.json", "collector.json")
PANELS = [(file, panel) for file in FILES for panel in panels(file)]
VARIABLES = [(file, variable) for file in FILES for variable in variables(file)]
NOT_HERE = (
    *("relay_account_model_rate_limited", "relay_account_subscription_expiry_timestamp_seconds"),
    "relay_day_model_",
)
"""Figures that no account of the demo has, and those that only a back-fill with `models` delivers:
`test_days.py` holds their queries to the relay's own numbers."""
OF_WEEKS = ("Projected month's end", "Last month to the same day")
"""Panels that one day is too short for: see `test_days.py`."""


def _of_the_day(queries: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [one for one in queries if not any(name in one[1] for name in NOT_HERE)]


SQL = [
    one
    for one in _of_the_day(blocks("sql"))
    # what an operator says to GreptimeDB alone
    if not one[1].startswith(("CREATE", "ALTER"))
]
PROMQL = _of_the_day([one for one in all_promql() if one[0].startswith(("docs/", "alerts"))])

# Only where there was something, which at the end of the day there is not.
RARE = ("relay_keys_failed", "relay_keys_left_out", "relay_models_left_out")
# Of months that are whole: `tests/local/test_queries_over_days.py` has them.
OF_MONTHS = ("docs/queries.md: 13.", "docs/queries.md: 14.", "docs/queries.md: 15.")

Answers = dict[tuple[str, ...], float]
"""Values by the values of their labels, in the order of the labels' names."""


@pytest.fixture(scope="module")
def day(victoriametrics: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoDay]:
    with DemoDay(victoriametrics, tmp_path_factory.mktemp("day") / "data") as day:
        yield day


def answers(day: DemoDay, query: str, at: float = END) -> Answers:
    """What a query answers at an instant; with a lookback of five minutes, as Prometheus has."""
    found = _asked(day, "/api/v1/query", query=query, time=str(at), step="5m")
    return {
        tuple(value for name, value in sorted(one["metric"].items()) if name != "__name__"): float(
            one["value"][1]
        )
        for one in found
    }


def _asked(day: DemoDay, path: str, **parameters: str) -> list[dict[str, Any]]:
    answer = json.loads(day.victoriametrics.get(path, **parameters))
    assert answer["status"] == "success"
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def shown(day: DemoDay, file: str, title: str, letter: str = "A", **chosen: str) -> Answers:
    """What a panel shows at the end of the day."""
    [panel] = [one for one in panels(file) if one["title"] == title]
    [target] = [one for one in panel["targets"] if one["refId"] == letter]
    return answers(day, filled_in(target["expr"], **chosen))


def column(day: DemoDay, title: str, heading: str, file: str = FILES[0]) -> Answers:
    """What a column of a table shows, by default of *Claude Relay usage*."""
    [panel] = [one for one in panels(file) if one["title"] == title]
    [organize] = [one for one in panel["transformations"] if one["id"] == "organize"]
    names: Mapping[str, str] = organize["options"]["renameByName"]
    [letter] = [name[-1] for name, renamed in names.items() if renamed == heading]
    return shown(day, file, title, letter)


# -- everything is asked, and answers


@pytest.mark.parametrize(
    ("file", "panel"), PANELS, ids=[f"{file}-{panel['title']}" for file, panel in PANELS]
)
def test_each_query_of_each_panel_answers(day: DemoDay, file: str, panel: dict[str, Any]) -> None:
    found = []
    for target in panel["targets"]:
        query = filled_in(target["expr"])
        if target.get("instant"):
            found.append(bool(answers(day, query)))
        elif panel.get("timeFrom") == "30d":
            found.append(bool(by_midnight(day, query)))
        else:
            span = {"start": str(END - 6 * 3600), "end": str(END), "step": "60"}
            found.append(bool(_asked(day, "/api/v1/query_range", query=query, **span)))
    if panel["title"] in (*OF_WEEKS, "Cost by model by day") and file == FILES[0]:
        assert found == [False]
    elif panel["type"] == "table":  # a column may have nothing to say of any row
        assert any(found)
    else:
        assert all(found), panel["targets"]


def by_midnight(day: DemoDay, query: str) -> list[dict[str, Any]]:
    """What a panel over days asks: at each midnight of a viewer in UTC."""
    midnight = END - END % 86_400
    span = {"start": f"{midnight - 30 * 86_400:.0f}", "end": f"{midnight:.0f}", "step": "86400"}
    return _asked(day, "/api/v1/query_range", query=query, **span)


@pytest.mark.parametrize(
    ("file", "variable"), VARIABLES, ids=[f"{file}-{one['name']}" for file, one in VARIABLES]
)
def test_each_variable_has_values(day: DemoDay, file: str, variable: dict[str, Any]) -> None:
    query = variable_query(variable)
    assert answers(day, filled_in(query)), query


@pytest.mark.parametrize(("where", "query"), PROMQL, ids=[where for where, _ in PROMQL])
def test_each_promql_of_alerts_and_documents_answers(day: DemoDay, where: str, query: str) -> None:
    # a day's noon, which the end of this one is, is not within the day before it
    found = answers(day, query, END - 3600 if "relay_day_" in query else END)
    if where.startswith("docs/") and not where.endswith(RARE) and not where.startswith(OF_MONTHS):
        assert found


@pytest.mark.parametrize(("where", "query"), SQL, ids=[where for where, _ in SQL])
def test_each_sql_of_the_documents_answers(day: DemoDay, where: str, query: str) -> None:
    day.greptimedb.sql(query)  # as it stands: by then the day is long ago
    found = rows(day, query)
    got = not where.endswith(RARE) and not where.startswith(OF_MONTHS)
    if got and not query.startswith("DELETE"):
        assert found


def rows(day: DemoDay, query: str) -> list[dict[str, Any]]:
    """What SQL answers at the end of the day."""
    end = f"TIMESTAMP '{datetime.fromtimestamp(END, UTC):%Y-%m-%d %H:%M:%S}'"
    return day.greptimedb.sql(query.replace("now()", end))


# -- Claude Relay usage: the relay's own figures


def today(day: DemoDay) -> dict[str, Usage]:
    """What each key used since the relay's own midnight."""
    return {key.id: key.usage_in(day.claude.day()) for key in day.claude.keys}


def this_month(day: DemoDay) -> dict[str, Usage]:
    return {key.id: key.usage_in(day.claude.month()) for key in day.claude.keys}


def grown(day: DemoDay, minutes: int, figure: Callable[[Usage], float]) -> float:
    """How much a figure of all keys grew in the last minutes."""
    before, now = day.ago(minutes).keys, day.ago(0).keys
    return sum(figure(now[key]) - figure(before[key]) for key in now)


def approx(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-9)


def test_spend_is_the_relays_own_and_a_renamed_key_is_counted_once(day: DemoDay) -> None:
    file = FILES[0]
    both_names = answers(day, "count(last_over_time(relay_daily_cost_usd[1h]))")
    assert both_names == {(): 4.0}  # three keys, one of them by two names
    assert shown(day, file, "Keys") == {(): 3.0}
    assert shown(day, file, "Spent today") == approx({(): sum_of(today(day).values()).rated_usd})
    month = sum_of(this_month(day).values())
    assert shown(day, file, "Spent this month") == approx({(): month.rated_usd})
    hour = grown(day, 60, lambda usage: usage.rated_usd)
    # of the minute between its two names nobody has seen the growth
    assert shown(day, file, "Burn rate")[()] == pytest.approx(hour, rel=0.02)
    assert shown(day, file, "Requests today") == {(): sum_of(today(day).values()).requests}
    assert shown(day, file, "Tokens today") == {(): sum_of(today(day).values()).all_tokens}


def test_a_chosen_key_is_shown_alone_before_and_after_it_was_renamed(day: DemoDay) -> None:
    key, former = day.renamed
    found = shown(day, FILES[0], "Spent today", key=key.id)
    assert found == approx({(): key.usage_in(day.claude.day()).rated_usd})
    series = answers(day, f'last_over_time(relay_daily_cost_usd{{relay_key_id="{key.id}"}}[1h])')
    assert {name for labels in series for name in labels if name.startswith("team")} == {
        former,
        key.name,
    }


def test_keys_are_chosen_by_name_and_filtered_by_id(day: DemoDay) -> None:
    [variable] = [one for one in variables(FILES[0]) if one["name"] == "key"]
    query = filled_in(variable_query(variable))
    offered = set()
    for one in _asked(day, "/api/v1/query", query=query, time=str(END)):
        # as Grafana writes what query_result finds
        labels = ",".join(f'{name}="{value}"' for name, value in one["metric"].items())
        match = re.match(variable["regex"][1:-1].replace("(?<", "(?P<"), f"{{{labels}}} 1 1")
        assert match
        offered.add((match["value"], match["text"]))
    key, former = day.renamed
    assert offered == {(key.id, key.name) for key in day.claude.keys} | {(key.id, former)}


def test_spend_by_key_and_model_is_the_relays_own(day: DemoDay) -> None:
    month = this_month(day)
    assert shown(day, FILES[0], "Spent this month by key") == approx(
        {(key.id, key.name, "claude"): month[key.id].rated_usd for key in day.claude.keys}
    )
    models: dict[str, Usage] = {}
    for key in day.claude.keys:
        for model, usage in key.models_in(day.claude.month()).items():
            models.setdefault(model, Usage()).add(usage)
    cost = {(model, "monthly"): usage.real_usd for model, usage in models.items()}
    assert shown(day, FILES[0], "Cost by model") == approx(cost)
    tokens = {(model, "monthly"): usage.all_tokens for model, usage in models.items()}
    assert shown(day, FILES[0], "Tokens by model") == tokens


def test_tokens_by_kind_and_the_cache_hit_share_are_the_relays_own(day: DemoDay) -> None:
    kinds: dict[str, Callable[[Usage], float]] = {
        "A": lambda usage: usage.input_tokens,
        "B": lambda usage: usage.output_tokens,
        "C": lambda usage: usage.cache_create_tokens,
        "D": lambda usage: usage.cache_read_tokens,
    }
    minute = {letter: grown(day, 4, kind) / 4 for letter, kind in kinds.items()}
    for letter, tokens in minute.items():
        assert shown(day, FILES[0], "Tokens by kind", letter) == approx({(): tokens})
    share = minute["D"] / (minute["A"] + minute["C"] + minute["D"])
    assert shown(day, FILES[0], "Cache hit share") == approx({(): share})


def test_what_a_request_and_a_million_tokens_cost_is_the_relays_own(day: DemoDay) -> None:
    before, now = day.ago(60).keys, day.ago(0).keys
    own = {}
    for key in day.claude.keys:
        if key is not day.renamed[0]:  # whose hour each name has a part of
            at = (key.id, key.name, "claude")
            usd = now[key.id].rated_usd - before[key.id].rated_usd
            requests = now[key.id].requests - before[key.id].requests
            tokens = now[key.id].all_tokens - before[key.id].all_tokens
            own[at] = (usd / requests, 1e6 * usd / tokens)
    for title, place in (("Cost a request", 0), ("Cost a million tokens", 1)):
        found = shown(day, FILES[0], title)
        assert {at: found[at] for at in own} == approx({at: one[place] for at, one in own.items()})
    over_time = shown(day, FILES[0], "Cost by model over time")
    assert over_time == approx(shown(day, FILES[0], "Cost by model"))


def test_what_the_cache_saved_follows_from_the_relays_tokens(day: DemoDay) -> None:
    read, fresh, written = (
        grown(day, 4, figure)
        for figure in (
            lambda usage: usage.cache_read_tokens,
            lambda usage: usage.input_tokens,
            lambda usage: usage.cache_create_tokens,
        )
    )
    share = (0.9 * read - 0.25 * written) / (read + fresh + written)
    assert shown(day, FILES[0], "Cache hit share", "B") == approx({(): share})
    hour = (
        grown(day, 60, lambda usage: usage.cache_read_tokens),
        grown(day, 60, lambda usage: usage.cache_create_tokens),
    )
    # of the minute between its two names nobody has seen the growth of one key
    saved = shown(day, FILES[0], "Saved by the cache", __range="1h", input_price="5")
    assert saved[()] == pytest.approx((0.9 * hour[0] - 0.25 * hour[1]) * 5 / 1e6, rel=0.02)


def test_when_a_window_will_be_exhausted_follows_from_the_last_hour(day: DemoDay) -> None:
    own = {}
    for account in day.claude.accounts:
        if account.quota is None or not account.quota.watched:
            continue
        history = [day.ago(minutes).percent[account.id] for minutes in range(60, -1, -1)]
        grew = sum(late - early if late >= early else late for early, late in pairwise(history))
        at = END + (100 - history[-1]) / (grew / 3600) if grew else math.inf
        if at < account.quota.five_hour_resets_at:
            own[account.platform, account.id, account.name, "claude"] = at * 1000
    assert own
    assert column(day, "Accounts", "5 hours exhausted") == pytest.approx(own, rel=1e-9)


def test_the_relay_itself_is_as_it_says(day: DemoDay) -> None:
    assert shown(day, FILES[0], "Release") == {("claude", day.claude.release): 1}
    assert shown(day, FILES[0], "Redis") == {("claude",): 1}
    [latency] = shown(day, FILES[0], "Latency of its Redis").values()
    assert 0 < latency < 1
    assert shown(day, FILES[0], "Longest unused") == pytest.approx(
        {
            (key.id, key.name, "claude"): END - key.last_used_at
            for key in day.claude.keys
            if key.last_used_at is not None
        },
        abs=1,
    )


def test_who_is_shown_over_time_is_chosen_once_for_all_of_it(day: DemoDay) -> None:
    keys = {(key.id,) for key in day.claude.keys}
    limits = {"top_weekly": "weekly_opus_cost_limit", "top_total": "total_cost_limit"}
    limits["top_window"] = "rate_limit_cost"
    chosen = {
        one["name"]: set(answers(day, filled_in(variable_query(one))))
        for file in FILES
        for one in variables(file)
        if one["name"].startswith("top_")
    }
    assert chosen["top_spenders"] == chosen["top_users"] == keys
    for name, limit in limits.items():
        own = {(key.id,) for key in day.claude.keys if getattr(key.limits, limit)}
        assert chosen[name] == own
    assert chosen["top_accounts"] == {(one,) for one in day.ago(0).percent}
    # one run had room for two names; the third key's minutes are under its id all the same
    assert chosen["top_keys"] == {(key.id,) for key in day.usage.keys}


def test_limits_are_the_relays_own_and_a_limit_of_none_has_no_share(day: DemoDay) -> None:
    limited = [key for key in day.claude.keys if key.limits.daily_cost_limit]
    assert 0 < len(limited) < len(day.claude.keys)
    spent = today(day)
    assert shown(day, FILES[0], "Daily limit used") == approx(
        {
            (key.id, key.name, "claude"): spent[key.id].rated_usd / key.limits.daily_cost_limit
            for key in limited
        }
    )
    assert column(day, "What remains", "Day left") == approx(
        {
            (key.id, key.name, "claude"): key.limits.daily_cost_limit - spent[key.id].rated_usd
            for key in limited
        }
    )
    assert column(day, "What remains", "Total left") == approx(
        {
            (key.id, key.name, "claude"): key.limits.total_cost_limit - key.usage_in().rated_usd
            for key in day.claude.keys
            if key.limits.total_cost_limit
        }
    )


def test_when_a_limit_will_be_reached_follows_from_the_last_hour(day: DemoDay) -> None:
    [alpha] = [key for key in day.claude.keys if key.name == "team-alpha"]
    before, now = day.ago(60).keys[alpha.id], day.ago(0).keys[alpha.id]
    an_hour = now.rated_usd - before.rated_usd
    left = alpha.limits.daily_cost_limit - today(day)[alpha.id].rated_usd
    reached = column(day, "When limits will be reached", "Daily limit reached")
    instant = reached[alpha.id, alpha.name, "claude"] / 1000
    assert instant == pytest.approx(END + 3600 * left / an_hour, abs=1)
    midnight = column(day, "When limits will be reached", "Day starts over")
    assert midnight[alpha.id, alpha.name, "claude"] == (END + 12 * 3600) * 1000
    assert instant < END + 12 * 3600
    expires = column(day, "When limits will be reached", "Key expires")
    assert expires == approx(
        {
            (key.id, key.name, "claude"): key.expires_at * 1000
            for key in day.claude.keys
            if key.expires_at is not None
        }
    )


def test_accounts_are_the_relays_own(day: DemoDay) -> None:
    accounts = {(one.platform, one.id, one.name, "claude"): one for one in day.claude.accounts}
    up = column(day, "Accounts", "Up")
    assert up.keys() == accounts.keys()
    schedulable = column(day, "Accounts", "Schedulable")
    assert schedulable == {labels: float(one.schedulable) for labels, one in accounts.items()}
    limited = column(day, "Accounts", "Rate-limited for")
    assert {labels[0]: seconds for labels, seconds in limited.items()} == {"gemini": LIMITED_FOR_S}
    looked_at = {
        labels: one.quota.five_hour_percent
        for labels, one in accounts.items()
        if one.quota is not None and one.quota.watched
    }
    assert column(day, "Accounts", "5 hours used") == approx(looked_at)
    assert shown(day, FILES[0], "5-hour limit used") == approx(looked_at)
    out = column(day, "Out of service now", "Rate-limited: back in")
    assert out == limited
    paused = column(day, "Out of service now", "Schedulable")
    assert set(paused) == {labels for labels, one in accounts.items() if not one.schedulable}
    assert shown(day, FILES[0], "Keys by state")[("active",)] == len(day.claude.keys)


# -- Wyolet Relay


def spent(
    day: DemoDay, minutes: int, of: Callable[[Any], str], until: float = END
) -> dict[str, float]:
    """USD of the requests that began in so many minutes before an instant, by something of each."""
    usd: dict[str, float] = {}
    for one in day.usage.events():
        if until - 60 * minutes <= one.ts < until and one.cost_nanos:
            usd[of(one)] = usd.get(of(one), 0) + one.cost_nanos / 1e9
    return usd


def named_(labels: tuple[str, ...], day: DemoDay) -> str:
    """The name of a key of the Wyolet Relay among some labels."""
    [name] = [key.name for key in day.usage.keys if key.name in labels]
    return name


def test_cost_by_model_key_and_team_is_the_relays_own(day: DemoDay) -> None:
    file = FILES[1]
    named = {key.hash: key for key in day.usage.keys}
    # the minute that the range begins with is not in it
    minutes = 24 * 60 - 1
    total = spent(day, minutes, lambda _: "")
    assert shown(day, file, "Cost") == approx({(): total[""]})
    hour = spent(day, 60, lambda one: one.model, until=END - 60)
    assert shown(day, file, "Cost by model") == approx({(name,): usd for name, usd in hour.items()})
    keys = spent(day, minutes, lambda one: one.relay_key_hash)
    found = shown(day, file, "Cost by key")
    assert {named_(labels, day): usd for labels, usd in found.items()} == approx(
        {named[hash_].name: usd for hash_, usd in keys.items() if hash_ in named}
    )
    teams = spent(
        day,
        minutes,
        lambda one: named[one.relay_key_hash].labels.get("team", "") if one.relay_key_hash else "-",
    )
    assert shown(day, file, "Cost by label") == approx(
        {
            ("wyolet", team) if team else ("wyolet",): usd
            for team, usd in teams.items()
            if team != "-"
        }
    )


def test_figures_of_an_hour_are_made_of_its_requests(day: DemoDay) -> None:
    file = FILES[1]
    until = END - 60
    events = [one for one in day.usage.events() if until - 3600 <= one.ts < until]
    usd = sum(one.cost_nanos or 0 for one in events) / 1e9
    assert shown(day, file, "Cost of an hour") == approx({(): usd})
    kinds = {"A": "input", "B": "output", "C": "cache_creation", "D": "cache_read"}
    tokens = {
        letter: sum(one.tokens.get(kind, 0) for one in events) for letter, kind in kinds.items()
    }
    for letter, count in tokens.items():
        assert shown(day, file, "Tokens by kind", letter) == approx({(): count / 60})
    share = tokens["D"] / (tokens["A"] + tokens["C"] + tokens["D"])
    assert shown(day, file, "Cache hit share") == approx({(): share})
    requests: Answers = {}
    costs: Answers = {}
    used: Answers = {}
    unpriced: Answers = {}
    for one in events:
        requests[one.model,] = requests.get((one.model,), 0) + 1
        costs[one.model,] = costs.get((one.model,), 0) + (one.cost_nanos or 0) / 1e9
        used[one.model,] = used.get((one.model,), 0) + sum(
            one.tokens.get(kind, 0) for kind in kinds.values()
        )
        lacks = one.cost_nanos is None and not one.failed
        unpriced[one.model, "wyolet"] = unpriced.get((one.model, "wyolet"), 0) + lacks
    assert shown(day, file, "Cost a request") == approx(
        {model: costs[model] / requests[model] for model in requests}
    )
    assert shown(day, file, "Cost a million tokens") == approx(
        {model: 1e6 * costs[model] / used[model] for model in used}
    )
    assert shown(day, file, "Requests without a price") == unpriced
    names = {key.hash: key for key in day.usage.keys}
    of_keys = spent(day, 60, lambda one: one.relay_key_hash, until)
    found = shown(day, file, "Cost by key over time")
    assert {named_(labels, day): usd for labels, usd in found.items()} == approx(
        {names[one].name: usd for one, usd in of_keys.items() if one in names}
    )
    teams: dict[tuple[str, ...], float] = {}
    for key_hash, cost in of_keys.items():
        if key_hash in names:
            team = names[key_hash].labels.get("team")
            at = ("wyolet", team) if team else ("wyolet",)
            teams[at] = teams.get(at, 0) + cost
    assert shown(day, file, "Cost by label over time") == approx(teams)


def test_requests_of_the_time_shown_are_counted(day: DemoDay) -> None:
    events = [one for one in day.usage.events() if END - 86_400 + 60 <= one.ts < END]
    assert shown(day, FILES[1], "Requests") == {(): len(events)}
    unpriced = [one for one in events if one.cost_nanos is None and not one.failed]
    assert shown(day, FILES[1], "Without a price") == {(): len(unpriced)}


def test_a_day_of_a_viewers_calendar_has_the_cost_of_its_minutes(day: DemoDay) -> None:
    [panel] = [one for one in panels(FILES[1]) if one["title"] == "Cost by model by day"]
    found = by_midnight(day, filled_in(panel["targets"][0]["expr"]))
    midnight = END - END % 86_400  # of the day that is not over, only four hours are there
    own = spent(day, round((END - midnight) / 60), lambda one: one.model)
    today = {one["metric"]["model"]: float(one["values"][-1][1]) for one in found}
    assert today == approx(own)
    assert {one["values"][-1][0] for one in found} == {midnight}


def test_a_provider_key_that_is_down_is_shown(day: DemoDay) -> None:
    up = column(day, "Provider keys now", "In use", FILES[1])
    down, other = (key.name for key in day.usage.host_keys)
    assert {labels[1]: value for labels, value in up.items()} == {down: 0, other: 1}
    waits = column(day, "Provider keys now", "Tried again in", FILES[1])
    assert {labels[1]: value for labels, value in waits.items()} == {down: 600}


def test_traffic_and_errors_are_the_relays_own(day: DemoDay) -> None:
    file = FILES[1]
    five, hour, now = (day.ago(minutes).requests for minutes in (5, 60, 0))
    a_second = (sum(now.values()) - sum(five.values())) / 300
    assert shown(day, file, "Requests a second") == approx({(): a_second})
    failed, all_of_them = (
        sum(now[one] - hour.get(one, 0) for one in now if one[1] in statuses)
        for statuses in (("5xx",), ("2xx", "4xx", "5xx"))
    )
    assert shown(day, file, "Server errors") == approx({(): failed / all_of_them})


def test_the_overhead_is_held_against_its_promise(day: DemoDay) -> None:
    histogram = Histogram(OVERHEAD_BOUNDS)
    before, now = day.ago(60).overhead, day.ago(0).overhead
    histogram.counts = [late - early for early, late in zip(before, now, strict=True)]
    assert shown(day, FILES[1], "Overhead, p99") == approx({(): histogram.quantile(0.99)})
    slow = sum(histogram.counts[OVERHEAD_BOUNDS.index(0.01) + 1 :]) / histogram.count
    [panel, _] = [one for one in panels(FILES[1]) if one["title"] == "Slower than 10 ms"]
    assert panel["type"] == "stat"
    assert answers(day, filled_in(panel["targets"][0]["expr"])) == approx({(): slow})


def test_provider_keys_that_went_down_are_the_relays_own(day: DemoDay) -> None:
    found = shown(day, FILES[1], "Provider keys gone down in the last day")
    assert found == {(reason, "wyolet"): n for reason, n in day.ago(0).keys_down.items()}


# -- Collector


def test_the_collectors_health_is_that_of_its_runs(day: DemoDay) -> None:
    file = FILES[2]
    [up, _] = [one for one in panels(file) if one["title"] == "Up"]
    assert up["type"] == "stat"
    assert answers(day, filled_in(up["targets"][0]["expr"])) == {
        ("claude-relay", "claude"): 1,
        ("wyolet-relay", "wyolet"): 1,
    }
    assert shown(day, file, "Since the latest success") == {("claude",): 0, ("wyolet",): 0}
    share = 1 - len(RELAY_FAILS) / MINUTES
    assert shown(day, file, "Up in the last day") == approx({("claude",): share, ("wyolet",): 1})
    assert set(shown(day, file, "Runs").values()) == {60}
    assert shown(day, file, "Keys delivered") == {("claude",): 3}
    assert shown(day, file, "Usage answered") == {("wyolet-relay", "wyolet"): 1}


# -- alerts, and a few of the documents' answers


def firing(day: DemoDay, at: float) -> set[str]:
    return {rule["alert"] for rule in rules() if answers(day, rule["expr"], at)}


def test_those_alerts_fire_that_the_demo_relays_are_in_for(day: DemoDay) -> None:
    assert firing(day, END) >= {
        "AccountRateLimited",
        "KeyDailyCostCritical",
        "KeyWillPassDailyLimit",
    }
    assert not firing(day, END) & {"RelayDown", "RelayAbsent", "RelayStale", "KeyTotalCostHigh"}
    failing = END - 60 * (MINUTES - RELAY_FAILS[-1])
    assert "RelayDown" in firing(day, failing)
    assert firing(day, END + 1200) & {"RelayAbsent", "RelayStale"} == {"RelayAbsent", "RelayStale"}


def test_sql_answers_with_the_relays_own_figures(day: DemoDay) -> None:
    sql = {where.rpartition(": ")[2]: query for where, query in SQL if "queries.md" in where}
    [spent] = rows(day, sql["2. What has each relay spent today?"])
    assert spent["usd"] == approx(sum_of(today(day).values()).rated_usd)
    models = rows(day, sql["3. Which models cost most this month?"])
    costs = [
        sum(
            usage.real_usd
            for key in day.claude.keys
            for name, usage in key.models_in(day.claude.month()).items()
            if name == row["model"]
        )
        for row in models
    ]
    assert [row["usd"] for row in models] == approx(costs)
    assert costs == sorted(costs, reverse=True)
    [limited] = rows(day, sql["9. Which accounts are rate-limited, and for how long?"])
    assert (limited["platform"], limited["seconds_left"]) == ("gemini", LIMITED_FOR_S)
