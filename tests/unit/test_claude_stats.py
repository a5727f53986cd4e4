"""The public stats of configured keys: few and many, in turn, and where billing is hidden."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from local.http_server import Fault, Request, Response
from local.relay import ClaudeRelay, Key
from local.relay.demo import demo_keys, many_keys
from relay_metrics.relays.claude import keys as claude_keys
from relay_metrics.relays.claude.keys import Known, Memory, instance_id
from relay_metrics.snapshot import Scope
from tests.collecting import LOGIN, Clock
from tests.unit.claude import BATCH, MODELS, NOW, STATS, Asker, used


def a_relay(*keys: Key, **more: Any) -> ClaudeRelay:
    relay = ClaudeRelay(keys or demo_keys(NOW), clock=Clock(NOW), **more)
    relay.tick()
    return relay


def ids(relay: ClaudeRelay) -> dict[str, list[str]]:
    return {"api_ids": [key.id for key in relay.keys]}


def later(relay: ClaudeRelay) -> None:
    assert isinstance(relay.clock, Clock)
    relay.clock.now += 60


def model_rows(change: Callable[[dict[str, Any]], None]) -> Callable[[Request], Fault | None]:
    def rewritten(response: Response) -> Response:
        answer = json.loads(response.body)
        for row in answer["data"]:
            change(row)
        return Response.of_json(answer)

    return lambda request: Fault(rewrite=rewritten) if request.path == MODELS else None


def costs(run_with: Callable[[dict[str, Any]], None]) -> tuple[set[str], dict[str, float]]:
    key = Key("rated", rate=1.5, models=())
    with a_relay(key) as relay:
        used(relay, [key])
        relay.fault = model_rows(run_with)
        with Asker(relay, ids(relay)) as asker:
            (row,) = asker.run().readings(Scope.MODEL)
    found = {name: float(figure) for name, figure in row.fields.items() if "costs" in name}
    return set(found), found


def test_a_models_costs_are_real_and_rated() -> None:
    _, found = costs(lambda row: None)
    assert found["costs.rated"] == pytest.approx(1.5 * found["costs.total"], rel=1e-3)


def test_where_billing_is_hidden_the_total_is_the_rated_cost() -> None:
    def hide(row: dict[str, Any]) -> None:
        row["costs"] = {"total": row["costs"]["rated"]}
        del row["pricing"]

    names, found = costs(hide)
    assert names == {"costs.rated"}
    assert found == {"costs.rated": costs(lambda row: None)[1]["costs.rated"]}


def test_where_the_prices_are_given_the_total_is_real() -> None:
    def without_real(row: dict[str, Any]) -> None:
        del row["costs"]["real"], row["costs"]["rated"]

    names, found = costs(without_real)
    assert names == {"costs.total"}
    assert found == {"costs.total": costs(lambda row: None)[1]["costs.total"]}


def test_a_legacy_row_and_an_older_relay_have_a_real_total_alone() -> None:
    def older(row: dict[str, Any]) -> None:
        del row["isLegacy"], row["costs"]["real"], row["costs"]["rated"]

    def legacy(row: dict[str, Any]) -> None:
        row["isLegacy"] = True
        del row["costs"]["real"], row["costs"]["rated"]

    assert costs(older)[0] == costs(legacy)[0] == {"costs.total"}


def test_few_keys_are_asked_everything_and_many_in_turn() -> None:
    with a_relay(*many_keys(5)) as relay, Asker(relay, ids(relay)) as asker:
        run = asker.run()
    assert run.calls == {STATS: 5, MODELS: 5, BATCH: 1}
    with a_relay(*many_keys(40)) as relay, Asker(relay, ids(relay)) as asker:
        run = asker.run()
        assert run.scans == 10
        assert run.calls[BATCH] == 2 + 1, "once more those that never cost anything"
        assert 36 <= run.calls[STATS] <= 40, "those that were used, and those whose turn it is"
        assert run.fetched.up
        assert len(run.figures("usage.total.requests")) == 40, "unused ones by their batch"
        assert len(run.figures("limits.tokenLimit")) == run.calls[STATS]


@pytest.mark.parametrize("budget", range(12))
@pytest.mark.parametrize("count", [1, 3, 30])
def test_configured_keys_cause_no_more_scans_than_they_may(budget: int, count: int) -> None:
    keys = many_keys(count)
    for key in keys[: count // 2 + 1]:
        key.models = ()
    with (
        a_relay(*keys) as relay,
        Asker(relay, ids(relay), RELAY_SCANS_PER_RUN=str(budget)) as asker,
    ):
        for _ in range(3):
            run = asker.run()
            assert run.scans <= budget
            assert run.fetched.up
            assert run.failures == {}


def test_a_key_that_was_never_used_costs_no_scan_of_its_own_but_in_turn() -> None:
    keys = [Key(f"unused-{number}", models=()) for number in range(40)]
    with a_relay(*keys) as relay, Asker(relay, ids(relay)) as asker:
        run = asker.run()
    assert run.calls == {BATCH: 2, STATS: 10}
    assert run.scans == 10
    assert len(run.figures("limits.currentDailyCost")) == 40


@pytest.mark.parametrize("budget", [0, 1, 10])
def test_keys_that_may_not_be_read_are_counted_and_cost_no_scan(budget: int) -> None:
    keys = [Key(f"key-{number}") for number in range(20)]
    keys[0].active = False
    keys[1].expires_at = NOW - 1
    with a_relay(*keys) as relay:
        secret = ids(relay)
        secret["api_ids"].append("00000000-0000-4000-8000-000000000000")
        with Asker(relay, secret, RELAY_SCANS_PER_RUN=str(budget)) as asker:
            run = asker.run()
    assert run.scans == budget, "model rows get what these did not take"
    # that they are in no batch may be the relay's fault: their requests need a scan to be left
    failures = {("user-stats", "403"): 2, ("user-stats", "404"): 1}
    assert run.failures == (failures if budget else {("user-stats", "no_scan_left"): 3})
    assert run.fetched.keys_failed == 3
    assert run.fetched.up


@pytest.mark.parametrize("budget", [0, 1])
def test_a_single_key_that_is_no_key_of_the_relay_is_down(budget: int) -> None:
    with a_relay() as relay:
        secret = {"api_ids": ["00000000-0000-4000-8000-000000000000"]}
        with Asker(relay, secret, RELAY_SCANS_PER_RUN=str(budget)) as asker:
            run = asker.run()
    assert not run.fetched.up
    assert run.fetched.keys_failed == 1


def test_a_key_without_cost_that_is_disabled_is_refused_in_every_run() -> None:
    keys = [Key(f"key-{number}", models=()) for number in range(20)]
    with a_relay(*keys) as relay, Asker(relay, ids(relay)) as asker:
        asker.run()
        keys[0].active = False
        for _ in range(3):
            run = asker.run()
            assert (run.fetched.keys_failed, run.failures) == (1, {("user-stats", "403"): 1})
            assert run.scans == 10
            later(relay)


def nobody(response: Response) -> Response:
    answer = json.loads(response.body)
    answer["data"]["individual"] = []
    return Response.of_json(answer)


def batches(fault: Fault | None) -> Callable[[Request], Fault | None]:
    return lambda request: fault if request.path == BATCH else None


@pytest.mark.parametrize("budget", [0, 1, 10])
def test_keys_without_cost_that_the_batch_leaves_out_cost_no_scan_that_is_not_left(
    budget: int,
) -> None:
    keys = [Key(f"key-{number}", models=()) for number in range(20)]

    with a_relay(*keys) as relay:
        relay.fault = batches(Fault(rewrite=nobody))
        with Asker(relay, ids(relay), RELAY_SCANS_PER_RUN=str(budget)) as asker:
            run = asker.run()
    assert run.scans == run.calls[STATS] == budget
    assert run.failures == {("user-stats", "no_scan_left"): 20 - budget}


@pytest.mark.parametrize(
    ("release", "budget", "asked"),
    [("1.1.314", "0", BATCH), ("1.1.120", "0", "/health"), ("1.1.120", "1", STATS)],
)
def test_a_shard_delivers_whether_the_relay_is_up_though_its_keys_are_all_of_others(
    release: str, budget: str, asked: str
) -> None:
    with (
        a_relay(Key("in another", models=()), release=release) as relay,
        Asker(relay, ids(relay), RELAY_SCANS_PER_RUN=budget) as asker,
    ):
        shards = [asker.run(f"{index}/4") for index in range(1, 5)]
    assert [shard.fetched.up for shard in shards] == [True] * 4
    assert all(shard.scans <= int(budget) for shard in shards)
    assert sum(shard.calls == dict.fromkeys({BATCH, asked}, 1) for shard in shards) >= 3


def test_a_shard_without_keys_finds_out_that_the_relay_refuses() -> None:
    with a_relay(Key("in another")) as relay, Asker(relay, ids(relay)) as asker:
        relay.fault = lambda _: Fault(status=500)
        shards = [asker.run(f"{index}/4") for index in range(1, 5)]
    assert [shard.fetched.up for shard in shards] == [False] * 4
    assert all(shard.error for shard in shards)


def test_shards_of_configured_keys_give_together_what_one_run_gives() -> None:
    with a_relay(*many_keys(40)) as relay, Asker(relay, ids(relay)) as asker:
        whole = asker.run()
        shards = [asker.run(f"{index}/3") for index in range(1, 4)]
    totals = [shard.figures("usage.total.allTokens") for shard in shards]
    assert sum(map(len, totals)) == 40
    assert totals[0] | totals[1] | totals[2] == whole.figures("usage.total.allTokens")


def test_a_key_by_itself_is_asked_for_by_its_id_and_not_activated() -> None:
    waiting = Key("waiting", activated=False, activation_days=3, models=())
    with a_relay(waiting) as relay, Asker(relay, {"api_keys": [waiting.api_key]}) as asker:
        runs = [asker.run() for _ in range(2)]
    assert not waiting.activated
    assert [run.calls["/apiStats/api/get-key-id"] for run in runs] == [1, 0]
    (reading,) = runs[0].readings(Scope.KEY)
    assert reading.resource["service.instance.id"] == instance_id(waiting.api_key)


WRONG = {"api_keys": ["cr_replaced-in-the-meantime"]}


@pytest.mark.parametrize("by", ["api_keys", "api_ids"])
def test_a_key_that_is_refused_is_read_anew_from_the_secret(by: str) -> None:
    with a_relay() as relay:
        key = relay.keys[0]
        renewed = {by: [key.api_key if by == "api_keys" else key.id]}
        with Asker(relay, WRONG, renewed=renewed) as asker:
            run = asker.run()
    assert run.failures == {}
    assert run.fetched.up
    assert run.keys().keys() == {key.name}


def test_a_key_that_took_a_revoked_one_s_place_in_the_secret_is_not_delivered_twice() -> None:
    with a_relay() as relay:
        key = relay.keys[0]
        before = {"api_keys": [*WRONG["api_keys"], key.api_key]}
        with Asker(relay, before, renewed={"api_keys": [key.api_key]}) as asker:
            run = asker.run()
    assert run.keys().keys() == {key.name}, "a name that comes twice fails"
    assert run.fetched.keys_failed == 1


def test_an_api_key_that_was_made_anew_has_another_id() -> None:
    former = Key("former")
    with a_relay(former) as relay, Asker(relay, {"api_keys": [former.api_key]}) as asker:
        assert asker.run().keys().keys() == {"former"}
        del relay.by_id[former.id]
        relay.add(Key("anew", api_key=former.api_key))
        later(relay)
        run = asker.run()
    assert run.keys().keys() == {"anew"}
    assert run.failures == {}


def test_an_id_that_is_refused_once_is_asked_for_by_the_api_key_again() -> None:
    key = Key("k")
    refused: list[Request] = []

    def once(request: Request) -> Fault | None:
        if request.path != STATS or refused:
            return None
        refused.append(request)
        return Fault(status=401)

    with a_relay(key) as relay, Asker(relay, {"api_keys": [key.api_key]}) as asker:
        asker.run()
        later(relay)
        relay.fault = once
        run = asker.run()
    assert run.keys().keys() == {"k"}
    assert (run.failures, run.calls["/apiStats/api/get-key-id"]) == ({}, 1)


def test_a_key_that_the_secret_has_no_more_is_refused() -> None:
    with a_relay() as relay, Asker(relay, WRONG, renewed=LOGIN) as asker:
        run = asker.run()
    assert run.failures == {("get-key-id", "401"): 1}
    assert not run.fetched.up


def test_an_exchange_without_an_id_is_no_answer() -> None:
    with a_relay() as relay, Asker(relay, {"api_keys": [relay.keys[0].api_key]}) as asker:
        relay.fault = lambda request: (
            Fault(body=b'{"success": true, "data": {}}')
            if request.path.endswith("get-key-id")
            else None
        )
        run = asker.run()
    assert run.failures == {("get-key-id", "incomplete"): 1}


@pytest.mark.parametrize("status", [401, 404])
def test_an_id_that_is_refused_and_that_nothing_takes_the_place_of(status: int) -> None:
    with a_relay() as relay, Asker(relay, ids(relay), renewed=LOGIN) as asker:
        relay.fault = lambda request: Fault(status=status) if request.path == STATS else None
        run = asker.run()
    assert run.failures["user-stats", str(status)] == len(relay.keys)
    assert not run.fetched.up


def test_an_id_that_is_refused_has_another_one_in_the_secret_by_now() -> None:
    with a_relay() as relay:
        former, now = relay.keys[0], relay.keys[1]
        with Asker(relay, {"api_ids": [former.id]}, renewed={"api_ids": [now.id]}) as asker:
            relay.fault = lambda request: (
                Fault(status=401)
                if request.path == STATS and request.json()["apiId"] == former.id
                else None
            )
            run = asker.run()
    assert run.fetched.up
    assert list(run.keys()) == [now.name]


@pytest.mark.parametrize("count", [6, 12, 30])
def test_without_the_batch_an_older_relays_keys_all_come_every_run(count: int) -> None:
    """A key that ever cost anything makes the relay scan not at all, whichever that is."""
    with (
        a_relay(*many_keys(count), release="1.1.120") as relay,
        Asker(relay, ids(relay)) as asker,
    ):
        everyone = {key.name for key in relay.keys}
        first = asker.run()
        later(relay)
        runtime = asker.run()
        that_were_used = {key.name for key in relay.keys if key.used}
    for run in (first, runtime):
        assert 0 < run.scans <= 10
        assert {type for _, type in run.failures} <= {"missing_field"}
        assert run.error is None
    assert first.figures("usage.total.requests").keys() == everyone
    assert runtime.figures("usage.total.requests").keys() >= that_were_used


def test_model_rows_come_in_turn_though_other_keys_cost_nothing_and_there_is_no_batch() -> None:
    keys = [*many_keys(12), *(Key(f"free-{number}", models=()) for number in range(12))]
    with a_relay(*keys, release="1.1.120") as relay, Asker(relay, ids(relay)) as asker:
        runs = []
        for _ in range(6):
            runs.append(asker.run())
            later(relay)
    assert all(run.scans <= 10 for run in runs)
    assert any(run.calls[MODELS] for run in runs)
    assert {type for run in runs[3:] for _, type in run.failures} <= {"missing_field"}


def test_a_batch_that_fails_costs_no_key_its_totals() -> None:
    with a_relay(*many_keys(30)) as relay, Asker(relay, ids(relay)) as asker:
        relay.fault = lambda request: Fault(status=500) if request.path == BATCH else None
        run = asker.run()
    assert run.failures == {("batch-stats", "500"): 1}
    assert len(run.figures("usage.total.cost")) == 30
    assert run.scans <= 10


def test_keys_that_idled_this_month_are_asked_every_run() -> None:
    keys = [Key(f"idle-{number}") for number in range(40)]
    with a_relay(*keys) as relay, Asker(relay, ids(relay), RELAY_SCANS_PER_RUN="0") as asker:
        used(relay, keys)
        assert isinstance(relay.clock, Clock)
        relay.clock.now += 40 * 86_400
        runs = [asker.run(), asker.run()]
    for run, more in zip(runs, (2 + 40, 0), strict=True):
        # whether they cost anything before this month is asked, together and alone, and then known
        assert run.calls == {BATCH: 2 + more, STATS: 40}
        assert run.failures == {}
        assert run.scans == 0
        assert len(run.figures("usage.total.cost")) == len(run.figures("limits.tokenLimit")) == 40


@pytest.mark.parametrize("budget", [0, 1, 4, 9])
def test_keys_that_no_scan_is_left_for_are_counted(budget: int) -> None:
    keys = [Key(f"unused-{number}", models=()) for number in range(20)]
    with (
        a_relay(*keys, release="1.1.120") as relay,
        Asker(relay, ids(relay), RELAY_SCANS_PER_RUN=str(budget)) as asker,
    ):
        run = asker.run()
        delivered = set(run.keys())
        assert run.fetched.up
        assert run.calls[STATS] == budget
        assert run.calls["/health"] == (budget == 0), "which shows whether the relay is up"
        assert run.failures["user-stats", "no_scan_left"] == 20 - budget
        for _ in range(40 if budget else 0):
            run = asker.run()
            assert run.scans <= budget
            delivered |= run.keys().keys()
            later(relay)
    if budget:
        assert delivered == {key.name for key in keys}


def test_a_key_that_is_refused_costs_no_scan_and_one_that_fails_does() -> None:
    keys = many_keys(20)
    for key in keys[:5]:
        key.active = False
    with (
        a_relay(*keys, release="1.1.120") as relay,
        Asker(relay, ids(relay), RELAY_SCANS_PER_RUN="8") as asker,
    ):
        refused = asker.run()
        relay.fault = lambda request: Fault(status=500) if request.path == STATS else None
    assert refused.failures["user-stats", "403"] == 5
    assert len(refused.figures("usage.total.cost")) == 15
    with a_relay(*many_keys(20)) as relay, Asker(relay, ids(relay)) as asker:
        relay.fault = lambda _: Fault(status=500)
        failed = asker.run()
    assert failed.failures["user-stats", "500"] == 10
    assert failed.failures["user-stats", "no_scan_left"] == 10


def test_a_warm_run_asks_the_keys_that_it_knows_to_be_used_without_a_scan() -> None:
    with (
        a_relay(*many_keys(30), release="1.1.120") as relay,
        Asker(relay, ids(relay)) as asker,
    ):
        asker.run()
        relay.fault = lambda request: Fault(status=500) if request.path == STATS else None
        run = asker.run()
    assert run.failures["user-stats", "500"] >= 27, "of one that fails is known that it was used"


@pytest.mark.parametrize("budget", [0, 10])
@pytest.mark.parametrize("fault", [None, Fault(status=500), Fault(rewrite=nobody)])
def test_keys_whose_totals_were_reset_since_cause_no_more_scans_than_they_may(
    budget: int, fault: Fault | None
) -> None:
    keys = [Key(f"reset-{number}") for number in range(40)]
    with (
        a_relay(*keys) as relay,
        Asker(relay, ids(relay), RELAY_SCANS_PER_RUN=str(budget)) as asker,
    ):
        used(relay, keys)
        warm = [asker.run(), asker.run()]
        relay.fault = batches(fault)
        if budget:
            warm.append(asker.run())
        for key in keys:
            key.usage.clear()
            key.totals.clear()
        run = asker.run()
    assert [one.calls[STATS] for one in warm] == [40] * len(warm)
    assert (run.scans, run.calls[STATS]) == (budget, budget)
    assert len(run.figures("usage.total.requests")) == (budget if fault else 40)


def test_a_key_keeps_its_start_its_name_and_its_expiry_while_it_is_not_asked() -> None:
    keys = [
        Key(f"unused-{number}", created_at=NOW - 7200, expires_at=NOW + 7200, models=())
        for number in range(20)
    ]
    with (
        a_relay(*keys) as relay,
        Asker(relay, ids(relay), RELAY_SCANS_PER_RUN="5") as asker,
    ):
        started: set[str] = set()
        for _ in range(8):
            run = asker.run()
            assert run.calls[STATS] == 5
            delivered = {name for name, one in run.keys().items() if one.start_ms is not None}
            assert started <= delivered, "it is delivered for good"
            assert run.figures("expires_s").keys() == delivered
            started = delivered
            later(relay)
        assert started == {key.name for key in keys}
        relay.fault = lambda request: Fault(status=500) if request.path == STATS else None
        keys[0].name = "renamed"
        assert asker.run().figures("dailyUsage.requests").keys() >= {"renamed"}, "the batch's word"


def test_model_rows_keep_the_keys_name_where_nothing_else_comes() -> None:
    with a_relay(*many_keys(3)) as relay, Asker(relay, ids(relay)) as asker:
        before = asker.run().readings(Scope.MODEL)
        relay.fault = lambda request: Fault(status=500) if request.path != MODELS else None
        after = asker.run().readings(Scope.MODEL)
    assert [one.resource for one in after] == [one.resource for one in before] != []


@pytest.mark.parametrize("others", [[], [Key(f"other-{number}") for number in range(7)]], ids=len)
@pytest.mark.parametrize("remembers", [True, False])
def test_an_expired_key_delivers_nothing_half_where_nothing_says_that_it_is_expired(
    remembers: bool, others: list[Key]
) -> None:
    key = Key("expires", expires_at=NOW + 30)
    with a_relay(key, *others) as relay, ExitStack() as opened:
        asker = opened.enter_context(Asker(relay, ids(relay)))
        assert key.name in asker.run().figures("expires_s")
        later(relay)
        if not remembers:
            asker = opened.enter_context(Asker(relay, ids(relay)))
        relay.fault = lambda request: (
            Fault(status=500)
            if request.path in (STATS, BATCH) and key.id.encode() in request.body
            else None
        )
        run = asker.run()
    assert key.id not in {one.resource.get("relay.key.id") for one in run.fetched.readings}
    assert run.failures["user-stats", "500"] == 1


def test_what_is_remembered_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claude_keys, "MOST_REMEMBERED", 2)
    memory = Memory()
    for key_id in "abac":
        memory.keep("http://relay.test", key_id, Known("", 1, None, None))
    assert [memory.recall("http://another.test", key_id) for key_id in "abc"] == [None] * 3
    recalled = [memory.recall("http://relay.test", key_id) is not None for key_id in "abc"]
    assert recalled == [True, False, True], "the longest unseen one is gone"
