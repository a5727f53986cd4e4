"""Scrapes all relays at the same time, independently, and makes a snapshot of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from relay_metrics.deadline import Deadline
from relay_metrics.entry.event import Event
from relay_metrics.errors import RelayError, SettingsError
from relay_metrics.observability import logger, redact
from relay_metrics.relays import Fetched, Remark, kinds
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.limiter import Limiter
from relay_metrics.relays.memory import Memory
from relay_metrics.relays.rotation import shuffled
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.settings import Environment, Relay, Settings, usable
from relay_metrics.snapshot import Reading, Scrape, Snapshot

if TYPE_CHECKING:
    from relay_metrics.families import Family

T = TypeVar("T")

_RELAYS_AT_ONCE = 32
_THREADS = 512
"""The most threads over all relays: Lambda allows a function 1,024 threads and open files."""


class ScrapeResult(NamedTuple):
    """The scrape of one relay in one run.

    Attributes:
        snapshot: the figures with the time of the run.
        timed: the figures with timestamps of their own.
        taken: called after every destination that gets `timed` has accepted all of it.
        error: a sentence on the requests that failed; None if none did.
        duration_s: of the whole scrape.
        remarks: additional messages for a check.
        failure: in a check, the error of the first request that failed.
    """

    relay: Relay
    snapshot: Snapshot
    timed: Snapshot
    taken: Callable[[], None]
    up: bool
    error: str | None
    duration_s: float
    remarks: tuple[Remark, ...] = ()
    failure: RelayError | None = None

    def report(self, samples: int) -> dict[str, Any]:
        """The relay's object in the report, as JSON values.

        Args:
            samples: the number of its data points.
        """
        return _report(self.relay, self.up, self.error, samples, self.duration_s)


def unasked(settings: Settings) -> list[dict[str, Any]]:
    """The relays in the report of a run before the secret is filled in."""
    return [
        _report(relay, False, f"relay {relay.name}: {relay.wrong or settings.unfilled[0]}", 0, 0)
        for relay in settings.relays
    ]


def _report(
    relay: Relay, up: bool, error: str | None, samples: int, duration_s: float
) -> dict[str, Any]:
    return {
        "name": relay.name,
        "kind": relay.kind,
        "up": up,
        "error": None if error is None else redact(error),
        "samples": samples,
        "duration_ms": round(duration_s * 1000),
    }


@contextmanager
def threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool whose end does not wait for its threads: one may hang, for example in DNS."""
    pool = ThreadPoolExecutor(count, name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def chosen(relays: tuple[Relay, ...], event: Event) -> list[Relay]:
    """The relays that an event chooses.

    Relays whose keys cannot be divided are only scraped by the first shard.

    Raises:
        SettingsError: the event names a relay that is not configured.
    """
    if event.relays is not None:
        known = {relay.name for relay in relays}
        for name in event.relays:
            if name not in known:
                raise SettingsError(
                    f"relays in the event names {name[:64]!r}, which is not configured"
                )
        relays = tuple(relay for relay in relays if relay.name in event.relays)
    return [one for one in relays if event.shard.first or kinds.kind(one.kind).sharded]


def scrape_all(
    runtime: Runtime,
    invocation: Invocation,
    event: Event,
    deadline: Deadline,
    then: Callable[[ScrapeResult], None],
    *,
    ready: Callable[[Snapshot], None] = lambda _: None,
    environment: Environment | None = None,
    checking: bool = False,
) -> list[ScrapeResult]:
    """Scrape the relays that an event chooses, all at the same time.

    Args:
        deadline: when the requests end.
        then: called with each result as soon as it is there, in the thread of that relay.
        ready: called with parts of a snapshot before its scrape ends, in the same thread; the
            readings of the snapshot begin with those of the parts.
        environment: used in place of the runtime's environment, for other bounds.
        checking: whether this is a check.

    Returns:
        The results, in the order of the settings.
    """
    return visit_all(
        runtime,
        invocation,
        event,
        deadline,
        lambda client: _scrape(client, runtime, ready),
        then,
        environment=environment,
        checking=checking,
    )


def visit_all(
    runtime: Runtime,
    invocation: Invocation,
    event: Event,
    deadline: Deadline,
    visit: Callable[[RelayClient], T],
    then: Callable[[T], None] = lambda _: None,
    *,
    environment: Environment | None = None,
    checking: bool = False,
) -> list[T]:
    """Call a function for each relay that an event chooses, each in a thread of its own.

    Args:
        visit: sends the requests to one relay; must not raise.
        deadline, then, environment, checking: as in `scrape_all`.

    Returns:
        The results of `visit`, in the order of the settings.
    """
    time_ms = runtime.clock() // 1_000_000
    relays = chosen(invocation.settings.relays, event)
    bounds = environment or runtime.environment
    at_once = min(max(len(relays), 1), _RELAYS_AT_ONCE)
    own_threads = min(bounds.concurrency, max(_THREADS // at_once, 1))
    by_name = {relay.name: relay for relay in relays}
    limiter = Limiter(bounds.concurrency, by_name)
    memory = Memory(bounds.memory_mb, len(relays))

    def one(relay: Relay) -> T:
        # Each relay has threads of its own, so that one that hangs does not block the others.
        with threads(own_threads, "request") as requests:
            client = RelayClient(
                relay,
                bounds,
                runtime.client(relay.ca_pem),
                requests,
                limiter,
                memory,
                deadline,
                lambda: usable(invocation.renew().relay(relay.name)) or relay,
                time_ms=time_ms,
                scheduled_s=event.scheduled_s,
                shard=event.shard,
                checking=checking,
                clock=runtime.clock,
            )
            result = visit(client)
        limiter.leave(relay.name)
        then(result)
        return result

    with threads(at_once, "relay") as visitors:
        # The order changes with each run: if relays that hang use all threads until the deadline,
        # it is not always the same relays that are left without one.
        visits = {
            name: visitors.submit(one, by_name[name])
            for name in shuffled(by_name, event.scheduled_s)
        }
        # A visit ends by the deadline; only `then` takes time after it.
        return [visits[name].result() for name in by_name]


def _scrape(
    client: RelayClient, runtime: Runtime, ready: Callable[[Snapshot], None]
) -> ScrapeResult:
    relay, time_ms = client.relay, client.time_ms
    client.ready = lambda readings: ready(_snapshot(relay, time_ms, readings))
    began = time.monotonic()
    error = None
    try:
        if relay.wrong is not None:
            raise RelayError(relay.name, "settings", "settings", str(relay.wrong))
        fetched = kinds.run(relay.kind).fetch(client, runtime.state(relay.kind))
        error = client.error
    except RelayError as wrong:
        client.failed(wrong)
        error, fetched = str(wrong), Fetched(up=False)
    except Exception as fault:  # noqa: BLE001 - a fault of ours must not cost the other relays
        logger.exception("a fault while asking a relay", extra={"relay": relay.name})
        client.left_out("relay", "internal")
        error = (
            f"relay {relay.name}: a fault of relay-metrics ({type(fault).__name__}), see the log"
        )
        fetched = Fetched(up=False)
    duration_s = time.monotonic() - began
    readings = (*client.handed_over, *fetched.readings)
    snapshot = _snapshot(relay, time_ms, readings, fetched.families)
    timed = timed_snapshot(relay, time_ms, fetched.timed)
    scrape = Scrape(
        up=fetched.up,
        duration_s=duration_s,
        samples=snapshot.samples,
        last_success_ms=time_ms if fetched.up else None,
        failures=client.failures,
        keys_failed=fetched.keys_failed,
        keys_left_out=fetched.keys_left_out,
        models_left_out=fetched.models_left_out,
        shard=client.shard.name,
    )
    if fetched.keys_left_out or fetched.models_left_out:
        logger.warning(
            "more than RELAY_MAX_KEYS or RELAY_MAX_MODELS_PER_KEY: the rest is left out",
            extra={
                "relay": relay.name,
                "keys_left_out": fetched.keys_left_out,
                "models_left_out": fetched.models_left_out,
            },
        )
    snapshot = replace(snapshot, scrape=scrape)
    return ScrapeResult(
        relay,
        snapshot,
        timed,
        fetched.taken,
        fetched.up,
        error,
        duration_s,
        fetched.remarks,
        client.first_failure,
    )


def _snapshot(
    relay: Relay, time_ms: int, readings: Sequence[Reading], families: Sequence[Family] = ()
) -> Snapshot:
    return Snapshot(
        kind=relay.kind,
        relay=relay.name,
        time_ms=time_ms,
        resource=relay.resource,
        readings=readings,
        families=families,
    )


def timed_snapshot(relay: Relay, time_ms: int, readings: Sequence[Reading]) -> Snapshot:
    """A snapshot of figures with timestamps of their own.

    Its resource does not depend on any setting. So when another release, another environment or a
    back-fill delivers the figures again, it gives the same series, and the last write replaces the
    earlier ones.
    """
    identity = {"relay.name": relay.name, "relay.kind": relay.kind}
    return Snapshot(relay.kind, relay.name, time_ms, identity, readings=readings)
