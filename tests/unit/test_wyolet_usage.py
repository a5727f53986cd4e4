"""A Wyolet Relay's usage, minute by minute: true for late events, rotated keys, old releases."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from local.http_server import Fault, Request, html_page
from local.relay import WyoletRelay, WyoletUsage
from local.relay.wyolet_usage import HostKey, RelayKey, Usage
from relay_metrics.errors import NotDelivered
from relay_metrics.relays.wyolet import usage as module
from relay_metrics.relays.wyolet.usage import SLOW_S
from tests.collecting import Clock, Collector, Run

NOW = datetime(2026, 11, 27, 1, 30, 20, tzinfo=UTC).timestamp()
TOKEN = "adm1n-t0ken"
USAGE = re.compile("relay_usage_by_(?:model|key)_")
Points = dict[tuple[str, str, float], float]
"""Values by metric, the model or the key's id, and the time in epoch seconds."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No relay counts as slow because the machine is busy; undone where slowness is tested."""
    monkeypatch.setattr(module, "SLOW_S", 60.0)
    return monkeypatch


@dataclass
class Place:
    """A relay that lives by a clock, and the collector."""

    clock: Clock
    usage: WyoletUsage
    relay: WyoletRelay
    collector: Collector

    def run(self, seconds: float = 0, event: Mapping[str, Any] | None = None) -> Run:
        """A run so many seconds later."""
        self.clock.now += seconds
        self.usage.asked.clear()
        instant = datetime.fromtimestamp(self.clock.now, UTC).isoformat()
        return self.collector.run(instant, event)

    def expected(self, start: float, end: float, ids: Mapping[str, str] | None = None) -> Points:
        """What the relay itself knows of the minutes from one instant to another."""
        known = {key.hash: key.id for key in self.usage.keys} if ids is None else ids
        sums: Points = {}
        for one in self.usage.events():
            if start <= one.ts < end and one.status:
                minute = one.ts // 60 * 60
                key = known.get(one.relay_key_hash, one.relay_key_hash[:12])
                for of, name in (("model", one.model), ("key", key)):
                    for figure, value in _figures(one).items():
                        at = f"relay_usage_by_{of}_{figure}", name, minute
                        sums[at] = sums.get(at, 0) + value
        return sums


def _figures(one: Usage) -> dict[str, float]:
    return {
        "requests": 1,
        "errors": one.failed,
        "unpriced_requests": one.cost_nanos is None,
        "input_tokens": one.tokens.get("input", 0),
        "output_tokens": one.tokens.get("output", 0),
        "cache_create_tokens": one.tokens.get("cache_creation", 0),
        "cache_read_tokens": one.tokens.get("cache_read", 0),
        "cost_usd": (one.cost_nanos or 0) / 1e9,
    }


@contextmanager
def place(
    environment: Mapping[str, str] | None = None,
    secret: Mapping[str, Any] | None = None,
    **more: Any,
) -> Iterator[Place]:
    clock = Clock(NOW)
    usage = WyoletUsage(clock, **{"token": TOKEN, "past_minutes": 1600, "per_minute": 0.8, **more})
    with WyoletRelay(clock=clock, usage=usage) as relay:
        variables = {
            "RELAY_KIND": "wyolet-relay",
            "RELAY_BASE_URL": relay.url,
            "RELAY_NAME": "edge",
            **(environment or {}),
        }
        given = {"relay_admin_token": TOKEN} if secret is None else secret
        with Collector(variables, given, given) as collector:
            yield Place(clock, usage, relay, collector)


def every(run: Run) -> Iterator[tuple[str, dict[str, str], dict[str, str], Any]]:
    """Each data point that was pushed: metric, resource, attributes, point."""
    for request in run.pushed:
        for of in request.resource_metrics:
            resource = {one.key: one.value.string_value for one in of.resource.attributes}
            for scope in of.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, str(metric.WhichOneof("data")))
                    for point in data.data_points:
                        texts = {one.key: one.value.string_value for one in point.attributes}
                        yield metric.name, resource, texts, point


def number(point: Any) -> float:
    return float(getattr(point, point.WhichOneof("value")))


