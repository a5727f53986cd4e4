"""Reading a relay whole by an administrator's login: its keys, whatever happens to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from local.http_server import Fault, Request, Response
from local.relay import Account, ClaudeRelay, Key, Limits
from local.relay.demo import ADMIN, demo_accounts, demo_keys, many_keys
from relay_metrics.relays.claude import discovery as claude_discovery
from relay_metrics.relays.claude import whole as claude_whole
from relay_metrics.relays.claude.keys import instance_id
from relay_metrics.relays.claude.record import REQUESTS
from relay_metrics.relays.claude.record import STATS as STATS_ROWS
from relay_metrics.relays.claude.stats import WINDOW_LEFT
from relay_metrics.relays.client import RelayClient
from relay_metrics.snapshot import Number, Reading, Scope
from tests.collecting import LOGIN, Clock
from tests.unit.claude import BATCH, MODELS, NOW, STATS, Asker, Run, used

DAY_S = 86_400
KEYS = "/admin/api-keys"
USAGE = "/admin/usage-stats"
WEEKLY = "limits.weeklyOpusCost"


def unused_key() -> Key:
    return Key("unused", limits=Limits(daily_cost_limit=5, rate_limit_window=60), models=())


@contextmanager
def a_relay(*keys: Key, **more: Any) -> Iterator[ClaudeRelay]:
    more = {"admin": ADMIN, "clock": Clock(NOW), **more}
    with ClaudeRelay(keys or [*demo_keys(NOW), unused_key()], **more) as relay:
        for _ in range(3):
            relay.tick()
        yield relay


def answering(path: str, data: object) -> Callable[[Request], Fault | None]:
    """A fault that has other data answered to the paths that end so."""
    body = json.dumps({"success": True, "data": data}).encode()
    return lambda request: Fault(body=body) if request.path.endswith(path) else None


def later(relay: ClaudeRelay, seconds: float) -> None:
    assert isinstance(relay.clock, Clock)
    relay.clock.now += seconds


def in_order(readings: list[Reading]) -> list[Reading]:
    """In an order of its own, since it is by resource and attributes that they differ."""
    return sorted(readings, key=lambda one: (one.scope, *one.resource.values(), *one.attributes))


def test_a_discovered_key_says_what_a_configured_one_does() -> None:
    with a_relay() as relay:
        ids = {"api_ids": [key.id for key in relay.keys]}
        with Asker(relay) as by_login, Asker(relay, ids) as by_ids:
            discovered, configured = by_login.run(), by_ids.run()
    assert discovered.failures == configured.failures == {}
    by_name, expected = discovered.keys(), configured.keys()
    assert len(by_name) == 4
    # a used key without a weekly limit: its week is in user-stats alone, which it is not asked for
    # and its last use and its requests under way in what only an administrator is answered
    own = {"last_used_s", "active"}
    by_name = {
        name: one._replace(fields={at: f for at, f in one.fields.items() if at not in own})
        for name, one in by_name.items()
    }
    beta = expected['team-beta "β"']
    expected['team-beta "β"'] = beta._replace(
        fields={name: one for name, one in beta.fields.items() if name != WEEKLY}
    )
    assert by_name == expected
    models = discovered.readings(Scope.MODEL)
    assert in_order(models) == in_order(configured.readings(Scope.MODEL)) != []


def test_only_keys_that_are_used_and_have_a_window_or_a_weekly_limit_are_asked_for_one_by_one() -> (
    None
):
    keys = [
        Key("window", limits=Limits(rate_limit_window=60)),
        Key("week", limits=Limits(weekly_opus_cost_limit=10)),
        Key("daily, which is in the batch", limits=Limits(daily_cost_limit=10)),
        Key("total, which is in the totals", limits=Limits(total_cost_limit=10)),
        Key("none"),
        Key("unused", limits=Limits(rate_limit_window=60, weekly_opus_cost_limit=9), models=()),
    ]
    bodies = []

    def listening(request: Request) -> None:
        if request.path == STATS:
            bodies.append(request.body)

    with a_relay(*keys) as relay, Asker(relay) as asker:
        relay.fault = listening
        run = asker.run()
    assert sorted(bodies) == sorted(b'{"apiId": "%s"}' % key.id.encode() for key in keys[:2])
    assert run.calls[BATCH] == 1
    assert run.figures("limits.currentDailyCost").keys() == {key.name for key in keys}
    assert run.figures("limits.currentWindowRequests").keys() == {key.name for key in keys}
    assert run.figures(WEEKLY).keys() == {"week", "window", "unused"}
    assert run.figures(WEEKLY)["unused"] == 0


def test_a_configured_key_wins_over_its_discovered_twin() -> None:
    with a_relay() as relay:
        alpha, beta, *_ = relay.keys
        secret = {**LOGIN, "api_ids": [alpha.id], "api_keys": [beta.api_key]}
        with Asker(relay, secret) as asker:
            run = asker.run()
    instances = {name: one.resource["service.instance.id"] for name, one in run.keys().items()}
    assert instances == {
        alpha.name: instance_id(alpha.id),
        beta.name: instance_id(beta.api_key),
        "intern": instance_id(relay.keys[2].id),
        "unused": instance_id(relay.keys[3].id),
    }
    # and is asked for what its twin would not be
    assert WEEKLY in run.keys()[beta.name].fields


@pytest.mark.parametrize("renewed_id", [True, False])
@pytest.mark.parametrize("at_once", [100, 1])
def test_a_configured_key_that_has_another_id_by_now_is_delivered_once(
    monkeypatch: pytest.MonkeyPatch, *, renewed_id: bool, at_once: int
) -> None:
    """Its API key was made anew, or the secret has another id; the relay lists the new id."""
    monkeypatch.setattr(claude_whole, "KEYS_AT_ONCE", at_once)
    with a_relay(Key("former"), Key("other"), Key("third")) as relay:
        former, now, _ = relay.keys
        if renewed_id:
            secret, renewed = {"api_ids": [former.id]}, {"api_ids": [now.id]}
        else:
            secret = renewed = {"api_keys": [former.api_key]}
        with Asker(relay, {**LOGIN, **secret}, renewed={**LOGIN, **renewed}) as asker:
            asker.run()
            if renewed_id:
                relay.fault = lambda request: (
                    Fault(status=401)
                    if request.path == STATS and request.json()["apiId"] == former.id
                    else None
                )
            else:
                relay.delete(former)
                del relay.by_id[former.id]
                now = relay.add(Key("anew", api_key=former.api_key, created_at=NOW + 1))
            # with a window its twin is asked for as well
            now.limits = Limits(daily_cost_limit=7, rate_limit_window=60)
            used(relay, [now])
            later(relay, 60)
            run = asker.run()
    for scope in (Scope.KEY, Scope.KEY_INFO, Scope.MODEL):
        told = [
            (one.resource["relay.key.id"], *one.attributes.items()) for one in run.readings(scope)
        ]
        assert len(told) == len(set(told))
    delivered = run.keys()[now.name]
    assert delivered.resource["relay.key.id"] == now.id
    assert delivered.fields["limits.dailyCostLimit"] == now.limits.daily_cost_limit
    assert delivered.fields[REQUESTS] == now.usage_in().requests
    if at_once == 100:
        configured = now.id if renewed_id else former.api_key
        assert delivered.resource["service.instance.id"] == instance_id(configured)


def test_states_of_keys() -> None:
    keys = [
        Key("active", created_at=NOW - DAY_S),
        Key("waiting", created_at=NOW - DAY_S, activated=False, activation_days=7, models=()),
        Key("disabled", created_at=NOW - DAY_S, active=False),
        Key("expired", created_at=NOW - DAY_S, expires_at=NOW - 1),
        Key("expired and disabled", expires_at=NOW - 1, active=False),
        Key("expires", created_at=NOW - DAY_S, expires_at=NOW + 1),
    ]
    with a_relay(*keys) as relay, Asker(relay) as asker:
        run = asker.run()
    assert run.states() == {"active": 2, "waiting": 1, "disabled": 2, "expired": 1}
    assert run.whole() == {"active", "waiting", "expires"}
    assert run.figures("expires_s") == {"expires": NOW + 1}
    assert not relay.by_id[keys[1].id].activated, "reading a key never activates it"


def test_of_a_key_that_may_not_be_used_the_running_totals_alone_are_delivered() -> None:
    keys = [Key(name) for name in ("active", "disabled", "expired")]
    with a_relay(*keys) as relay, Asker(relay) as asker:
        before = asker.run().figures("usage.total.requests")
        keys[1].active, keys[2].expires_at = False, NOW
        later(relay, 60)
        run = asker.run()
        assert isinstance(relay.clock, Clock)
    assert run.figures("usage.total.requests") == before, "no sum shrinks"
    totals = {one.field for one in STATS_ROWS if one.field.startswith("usage.total.")}
    delivered = run.keys()
    assert delivered["disabled"].fields.keys() == delivered["expired"].fields.keys() == totals
    models = {one.resource["relay.key.name"] for one in run.readings(Scope.MODEL)}
    assert models == {"active"}


def at_large(run: Run) -> dict[str, Number]:
    return {name: one for name, one in run.of_relay().items() if name.startswith("overview.")}


def test_keys_appear_are_renamed_disabled_deleted_and_expire_between_runs() -> None:
    keys = [Key(name, expires_at=NOW + 90 if name == "d" else None) for name in "abcd"]
    with a_relay(*keys) as relay, Asker(relay) as asker:
        assert asker.run().keys().keys() == {"a", "b", "c", "d"}
        ever = at_large(asker.run())
        later(relay, 60)
        new = relay.add(Key("new", models=()))
        keys[0].name = "renamed"
        keys[1].active = False
        relay.delete(keys[2])
        run = asker.run()
        assert run.failures == {}
        assert run.whole() == {"renamed", "new", "d"}
        assert run.keys()["renamed"].resource["relay.key.id"] == keys[0].id
        assert run.figures("usage.total.requests")["new"] == 0
        assert run.states() == {"active": 3, "waiting": 0, "disabled": 1, "expired": 0}
        assert at_large(run) == ever, "a deleted key does not shrink it"
        used(relay, [new])
        later(relay, 60)
        run = asker.run()
    assert run.whole() == {"renamed", "new"}
    assert run.figures("usage.total.requests")["new"] == 1
    assert run.states() == {"active": 2, "waiting": 0, "disabled": 1, "expired": 1}


def test_the_relay_at_large() -> None:
    with a_relay(accounts=demo_accounts(NOW)) as relay, Asker(relay) as asker:
        relay.active_requests = {key.id: 2 for key in relay.keys}
        relay.queued_requests = {relay.keys[0].id: 1}
        later(relay, 30)
        run = asker.run()
        ever = relay.usage_of_all()
    assert run.of_relay() == {
        "overview.totalRequestsUsed": ever.requests,
        "overview.totalAllTokensUsed": ever.all_tokens,
        "overview.totalInputTokensUsed": ever.input_tokens,
        "overview.totalOutputTokensUsed": ever.output_tokens,
        "overview.totalCacheCreateTokensUsed": ever.cache_create_tokens,
        "overview.totalCacheReadTokensUsed": ever.cache_read_tokens,
        "active": 8,
        "summary.totalQueuedRequests": 1,
        "uptime": 30,
        "redis_connected": 1,
        "redis_latency_s": 0.001,
    }
    accounts = {
        (one.attributes["platform"], one.attributes["state"]): one.fields["accounts"]
        for one in run.readings(Scope.ACCOUNT_STATE)
    }
    assert accounts["claude", "normal"] == 1
    assert accounts["claude", "paused"] == 1
    assert accounts["gemini", "rate_limited"] == 1
    assert sum(accounts.values()) == 6
    assert len(run.readings(Scope.ACCOUNT)) == 6


def test_totals_of_the_relay_that_are_0_although_a_key_was_used_are_left_out() -> None:
    """Its database did not answer it, which it does not say."""

    def forgets(response: Response) -> Response:
        delivered = json.loads(response.body)
        overview = delivered["data"]["overview"]
        zeros = {name: 0 for name in overview if name.startswith("total") and name.endswith("Used")}
        delivered["data"]["overview"] = overview | zeros
        return Response.of_json(delivered)

    with a_relay() as relay, Asker(relay) as asker:
        relay.fault = lambda request: (
            Fault(rewrite=forgets) if request.path == "/admin/dashboard" else None
        )
        run = asker.run()
    assert run.failures == {("admin/dashboard", "zero_of_used"): 1}
    assert not [name for name in run.of_relay() if name.startswith("overview.total")]


def failing(path: str, status: int = 500, **query: str) -> Callable[[Request], Fault | None]:
    def fault(request: Request) -> Fault | None:
        asked = request.path == path and query.items() <= request.query.items()
        return Fault(status=status, body=b'{"error":"no"}') if asked else None

    return fault


def test_a_page_that_fails_costs_its_keys_no_more_than_their_limits() -> None:
    with a_relay(*many_keys(3750)) as relay, Asker(relay, RELAY_SCANS_PER_RUN="5") as asker:
        page = relay.newest_first()[3600:3700]
        page[50].active = False
        relay.fault = failing(KEYS, page="37")
        run = asker.run()
        active = {key.name: key for key in relay.keys if key.active}
    assert run.failures == {("admin/api-keys", "500"): 1}
    assert run.error == "relay main: admin/api-keys: answered 500 (no)"
    assert run.fetched.up
    totals = {key.name: key.usage_in().all_tokens for key in relay.keys}
    assert run.figures("usage.total.allTokens") == totals
    assert run.whole() == active.keys()
    unlisted = {key.name for key in page if key.active}
    assert active.keys() - run.figures("limits.dailyCostLimit").keys() == unlisted
    assert run.states() == {}, "how many keys there are is not known"
    assert run.fetched.keys_failed == 1, "nothing says that it is disabled"
    assert run.calls[KEYS] == 37, "the others"


def test_a_page_that_fails_without_the_totals_costs_its_keys() -> None:
    def fault(request: Request) -> Fault | None:
        return failing(USAGE)(request) or failing(KEYS, page="2")(request)

    with a_relay(*many_keys(250)) as relay, Asker(relay) as asker:
        relay.fault = fault
        run = asker.run()
    assert run.failures == {("admin/api-keys", "500"): 1, ("admin/usage-stats", "500"): 1}
    assert run.fetched.keys_failed == 100
    assert len(run.keys()) == 150
    # the batch has the totals too, but for the cost
    assert len(run.figures("usage.total.requests")) == 150
    assert run.fetched.up


def test_discovered_keys_without_limits_are_asked_for_totals_that_nothing_else_has() -> None:
    def fault(request: Request) -> Fault | None:
        return failing(USAGE)(request) or failing(BATCH)(request)

    keys = [Key(f"key-{number}") for number in range(40)]
    with a_relay(*keys) as relay, Asker(relay) as asker:
        whole = asker.run()
        assert whole.calls[STATS] == 0
        relay.fault = fault
        runtime = asker.run()
        with Asker(relay) as another:
            cold = another.run()
    expected = whole.figures("usage.total.cost")
    for run in (runtime, cold):
        assert run.figures("usage.total.cost") == expected
        assert run.scans <= 10
        assert run.failures == {("admin/usage-stats", "500"): 1, ("batch-stats", "500"): 2}


def test_discovered_keys_that_were_never_used_are_counted_where_no_scan_is_left() -> None:
    keys = [Key(f"key-{number}", models=()) for number in range(40)]
    with a_relay(*keys) as relay, Asker(relay) as asker:
        relay.missing = {USAGE, BATCH}
        run = asker.run()
    # six of ten go to the totals, which are not there, the dashboard, the requests under way and a
    # list of accounts
    assert run.scans == 9
    assert run.calls[STATS] == 4
    assert run.failures == {
        ("user-stats", "no_scan_left"): 36,
        # nothing tells of those 36 that they were never used
        ("admin/dashboard", "zero_of_used"): 1,
    }


def test_without_any_page_the_totals_show_which_keys_there_are() -> None:
    with a_relay() as relay, Asker(relay) as asker:
        relay.fault = failing(KEYS)
        run = asker.run()
    assert run.fetched.up
    assert len(run.figures("usage.total.cost")) == len(run.figures("dailyUsage.requests")) == 4
    assert run.figures("limits.dailyCostLimit") == {}
    assert run.states() == {}


def test_accounts_of_a_relay_that_does_not_say_which_are_out_of_service() -> None:
    with a_relay(accounts=demo_accounts(NOW)) as relay, Asker(relay) as asker:
        relay.missing = {"/admin/temp-unavailable"}
        run = asker.run()
    accounts = run.readings(Scope.ACCOUNT)
    assert accounts
    assert not any("unavailable_s" in one.fields for one in accounts)
    assert run.failures == {}


def test_an_account_whose_time_is_over_is_in_service() -> None:
    with a_relay(accounts=demo_accounts(NOW)) as relay, Asker(relay) as asker:
        ids = [one.attributes["relay.account.id"] for one in asker.run().readings(Scope.ACCOUNT)]
        over = {f"claude:{one}": {"remainingSeconds": 0} for one in ids}
        relay.fault = answering("/admin/temp-unavailable", {**over, "claude:x": {}})
        run = asker.run()
    assert {one.fields["unavailable_s"] for one in run.readings(Scope.ACCOUNT)} == {0}
    assert run.failures == {("admin/temp-unavailable", "missing_field"): 1}


def test_rows_of_all_keys_models_that_name_none_are_counted() -> None:
    with a_relay() as relay, Asker(relay) as asker:
        rows = {"modelCosts": [7, {"requests": 1}, {"model": "m", "usage": {}}]}
        relay.fault = answering("/admin/usage-costs", rows)
        run = asker.run()
    found = run.readings(Scope.ALL_KEYS_MODEL)
    assert [one.attributes["model"] for one in found] == ["m"]
    assert run.failures["admin/usage-costs", "invalid_row"] == 2


def test_an_administrator_who_is_answered_nothing_is_not_up() -> None:
    with a_relay() as relay, Asker(relay) as asker:
        relay.fault = lambda request: (
            failing(request.path)(request) if "admin" in request.path else None
        )
        run = asker.run()
    assert not run.fetched.up
    assert run.keys() == {}


@pytest.mark.parametrize(
    "release", ["1.1.314", "1.1.250", "1.1.207", "1.1.140", "1.1.120", "1.1.90"]
)
def test_an_older_relay_leaves_out_what_it_has_not(release: str) -> None:
    with a_relay(release=release) as relay, Asker(relay) as asker:
        run = asker.run()
    assert run.error is None
    assert {type for _, type in run.failures} <= {"missing_field"}
    expected = {key.name: key.usage_in().requests for key in relay.keys}
    assert run.figures("usage.total.requests") == expected
    since = {
        "limits.rateLimitCost": "1.1.122",
        "limits.currentWindowCost": "1.1.122",
        "limits.totalCostLimit": "1.1.146",
        "limits.weeklyOpusCostLimit": "1.1.147",
        "limits.weeklyOpusCost": "1.1.147",
        "dailyUsage.requests": "1.1.126",
        "week_resets_s": "1.1.281",
    }
    for field, first in since.items():
        assert bool(run.figures(field)) == relay.since(first), field
    assert len(run.figures("limits.rateLimitRequests")) == 4
    assert run.states()["active"] == 4


BATCHED = {
    f"{period}.{name}"
    for period in ("dailyUsage", "monthlyUsage")
    for name in ("requests", "allTokens")
}


@pytest.mark.parametrize(
    ("missing", "lacking"),
    [
        ("/admin/usage-stats", set()),
        ("/apiStats/api/batch-stats", BATCHED | {"monthlyUsage.cost"}),
        ("/admin/dashboard", set()),
        ("/admin/concurrency", set()),
        ("/health", set()),
        ("/admin/claude-accounts", set()),
    ],
)
def test_an_endpoint_that_is_not_there_is_no_error(missing: str, lacking: set[str]) -> None:
    with a_relay(accounts=demo_accounts(NOW)) as relay, Asker(relay) as asker:
        whole = asker.run()
        relay.missing = {missing}
        run = asker.run()
    assert run.failures == {}
    assert run.fetched.up
    assert whole.keys()["unused"].fields.keys() - run.keys()["unused"].fields.keys() == lacking
    assert len(run.fetched.readings) <= len(whole.fetched.readings)


def test_the_most_used_keys_stay() -> None:
    keys = [Key(f"key-{number}", models=()) for number in range(250)]
    with a_relay(*keys) as relay, Asker(relay, RELAY_MAX_KEYS="30") as asker:
        used(relay, keys)
        run = asker.run()
    assert run.keys().keys() == {f"key-{number}" for number in range(220, 250)}
    assert run.fetched.keys_left_out == 220
    assert run.calls[BATCH] == 1, "the others are asked for no more"
    assert run.states()["active"] == 250


def test_keys_that_others_outdo_while_their_stats_are_asked_for_are_left_out() -> None:
    limits = Limits(rate_limit_window=60, rate_limit_cost=3)
    keys = [Key(f"key-{number}", limits=limits, models=()) for number in range(40)]
    with a_relay(*keys) as relay, Asker(relay, RELAY_MAX_KEYS="10") as asker:
        used(relay, keys)
        asker.run()
        used(relay, [*reversed(keys)] * 3)
        relay.fault = failing(USAGE)
        run = asker.run()
    assert run.calls[STATS] >= 10, "those of the first run at once, by what that run learned"
    assert run.keys().keys() == {f"key-{number}" for number in range(10)}
    assert run.failures == {("admin/usage-stats", "500"): 1}


@pytest.mark.parametrize("found", [True, False], ids=["by a login", "by their ids"])
def test_what_is_handed_over_early_is_what_would_be_given_in_the_end(
    monkeypatch: pytest.MonkeyPatch, *, found: bool
) -> None:
    handed_over = Event()

    class Client(RelayClient):
        def hand_over(self, readings: Sequence[Reading]) -> None:
            super().hand_over(readings)
            if len(self.handed_over) > 200:
                handed_over.set()

    def in_the_end(request: Request) -> None:
        if request.path == MODELS:
            handed_over.wait(30)

    monkeypatch.setattr("tests.unit.claude.RelayClient", Client)
    with a_relay(*many_keys(250)) as relay:
        secret = LOGIN if found else {"api_ids": [key.id for key in relay.keys]}
        relay.keys[100].active = False
        with Asker(relay, secret) as asker:
            asker.run()
            handed_over.clear()
            relay.fault = in_the_end
            monkeypatch.setattr(claude_whole, "KEYS_AT_ONCE", 7)
            early = asker.run()
            monkeypatch.setattr(claude_whole, "KEYS_AT_ONCE", 1000)
            late = asker.run()
    assert late.handed_over == 0
    assert early.handed_over > 200
    assert in_order([*early.fetched.readings]) == in_order([*late.fetched.readings])
    assert (early.calls, early.scans) == (late.calls, late.scans)


def test_the_most_used_models_stay() -> None:
    with a_relay() as relay, Asker(relay, RELAY_MAX_MODELS_PER_KEY="2") as asker:
        run = asker.run()
        alpha = relay.keys[0]
        ranked = sorted(alpha.models_in("2026-11").items(), key=lambda one: -one[1].all_tokens)
    delivered = [
        one.attributes["model"]
        for one in run.readings(Scope.MODEL)
        if one.resource["relay.key.id"] == alpha.id
    ]
    assert sorted(delivered) == sorted(model for model, _ in ranked[:2])
    assert run.fetched.models_left_out > 0


def test_four_shards_give_together_what_one_run_gives() -> None:
    with a_relay(*many_keys(230), accounts=demo_accounts(NOW)) as relay:
        with Asker(relay, RELAY_SCANS_PER_RUN="300", RELAY_UTC_OFFSET_HOURS="0") as asker:
            whole = asker.run()
            shards = [asker.run(f"{index}/4") for index in range(1, 5)]
        with Asker(relay, RELAY_SCANS_PER_RUN="300", RELAY_UTC_OFFSET_HOURS="0") as asker:
            alone = asker.run("3/4")
    together = [reading for shard in shards for reading in shard.readings(Scope.KEY, Scope.MODEL)]
    assert in_order(together) == in_order(whole.readings(Scope.KEY, Scope.MODEL))
    assert len(together) > 230
    assert all(shard.keys() for shard in shards), "each has some"
    assert alone.keys() == shards[2].keys(), "the relay's clock is its own, in every shard"
    at_large = (Scope.RELAY, Scope.ACCOUNT, Scope.ACCOUNT_STATE, Scope.KEY_STATE)
    assert shards[0].readings(*at_large) == whole.readings(*at_large) != []
    assert [shard.readings(*at_large) for shard in shards[1:]] == [[], [], []]
    assert [shard.fetched.up for shard in shards] == [True] * 4


def test_model_rows_come_in_turn_within_the_scans() -> None:
    """Five of ten scans are taken by the totals, the dashboard and the requests under way.

    Now and then one more is, by a list of accounts.
    """
    with a_relay(*many_keys(60)) as relay, Asker(relay) as asker:
        delivered: set[str] = set()
        for minute in range(2 * -(-54 // 5)):
            run = asker.run()
            assert run.scans == 10
            # a list of accounts that was empty is asked for each quarter of an hour
            assert run.calls["/admin/gemini-api-accounts"] == (minute % 15 == 0)
            assert run.calls[MODELS] == (4 if minute % 15 == 0 else 5)
            delivered |= {one.resource["relay.key.id"] for one in run.readings(Scope.MODEL)}
            later(relay, 60)
    assert delivered == {key.id for key in relay.keys if key.models}, "all that were ever used"


def test_the_days_model_rows_scan_nothing_and_are_those_that_a_scan_gives() -> None:
    with a_relay(*many_keys(60)) as relay:
        with Asker(relay, RELAY_METRICS_PERIOD="daily") as asker:
            run = asker.run()
        ids = {"api_ids": [key.id for key in relay.keys]}
        with Asker(relay, ids, RELAY_METRICS_PERIOD="daily", RELAY_SCANS_PER_RUN="99") as asker:
            by_scan = asker.run()
    assert run.calls[MODELS] == 0
    assert run.scans == 6
    assert by_scan.calls[MODELS] == 54
    assert in_order(run.readings(Scope.MODEL)) == in_order(by_scan.readings(Scope.MODEL)) != []


def test_a_models_row_of_the_day_without_costs_is_delivered_without() -> None:
    rows = [{"model": "m", "requests": 2}, {"model": "n", "requests": 3, "costs": 7}]
    with a_relay() as relay, Asker(relay, RELAY_METRICS_PERIOD="daily") as asker:
        relay.fault = answering("/model-stats", rows)
        found = asker.run().readings(Scope.MODEL)
    assert {one.attributes["model"] for one in found} == {"m", "n"}
    assert {name for one in found for name in one.fields} == {"requests"}


def test_the_days_model_rows_come_by_scans_where_a_relay_has_no_other_way() -> None:
    with a_relay(*many_keys(60)) as relay:
        relay.missing = {f"{KEYS}/{key.id}/model-stats" for key in relay.keys}
        with Asker(relay, RELAY_METRICS_PERIOD="daily") as asker:
            run = asker.run()
    assert (run.scans, run.calls[MODELS], run.failures) == (10, 4, {})


def test_what_remains_is_delivered_as_of_the_runs_instant() -> None:
    account = Account("claude", "out", created_at=NOW, unavailable_until=NOW + 580)
    with a_relay(accounts=[account]) as relay, Asker(relay) as asker:
        at_once, late = asker.run(), asker.run(answered_after_s=7.9)
    (one,) = at_once.readings(Scope.ACCOUNT)
    (other,) = late.readings(Scope.ACCOUNT)
    assert (one.fields["up"], one.fields["unavailable_s"]) == (0, 580)
    assert other.fields["unavailable_s"] == 587, "whole seconds later it is 580"
    windows = at_once.figures(WINDOW_LEFT)
    assert any(windows.values())
    assert late.figures(WINDOW_LEFT) == {
        name: left + 7 if left > 0 else left for name, left in windows.items()
    }


@pytest.mark.parametrize("budget", range(13))
def test_the_scans_stay_within_what_they_may_be(budget: int) -> None:
    free = Key("used for nothing", limits=Limits(rate_limit_window=60), models=())
    with a_relay(*many_keys(12), free) as relay:
        relay.use(free, "a-free-model")
        with Asker(relay, RELAY_SCANS_PER_RUN=str(budget)) as asker:
            for _ in range(5):
                run = asker.run()
                assert run.scans <= budget
                assert len(run.figures("usage.total.requests")) == 13
                assert len(run.figures("usage.total.cost")) == 13
                assert ("overview.totalRequestsUsed" in run.of_relay()) == (budget >= 4)
                assert run.failures == {}
                later(relay, 60)


def test_what_is_not_to_be_asked_is_not_asked() -> None:
    with a_relay(*many_keys(40)) as relay, Asker(relay) as asker:
        run = asker.run()
    assert not {"/metrics", "/admin/api-keys/batch-stats", "/apiStats/api/batch-model-stats"} & set(
        run.calls
    )


def hidden_lists(answer: Any) -> Callable[[Request], Fault | None]:
    return lambda request: Fault(body=answer) if request.path.startswith("/admin/") else None


@pytest.mark.parametrize(
    "answer",
    [
        b'{"success":true}',
        b'{"success":true,"data":null}',
        b'{"success":true,"data":"no"}',
        b'{"success":true,"data":{}}',
        b'{"success":true,"data":[1,null,{},{"id":7}]}',
        b'{"success":true,"data":{"items":[1,null,{},{"id":7}],"pagination":{"totalPages":null}}}',
        b'{"success":true,"data":{"items":[],"pagination":{"totalPages":-3,"total":1e300}}}',
        b'{"success":true,"data":{"items":[{"id":"a","isActive":1,"expiresAt":[],"createdAt":{}}]}}',
        b'{"success":true,"data":{"stats":[1,null,{},{"keyId":7}],"overview":7}}',
        b'{"success":true,"data":{"overview":{"accountsByPlatform":{"x":{"normal":"a"},"y":3}}}}',
        b'{"success":false}',
        b"[]",
        b"<html>",
    ],
)
def test_odd_answers_are_errors_that_are_counted_and_no_faults(answer: bytes) -> None:
    with a_relay() as relay, Asker(relay, {**LOGIN, "api_ids": [relay.keys[0].id]}) as asker:
        relay.fault = hidden_lists(answer)
        run = asker.run()
    assert run.failures != {}
    assert run.keys().keys() >= {relay.keys[0].name}, "the configured key is asked for all the same"


def test_a_relay_that_has_endless_pages_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claude_discovery, "MAX_PAGES", 20)

    def endless(request: Request) -> Fault | None:
        if request.path != KEYS:
            return None
        body = (
            b'{"success":true,"data":{"items":[],"pagination":{"totalPages":1000000000,"total":7}}}'
        )
        return Fault(body=body)

    with a_relay() as relay, Asker(relay) as asker:
        relay.fault = endless
        run = asker.run()
    assert run.calls.total() < 20 + 10
    assert run.states() == {}


def test_names_of_any_script() -> None:
    names = ["\"'`;--", "名前", "\ud800lone", " space ", "x" * 2000, "", "\u202eright to left"]
    keys = [Key("", id=f"00000000-0000-4000-8000-00000000000{number}") for number in range(7)]
    for key, name in zip(keys, names, strict=True):
        key.name = name
    with a_relay(*keys) as relay, Asker(relay) as asker:
        run = asker.run()
    delivered = {one.resource["relay.key.name"] for one in run.readings(Scope.KEY)}
    assert delivered == {
        "\"'`;--",
        "名前",
        "\ufffdlone",
        "space",
        "x" * 1024,
        "",
        "\u202eright to left",
    }


def test_a_run_without_keys() -> None:
    with a_relay(Key("gone", active=False)) as relay, Asker(relay) as asker:
        run = asker.run()
    assert run.fetched.up
    assert run.whole() == set()
    assert run.failures == {}
    assert run.states() == {"active": 0, "waiting": 0, "disabled": 1, "expired": 0}
    assert isinstance(run, Run)


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        ((), {}),
        (("team:research", "prod", "x"), {"team": "research", "prod": "true"}),
        (("cost centre = 4711", "team=a:b"), {"cost centre": "4711", "team": "a:b"}),
        (("team:first", "team:second"), {"team": "first"}),
        (("team:", "team"), {"team": ""}),
        ((7, None, {}, ["team"], "teams"), {}),
        ("team:research", {}),
        (None, {}),
    ],
    ids=repr,
)
def test_what_a_key_is_called_is_in_a_series_of_its_own(tags: Any, labels: Any) -> None:
    keys = [Key("mine", owner="mai"), Key("off", active=False), Key("unused", models=())]
    with a_relay(*keys) as relay, Asker(relay, RELAY_KEY_LABELS="team,prod,cost centre") as asker:
        keys[0].tags = tags
        first, second = asker.run(), asker.run()
    assert first.failures == {}
    infos = {one.resource["relay.key.name"]: one for one in first.readings(Scope.KEY_INFO)}
    assert infos["mine"].fields == {"info": 1}
    assert infos["mine"].resource == {"relay.key.id": keys[0].id, "relay.key.name": "mine"}
    assert {name: one.attributes for name, one in infos.items()} == {
        "mine": {**labels, "relay.key.state": "active", "relay.key.owner": "mai"},
        # its days before are still delivered, and want a name
        "off": {"relay.key.state": "disabled", "relay.key.owner": "Admin"},
        "unused": {"relay.key.state": "active", "relay.key.owner": "Admin"},
    }
    assert len(second.readings(Scope.KEY_INFO)) == 3


def test_a_label_that_is_not_asked_for_is_nowhere() -> None:
    with a_relay(Key("mine", tags=("team:research",))) as relay, Asker(relay) as asker:
        run = asker.run()
    assert "research" not in str(run.fetched)
