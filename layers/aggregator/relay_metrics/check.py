"""The check: asks relays and destinations whether all is well, and writes nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from relay_metrics.deadline import Deadline
from relay_metrics.deliver.delivery import sender
from relay_metrics.deliver.pieces import NOTHING
from relay_metrics.entry.event import Event
from relay_metrics.errors import (
    Impossible,
    PushError,
    Refused,
    SecretError,
    SettingsError,
    Unavailable,
    Unfilled,
)
from relay_metrics.observability import redact
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.scrape import ScrapeResult, scrape_all
from relay_metrics.settings import Destination, Relay, Settings


@dataclass(frozen=True)
class Finding:
    """What was found of one thing, and what to do about it."""

    target: str
    ok: bool
    message: str
    hint: str = ""

    def answer(self) -> dict[str, Any]:
        """As the contract has it; `hint` is null where there is nothing to do."""
        return {
            "target": self.target,
            "ok": self.ok,
            "message": redact(self.message),
            "hint": redact(self.hint) or None,
        }


def check(runtime: Runtime, event: Event, seconds: float) -> dict[str, Any]:
    """Look at the settings, ask each relay, send each destination an empty OTLP request.

    Args:
        seconds: what the invocation has left.

    Returns:
        `{ok, findings: [{target, ok, message, hint}]}`; `ok` where all of them are.
    """
    return _answer(list(_findings(runtime, event, seconds)))


def of_settings(error: SettingsError) -> dict[str, Any]:
    """The answer where settings are wrong, in which case nothing can be asked."""
    return _answer([_settings_wrong(error)])


_CORRECT = "set what the message names, then check again"
_FILL_IN = (
    "put the credentials into the secret (the stack's output FillSecretCommand has the command), "
    "then check again"
)


def _settings_wrong(error: SettingsError) -> Finding:
    return Finding("settings", False, str(error), _what_to_do(error))


def _what_to_do(error: SettingsError) -> str:
    return _FILL_IN if isinstance(error, Unfilled) else _CORRECT


def _answer(findings: list[Finding]) -> dict[str, Any]:
    return {
        "ok": all(finding.ok for finding in findings),
        "findings": [finding.answer() for finding in findings],
    }


def _findings(runtime: Runtime, event: Event, seconds: float) -> Iterator[Finding]:
    try:
        invocation = Invocation(runtime)
    except SecretError as error:
        hint = (
            "put the secret's name or ARN into SECRET_ID, and tell sam local its region"
            if runtime.environment.sam_local
            else "put the secret's name or ARN into SECRET_ID and let the role read it"
        )
        yield Finding("secret", False, str(error), hint)
        return
    except SettingsError as error:
        yield _settings_wrong(error)
        return
    settings = invocation.settings
    if runtime.secret is not None:
        yield from _of_secret(settings)
    for warning in settings.warnings:
        yield Finding("settings", True, warning, "correct it, and the warning ends")
    yield from _in_the_clear(settings)
    deadline = Deadline.after(seconds - min(5.0, seconds / 4))
    # a check makes no relay scan its database
    scanless = runtime.environment._replace(scans_per_run=0)
    results = scrape_all(
        runtime,
        invocation,
        event,
        deadline,
        lambda _: None,
        environment=scanless,
        checking=True,
    )
    for result in results:
        yield _of_relay(result)
        for message, hint in result.remarks:
            yield Finding(f"relay {result.relay.name}", True, message, hint)
    push_ends = deadline.or_after(runtime.environment.push_timeout_s)

    def failure_of(destination: Destination) -> PushError | None:
        if destination.wrong is not None:
            return Refused(destination.name, str(destination.wrong))
        try:
            sender(destination, runtime, invocation, push_ends).send(NOTHING)
        except PushError as error:
            return error
        return None

    with ThreadPoolExecutor(max_workers=16) as pool:
        outcomes = pool.map(failure_of, settings.destinations)
        for destination, failure in zip(settings.destinations, outcomes, strict=True):
            yield _of_destination(destination, failure)
    yield from _not_told(settings)
    if runtime.spool is None:
        hint = "without it, what cannot be pushed within a run is lost; the template makes one"
        yield Finding("spool", True, "SPOOL_QUEUE_URL is not set: there is no spool", hint)


def _of_secret(settings: Settings) -> Iterator[Finding]:
    """What is not said of a relay or a destination."""
    if not settings.faulty:
        yield Finding("secret", True, "it can be read, and every key of it is known")
    entries: tuple[Relay | Destination, ...] = (*settings.relays, *settings.destinations)
    said = {str(one.wrong) for one in entries}
    for sentence in settings.unfilled:
        if sentence not in said:
            yield Finding("secret", False, sentence, _FILL_IN)


_RELAY_HINTS = {
    "401": "the relay does not accept the credential: compare it with the relay's own page",
    "403": "the key is disabled or expired: enable it at the relay, or take it out of the secret",
    "404": "the relay does not know the key's id, or the base URL has a path that it should not",
    "dns": "the host in the base URL has no address: is it spelt right, and public?",
    "connection": "nothing listens there: are host and port right, and may Lambda reach them?",
    "timeout": "no answer in time: may Lambda reach it (VPC, security group), is it overloaded?",
    "tls": "the certificate is not trusted: put its CA into ca_pem, or mend the certificate",
    "not_json": "something else answers there: a web page, a proxy, another path",
    "html": "something else answers there: a web page, a proxy, another path",
    "malformed": "what answers there is not Prometheus text, or one line of it is broken",
}
_ANY_RELAY_HINT = "see the relay's own log for this minute"


def _of_relay(result: ScrapeResult) -> Finding:
    target = f"relay {result.relay.name}"
    if result.up and result.error is None:
        message = f"it answers and accepts the credential ({result.snapshot.samples} figures)"
        return Finding(target, True, message)
    if result.relay.wrong is not None:
        return Finding(target, False, str(result.error), _what_to_do(result.relay.wrong))
    scrape = result.snapshot.scrape
    types = [failure.type for failure in scrape.failures] if scrape else []
    hint = next((_RELAY_HINTS[type] for type in types if type in _RELAY_HINTS), _ANY_RELAY_HINT)
    message = result.error or "it gave no stats"
    return Finding(target, result.up, message, hint)


def _of_destination(destination: Destination, failure: PushError | None) -> Finding:
    target = f"destination {destination.name}"
    if failure is None:
        return Finding(target, True, "it accepts an OTLP request")
    if destination.wrong is not None:
        return Finding(target, False, str(failure), _what_to_do(destination.wrong))
    return Finding(target, False, str(failure), _destination_hint(failure))


def _not_told(settings: Settings) -> Iterator[Finding]:
    """Destinations that are not sent figures with a time of their own, where there are any."""
    if any(relay.access.timed for relay in settings.relays):
        for one in settings.destinations:
            if not one.overwrites and one.wrong is None:
                yield _without_timed(one)


def _without_timed(destination: Destination) -> Finding:
    message = "the sums of minutes and days, which are told again, are not sent to it"
    hint = (
        "where it keeps the last write of one series and time (VictoriaMetrics with "
        "-dedup.minScrapeInterval=1ms, say), give it overwrites: true"
    )
    return Finding(f"destination {destination.name}", True, message, hint)


def _destination_hint(failure: PushError) -> str:
    if failure.status == 401:
        return "user or password is wrong: greptime_username and greptime_password in the secret"
    if failure.status == 403:
        return "the user may not write: give it write access to the database"
    if failure.status == 404:
        return "the path is wrong: give GreptimeDB's address without a path"
    if isinstance(failure, Impossible):
        return "does the database exist (GREPTIME_DATABASE), and is it GreptimeDB's OTLP endpoint?"
    if isinstance(failure, Unavailable) and failure.status is None:
        return "it cannot be reached: are host and port right, and may Lambda reach them?"
    if isinstance(failure, Unavailable):
        return "it is there, but busy or broken: see its own log"
    return "something else answers there: is the address GreptimeDB's, with the right scheme?"


def _in_the_clear(settings: Settings) -> Iterator[Finding]:
    """Credentials that would travel over plain http to another host."""
    here = _DOCKERS_HOST if settings.environment.sam_local else frozenset()
    for relay in settings.relays:
        if (relay.access.credentials or relay.headers) and _unprotected(relay.base_url, here):
            yield _plain_http(f"relay {relay.name}")
    for destination in settings.destinations:
        named = {name.lower() for name in destination.headers}
        secret = named - {"x-greptime-db-name"}
        if secret and _unprotected(destination.url, here):
            yield _plain_http(f"destination {destination.name}")


def _plain_http(target: str) -> Finding:
    message = "a credential would travel over plain http to another host"
    return Finding(target, False, message, "use https, or a private network's own TLS")


_DOCKERS_HOST = frozenset({"host.docker.internal", "host.containers.internal", "172.17.0.1"})
"""What a container calls the machine that it runs on."""


def _unprotected(url: str, here: frozenset[str]) -> bool:
    """Whether an address is plain http to another machine, `here` being names of this one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in here:
        return False
    if parts.scheme != "http" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