def usage_of(run: Run) -> Points:
    """The usage that was pushed. No series of it has more than its identity."""
    delivered: Points = {}
    for name, resource, attributes, point in every(run):
        if USAGE.match(name):
            identity = dict(resource)
            key = identity.pop("relay.key.id", "")
            assert identity == {"relay.name": "edge", "relay.kind": "wyolet-relay"}
            assert attributes.keys() <= {"model"}
            at = name, attributes.get("model", key), point.time_unix_nano / 1e9
            assert at not in delivered
            delivered[at] = number(point)
    return delivered


def values(run: Run, metric: str) -> dict[str, float]:
    """The values of a metric by the id that its points, or their resource, have."""
    return {
        attributes.get("relay.host_key.id") or resource.get("relay.key.id", ""): number(point)
        for name, resource, attributes, point in every(run)
        if name == metric
    }


def failures(run: Run) -> dict[tuple[str, str], float]:
    return {
        (attributes["endpoint"], attributes["error.type"]): number(point)
        for name, _, attributes, point in every(run)
        if name == "relay_scrape_errors"
    }


def windows(at: Place) -> list[tuple[str, str]]:
    """What was asked of the usage by model, from when to when."""
    return [
        (query["from"], query["to"])
        for path, query in at.usage.asked
        if path == "usage/timeseries" and query["group_by"] == "model"
    ]


MINUTE = NOW // 60 * 60
HOUR = MINUTE - 3600, MINUTE
DAY_BEFORE = NOW // 86400 * 86400 - 86400, NOW // 86400 * 86400


# -- which minutes are delivered


def test_each_minute_has_the_relay_s_own_figures_and_its_own_time() -> None:
    with place() as at:
        run = at.run()
        assert at.expected(*HOUR)
        expected = at.expected(*DAY_BEFORE) | at.expected(*HOUR)
        assert usage_of(run) == pytest.approx(expected, rel=1e-12)
        assert values(run, "relay_usage_up") == {"": 1}
        assert failures(run) == {}
        (relay,), (destination,) = run.report["relays"], run.report["destinations"]
        assert (relay["up"], relay["error"], destination["error"]) == (True, None, None)
        assert relay["samples"] == destination["pushed"] == len(list(every(run)))


def test_a_warm_environment_delivers_the_five_minutes_that_were_over_last() -> None:
    with place() as at:
        at.run()
        run = at.run(60)
        end = MINUTE + 60
        assert usage_of(run) == pytest.approx(at.expected(end - 300, end), rel=1e-12)
        assert windows(at) == [("2026-11-27T01:26:00Z", "2026-11-27T01:31:00Z")]


def test_all_of_the_lookback_comes_again_after_ten_minutes_and_the_day_before_once_a_day() -> None:
    with place({"RELAY_USAGE_LOOKBACK_MINUTES": "30"}) as at:
        at.run()
        assert sorted(windows(at)) == [
            ("2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z"),
            ("2026-11-27T01:00:00Z", "2026-11-27T01:30:00Z"),
        ]
        at.run(600)
        assert windows(at) == [("2026-11-27T01:10:00Z", "2026-11-27T01:40:00Z")]
        at.run(86_400 - 3600 - 600)
        assert sorted(windows(at)) == [
            ("2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"),
            ("2026-11-28T00:00:00Z", "2026-11-28T00:30:00Z"),
        ]


def test_a_late_event_changes_its_own_minute() -> None:
    with place() as at:
        at.run()
        event = at.usage.late(MINUTE - 1800 + 7.5, relay_key_hash=at.usage.keys[0].hash)
        run = at.run(600)
        minute = event.ts // 60 * 60
        expected = at.expected(minute, minute + 60)
        delivered = {key: value for key, value in usage_of(run).items() if key[2] == minute}
        assert delivered == pytest.approx(expected, rel=1e-12)


def test_an_edge_is_counted_once() -> None:
    with place(per_minute=0) as at:
        at.usage.late(MINUTE)  # of a minute that is not over
        at.usage.late(MINUTE - 300)
        at.usage.late(MINUTE - 60 - 1e-3)
        requests = {
            time: value
            for (name, _, time), value in usage_of(at.run()).items()
            if name == "relay_usage_by_model_requests"
        }
        assert requests == {MINUTE - 300: 1, MINUTE - 120: 1}


