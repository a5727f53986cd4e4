"""`make check`, run as a newcomer runs it."""

import json
import os
import subprocess
import sys

import pytest

from local.check import _in_variables
from local.http_server import HttpServer, Response
from local.relay import ClaudeRelay, many_keys
from relay_metrics.errors import SettingsError
from relay_metrics.relays import kinds
from relay_metrics.relays.kinds import KINDS
from relay_metrics.settings import environment, settings
from tests import ROOT


def check(**variables: str) -> tuple[int, str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "local.check"],
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_all_is_well_with_what_is_simulated() -> None:
    status, said = check()
    assert status == 0
    assert "✓ relay claude" in said
    assert "✓ relay wyolet" in said
    assert "✓ destination default" in said


def test_a_relay_of_ones_own_is_asked_and_does_not_scan() -> None:
    key = many_keys(1)[0]
    with ClaudeRelay([key]) as relay:
        relay.tick()
        status, said = check(RELAY_BASE_URL=relay.url, RELAY_API_ID=key.id, RELAY_NAME="mine")
        assert relay.scans == 0
    assert status == 0
    assert "✓ relay mine" in said


def test_what_is_wrong_comes_with_what_to_do_and_without_the_credential() -> None:
    with HttpServer(lambda _: Response(401, b'{"error": "Invalid API key"}')) as server:
        status, said = check(RELAY_BASE_URL=server.url, RELAY_API_KEY="cr_very-secret-key")
    assert status == 1
    assert "✗ relay" in said
    assert "the relay does not accept the credential" in said
    assert "very-secret" not in said


def test_what_cannot_be_run_at_all_has_a_status_of_its_own() -> None:
    status, said = check(RELAY_BASE_URL="http://127.0.0.1:9", RELAY_HEADERS="no JSON")
    assert status == 2
    assert said == "make check: RELAY_HEADERS must be a JSON object of header names to text\n"


@pytest.mark.parametrize(
    ("kind", "secret", "url", "says"),
    [
        (
            "claude-relay",
            {"relay_admin_token": "x"},
            "https://a",
            "there is a wyolet-relay's credential, but RELAY_KIND is claude-relay",
        ),
        ("claude-relay", {"relay_admin_username": "x"}, "https://a", "RELAY_ADMIN_PASSWORD is"),
        (
            "wyolet-relay",
            {"relay_api_id": "x"},
            "https://a",
            "which takes RELAY_HEADERS and RELAY_ADMIN_TOKEN",
        ),
        ("wyolet-relay", {"relay_admin_token": "x y"}, "https://a", "RELAY_ADMIN_TOKEN has a"),
        ("wyolet-relay", {}, "https://user:password@a", "belong into variables"),
    ],
)
def test_what_is_wrong_with_a_secret_is_said_of_variables(
    kind: str, secret: dict[str, str], url: str, says: str
) -> None:
    given = {"SECRET_ID": "x", "RELAY_KIND": kind, "RELAY_BASE_URL": url, "OTEL_EXPORT_URL": url}
    with pytest.raises(SettingsError) as caught:
        settings(environment(given), json.dumps(secret))
    said = _in_variables(str(caught.value))
    assert says in said
    assert "secret" not in said


@pytest.mark.parametrize("kind", KINDS)
def test_hints_speak_of_variables(kind: str) -> None:
    for hint in kinds.kind(kind).hints.values():
        said = _in_variables(hint)
        assert "secret" not in said
        assert "relay_" not in said
        assert "(" not in said


def test_a_missing_credential_is_named() -> None:
    status, said = check(RELAY_BASE_URL="http://127.0.0.1:9")
    assert status == 1
    assert "there is no credential for the relay: give RELAY_API_ID" in " ".join(said.split())
    assert "secret" not in said
