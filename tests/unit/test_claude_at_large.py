"""A relay as a whole and its accounts, by an administrator's login, whatever does not come."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.http_server import Fault, Request, Response
from local.relay import Account, ClaudeRelay, Key, Limits
from local.relay.demo import ADMIN, many_keys
from relay_metrics.relays.claude.keys import in_shard
from relay_metrics.relays.client import Shard
from relay_metrics.snapshot import Number, Scope, Snapshot
from tests.collecting import Clock
from tests.unit.claude import BATCH, NOW, STATS, Asker, Run

KEYS, USAGE, DASHBOARD, UNAVAILABLE = (
    f"/admin/{name}" for name in ("api-keys", "usage-stats", "dashboard", "temp-unavailable")
)


def a_relay(*keys: Key, **more: Any) -> ClaudeRelay:
    relay = ClaudeRelay(keys, **{"admin": ADMIN, "clock": Clock(NOW), **more})
    relay.tick()
    return relay


def changing(path: str, change: Callable[[Any], object]) -> Callable[[Request], Fault | None]:
    """A fault that changes the answers to a path."""

    def rewritten(response: Response) -> Response:
        answer = json.loads(response.body)
        change(answer)
        return Response.of_json(answer)

    return lambda request: Fault(rewrite=rewritten) if request.path == path else None


@pytest.mark.parametrize("lacking", ["pagination", "total", "totalPages"])
def test_a_page_that_does_not_tell_how_many_keys_there_are_is_no_page(lacking: str) -> None:
    def change(answer: Any) -> None:
        data = answer["data"]
        del (data if lacking == "pagination" else data["pagination"])[lacking]

    with a_relay(*many_keys(150)) as relay, Asker(relay) as asker:
        relay.fault = changing(KEYS, change)
        run = asker.run()
    assert run.failures == {("admin/api-keys", "incomplete"): 1}
    assert run.states() == {}
    assert len(run.keys()) == 150, "by the totals and the batch"


def test_a_row_of_an_older_relays_list_that_names_no_key_leaves_the_counts_of_states_out() -> None:
    with a_relay(*many_keys(3), release="1.1.207") as relay, Asker(relay) as asker:
        assert asker.run().states()["active"] == 3
        relay.fault = changing(KEYS, lambda answer: answer["data"][0].pop("id"))
        run = asker.run()
    assert run.failures["admin/api-keys", "invalid_row"] == 1
    assert run.states() == {}


LIMITED = Limits(concurrency_limit=5)


@pytest.mark.parametrize(
    ("change", "active", "of_relay"),
    [
        (lambda _: None, {"two": 2, "three": 3, "idle": 0}, 5),
        (lambda rows: rows[0].update(activeCount=None), {"three": 3, "idle": 0}, None),
        # it may be a row of any key that has no other
        (lambda rows: rows[0].update(apiKeyId=None), {"three": 3}, None),
        (lambda rows: rows.append(7), {"two": 2, "three": 3}, None),
        (
            lambda rows: rows[0].update(apiKeyId="console_account:x", activeCount=None),
            {"two": 0, "three": 3, "idle": 0},
            3,
        ),
    ],
)
def test_running_requests_of_a_row_that_does_not_tell_them_are_left_out(
    change: Callable[[Any], object], active: dict[str, int], of_relay: int | None
) -> None:
    keys = [Key(name, limits=LIMITED) for name in ("two", "three", "idle")]
    with a_relay(*keys) as relay, Asker(relay) as asker:
        relay.active_requests = {keys[0].id: 2, keys[1].id: 3}
        relay.fault = changing(
            "/admin/concurrency", lambda answer: change(answer["concurrencyStatus"])
        )
        run = asker.run()
    assert run.figures("active") == active
    assert run.of_relay().get("active") == of_relay
    assert run.failures == ({} if of_relay else {("admin/concurrency", "invalid_row"): 1})


def test_running_requests_without_the_list_of_them_are_left_out() -> None:
    with a_relay(Key("one", limits=LIMITED)) as relay, Asker(relay) as asker:
        relay.fault = changing("/admin/concurrency", lambda answer: answer.pop("concurrencyStatus"))
        run = asker.run()
    assert run.figures("active") == {}
    assert "active" not in run.of_relay()
    assert run.failures == {("admin/concurrency", "missing_field"): 1}


def test_a_snapshot_with_a_sum_of_more_than_64_bits_can_be_spooled() -> None:
    keys = [Key(name, limits=LIMITED) for name in "ab"]
    with a_relay(*keys) as relay, Asker(relay) as asker:
        relay.active_requests = {key.id: 1 for key in keys}
        relay.fault = changing(
            "/admin/concurrency",
            lambda answer: [
                row.update(activeCount=2**63 - 1) for row in answer["concurrencyStatus"]
            ],
        )
        run = asker.run()
    snapshot = Snapshot("claude-relay", "main", 1, {}, readings=run.fetched.readings)
    readings = Snapshot.load(snapshot.dump()).readings
    assert [
        one.fields["active"]
        for one in readings
        if one.scope == Scope.RELAY and "active" in one.fields
    ] == [2.0**64]


def failing(*paths: str, status: int = 500) -> Callable[[Request], Fault | None]:
    return lambda request: (
        Fault(status=status, body=b'{"error":"no"}') if request.path in paths else None
    )


def some_accounts() -> list[Account]:
    return [
        Account("claude", "well", created_at=NOW),
        Account("claude", "out", created_at=NOW, unavailable_until=NOW + 580),
        Account("claude", "off", created_at=NOW, active=False),
        Account("bedrock", "off too", created_at=NOW, active=False),
    ]


def ups(run: Run) -> dict[str, Any]:
    return {
        one.attributes["relay.account.name"]: one.fields.get("up")
        for one in run.readings(Scope.ACCOUNT)
    }


def by_state(run: Run, platform: str = "claude") -> dict[str, Number]:
    return {
        one.attributes["state"]: one.fields["accounts"]
        for one in run.readings(Scope.ACCOUNT_STATE)
        if one.attributes["platform"] == platform
    }


def test_which_accounts_work_is_left_out_if_it_is_not_told_which_are_out_of_service() -> None:
    with a_relay(accounts=some_accounts()) as relay, Asker(relay) as asker:
        whole = asker.run()
        relay.fault = failing(UNAVAILABLE)
        failed = asker.run()
        relay.fault = failing(UNAVAILABLE, "/admin/claude-accounts")
        without_list = asker.run()
    assert ups(whole) == {"well": 1, "out": 0, "off": 0, "off too": 0}
    none = {"paused": 0, "rate_limited": 0}
    assert by_state(whole) == {"normal": 1, "abnormal": 1, "unavailable": 1, **none}
    assert ups(failed) == {"well": None, "out": None, "off": 0, "off too": 0}
    assert by_state(failed) == by_state(without_list) == {"abnormal": 1, **none}
    assert by_state(failed, "bedrock") == {"normal": 0, "abnormal": 1, **none}
    assert failed.failures == {("admin/temp-unavailable", "500"): 1}


def test_the_dashboards_counts_are_used_unless_an_account_that_is_not_listed_is_out() -> None:
    accounts = some_accounts()
    with a_relay(accounts=accounts) as relay, Asker(relay) as asker:
        relay.fault = failing("/admin/claude-accounts")
        out = asker.run()
        accounts[1].unavailable_until = None
        back = asker.run()
    none = {"paused": 0, "rate_limited": 0}
    assert by_state(out) == {"abnormal": 1, **none}
    assert by_state(back) == {"normal": 2, "abnormal": 1, **none}


def test_an_older_relay_does_not_know_accounts_that_are_out_of_service() -> None:
    with a_relay(accounts=some_accounts()) as relay, Asker(relay) as asker:
        relay.missing = {UNAVAILABLE}
        run = asker.run()
    assert ups(run) == {"well": 1, "out": 1, "off": 0, "off too": 0}
    assert by_state(run) == {"normal": 2, "abnormal": 1, "paused": 0, "rate_limited": 0}
    assert run.failures == {}


def test_an_account_that_is_out_of_service_without_an_end_is_out() -> None:
    def change(answer: Any) -> None:
        for one in answer["data"].values():
            del one["ttl"], one["remainingSeconds"]

    with a_relay(accounts=some_accounts()) as relay, Asker(relay) as asker:
        relay.fault = changing(UNAVAILABLE, change)
        run = asker.run()
    seconds = {
        one.attributes["relay.account.name"]: one.fields.get("unavailable_s")
        for one in run.readings(Scope.ACCOUNT)
    }
    assert seconds == {"well": 0, "out": None, "off": 0, "off too": 0}
    assert ups(run)["out"] == 0
    assert by_state(run)["unavailable"] == 1
    assert run.failures == {("admin/temp-unavailable", "missing_field"): 1}


def zeros(answer: Any) -> None:
    overview = answer["data"]["overview"]
    overview.update({name: 0 for name in overview if name.startswith("total") and "Used" in name})


def nothing_used(answer: Any) -> None:
    for one in answer["data"]["stats"]:
        one["usage"]["total"] = dict.fromkeys(one["usage"]["total"], 0)


def first_of(*faults: Callable[[Request], Fault | None]) -> Callable[[Request], Fault | None]:
    return lambda request: next(filter(None, (fault(request) for fault in faults)), None)


def all_keys(run: Run) -> dict[str, Number]:
    return {name: one for name, one in run.of_relay().items() if name.startswith("overview.")}


@pytest.mark.parametrize(
    "also",
    [
        (failing(KEYS, BATCH), changing(USAGE, nothing_used)),
        (failing(KEYS, BATCH, USAGE),),
        (failing(USAGE, BATCH, STATS),),
        (failing(KEYS, USAGE, STATS),),
    ],
)
def test_zeros_over_all_keys_are_left_out_unless_it_is_known_that_none_was_used(
    also: tuple[Callable[[Request], Fault | None], ...],
) -> None:
    with a_relay(Key("unused", models=()), Key("used")) as relay, Asker(relay) as asker:
        assert all(all_keys(asker.run()).values())
        relay.fault = first_of(changing(DASHBOARD, zeros), *also)
        run = asker.run()
    assert all_keys(run) == {}
    assert run.failures["admin/dashboard", "zero_of_used"] == 1


def test_keys_of_other_shards_were_used_too() -> None:
    with a_relay(*many_keys(8)) as relay, Asker(relay) as asker:
        relay.fault = changing(DASHBOARD, zeros)
        for key in relay.keys:
            if in_shard(key.id, Shard(1, 4)):
                relay.delete(key)
        run = asker.run("1/4")
    assert (run.keys(), all_keys(run)) == ({}, {})
    assert run.failures == {("admin/dashboard", "zero_of_used"): 1}


@pytest.mark.parametrize("count", [0, 8])
@pytest.mark.parametrize("shard", ["1/1", "1/4"])
def test_a_new_relay_has_used_nothing(count: int, shard: str) -> None:
    keys = [Key(f"new-{number}", models=()) for number in range(count)]
    with a_relay(*keys) as relay, Asker(relay) as asker:
        run = asker.run(shard)
    assert len(all_keys(run)) == 6
    assert not any(all_keys(run).values())
    assert run.failures == {}


def lists(run: Run, *platforms: str) -> tuple[int, ...]:
    return tuple(run.calls[f"/admin/{platform}-accounts"] for platform in platforms)


def idle(platform: str, count: int) -> list[Account]:
    return [Account(platform, f"{platform}-{number}", created_at=NOW) for number in range(count)]


@pytest.mark.parametrize("platform", ["droid", "openai-responses"])
def test_a_list_that_scans_is_not_requested_until_it_is_known_how_often(platform: str) -> None:
    with a_relay(accounts=idle(platform, 3)) as relay, Asker(relay) as asker:
        relay.fault = failing(DASHBOARD)
        failed = asker.run()
        relay.fault = None
        known = asker.run()
    assert (failed.scans, lists(failed, platform)) == (2, (0,))
    assert lists(known, platform) == (1,)
    assert known.scans == 10


def test_a_list_of_unknown_length_gets_what_the_others_leave() -> None:
    """No other endpoint tells how many accounts of gemini-api there are."""
    accounts = [*idle("gemini-api", 30), *idle("droid", 3)]
    with a_relay(*many_keys(20), accounts=accounts) as relay, Asker(relay) as asker:
        runs = [asker.run(), asker.run()]
        with Asker(relay, RELAY_SCANS_PER_RUN="9") as another:
            without = another.run()
    assert [lists(run, "droid", "gemini-api") for run in runs] == [(1, 1), (1, 0)]
    # those of droid were used today
    assert [run.scans for run in runs] == [5 + 1 + 31, 10], "and nothing more"
    assert (lists(without, "droid", "gemini-api"), without.scans) == ((1, 0), 9)


def test_accounts_that_a_list_gained_are_counted_before_it_is_requested_again() -> None:
    with a_relay(accounts=idle("droid", 1)) as relay, Asker(relay) as asker:
        first = asker.run()
        relay.accounts += idle("droid", 20)
        second = asker.run()
    assert [lists(run, "droid") for run in (first, second)] == [(1,), (0,)]
    assert (first.scans, second.scans) == (8, 5 + 1), "and the empty list of gemini-api"


def test_lists_that_scan_are_requested_of_a_relay_that_has_no_dashboard() -> None:
    with a_relay(accounts=idle("droid", 2)) as relay, Asker(relay) as asker:
        relay.fault = lambda request: Fault(status=404) if request.path == DASHBOARD else None
        runs = [asker.run(), asker.run()]
    assert [lists(run, "droid") for run in runs] == [(1,), (1,)]
    assert all(run.scans <= 10 for run in runs)


def test_a_list_that_a_relay_does_not_have_is_not_requested_in_every_run() -> None:
    clock = Clock(NOW + 60)  # every 15 minutes it is
    relay = a_relay(*many_keys(20), accounts=idle("gemini-api", 1), clock=clock)
    with relay, Asker(relay) as asker:
        gone = Fault(rewrite=lambda _: Response(404))
        relay.fault = lambda request: gone if request.path == "/admin/gemini-api-accounts" else None
        runs = [asker.run(), asker.run()]
    assert [lists(run, "gemini-api") for run in runs] == [(1,), (0,)]
