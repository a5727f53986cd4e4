"""Hints for operators: what to do about a failure that a check reports."""

from __future__ import annotations

from collections.abc import Mapping

from relay_metrics.errors import (
    Impossible,
    PushError,
    RelayError,
    SecretError,
    SettingsError,
    Unavailable,
    Unfilled,
)
from relay_metrics.net.http import CLIENT_CERTIFICATE, NO_TLS, PROXY, UNTRUSTED
from relay_metrics.relays import kinds
from relay_metrics.settings import DEFAULT_DESTINATION, Destination, Environment, Relay
from relay_metrics.settings.headers import AUTHENTICATING

CORRECT = "set what the message names, then check again"
FILL_IN = (
    "put the credentials into the secret (the stack's output FillSecretCommand has the command), "
    "then check again"
)

_WEB_PAGE = (
    "a web page answers, of a proxy or of a firewall that asks for a browser: is it the right "
    "address, and may requests without a browser pass?"
)
_IN_FRONT = "a web page came, so that something in front of it answers: "
_BEHIND = "is what is behind it up? see the log of both"
_OF_EXCHANGE: Mapping[str, str] = {
    "dns": "the host has no address: is it spelt right, and public?",
    "proxy": (
        "it is the proxy of HTTPS_PROXY or HTTP_PROXY: are its address, user and password right, "
        "and may it pass this on? NO_PROXY names hosts that are reached without it"
    ),
    "connection": "nothing listens there: are host and port right, and may Lambda reach them?",
    "timeout": "no answer in time: may Lambda reach it (VPC, security group), is it overloaded?",
    "tls": "does it ask for a client certificate (not supported), or only speak an older TLS?",
}
"""By the type of an `ExchangeError`, for relays and destinations."""

_THROUGH_A_PROXY = (
    "does the proxy of HTTPS_PROXY or HTTP_PROXY answer, and may it pass this on? NO_PROXY names "
    "hosts that are reached without it; what is behind it may be overloaded"
)
_FROM_A_CONTAINER = (
    "a container reaches this machine as host.docker.internal (172.17.0.1 on Linux), and only what "
    "listens on more than 127.0.0.1"
)
_OF_RELAY: Mapping[str, str] = {
    "407": _OF_EXCHANGE["proxy"],
    "429": "the relay, or what is in front of it, limits requests: lower RELAY_CONCURRENCY",
    "not_json": "something else answers there: a web page, a proxy, another path",
    "html": "something else answers there: a web page, a proxy, another path",
    "malformed": "what answers there is not Prometheus text, or one line of it is broken",
    "too_large": "the answer is longer than RELAY_MAX_RESPONSE_BYTES: raise it, or ask for less",
    "memory": "the answer takes more memory than there is for it: raise MemorySize",
}
_ASKS = (
    "it asks for a user and password of its own: give them as Authorization in headers "
    "(relay_headers)"
)
_ANY_RELAY = "see the relay's own log for this minute"


def of_settings(error: SettingsError) -> str:
    """The hint for a wrong setting or a wrong entry of the secret."""
    return FILL_IN if isinstance(error, Unfilled) else CORRECT


def of_secret(error: SecretError, environment: Environment) -> str:
    """The hint for a secret that cannot be read."""
    if error.key and environment.sam_local:
        return "use a profile or credentials that may decrypt with the secret's KMS key"
    if error.key:
        return "let the role decrypt with the key: the stack's SecretKmsKeyArn, or KmsKeyArn"
    if environment.sam_local:
        return "put the secret's name or ARN into SECRET_ID, and give sam local its region"
    return "put the secret's name or ARN into SECRET_ID and let the role read it"


def of_relay(failure: RelayError | None, relay: Relay, environment: Environment) -> str:
    """The hint for a relay that is down or had failures.

    Args:
        failure: of the first request that failed; None if none did.
    """
    if relay.wrong is not None:
        return of_settings(relay.wrong)
    if failure is None:
        return _ANY_RELAY
    if failure.status is not None and 300 <= failure.status < 400:
        return f"it redirects: give the address that it names ({kinds.kind(relay.kind).address})"
    if failure.page:
        asks = _ASKS if environment.secret_id else _no_secret("relay_headers")
        return _of_page(failure.status, asks, _OF_RELAY["429"])
    kind = kinds.kind(relay.kind)
    if failure.status in (401, 403) and environment.secret_id is None:
        return _no_secret(kind.one.takes)
    return (
        kind.hints.get(failure.type)
        or _OF_RELAY.get(failure.type)
        or _of_exchange(
            failure.type,
            str(failure),
            environment,
            _of_ca("relays", "RELAY_BASE_URL" if environment.relay_base_url else ""),
        )
        or _ANY_RELAY
    )


