"""What a check says to do: by what answered, not by the status alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from relay_metrics import hints
from relay_metrics.deliver.answers import taken
from relay_metrics.errors import PushError, Refused, RelayError, SecretError, Unavailable
from relay_metrics.net.http import CLIENT_CERTIFICATE, CLOSED_TLS, NO_TLS, UNTRUSTED, Answer
from relay_metrics.settings import environment
from relay_metrics.snapshot import NO_ATTRIBUTES
from tests.unit.settings_read import NOT_HERE, PLAIN, SECRET, destination, listed, read, relay

CHALLENGE = {"content-type": "text/html; charset=UTF-8", "cf-mitigated": "challenge"}
PAGE = b"<!DOCTYPE html><title>Just a moment...</title>"


def of_relay(type_: str, message: str = "", kind: str = "claude-relay", **more: str) -> str:
    """The hint for a request to a relay that failed in this way."""
    variables = {**PLAIN, "RELAY_KIND": kind, **more}
    one = relay({"RELAY_KIND": kind}, {"relay_api_id": "x"} if kind == "claude-relay" else {})
    status = int(type_) if type_.isdigit() else None
    failure = RelayError("relay", "metrics", type_, message, status)
    return hints.of_relay(failure, one, environment(variables))


def of_answer(
    status: int,
    headers: Mapping[str, str] = NO_ATTRIBUTES,
    body: bytes = b"",
    secret: Mapping[str, str] = SECRET,
    variables: Mapping[str, str] = NO_ATTRIBUTES,
) -> tuple[str, str]:
    """What a destination's answer is called, and its hint."""
    with pytest.raises(PushError) as caught:
        taken("default", Answer(status, headers, body))
    given = read(variables, secret)
    hint = hints.of_destination(caught.value, given.destinations[0], given.environment)
    return str(caught.value), hint


@pytest.mark.parametrize(
    ("type_", "message", "kind", "says"),
    [
        ("307", "answered 307", "wyolet-relay", "give the address that it names"),
        ("307", "answered 307", "wyolet-relay", "metrics_path"),
        ("301", "answered 301", "claude-relay", "RELAY_BASE_URL"),
        ("401", "", "claude-relay", "does not accept the credential"),
        ("401", "", "wyolet-relay", "admin_token"),
        ("403", "", "claude-relay", "disabled or expired"),
        ("403", "", "wyolet-relay", "a proxy in front of it"),
        ("404", "", "claude-relay", "the key's id"),
        ("404", "", "wyolet-relay", "metrics_path"),
        ("407", "", "claude-relay", "HTTPS_PROXY"),
        ("proxy", "the proxy 10.0.0.1:3128 answered 407", "claude-relay", "HTTPS_PROXY"),
        ("proxy", "the proxy 10.0.0.1:3128 refused the connection", "wyolet-relay", "NO_PROXY"),
        ("tls", f"{UNTRUSTED} (self-signed certificate)", "claude-relay", "ca_pem"),
        ("tls", "TLS: SSLV3_ALERT_HANDSHAKE_FAILURE", "claude-relay", "client certificate"),
        ("tls", "TLS: TLSV1_ALERT_PROTOCOL_VERSION", "wyolet-relay", "an older TLS"),
        ("timeout", "…, through the proxy 10.0.0.1:3128", "claude-relay", "NO_PROXY"),
        ("tls", CLIENT_CERTIFICATE, "claude-relay", "client certificates are not supported"),
        ("tls", NO_TLS, "claude-relay", "http in place of https"),
        ("connection", "the connection was refused", "claude-relay", "nothing listens there"),
        ("memory", "", "claude-relay", "MemorySize"),
        ("too_large", "", "claude-relay", "RELAY_MAX_RESPONSE_BYTES"),
        ("500", "", "claude-relay", "the relay's own log"),
    ],
)
def test_at_a_relay(type_: str, message: str, kind: str, says: str) -> None:
    assert says in of_relay(type_, message, kind)


def test_a_relay_that_is_down_without_a_failed_request() -> None:
    one = relay({}, {"relay_api_id": "x"})
    assert "the relay's own log" in hints.of_relay(None, one, environment(PLAIN))


def test_only_an_entry_of_the_secret_can_trust_a_private_ca() -> None:
    lists = {**listed(), "destinations": [{"name": "default", "url": "https://b"}]}
    for given, relays, destinations in [
        (read(), "relays, which takes the place of RELAY_BASE_URL", "OTEL_EXPORT_URL"),
        (read({**NOT_HERE, "OTEL_EXPORT_URL": ""}, lists), "relays", "destinations"),
    ]:
        relayed = RelayError("a", "metrics", "tls", UNTRUSTED)
        hint = hints.of_relay(relayed, given.relays[0], given.environment)
        assert hint.endswith(f"ca_pem of an entry of the secret's {relays}")
        pushed = Unavailable("default", UNTRUSTED)
        pushed.type = "tls"
        hint = hints.of_destination(pushed, given.destinations[0], given.environment)
        assert "ca_pem of an entry of the secret's destinations" in hint
        assert hint.endswith(destinations)


@pytest.mark.parametrize("type_", ["connection", "timeout", "dns"])
def test_under_sam_local_a_container_is_what_asks(type_: str) -> None:
    hint = of_relay(type_, AWS_SAM_LOCAL="true")
    assert "host.docker.internal" in hint
    assert "Lambda" not in hint


def test_without_a_secret_the_variable_is_named() -> None:
    for status in ("401", "403"):
        hint = of_relay(status, kind="wyolet-relay", SECRET_ID="")
        assert hint.startswith("SECRET_ID is not set")
    given = read({"SECRET_ID": "", "RELAY_KIND": "wyolet-relay"}, None)
    hint = hints.of_destination(Refused("b", "", 401), given.destinations[0], given.environment)
    assert hint.startswith("SECRET_ID is not set")