def test_a_slow_relay_is_asked_with_the_longer_wait_alone(
    patience: pytest.MonkeyPatch,
) -> None:
    with place(past_minutes=10) as at:
        at.usage.delay_s = SLOW_S + 0.05
        with patience.context() as impatient:
            impatient.setattr(module, "SLOW_S", SLOW_S)
            at.run()
        at.usage.delay_s = 0
        run = at.run(60)
        assert windows(at) == []
        assert values(run, "relay_usage_up") == {}
        at.run(540)
        assert len(windows(at)) == 1
        at.run(60)
        assert len(windows(at)) == 1


def test_minutes_are_pushed_though_the_run_can_never_be() -> None:
    """A table `relay_up` that something else made keeps the run out, and nothing but the run."""

    def refuse(request: Request) -> Fault | None:
        foreign = b"relay_up" in gzip.decompress(request.body)
        return Fault(status=400, body=b'{"error":"foreign"}') if foreign else None

    with place() as at:
        at.collector.destination.fault = refuse
        with pytest.raises(NotDelivered, match="relay edge are lost"):
            at.run()  # for there is no spool
        delivered = usage_of(Run({}, at.collector.pushed))
        assert delivered
        assert delivered.keys() <= at.expected(NOW - 86_400 * 3, NOW).keys()


def test_what_a_destination_did_not_take_is_asked_again() -> None:
    with place() as at:
        # the run's own snapshot is pushed first
        answers = iter([None])
        at.collector.destination.fault = lambda _: next(answers, Fault(status=404))
        report = at.run().report
        missing = "from 2026-11-26T00:0.* to 2026-11-27T01:2.* are missing"
        assert re.search(f"figures of relay edge {missing}", report["destinations"][0]["error"])
        at.collector.destination.fault = None
        run = at.run(60)
        end = MINUTE + 60
        assert usage_of(run) == pytest.approx(at.expected(end - 3600, end), rel=1e-12)


def test_a_dry_run_and_a_check_do_not_count_as_delivered() -> None:
    with place() as at:
        at.run(event={"action": "dry-run"})
        assert len(windows(at)) == 2
        at.run(event={"action": "check"})
        assert len(windows(at)) == 1
        at.run()
        assert ("2026-11-27T00:30:00Z", "2026-11-27T01:30:00Z") in windows(at)


# -- what is asked


def test_only_gets_of_the_known_paths_have_the_token() -> None:
    with place() as at:
        asked: list[Request] = []
        at.relay.server.fault = asked.append
        at.run()
        with_token = {one.path for one in asked if "authorization" in one.headers}
        assert {one.method for one in asked} == {"GET"}
        assert with_token == {
            "/api/usage/timeseries",
            "/api/relay-keys",
            "/api/host-keys",
            "/api/host-keys/by-id/hk-anthropic/health",
            "/api/host-keys/by-id/hk-openai/health",
        }
        assert {one.path for one in asked} - with_token == {"/metrics"}


def test_without_a_token_nothing_changes() -> None:
    with place(secret={}) as at:
        run = at.run()
        assert at.usage.asked == []
        assert not [one for one, *_ in every(run) if re.match("relay_(usage|host_key|key)_", one)]


def test_usage_behind_a_proxy_that_adds_the_token() -> None:
    with place(token=None) as at:
        listed = {"name": "edge", "kind": "wyolet-relay", "base_url": at.relay.url, "usage": True}
        secret = {"relays": [listed]}
        with Collector({}, secret, secret) as collector:
            run = collector.run("2026-11-27T01:30:20Z")
        assert values(run, "relay_usage_up") == {"": 1}


def test_a_token_that_was_changed_costs_nothing() -> None:
    with (
        place(token="the-token-now") as at,
        Collector(
            {"RELAY_KIND": "wyolet-relay", "RELAY_BASE_URL": at.relay.url, "RELAY_NAME": "edge"},
            {"relay_admin_token": "the-token-before"},
            {"relay_admin_token": "the-token-now"},
        ) as collector,
    ):
        run = collector.run("2026-11-27T01:30:20Z")
        assert values(run, "relay_usage_up") == {"": 1}
        assert failures(run) == {}


