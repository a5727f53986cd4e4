"""An administrator's session: kept, renewed once, never seen."""

from __future__ import annotations

import json

import pytest

from local.http_server import Fault, Request
from local.relay import ClaudeRelay
from local.relay.demo import ADMIN, demo_keys
from relay_metrics.observability import redact
from tests.collecting import LOGIN, Clock
from tests.unit.claude import NOW, Asker

ENTER = "/web/auth/login"
WRONG = {**LOGIN, "admin_password": "was-changed"}


@pytest.fixture
def relay() -> ClaudeRelay:
    relay = ClaudeRelay(demo_keys(NOW), admin=ADMIN, clock=Clock(NOW))
    relay.tick()
    return relay


def test_the_session_is_kept_from_run_to_run(relay: ClaudeRelay) -> None:
    with relay, Asker(relay) as asker:
        logins = [asker.run().calls[ENTER] for _ in range(3)]
    assert logins == [1, 0, 0]


def test_the_token_is_seen_in_no_output(relay: ClaudeRelay) -> None:
    with relay, Asker(relay) as asker:
        asker.run()
        (token,) = relay.sessions
    assert redact(f"Bearer {token} was sent") == "Bearer *** was sent"


def test_a_session_that_ended_between_runs_is_made_anew(relay: ClaudeRelay) -> None:
    with relay, Asker(relay) as asker:
        asker.run()
        relay.sessions.clear()
        run = asker.run()
        assert run.calls[ENTER] == 1
        assert run.failures == {}
        assert len(run.keys()) == 3
        assert asker.run().calls[ENTER] == 0


def test_a_token_that_dies_in_the_middle_is_made_anew_once(relay: ClaudeRelay) -> None:
    """Of the requests side by side all are refused, and one of them logs in for all."""

    def dying(request: Request) -> None:
        if request.path == "/admin/dashboard" and relay.calls[ENTER] < 2:
            relay.sessions.clear()

    with relay, Asker(relay) as asker:
        relay.fault = dying
        run = asker.run()
    assert run.calls[ENTER] == 2
    assert run.failures == {}
    assert run.fetched.up
    assert len(run.keys()) == 3
    assert "overview.totalRequestsUsed" in run.of_relay()


def test_a_relay_that_forgets_every_session_is_logged_in_to_twice_a_run(relay: ClaudeRelay) -> None:
    def forgetful(request: Request) -> None:
        if request.path.startswith("/admin/"):
            relay.sessions.clear()

    with relay, Asker(relay) as asker:
        relay.fault = forgetful
        run = asker.run()
    assert run.calls[ENTER] == 2
    assert not run.fetched.up
    assert run.failures["admin/api-keys", "401"] == 1


def test_a_login_that_is_refused_is_read_anew_from_the_secret(relay: ClaudeRelay) -> None:
    with relay, Asker(relay, WRONG, renewed=LOGIN) as asker:
        run = asker.run()
        again = asker.run()
    assert run.failures == again.failures == {}
    assert run.fetched.up
    assert run.calls[ENTER] == 2


def test_a_login_that_the_secret_has_no_more_is_refused(relay: ClaudeRelay) -> None:
    with relay, Asker(relay, WRONG, renewed={"api_ids": [relay.keys[0].id]}) as asker:
        run = asker.run()
    assert run.failures == {("web/auth/login", "401"): 1}
    assert run.calls[ENTER] == 1


def test_a_login_that_is_refused_for_good_leaves_the_configured_keys(relay: ClaudeRelay) -> None:
    secret = {**WRONG, "api_ids": [relay.keys[0].id]}
    with relay, Asker(relay, secret) as asker:
        run = asker.run()
    assert run.calls[ENTER] == 2, "the second with the secret as it is now"
    assert run.failures == {("web/auth/login", "401"): 1}
    assert run.error == "relay main: web/auth/login: answered 401 (Invalid credentials)"
    assert not run.fetched.up, "the credential is not accepted"
    assert run.keys().keys() == {relay.keys[0].name}
    assert run.readings() == []


@pytest.mark.parametrize(
    "answer",
    [
        {"success": True},
        {"success": True, "token": ""},
        {"success": True, "token": 7},
        {"success": True, "token": "with a space"},
        {"success": True, "token": "two\r\nlines: of a header"},
        {"success": True, "token": "x" * 5000},
    ],
)
def test_a_login_without_a_token_is_no_login(relay: ClaudeRelay, answer: object) -> None:
    def without_token(request: Request) -> Fault | None:
        return Fault(body=json.dumps(answer).encode()) if request.path == ENTER else None

    with relay, Asker(relay) as asker:
        relay.fault = without_token
        run = asker.run()
    assert run.failures == {("web/auth/login", "incomplete"): 1}
    assert not run.fetched.up


def test_a_relay_that_is_down_is_asked_for_its_login_alone(relay: ClaudeRelay) -> None:
    with relay, Asker(relay) as asker:
        relay.fault = lambda _: Fault(status=503)
        run = asker.run()
    assert run.failures == {("web/auth/login", "503"): 1}
    assert not run.fetched.up
