"""Servers, proxies and AWS that repeat what they were sent: none of it is seen anywhere.

The search itself is the fixture's: at the end of each test it looks through the answers, the
exceptions, the log, both outputs, the queues and every request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest

from local.http_server import Fault, FaultHook, Request
from local.relay import for_demo
from tests.collecting import LOGIN
from tests.integration.conftest import System
from tests.integration.leaks import Secrets


def said(request: Request) -> str:
    """All that a request has in it, its credential first."""
    query = "&".join(f"{name}={value}" for name, value in request.query.items())
    return " ".join(
        [
            request.headers.get("authorization", ""),
            query,
            request.body[:500].decode("latin-1"),
            str(dict(request.headers)),
        ]
    )


def as_text(request: Request) -> Fault:
    return Fault(body=said(request).encode(), content_type="text/plain")


def as_error(request: Request) -> Fault:
    return Fault(body=json.dumps({"success": False, "error": said(request)}).encode())


def as_short_error(request: Request) -> Fault:
    """Short enough for our report."""
    words = re.findall(r"[!-~]{6,70}", said(request))
    return Fault(body=json.dumps({"success": False, "error": words[1][:80]}).encode())


def as_nested_error(request: Request) -> Fault:
    return Fault(body=json.dumps({"error": {"sent": said(request)}}).encode())


def behind_much(request: Request) -> Fault:
    """So that a cut falls into the credential."""
    return Fault(body=b"x" * 150 + said(request).encode(), content_type="text/plain")


def quoted(request: Request) -> Fault:
    return Fault(body=quote(said(request)).encode(), content_type="text/plain")


def as_header(request: Request) -> Fault:
    text = said(request).encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")
    return Fault(body=b"", headers={"WWW-Authenticate": text, "Location": f"/?{text}"})


def as_broken_header(request: Request) -> Fault:
    """Which urllib3 writes into its log."""
    text = said(request).encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")
    return Fault(body=b"", headers={"X": f"y\r\nno colon {text}\r\nZ"})


ECHOES = [
    as_text, as_error, as_short_error, as_nested_error, behind_much, quoted, as_header,
    as_broken_header,
]  # fmt: skip


def with_status(echo: Callable[[Request], Fault], status: int) -> FaultHook:
    def hook(request: Request) -> Fault:
        fault = echo(request)
        return Fault(status, fault.body, fault.content_type, fault.headers)

    return hook


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize("echo", ECHOES)
def test_a_destination_that_repeats(
    system: System, echo: Callable[[Request], Fault], status: int
) -> None:
    system.claude()
    there = system.receiver("there")
    token = system.secrets.new("a-token-in-a-query")
    system.listed("there")["url"] += f"?token={token}"
    there.fault = with_status(echo, status)
    system.environment["OTEL_TIMEOUT_MS"] = "300"
    assert system.collect().error is None
    system.redrive()


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("echo", ECHOES)
def test_a_relay_that_repeats(
    system: System, echo: Callable[[Request], Fault], status: int
) -> None:
    system.claude("by-key").fault = with_status(echo, status)
    system.wyolet("by-token").fault = with_status(echo, status)
    token = system.secrets.new("a-token-in-a-path")
    system.listed("by-token")["metrics_path"] = f"/metrics?token={token}"
    demo = system.serve(for_demo())
    hook = with_status(echo, status)
    # it lets him in, so that there is a session to repeat
    demo.fault = lambda request: None if request.path == "/web/auth/login" else hook(request)
    system.secrets.add(LOGIN["admin_password"])
    system.secret["relays"].append({"name": "by-login", "base_url": demo.url, **LOGIN})
    system.receiver()
    ended = system.collect()
    assert ended.error is None
    assert demo.sessions
    for session in demo.sessions:
        system.secrets.add(session)


def test_a_login_that_repeats_the_password(system: System) -> None:
    demo = system.serve(for_demo())
    demo.fault = with_status(as_short_error, 401)
    password = system.secrets.new('the "password" of\\an administrator')
    system.secret["relays"] = [
        {"name": "demo", "base_url": demo.url, "admin_username": "a", "admin_password": password}
    ]
    system.receiver()
    assert not system.collect().relay("demo")["up"]


def test_the_search_finds_each_form() -> None:
    secrets = Secrets()
    secret = secrets.new('pässwörd "0123456789"/<&>%')
    basic = secrets.new(secrets.basic("user", secret))
    for form in (secret, json.dumps(secret), quote(secret), basic, repr(secret.encode())):
        with pytest.raises(AssertionError, match="behind"):
            secrets.assert_not_in(f"somewhere {form} else")
    secrets.assert_not_in("nothing of the kind")


def test_check_and_dry_run(system: System) -> None:
    system.claude("by-key").fault = with_status(as_short_error, 401)
    system.wyolet("by-token").fault = with_status(as_text, 500)
    system.receiver().fault = with_status(as_error, 401)
    for action in ("check", "dry-run"):
        assert system.collect({"action": action}).error is None


def test_a_short_password(system: System) -> None:
    system.claude()
    there = system.receiver("there")
    system.listed("there")["password"] = "a1"
    there.fault = lambda request: Fault(
        status=404, body=b"user metrics-writer, password 'a1', a12", content_type="text/plain"
    )
    ended = system.collect()
    assert "(user ***, password '***', a12)" in ended.destination("there")["error"]