# -- what goes wrong


@pytest.mark.parametrize(
    ("fault", "type"),
    [
        (html_page(), "not_json"),
        (html_page(404), "404"),
        (Fault(status=401), "401"),
        (Fault(status=400), "400"),
        (Fault(body=b"[]"), "not_json"),
        (Fault(body=b'{"rows": 1, "interval": "1m0s"}'), "incomplete"),
        (Fault(body=b'{"rows": [], "interval": "1h0m0s"}'), "incomplete"),
    ],
)
def test_an_answer_of_no_use(fault: Fault, type: str) -> None:
    with place() as at:
        at.relay.server.fault = lambda one: fault if "timeseries" in one.path else None
        run = at.run()
        assert usage_of(run) == {}
        assert values(run, "relay_usage_up") == {"": 0}
        assert values(run, "relay_up") == {"": 1}
        assert failures(run) == {("api/usage/timeseries", type): 4}
        at.relay.server.fault = None
        assert usage_of(at.run(60))


def test_a_backend_that_fails_for_a_moment_is_asked_once_more() -> None:
    with place() as at:
        refused: list[str] = []

        def fault(one: Any) -> Fault | None:
            if "timeseries" in one.path and one.query["group_by"] not in refused:
                refused.append(one.query["group_by"])
                return Fault(status=400)
            return None

        at.run()
        at.relay.server.fault = fault
        run = at.run(60)
        assert sorted(refused) == ["model", "relay_key_hash"]
        assert failures(run) == {}
        models = {name for metric, name, _ in usage_of(run) if "by_model" in metric}
        assert not any(name.startswith("mod-") for name in models)


def test_a_backend_that_refuses_the_names_and_then_fails_is_a_failure() -> None:
    with place() as at:
        at.run()
        status = iter([400, 500])

        def fault(one: Any) -> Fault | None:
            names = "timeseries" in one.path and one.query["group_by"] == "model"
            return Fault(status=next(status)) if names else None

        at.relay.server.fault = fault
        run = at.run(60)
        assert failures(run) == {("api/usage/timeseries", "500"): 1}
        assert not [metric for metric, *_ in usage_of(run) if "by_model" in metric]


