"""Running totals of a claude-relay: none falls, whatever the relay fails to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.http_server import Fault, Request, Response
from local.relay import Account, ClaudeRelay, Key, Limits
from local.relay.demo import ADMIN
from local.relay.model import Usage
from relay_metrics.relays.claude.record import COST, TOTALS
from relay_metrics.snapshot import Number, Scope
from tests.collecting import LOGIN, Clock
from tests.unit.claude import BATCH, NOW, STATS, Asker, Run, used

Change = Callable[[dict[str, Any]], object]
Faults = Callable[[Request], Fault | None]

DAY_S = 86_400
KEYS, USAGE = "/admin/api-keys", "/admin/usage-stats"
REQUESTS, TOKENS = "usage.total.requests", "usage.total.allTokens"
FIELDS = sorted(row.field for row in TOTALS)
READ_TOGETHER = {field for field in FIELDS if field != COST}
"""The relay stores these as one, and the cost by itself."""


@contextmanager
def a_relay(*keys: Key, **more: Any) -> Iterator[ClaudeRelay]:
    with ClaudeRelay(keys, admin=ADMIN, clock=Clock(NOW), **more) as relay:
        used(relay, [key for key in keys if key.models])
        yield relay


def later(relay: ClaudeRelay, seconds: float = 60) -> None:
    assert isinstance(relay.clock, Clock)
    relay.clock.now += seconds


def rewriting(path: str, change: Change) -> Faults:
    def rewritten(response: Response) -> Response:
        answer = json.loads(response.body)
        if response.status == 200:
            change(answer)
        return Response.of_json(answer, response.status)

    return lambda request: Fault(rewrite=rewritten) if request.path == path else None


def failing(*paths: str) -> Faults:
    return lambda request: (
        Fault(status=500, body=b'{"error":"no"}') if request.path in paths else None
    )


def all_of(*faults: Faults) -> Faults:
    return lambda request: next((one for fault in faults if (one := fault(request))), None)


def zeros(fields: Mapping[str, Collection[str]]) -> Change:
    """The zeros in usage-stats for what the relay could not read, by the names of the keys."""

    def change(answer: dict[str, Any]) -> None:
        for row in answer["data"]["stats"]:
            for field in fields.get(row["keyName"], ()):
                row["usage"]["total"][field.rpartition(".")[2]] = 0

    return change


def absent(names: Collection[str]) -> Change:
    def change(answer: dict[str, Any]) -> None:
        data = answer["data"]
        data["individual"] = [one for one in data["individual"] if one["name"] not in names]

    return change


def without_last_use(answer: dict[str, Any]) -> None:
    for item in answer["data"]["items"]:
        del item["lastUsedAt"]


def totals(run: Run, name: str) -> dict[str, Number]:
    keys = run.keys()
    found = keys[name].fields if name in keys else {}
    return {field: found[field] for field in FIELDS if field in found}


@pytest.mark.parametrize("zero", [FIELDS, sorted(READ_TOGETHER), [COST], [TOKENS]], ids=len)
@pytest.mark.parametrize("state", ["used today", "idle", "disabled"])
@pytest.mark.parametrize(
    "others",
    [(), (BATCH, STATS), (KEYS, BATCH)],
    ids=["only zeros", "no batch", "no list"],
)
def test_zeros_of_a_used_key_in_usage_stats_are_not_believed(
    zero: Collection[str], state: str, others: tuple[str, ...]
) -> None:
    key = Key("k")
    with a_relay(key, Key("other")) as relay, Asker(relay) as asker:
        before = totals(asker.run(), "k")
        later(relay, 40 * DAY_S if state == "idle" else 60)
        key.active = state != "disabled"
        relay.fault = all_of(rewriting(USAGE, zeros({"k": zero})), failing(*others))
        run = asker.run()
        delivered = totals(run, "k")
        relay.fault = None
        assert totals(asker.run(), "k") == before, "and come again"
    assert delivered == {field: before[field] for field in delivered}
    believed = before.keys() - set(zero)
    if not others and key.active:
        assert delivered == before, "others answer them"
    elif KEYS not in others:
        assert delivered.keys() >= believed
    if state == "disabled" and not others:
        assert delivered.keys() == believed
        assert run.failures == {("admin/usage-stats", "zero_of_used"): len(zero)}


@pytest.mark.parametrize("others", [(), (BATCH,)], ids=str)
def test_where_the_list_does_not_say_when_keys_were_used_a_zero_needs_the_batch(
    others: tuple[str, ...],
) -> None:
    with a_relay(Key("k"), Key("unused", models=())) as relay:
        relay.fault = all_of(
            rewriting(USAGE, zeros({"k": FIELDS})),
            rewriting(KEYS, without_last_use),
            failing(*others, *(STATS,) * bool(others)),
        )
        with Asker(relay) as asker:
            run = asker.run()
    assert 0 not in run.figures(REQUESTS).values() or not others
    assert run.figures(REQUESTS) == ({} if others else {"k": 1, "unused": 0})


def test_a_key_that_was_never_used_is_told_as_0_whatever_its_state() -> None:
    keys = [
        Key("unused", models=()),
        Key("disabled", models=(), active=False),
        Key("expired", models=(), expires_at=NOW - 1),
    ]
    with a_relay(*keys) as relay, Asker(relay) as asker:
        relay.fault = failing(BATCH)
        run = asker.run()
    assert [totals(run, key.name) for key in keys] == [dict.fromkeys(FIELDS, 0)] * 3
    assert run.calls[STATS] == 0


@pytest.mark.parametrize("forgotten", [True, False])
def test_a_key_that_an_administrator_has_reset_is_told_as_0(forgotten: bool) -> None:
    """The relay's own reset forgets the last use of a key; the batch shows any other one."""
    key = Key("k")
    with a_relay(key, Key("other")) as relay, Asker(relay) as asker:
        assert totals(asker.run(), "k")[REQUESTS] == 1
        key.usage.clear()
        key.totals.clear()
        if forgotten:
            key.last_used_at = None
            relay.fault = failing(BATCH)
        later(relay)
        run = asker.run()
        assert totals(run, "k") == dict.fromkeys(FIELDS, 0)
        assert run.scans <= 10
        relay.use(key, "free", requests=2)
        assert totals(asker.run(), "k") == dict.fromkeys(FIELDS, 0) | {REQUESTS: 2}