def of_destination(failure: PushError, destination: Destination, environment: Environment) -> str:
    """The hint for a destination that did not accept a request."""
    if destination.wrong is not None:
        return of_settings(destination.wrong)
    default = destination.name == DEFAULT_DESTINATION and environment.export_url is not None
    entry = "its entry in the secret's destinations"
    status = failure.status
    if status is None:
        known = "" if failure.type == "connection" and not environment.sam_local else failure.type
        ca = _of_ca("destinations", "OTEL_EXPORT_URL" if default else "")
        found = _of_exchange(known, str(failure), environment, ca)
        return found or "it cannot be reached: are host and port right, and may Lambda reach them?"
    if 300 <= status < 400:
        where = "OTEL_EXPORT_URL" if default else f"url of {entry}"
        return (
            f"something else answers there: it redirects, give the address that it names ({where})"
        )
    denied = _of_credentials(destination, environment, "" if default else entry)
    if failure.page and status >= 300:
        return _of_page(status, denied, "it limits requests")
    by_status = {
        401: denied,
        403: "the user may not write: give it write access to the database",
        404: "the path is wrong: give GreptimeDB's address without a path",
        407: _OF_EXCHANGE["proxy"],
    }
    return by_status.get(status) or _of_status(failure, "GREPTIME_DATABASE" if default else entry)


def _of_credentials(destination: Destination, environment: Environment, entry: str) -> str:
    """The hint for a refused credential; GreptimeDB refuses alike one of another database's user.

    A user name in the secret replaces an `Authorization` among the headers of the environment.

    Args:
        entry: the destination's entry in the secret; empty for that of the environment.
    """
    denied = "the credential is wrong, or its user is not allowed in the database: "
    if entry:
        return denied + entry
    for name, text in environment.export_headers.items():
        if name.lower() in AUTHENTICATING and destination.headers.get(name) == text:
            return f"{denied}{name} in OTEL_EXPORT_HEADERS, GREPTIME_DATABASE"
    credentials = "greptime_username and greptime_password"
    if environment.secret_id is None:
        return _no_secret(credentials)
    return f"{denied}{credentials} in the secret, GREPTIME_DATABASE"


def _of_page(status: int | None, denied: str, limited: str) -> str:
    """The hint for a web page, by the status that it came with."""
    by_status = {401: denied, 407: _OF_EXCHANGE["proxy"], 429: limited}
    says = by_status.get(status or 0) or (_BEHIND if status and status >= 500 else "")
    return f"{_IN_FRONT}{says}" if says else _WEB_PAGE


def _of_status(failure: PushError, database: str) -> str:
    if isinstance(failure, Impossible):
        return f"does the database exist ({database}), and is it GreptimeDB's OTLP endpoint?"
    if isinstance(failure, Unavailable):
        return "it is there, but busy or broken: see its own log"
    return "something else answers there: is the address GreptimeDB's, with the right scheme?"


def of_spool(environment: Environment) -> str:
    """The hint for a queue that does not answer."""
    if environment.sam_local:
        return (
            "sam local does not know the stack's queue: give its URL as SPOOL_QUEUE_URL "
            "(events/env.json), or leave it empty"
        )
    return "does SPOOL_QUEUE_URL name the queue, may the role use it, and can Lambda reach SQS?"


def _no_secret(keys: str) -> str:
    return f"SECRET_ID is not set, so that no credential is sent: name a secret that has {keys}"


def _of_ca(entries: str, variable: str) -> str:
    """The hint for a certificate that is not trusted: only an entry of the secret has `ca_pem`."""
    place = f"ca_pem of an entry of the secret's {entries}"
    return (
        "is the certificate for this host, and not expired? that of a private CA goes into "
        f"{place}{f', which takes the place of {variable}' if variable else ''}"
    )


def _of_exchange(type_: str, message: str, environment: Environment, of_ca: str) -> str:
    if UNTRUSTED in message:
        return of_ca
    if CLIENT_CERTIFICATE in message:
        return "client certificates are not supported: let requests in that bring a credential"
    if NO_TLS in message:
        return "it speaks no TLS: is it http in place of https, or another port?"
    if type_ == "timeout" and PROXY in message:
        return _THROUGH_A_PROXY
    if environment.sam_local and type_ in ("dns", "connection", "timeout"):
        return _FROM_A_CONTAINER
    return _OF_EXCHANGE.get(type_, "")