def test_what_a_minute_does_not_have_is_missing_and_not_0() -> None:
    with place(per_minute=0) as at:
        minute = datetime.fromtimestamp(NOW // 60 * 60 - 120, UTC).isoformat()
        rows = [{"group": {"model": "m"}, "points": [{"bucket": minute}]}]
        at.relay.server.fault = lambda one: (
            Fault(body=json.dumps({"rows": rows, "interval": "1m0s"}).encode())
            if "timeseries" in one.path and one.query["group_by"] == "model"
            else None
        )
        run = at.run()
        assert usage_of(run) == {}
        assert {type for _, type in failures(run)} == {"missing_field"}


def test_families_beyond_the_bound_are_counted_and_the_rest_is_delivered() -> None:
    with place({"RELAY_MAX_FAMILIES": "3"}, per_minute=0) as at:
        run = at.run()
        assert failures(run).keys() == {("metrics", "too_many_families")}
        assert values(run, "relay_up") == {"": 1}


def test_a_release_before_0_3_has_models_by_their_ids_and_no_cost() -> None:
    with place() as at:
        at.usage.before_0_3 = True
        delivered = usage_of(at.run())
        models = {name for metric, name, _ in delivered if "by_model" in metric}
        assert models == {"mod-claude-sonnet-4-5", "mod-claude-haiku-4-5", "mod-gpt-5"}
        assert not [metric for metric, *_ in delivered if "cost" in metric or "unpriced" in metric]
        at.usage.asked.clear()
        at.run(60)
        groups = [query["group_by"] for path, query in at.usage.asked if "timeseries" in path]
        assert sorted(groups) == ["model_id", "relay_key_hash"]


def test_an_answer_that_is_too_large_is_asked_for_in_halves() -> None:
    with place({"RELAY_MAX_RESPONSE_BYTES": "200000"}) as at:
        run = at.run()
        expected = at.expected(*DAY_BEFORE) | at.expected(*HOUR)
        assert usage_of(run) == pytest.approx(expected, rel=1e-12)
        assert len(windows(at)) > 3


def test_values_that_cannot_be_had_are_counted_and_left_out() -> None:
    bucket = {
        "bucket": "2026-11-27T01:29:00Z",
        "requests": "7",
        "error_count": None,
        "tokens": None,
    }
    rows = [
        {"group": {"model": "m"}, "points": [bucket, {**bucket, "bucket": "yesterday"}, 5]},
        {"group": {"host": "m"}, "points": [bucket]},
        {"points": [bucket]},
    ]
    body = json.dumps({"rows": rows, "interval": "1m0s"}).encode()
    with place(per_minute=0) as at:
        at.run()
        at.relay.server.fault = lambda one: (
            Fault(body=body) if one.query.get("group_by") == "model" else None
        )
        run = at.run(60)
        delivered = {metric.removeprefix("relay_usage_by_model_"): value
                for (metric, _, _), value in usage_of(run).items()}  # fmt: skip
        tokens = ("input_tokens", "output_tokens", "cache_create_tokens", "cache_read_tokens")
        assert delivered == {"requests": 7, **dict.fromkeys(tokens, 0)}
        assert failures(run) == {
            ("api/usage/timeseries", "invalid_row"): 4,
            ("api/usage/timeseries", "missing_field"): 2,
            ("api/usage/timeseries", "null"): 1,
        }


# -- keys


def test_names_owners_states_and_chosen_labels_come_beside() -> None:
    with place({"RELAY_KEY_LABELS": "team,nothing"}) as at:
        at.usage.keys[1].enabled = False
        at.usage.keys[2].revoked_at = "2026-11-01T00:00:00Z"
        run = at.run()
        delivered = {
            resource["relay.key.id"]: (resource["relay.key.name"], attributes)
            for name, resource, attributes, _ in every(run)
            if name == "relay_key_info"
        }
        assert delivered == {
            "rk-1": (
                "checkout",
                {"team": "payments", "relay.key.state": "active", "relay.key.owner": "ada"},
            ),
            "rk-2": (
                "search",
                {"team": "discovery", "relay.key.state": "disabled", "relay.key.owner": "grace"},
            ),
            "rk-3": ("sandbox", {"relay.key.state": "revoked"}),
        }


def test_the_list_of_keys_is_kept_and_read_anew_for_a_hash_that_is_not_in_it() -> None:
    with place() as at:
        at.run()
        at.run(60)
        assert "relay-keys" not in [path for path, _ in at.usage.asked]
        fresh = RelayKey("rk-4", "fresh")
        at.usage.keys.append(fresh)
        at.usage.late(at.clock.now, relay_key_hash=fresh.hash)
        run = at.run(60)
        assert [path for path, _ in at.usage.asked].count("relay-keys") == 1
        assert values(run, "relay_usage_by_key_requests")["rk-4"] == 1
        assert "rk-4" in values(run, "relay_key_info")


def test_a_rotated_key_keeps_its_series_while_the_environment_is_warm() -> None:
    with place(per_minute=0) as at:
        key = at.usage.keys[0]
        at.usage.late(MINUTE - 100, relay_key_hash=key.hash)
        at.run()
        former = at.usage.rotate(key)
        at.usage.late(MINUTE - 90, relay_key_hash=former)
        at.usage.late(MINUTE - 80, relay_key_hash=key.hash)
        run = at.run(60)
        assert values(run, "relay_usage_by_key_requests") == {key.id: 3}
        assert failures(run) == {}


def test_what_a_key_is_known_by_does_not_depend_on_how_many_are_named() -> None:
    with place({"RELAY_MAX_KEYS": "1"}, per_minute=0) as at:
        for key in at.usage.keys:
            at.usage.late(MINUTE - 100, relay_key_hash=key.hash)
        run = at.run()
        assert values(run, "relay_usage_by_key_requests") == {key.id: 1 for key in at.usage.keys}
        assert values(run, "relay_key_info").keys() == {at.usage.keys[0].id}
        assert values(run, "relay_keys_left_out") == {"": len(at.usage.keys) - 1}


def test_a_hash_of_nobody_is_named_by_its_first_digits_and_counted() -> None:
    with place(per_minute=0) as at:
        former = at.usage.rotate(at.usage.keys[0])
        at.usage.late(MINUTE - 90, relay_key_hash=former)
        at.usage.late(MINUTE - 80)
        run = at.run()
        assert values(run, "relay_usage_by_key_requests") == {former[:12]: 1, "": 1}
        assert failures(run) == {("api/relay-keys", "unknown_key"): 1}
        at.run(60)  # it is known by now that it is nobody's
        assert "relay-keys" not in [path for path, _ in at.usage.asked]


def test_while_no_list_of_keys_is_known_no_usage_comes_under_a_wrong_name() -> None:
    with place() as at:
        at.relay.server.fault = lambda one: Fault(status=503) if "relay-keys" in one.path else None
        run = at.run()
        assert {name for metric, name, _ in usage_of(run) if "by_key" in metric} == {""}
        assert values(run, "relay_usage_up") == {"": 0}
        at.relay.server.fault = None
        assert usage_of(at.run(60)) == pytest.approx(
            at.expected(MINUTE - 3540, MINUTE + 60), rel=1e-12
        )


# -- upstream keys


def test_upstream_keys_that_are_down_now() -> None:
    with place() as at:
        at.usage.cool_down(at.usage.host_keys[1], 90)
        at.usage.host_keys.append(HostKey("hk-new", "new", "unknown"))
        run = at.run()
        assert values(run, "relay_host_key_up") == {"hk-anthropic": 1, "hk-openai": 0}
        assert values(run, "relay_host_key_cooldown_seconds_remaining") == {
            "hk-anthropic": 0,
            "hk-openai": 90,
        }
        assert failures(run) == {}
        at.usage.asked.clear()
        run = at.run(120)
        assert "host-keys" not in [path for path, _ in at.usage.asked]
        assert values(run, "relay_host_key_up") == {"hk-anthropic": 1, "hk-openai": 0}


def test_a_health_of_no_known_state_is_left_out() -> None:
    with place() as at:
        at.relay.server.fault = lambda one: (
            Fault(body=b'{"state": "burning"}') if "openai" in one.path else None
        )
        run = at.run()
        assert values(run, "relay_host_key_up") == {"hk-anthropic": 1}
        assert failures(run) == {("api/host-keys/health", "invalid_value"): 1}


@pytest.mark.parametrize(
    ("path", "body", "type"),
    [
        ("/api/relay-keys", {"items": 5}, "incomplete"),
        ("/api/relay-keys", {"items": [5, {"metadata": {"id": "rk"}}]}, "invalid_row"),
        ("/api/host-keys", {}, "incomplete"),
        ("/api/host-keys", {"items": [5, {"metadata": {"name": "no id"}}]}, "invalid_row"),
        ("/api/host-keys/by-id/hk-openai/health", {}, "missing_field"),
        (
            "/api/host-keys/by-id/hk-openai/health",
            {"state": "open", "cooldown_remaining_seconds": "soon"},
            "invalid_value",
        ),
    ],
)
def test_what_lists_and_healths_do_not_say_is_counted(path: str, body: object, type: str) -> None:
    with place(per_minute=0) as at:
        at.relay.server.fault = lambda one: (
            Fault(body=json.dumps(body).encode()) if one.path == path else None
        )
        run = at.run()
    endpoint = path.removeprefix("/").replace("by-id/hk-openai/", "")
    count = 2 if type == "invalid_row" else 1
    assert failures(run) == {(endpoint, type): count}
    assert values(run, "relay_up") == {"": 1}


# -- a check


def test_a_check_says_what_is_wrong_with_the_backend(patience: pytest.MonkeyPatch) -> None:
    with place() as at:
        findings = at.run(event={"action": "check"}).report["findings"]
        assert [one["message"] for one in findings if "usage" in one["message"]] == []
        at.usage.pods = 2
        at.usage.delay_s = SLOW_S + 0.05
        patience.setattr(module, "SLOW_S", SLOW_S)
        findings = at.run(event={"action": "check"}).report["findings"]
        said = [one["message"] for one in findings if one["target"] == "relay edge"]
        assert said[1:] == [
            "its usage takes more than a second to answer, and is asked for every ten minutes",
            "it answers one question about its usage in different ways",
        ]


# -- a back-fill

BACKFILL = {"action": "backfill", "from": "2026-11-25", "to": "2026-11-26"}


def test_a_back_fill_delivers_the_rows_that_came_live() -> None:
    with place(past_minutes=3200) as at:
        live = at.run()
        run = at.run(event=BACKFILL)
        start = DAY_BEFORE[0] - 86_400
        assert usage_of(run) == pytest.approx(at.expected(start, DAY_BEFORE[1]), rel=1e-12)
        day_before = {key: value for key, value in usage_of(live).items() if key[2] < DAY_BEFORE[1]}
        assert day_before.items() <= usage_of(run).items()
        assert len(usage_of(run)) == run.report["relays"][0]["samples"] == len(list(every(run)))
        assert run.report["next"] is None


@pytest.mark.parametrize("before_0_3", [False, True])
def test_a_dry_run_of_a_back_fill_says_how_much_there_is_at_most(before_0_3: bool) -> None:
    with place(past_minutes=3200) as at:
        at.usage.before_0_3 = before_0_3
        [plan] = at.run(event={**BACKFILL, "dry_run": True}).report["relays"]
        asked = len(at.usage.asked)
        [delivered] = at.run(event=BACKFILL).report["relays"]
    assert (plan["from"], plan["to"], plan["error"]) == ("2026-11-25", "2026-11-26", None)
    assert plan["requests"] == {"api/usage/timeseries": 4, "api/relay-keys": 1}
    assert delivered["samples"] <= plan["samples"] < 1.5 * delivered["samples"]
    assert asked == (6 if before_0_3 else 2)


def test_without_dates_a_back_fill_is_of_the_day_before_and_the_31_days_before_that() -> None:
    with place(per_minute=0) as at:
        event = {"action": "backfill", "dry_run": True}
        [plan] = at.run(event=event).report["relays"]
    assert (plan["from"], plan["to"]) == ("2026-10-26", "2026-11-26")


def test_a_dry_run_that_the_relay_does_not_answer_says_so() -> None:
    with place(past_minutes=3200) as at:
        at.usage.backend_down = True
        run = at.run(event={**BACKFILL, "dry_run": True})
    [plan] = run.report["relays"]
    assert (plan["up"], plan["samples"], plan["from"]) == (False, 0, None)
    assert "api/usage/timeseries: answered 400" in plan["error"]


def test_a_back_fill_without_the_list_of_keys_delivers_nothing_and_goes_on_there() -> None:
    with place(past_minutes=3200) as at:
        at.relay.server.fault = lambda one: (
            Fault(status=500) if one.path == "/api/relay-keys" else None
        )
        run = at.run(event=BACKFILL)
    assert usage_of(run) == {}
    assert "api/relay-keys: answered 500" in run.report["relays"][0]["error"]
    assert run.report["next"] == {**BACKFILL, "relays": ["edge"]}


def test_a_back_fill_without_a_token_declines() -> None:
    with place(secret={}) as at:
        run = at.run(event=BACKFILL)
    assert "needs an admin_token" in run.report["relays"][0]["error"]
    assert run.report["next"] is None


def test_a_back_fill_leaves_out_and_counts_a_hash_of_nobody() -> None:
    with place(per_minute=0) as at:
        former = at.usage.rotate(at.usage.keys[0])
        at.usage.late(DAY_BEFORE[0] + 60, relay_key_hash=former)
        run = at.run(event=BACKFILL)
        assert values(run, "relay_usage_by_key_requests") == {}
        assert len([key for key in usage_of(run) if "by_model_requests" in key[0]]) == 1


def test_a_back_fill_that_the_relay_does_not_answer_goes_on_where_it_failed() -> None:
    with place(past_minutes=3200) as at:
        at.usage.backend_down = True
        run = at.run(event=BACKFILL)
        assert usage_of(run) == {}
        assert run.report["next"]["from"] == "2026-11-25"
