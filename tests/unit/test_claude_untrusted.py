"""Whatever a claude-relay answers: figures, or counted as left out, and never a fault of ours."""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.closing import Closing
from local.http_server import Fault, HttpServer, Request, Response
from local.relay import ClaudeRelay
from local.relay.demo import ADMIN, demo_keys
from relay_metrics.relays.claude.accounts import account
from tests.collecting import LOGIN, Clock
from tests.unit.claude import BATCH, MODELS, NOW, STATS, Asker

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def holding(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects that have some of the fields, each perhaps as it should be."""
    return ANYTHING | st.fixed_dictionaries(
        {}, optional={name: ANYTHING | wanted for name, wanted in fields.items()}
    )


FLAG = st.sampled_from([True, False, "true", "false"])
WINDOW = holding(
    utilization=st.floats(0, 100),
    usedPercent=st.floats(0, 100),
    remainingSeconds=st.integers(0, 10**6),
    windowMinutes=st.sampled_from([300, "10080"]),
)
USAGE = holding(
    updatedAt=st.sampled_from(["2026-11-21T21:00:00Z", "2020-01-01"]),
    fiveHour=WINDOW,
    sevenDay=WINDOW,
    primary=WINDOW,
    secondary=WINDOW,
)
ACCOUNT = holding(
    id=st.text(min_size=1, max_size=8),
    name=st.text(max_size=8),
    isActive=FLAG,
    schedulable=FLAG,
    status=st.sampled_from(["active", "blocked"]),
    rateLimitStatus=holding(isRateLimited=FLAG, minutesRemaining=st.integers()),
    rateLimitInfo=holding(isRateLimited=FLAG, rateLimitResetAt=st.text()),
    dailyQuota=st.floats(),
    dailyUsage=st.floats(),
    claudeUsage=USAGE,
    codexUsage=USAGE,
    usage=holding(daily=holding(requests=st.integers(), allTokens=st.text(), cost=st.floats())),
)


@given(row=ACCOUNT)
def test_any_row_of_an_account(row: object) -> None:
    counted: list[str] = []
    made = account("claude", row, round(NOW * 1000), counted.append)
    assert made is not None or counted == ["invalid_row"]
    if made is not None:
        reading = made.reading
        assert all(math.isfinite(figure) for figure in reading.fields.values())
        assert reading.attributes["relay.account.id"]


ODD: tuple[Any, ...] = (None, True, 7, -1.5, "x", [], {}, [[]], [{}], {"a": []}, 10**400)


@pytest.mark.parametrize("shift", [0, 5])
@pytest.mark.parametrize("by_login", [True, False])
def test_an_odd_value_in_place_of_any_other(shift: int, by_login: bool) -> None:
    """Each value of each answer in turn, in runs that are answered everything else as ever."""
    with ClaudeRelay(demo_keys(NOW), admin=ADMIN, clock=Clock(NOW)) as relay:
        relay.tick()
        secret = LOGIN if by_login else {"api_ids": [key.id for key in relay.keys]}
        with Odd(relay) as proxy, Asker(relay, {**secret, "base_url": proxy.url}) as asker:
            asker.run()
            assert proxy.seen.keys() >= {STATS, MODELS, BATCH}
            for path, places in list(proxy.seen.items()):
                for place in range(places):
                    proxy.changed = path, place, ODD[(place + shift) % len(ODD)]
                    figures = [reading.fields for reading in asker.run().fetched.readings]
                    assert all(
                        map(math.isfinite, chain.from_iterable(one.values() for one in figures))
                    )


def test_ids_that_are_none() -> None:
    answer = b'{"success":true,"data":{"individual":[{"apiId":[]},{"apiId":{}},{"apiId":null},7]}}'
    with ClaudeRelay(demo_keys(NOW), admin=ADMIN, clock=Clock(NOW)) as relay:
        relay.tick()
        relay.fault = lambda request: Fault(body=answer) if request.path == BATCH else None
        with Asker(relay) as asker:
            run = asker.run()
    assert len(run.figures("usage.total.cost")) == 3
    assert run.figures("dailyUsage.requests") == {}


class Odd(Closing):
    """Hands on to a relay, and changes one of the values that it answers with.

    Attributes:
        seen: how many values the answers of a path have.
        changed: the path, which of its values, and what to put in its place.
    """

    def __init__(self, relay: ClaudeRelay) -> None:
        self.seen: dict[str, int] = {}
        self.changed: tuple[str, int, object] = ("", 0, None)
        self._relay = relay
        self._server = HttpServer(self._answer)
        self.url = self._server.url

    def close(self) -> None:
        self._server.close()
        assert self._server.errors == []

    def _answer(self, request: Request) -> Response:
        response = self._relay._answer(request)
        if response.status != 200 or request.path == "/web/auth/login":
            return response
        path, place, odd = self.changed
        count = [-1]
        answer = _with(
            json.loads(response.body), place if path == request.path else None, odd, count
        )
        self.seen[request.path] = max(self.seen.get(request.path, 0), min(count[0] + 1, 45))
        return Response(200, json.dumps(answer).encode())


def _with(value: Any, place: int | None, odd: object, count: list[int]) -> Any:
    """A JSON value in which the one at a place, counted from outside in, is another one."""
    count[0] += 1
    if count[0] == place:
        return odd
    if isinstance(value, dict):
        return {name: _with(one, place, odd, count) for name, one in value.items()}
    if isinstance(value, list):
        return [_with(one, place, odd, count) for one in value]
    return value