@pytest.mark.parametrize("by_login", [True, False])
def test_a_cost_that_user_stats_computes_by_a_scan_is_counted_as_one_and_does_not_fall(
    by_login: bool,
) -> None:
    """The relay has no cost of a key that was used before it kept any."""
    limits = Limits(rate_limit_window=60)
    keys = [Key(f"k{number}", rate=0, limits=limits) for number in range(30)]

    def computed(answer: dict[str, Any]) -> None:
        answer["data"]["usage"]["total"]["cost"] = 1.5

    with a_relay(*keys) as relay:
        relay.fault = rewriting(STATS, computed)
        with Asker(relay, LOGIN if by_login else {"api_ids": [key.id for key in keys]}) as asker:
            highest: dict[str, Number] = {}
            for _ in range(6):
                run = asker.run()
                assert run.scans <= 10
                costs = run.figures(COST)
                assert {name for name in costs if costs[name] < highest.get(name, 0)} == set()
                highest |= costs
                later(relay)
    assert 1.5 in highest.values()


PLATFORMS = ("claude-console", "bedrock", "openai")
USED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("used", "idle", "disabled", "expired"), ("a model",)),
    **dict.fromkeys(("free", "free and disabled", "unused"), ()),
}
"""The keys, and whether they had a cost."""


class Failure(NamedTuple):
    """What a relay fails to answer in a run.

    Attributes:
        zero: the totals that are 0 in usage-stats, by the names of keys.
        failing: the endpoints that answer 500.
        absent: the keys that batch-stats leaves out.
        last_use: whether the list of keys has it.
        unread: the platforms whose accounts could not be read.
    """

    zero: Mapping[str, Collection[str]]
    failing: Collection[str]
    absent: Collection[str]
    last_use: bool
    unread: Collection[str]

    def fault(self, *, by_field: bool) -> Faults:
        """Failures of a relay, and where `by_field` also single zeros, which it does not answer."""
        zero = {
            name: {*fields, *(READ_TOGETHER if READ_TOGETHER & {*fields} and not by_field else ())}
            for name, fields in self.zero.items()
        }

        def unread(answer: dict[str, Any]) -> None:
            nothing = {"tokens": 0, "requests": 0, "allTokens": 0}
            for row in answer["data"]:
                row["usage"] = {"daily": nothing, "total": nothing}

        return all_of(
            failing(*self.failing),
            rewriting(USAGE, zeros(zero)),
            rewriting(BATCH, absent(self.absent)),
            *([] if self.last_use else [rewriting(KEYS, without_last_use)]),
            *(rewriting(f"/admin/{platform}-accounts", unread) for platform in self.unread),
        )


FAILURES = st.builds(
    Failure,
    st.dictionaries(st.sampled_from([*USED]), st.sets(st.sampled_from(FIELDS), min_size=1)),
    st.sets(st.sampled_from([USAGE, KEYS, BATCH, STATS])),
    st.sets(st.sampled_from([*USED])),
    st.booleans(),
    st.sets(st.sampled_from(PLATFORMS)),
)


def running(run: Run) -> dict[tuple[str, ...], Number]:
    """All running totals of a run, by what they are of."""
    return {
        (*one.resource.values(), *one.attributes.values(), field): figure
        for one in run.readings(Scope.KEY, Scope.ACCOUNT)
        for field, figure in one.fields.items()
        if field.startswith("usage.total.")
    }


@settings(max_examples=15)
@given(st.lists(FAILURES, min_size=1, max_size=2), st.booleans(), st.booleans())
def test_no_running_total_falls(failures: list[Failure], by_login: bool, remembers: bool) -> None:
    """In an environment that remembers earlier runs, and in new ones."""
    keys = {name: Key(name, models=USED[name]) for name in USED}
    keys["used"].limits = Limits(rate_limit_window=60)
    usage = {"total": Usage(9, 8, 7)}
    accounts = [Account(platform, platform, usage=usage) for platform in PLATFORMS]
    with a_relay(*keys.values(), accounts=accounts) as relay, ExitStack() as opened:
        secret = LOGIN if by_login else {"api_ids": [key.id for key in relay.keys]}
        for name in ("free", "free and disabled"):
            relay.use(keys[name], "free")
        asker = opened.enter_context(Asker(relay, secret))
        now = running(asker.run())
        highest = dict(now)
        later(relay, 40 * DAY_S)
        for name in ("disabled", "free and disabled"):
            keys[name].active = False
        keys["expired"].expires_at = NOW
        for failure in (*failures, None):
            used(relay, [keys["used"]])
            relay.fault = None if failure is None else failure.fault(by_field=remembers)
            if not remembers:
                asker = opened.enter_context(Asker(relay, secret))
            run = asker.run()
            assert run.scans <= 10
            now = running(run)
            fallen = {at: (was, now[at]) for at, was in highest.items() if now.get(at, was) < was}
            assert fallen == {}
            highest |= now
            later(relay)
        if by_login and remembers:
            assert now.keys() == highest.keys(), "all of them come again"
