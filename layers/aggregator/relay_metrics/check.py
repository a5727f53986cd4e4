"""The check: tests settings, relays, destinations and queues, and writes nothing."""

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
from relay_metrics.settings.headers import credentials_in


@dataclass(frozen=True)
class Finding:
    """The result of the check of one target, and what to do about it."""

    target: str
    ok: bool
    message: str
    hint: str = ""

    def answer(self) -> dict[str, Any]:
        """The finding as JSON values; `hint` is null if there is nothing to do."""
        return {
            "target": self.target,
            "ok": self.ok,
            "message": redact(self.message),
            "hint": redact(self.hint) or None,
        }


def check(runtime: Runtime, event: Event, seconds: float) -> dict[str, Any]:
    """Check the settings, the relays, the destinations and the queues.

    Args:
        seconds: the time that the invocation has left.

    Returns:
        `{ok, findings: [{target, ok, message, hint}]}`; `ok` is True if all findings are.
    """
    return _answer(list(_findings(runtime, event, seconds)))


def of_settings(error: SettingsError) -> dict[str, Any]:
    """The answer if settings are wrong and therefore nothing can be checked."""
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
        # An unreachable queue takes until its time-out; the relays are checked meanwhile.
        queues = spools.submit(lambda: list(_of_queues(runtime)))
        yield from _of_relays(runtime, invocation, event, deadline)
        yield from _of_destinations(runtime, invocation, deadline)
        yield from _without_timed_figures(settings)
        yield from _in_time(queues, deadline, runtime)


def _of_relays(
    runtime: Runtime, invocation: Invocation, event: Event, deadline: Deadline
) -> Iterator[Finding]:
    # A check must not make a relay scan its database.
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
    """A request with the resources of a run but no data points, so that it writes nothing."""
    message = ExportMetricsServiceRequest()
    for relay in relays:
        added = message.resource_metrics.add()
        added.scope_metrics.add().scope.name = SCOPE
        for name, text in relay.resource.items():
            added.resource.attributes.add(key=name).value.string_value = text
    body = message.SerializeToString()
    return Request(gzip.compress(body, mtime=0), len(body), 0)


def _in_time(queues: Future[list[Finding]], deadline: Deadline, runtime: Runtime) -> list[Finding]:
    hint = hints.of_spool(runtime.environment)
    late = Finding("spool", False, "SQS gave no answer in time", hint)
    return ended({"queues": queues}, deadline).get("queues", [late])


def _of_queues(runtime: Runtime) -> Iterator[Finding]:
    """Whether the spool and its dead-letter queue answer, and how many messages they hold."""
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
    """Findings on the secret that belong to no single relay or destination."""
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


def _without_timed_figures(settings: Settings) -> Iterator[Finding]:
    """Destinations that do not get the figures with timestamps of their own, if there are any."""
    if any(relay.access.timed for relay in settings.relays):
        for one in settings.destinations:
            if not one.overwrites and one.wrong is None:
                message = "the sums of minutes and days, which are sent again, are not sent to it"
                hint = (
                    "if it keeps the last write of one series and time (VictoriaMetrics with "
                    "-dedup.minScrapeInterval=1ms, say), give it overwrites: true"
                )
                yield Finding(f"destination {one.name}", True, message, hint)


def _in_the_clear(settings: Settings) -> Iterator[Finding]:
    """Relays and destinations whose credential would travel over plain http to another host."""
    here = _DOCKERS_HOST if settings.environment.sam_local else frozenset()
    for relay in settings.relays:
        secret = relay.access.credentials or any(credentials_in(relay.headers))
        if secret and _unprotected(relay.base_url, here):
            yield _plain_http(f"relay {relay.name}")
    for destination in settings.destinations:
        if any(credentials_in(destination.headers)) and _unprotected(destination.url, here):
            yield _plain_http(f"destination {destination.name}")


def _plain_http(target: str) -> Finding:
    message = "a credential would travel over plain http to another host"
    return Finding(target, False, message, "use https, or a private network's own TLS")


_DOCKERS_HOST = frozenset({"host.docker.internal", "host.containers.internal", "172.17.0.1"})
"""Names by which a container reaches the machine that it runs on."""


def _unprotected(url: str, here: frozenset[str]) -> bool:
    """Whether an address is plain http to another machine. `here` holds names of this one."""
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
