"""The check: asks relays and destinations whether all is well, and writes nothing."""

from __future__ import annotations

import gzip
import ipaddress
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from relay_metrics import hints
from relay_metrics.convert.points import SCOPE
from relay_metrics.deadline import Deadline, ended
from relay_metrics.deliver.delivery import sender
from relay_metrics.deliver.pieces import Request
from relay_metrics.entry.event import Event
from relay_metrics.errors import PushError, Refused, SecretError, SettingsError, SpoolError
from relay_metrics.observability import redact
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.scrape import ScrapeResult, scrape_all, threads
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
    """Look at the settings, the relays, the destinations and the queues.

    Args:
        seconds: what the invocation has left.

    Returns:
        `{ok, findings: [{target, ok, message, hint}]}`; `ok` where all of them are.
    """
    return _answer(list(_findings(runtime, event, seconds)))


def of_settings(error: SettingsError) -> dict[str, Any]:
    """The answer where settings are wrong, in which case nothing can be asked."""
    return _answer([_settings_wrong(error)])


def _settings_wrong(error: SettingsError) -> Finding:
    return Finding("settings", False, str(error), hints.of_settings(error))


def _answer(findings: list[Finding]) -> dict[str, Any]:
    return {
        "ok": all(finding.ok for finding in findings),
        "findings": [finding.answer() for finding in findings],
    }


def _findings(runtime: Runtime, event: Event, seconds: float) -> Iterator[Finding]:
    try:
        invocation = Invocation(runtime)
    except SecretError as error:
        yield _secret_unread(error, runtime)
        return
    except SettingsError as error:
        yield _settings_wrong(error)
        return
    settings = invocation.settings
    if runtime.secret is not None:
        yield from _of_secret(invocation, runtime)
    for warning in settings.warnings:
        yield Finding("settings", True, warning, "correct it, and the warning ends")
    yield from _in_the_clear(settings)
    deadline = Deadline.after(seconds - min(5.0, seconds / 4))
    with threads(1, "spool") as spools:
        # a queue that cannot be reached takes its time: meanwhile the relays are asked
        queues = spools.submit(lambda: list(_of_queues(runtime)))
        yield from _of_relays(runtime, invocation, event, deadline)
        yield from _of_destinations(runtime, invocation, deadline)
        yield from _not_told(settings)
        yield from _in_time(queues, deadline, runtime)


def _of_relays(
    runtime: Runtime, invocation: Invocation, event: Event, deadline: Deadline
) -> Iterator[Finding]:
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
        yield _of_relay(result, runtime)
        for message, hint in result.remarks:
            yield Finding(f"relay {result.relay.name}", True, message, hint)


def _of_relay(result: ScrapeResult, runtime: Runtime) -> Finding:
    target = f"relay {result.relay.name}"
    if result.up and result.error is None:
        message = f"it answers and accepts the credential ({result.snapshot.samples} figures)"
        return Finding(target, True, message)
    hint = hints.of_relay(result.failure, result.relay, runtime.environment)
    return Finding(target, result.up, result.error or "it gave no stats", hint)


def _of_destinations(
    runtime: Runtime, invocation: Invocation, deadline: Deadline
) -> Iterator[Finding]:
    settings = invocation.settings
    request = _empty(settings.relays)
    push_ends = deadline.or_after(runtime.environment.push_timeout_s)

    def failure_of(destination: Destination) -> PushError | None:
        if destination.wrong is not None:
            return Refused(destination.name, str(destination.wrong))
        try:
            sender(destination, runtime, invocation, push_ends).send(request)
        except PushError as error:
            return error
        return None

    with ThreadPoolExecutor(max_workers=16) as pool:
        outcomes = pool.map(failure_of, settings.destinations)
        for destination, failure in zip(settings.destinations, outcomes, strict=True):
            target = f"destination {destination.name}"
            if failure is None:
                yield Finding(target, True, "it accepts an OTLP request")
                continue
            hint = hints.of_destination(failure, destination, runtime.environment)
            yield Finding(target, False, str(failure), hint)


def _empty(relays: Iterable[Relay]) -> Request:
    """A request with the resources that a run has, and no data point: it writes nothing."""
    message = ExportMetricsServiceRequest()
    for relay in relays:
        told = message.resource_metrics.add()
        told.scope_metrics.add().scope.name = SCOPE
        for name, text in relay.resource.items():
            told.resource.attributes.add(key=name).value.string_value = text
    body = message.SerializeToString()
    return Request(gzip.compress(body, mtime=0), len(body), 0)


def _in_time(queues: Future[list[Finding]], deadline: Deadline, runtime: Runtime) -> list[Finding]:
    hint = hints.of_spool(runtime.environment)
    late = Finding("spool", False, "SQS gave no answer in time", hint)
    return ended({"queues": queues}, deadline).get("queues", [late])


def _of_queues(runtime: Runtime) -> Iterator[Finding]:
    """The spool and its dead-letter queue: there, reachable, and how many messages wait."""
    if runtime.spool is None:
        hint = "without it, what cannot be pushed within a run is lost; the template makes one"
        yield Finding("spool", True, "SPOOL_QUEUE_URL is not set: there is no spool", hint)
        return
    try:
        waiting = runtime.spool.waiting()
    except SpoolError as error:
        yield Finding("spool", False, str(error), hints.of_spool(runtime.environment))
        return
    hint = "a destination did not take them; the redriver delivers them once it does"
    yield Finding("spool", True, f"it is there; {waiting} messages wait", hint if waiting else "")
    target = "dead-letter queue"
    try:
        buried = runtime.spool.buried()
    except SpoolError as error:
        hint = "give the spool a redrive policy, and the role access to the queue that it names"
        yield Finding(target, False, str(error), hint)
        return
    hint = "they are not delivered by themselves: docs/failures.md says how to look at them"
    yield Finding(target, True, f"it is there; {buried} messages lie in it", hint if buried else "")


def _secret_unread(error: SecretError, runtime: Runtime) -> Finding:
    hint = hints.of_secret(error, runtime.environment)
    return Finding("secret", False, str(error), hint)


def _of_secret(invocation: Invocation, runtime: Runtime) -> Iterator[Finding]:
    """What is not said of a relay or a destination."""
    settings, problem = invocation.settings, invocation.problem
    if isinstance(problem, SecretError):
        yield _secret_unread(problem, runtime)
    elif problem is not None:
        yield Finding("secret", False, str(problem), hints.of_settings(problem))
    elif not settings.faulty:
        yield Finding("secret", True, "it can be read, and every key of it is known")
    entries: tuple[Relay | Destination, ...] = (*settings.relays, *settings.destinations)
    said = {str(one.wrong) for one in entries}
    for sentence in settings.unfilled:
        if sentence not in said:
            yield Finding("secret", False, sentence, hints.FILL_IN)


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
