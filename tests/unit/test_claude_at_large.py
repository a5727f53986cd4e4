"""A relay as a whole and its accounts, by an administrator's login, whatever does not come."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.http_server import Fault, Request, Response
from local.relay import ClaudeRelay, Key
from local.relay.demo import ADMIN, many_keys
from tests.collecting import Clock
from tests.unit.claude import NOW, Asker

KEYS = "/admin/api-keys"


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