IN_FRONT = "a web page came, so that something in front of it answers: "
BY_PAGE = {
    **dict.fromkeys((200, 400, 403, 404), "a web page answers"),
    407: f"{IN_FRONT}it is the proxy of HTTPS_PROXY",
    **dict.fromkeys((500, 502, 503, 504), f"{IN_FRONT}is what is behind it up?"),
}
"""How the hint for a web page begins, by its status."""


@pytest.mark.parametrize(
    ("status", "says"),
    list(
        {
            **BY_PAGE,
            401: f"{IN_FRONT}it asks for a user and password of its own",
            429: f"{IN_FRONT}the relay, or what is in front of it, limits requests",
        }.items()
    ),
)
def test_a_web_page_in_front_of_a_relay_is_not_the_relay(status: int, says: str) -> None:
    failure = RelayError("relay", "metrics", str(status), "with HTML", status)
    failure.page = True
    assert hints.of_relay(failure, relay(), environment(PLAIN)).startswith(says)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        *((status, says) for status, says in BY_PAGE.items() if status != 200),
        (401, f"{IN_FRONT}the credential is wrong"),
        (429, f"{IN_FRONT}it limits requests"),
    ],
)
def test_a_web_page_in_front_of_a_destination_is_not_the_destination(
    status: int, says: str
) -> None:
    said, hint = of_answer(status, {"content-type": "text/html"}, PAGE)
    assert f"{status} with HTML" in said
    assert hint.startswith(says)


TOKEN = {"OTEL_EXPORT_HEADERS": '{"authorization": "Basic dDBrZW4="}'}


@pytest.mark.parametrize("secret_id", ["", "name"])
def test_a_refused_credential_in_a_header_is_that_header_s(secret_id: str) -> None:
    hint = of_answer(401, variables={**TOKEN, "SECRET_ID": secret_id})[1]
    assert hint.endswith(
        "or its user is not allowed in the database: "
        "authorization in OTEL_EXPORT_HEADERS, GREPTIME_DATABASE"
    )


def test_a_user_of_the_secret_replaces_the_credential_in_a_header() -> None:
    secret = {"greptime_username": "u", "greptime_password": "p", "relay_api_id": "x"}
    hint = of_answer(401, secret=secret, variables=TOKEN)[1]
    assert "greptime_username and greptime_password in the secret" in hint
    assert "OTEL_EXPORT_HEADERS" not in hint


def test_a_refused_credential_of_an_entry_is_that_entry_s() -> None:
    entry = {"name": "b", "url": "https://b", "username": "u", "password": "p"}
    given = read({"OTEL_EXPORT_URL": "", **TOKEN}, {**SECRET, "destinations": [entry]})
    hint = hints.of_destination(Refused("b", "", 401), given.destinations[0], given.environment)
    assert hint.endswith("in the database: its entry in the secret's destinations")


@pytest.mark.parametrize(
    ("status", "headers", "body", "message", "says"),
    [
        (302, {"location": "/login?token=t0ken#x"}, PAGE, "302, to /login", "OTEL_EXPORT_URL"),
        (308, {"location": "https://u:t0ken@b/v1"}, b"", "308, to https://b/v1", "it redirects"),
        (301, {"location": "http://[x"}, b"", "answered 301", "it redirects"),
        (403, CHALLENGE, PAGE, "403 with HTML", "requests without a browser"),
        (403, {}, b"", "answered 403", "may not write"),
        (401, {}, b"", "answered 401", "greptime_username and greptime_password"),
        (407, {}, b"", "answered 407", "HTTPS_PROXY"),
        (503, {}, b"", "answered 503", "busy or broken"),
        (200, {}, PAGE, "200 with HTML", "something else answers there"),
        (400, {}, b"", "answered 400", "GREPTIME_DATABASE"),
    ],
)
def test_at_a_destination(
    status: int, headers: dict[str, str], body: bytes, message: str, says: str
) -> None:
    said, hint = of_answer(status, headers, body)
    assert message in said
    assert "t0ken" not in said
    assert says in hint


@pytest.mark.parametrize(
    ("type_", "message", "says"),
    [
        ("proxy", "the proxy 10.0.0.1:3128 answered 407", "HTTPS_PROXY"),
        ("tls", CLIENT_CERTIFICATE, "client certificates are not supported"),
        ("connection", "the connection was refused", "cannot be reached"),
        ("tls", CLOSED_TLS, "client certificate"),
        ("", "there was no time left to send anything", "cannot be reached"),
    ],
)
def test_a_destination_that_gives_no_answer(type_: str, message: str, says: str) -> None:
    failure = Unavailable("default", message)
    failure.type = type_
    assert says in hints.of_destination(failure, destination(), environment(PLAIN))


def test_a_secret_whose_key_stands_in_the_way() -> None:
    of_key = hints.of_secret(SecretError("…", key=True), environment(PLAIN))
    assert "SecretKmsKeyArn" in of_key
    local = hints.of_secret(
        SecretError("…", key=True), environment({**PLAIN, "AWS_SAM_LOCAL": "true"})
    )
    assert "profile" in local
    assert "KMS" in local
    assert "role" not in local
    other = SecretError("…")
    assert "let the role read it" in hints.of_secret(other, environment(PLAIN))
    local = hints.of_secret(other, environment({**PLAIN, "AWS_SAM_LOCAL": "true"}))
    assert "region" in local
    assert "role" not in local


def test_the_queue_under_sam_local() -> None:
    assert "may the role use it" in hints.of_spool(environment(PLAIN))
    assert "sam local" in hints.of_spool(environment({"AWS_SAM_LOCAL": "true"}))
