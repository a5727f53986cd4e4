"""A relay and a destination that fail in one run, with a queue that takes messages or does not.

What is reported, what is stored, what waits in which queue; and that the relay and the destination
beside them have nothing of it. Every fault of either side occurs, and every pair of those that are
unlike each other; FAULTS_SEED pairs the others in another way. No secret may be seen in any of it:
the fixture `system` looks through all that was written.
"""

from __future__ import annotations

import gzip
import itertools
import logging
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from local.http_server import Fault, FaultHook, Request, Response, html_page, oversized
from relay_metrics.errors import NotDelivered
from tests.integration.conftest import Ended, System
from tests.tls import Certified

LONG_S = 30.0
SHORT_MS = "3000"
"""The time of an exchange where it ends by its time-out, or is tried again until its time is over.
Long for one that goes well, so that a busy machine changes nothing."""
SEED = int(os.environ.get("FAULTS_SEED", "1"))

NOBODY = "http://127.0.0.1:9"
UNKNOWN = "http://nowhere.invalid"


def always(fault: Fault) -> Callable[[], FaultHook]:
    """A hook that has every answer go wrong."""
    return lambda: lambda request: fault


well = always(Fault())


def first(fault: Fault) -> Callable[[], FaultHook]:
    """A hook that has the first answer of each path go wrong."""

    def hook() -> FaultHook:
        seen: set[str] = set()

        def decide(request: Request) -> Fault | None:
            if request.path in seen:
                return None
            seen.add(request.path)
            return fault

        return decide

    return hook


def of_a_whole_snapshot(fault: Fault) -> Callable[[], FaultHook]:
    """A hook that has one request go wrong that holds more than a relay's failure."""

    def hook() -> FaultHook:
        seen: list[Request] = []

        def decide(request: Request) -> Fault | None:
            if seen or len(request.body) < 800:
                return None
            seen.append(request)
            return fault

        return decide

    return hook


NULLS = bytes(20_000)
BOMB = Response(200, gzip.compress(bytes(30_000_000), 1), headers={"Content-Encoding": "gzip"})


def echo() -> FaultHook:
    """A server that shows everybody what it was sent."""

    def hook(request: Request) -> Fault:
        said = "".join(f"{name}: {text}\n" for name, text in request.headers.items())
        said += request.body.decode("utf-8", "replace")
        return Fault(status=418, body=said.encode(), content_type="text/plain")

    return hook


# -- at a relay -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class AtRelay:
    """A fault of a relay: what is counted of it, and what the report says.

    Attributes:
        type: the `error.type` of all that is counted; of a Wyolet Relay where it is another one.
        listed: what is in the secret in place of the relay's own, `base_url` say.
    """

    what: str
    type: str
    says: str
    hook: Callable[[], FaultHook] = well
    wyolet: str = ""
    listed: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    short: bool = False

    def __str__(self) -> str:
        return self.what


def status(code: int) -> AtRelay:
    return AtRelay(str(code), str(code), f"answered {code}", always(Fault(status=code)))


AT_RELAY = [
    AtRelay("refused", "connection", "was refused", listed={"base_url": NOBODY}),
    AtRelay("unknown name", "dns", "name is not known", listed={"base_url": UNKNOWN}),
    AtRelay("untrusted TLS", "tls", "self-signed certificate", tls=True),
    AtRelay(
        "reset before the answer", "connection", "closed", always(Fault(close="before", reset=True))
    ),
    AtRelay("closed in the body", "truncated", "before the end", always(Fault(close="body"))),
    AtRelay("no headers", "timeout", "within", always(Fault(delay_s=LONG_S)), short=True),
    AtRelay("no body", "timeout", "within", always(Fault(body_delay_s=LONG_S)), short=True),
    AtRelay("slow drip", "timeout", "within", always(Fault(drip_bytes_per_s=50)), short=True),
    *map(status, (302, 304, 400, 401, 403, 404, 408, 413, 429, 500, 503)),
    AtRelay(
        "429 that asks for a pause",
        "429",
        "answered 429",
        always(Fault(status=429, headers={"Retry-After": "1"})),
    ),
    AtRelay(
        "redirect elsewhere",
        "307",
        "answered 307",
        always(Fault(status=307, headers={"Location": "http://127.0.0.1:9/"})),
    ),
    AtRelay("HTML", "not_json", "with HTML", always(html_page()), wyolet="html"),
    AtRelay("HTML and 502", "502", "answered 502", always(html_page(502))),
    AtRelay(
        "wrong JSON",
        "not_json",
        "no JSON",
        always(Fault(body=b'{"success":true,"data":{')),
        wyolet="malformed",
    ),
    AtRelay(
        "other JSON",
        "not_json",
        "other than a JSON object",
        always(Fault(body=b"[1]")),
        wyolet="malformed",
    ),
    AtRelay(
        "success: false",
        "unsuccessful",
        "without success",
        always(Fault(body=b'{"success":false,"error":"no"}')),
        wyolet="malformed",
    ),
    AtRelay("truncated gzip", "truncated", "ends too early", always(Fault(truncate_gzip=True))),
    AtRelay("too long", "too_large", "longer than", always(oversized(300_000))),
    AtRelay("gzip bomb", "too_large", "longer than", always(Fault(rewrite=lambda _: BOMB))),
    AtRelay("an echo", "418", "answered 418", echo),
]


OF_THE_RUN = {
    "relay_up",
    "relay_scrape_duration_seconds",
    "relay_scrape_samples",
    "relay_scrape_errors",
    "relay_keys_failed",
}


@pytest.mark.parametrize("kind", ["claude", "wyolet"])
def test_401_of_a_relay_and_then_good(system: System, kind: str) -> None:
    relay = system.claude() if kind == "claude" else system.wyolet()
    relay.fault = first(Fault(status=401))()
    there = system.receiver()

    ended = system.collect()

    assert ended.relay(kind)["up"]
    assert system.aws.asked.count("GetSecretValue") == 2, "read anew once, not once a request"
    assert "relay_requests_total" in there.of(relay_name=kind)


# -- at a destination -----------------------------------------------------------------------------


@dataclass(frozen=True)
class AtDestination:
    """A fault of a destination: what becomes of the points, and what the report says.

    Attributes:
        fate: `spooled`, `dead` (in the dead-letter queue), `pushed` or `rejected`.
        asked: how often a relay's request is sent: `never`, `once`, `twice`, `often` (at least
            twice), `once more` (once, and one of all of them again) or `in parts` (of one of them).
        listed: what is in the secret in place of the destination's own.
    """

    what: str
    fate: str
    asked: str
    says: str
    hook: Callable[[], FaultHook] = well
    listed: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False

    def __str__(self) -> str:
        return self.what

    @property
    def ends_by_its_time(self) -> bool:
        """Whether the time of a push decides: it is tried again until then, or never answered."""
        return self.fate == "spooled" and (
            self.asked in ("often", "never") or "within" in self.says
        )


def partial(rejected: int, message: str) -> Fault:
    answer = ExportMetricsServiceResponse()
    answer.partial_success.rejected_data_points = rejected
    answer.partial_success.error_message = message
    body = answer.SerializeToString()

    def rewrite(response: Response) -> Response:
        assert response.status == 200
        return Response(200, body, "application/x-protobuf")

    return Fault(rewrite=rewrite)


INCOMPATIBLE = b'{"code":1003,"error":"OTLP metric input have incompatible existing tables"}'

AT_DESTINATION = [
    AtDestination("refused", "spooled", "never", "was refused", listed={"url": NOBODY}),
    AtDestination("unknown name", "spooled", "never", "name is not known", listed={"url": UNKNOWN}),
    AtDestination("untrusted TLS", "spooled", "never", "self-signed certificate", tls=True),
    AtDestination(
        "reset before the answer",
        "spooled",
        "often",
        "closed",
        always(Fault(status=200, close="before", reset=True)),
    ),
    AtDestination(
        "stored, and the answer lost", "spooled", "often", "closed", always(Fault(close="before"))
    ),
    AtDestination(
        "closed in the body",
        "spooled",
        "often",
        "before the end",
        always(Fault(body=b"x" * 1000, close="body")),
    ),
    AtDestination(
        "no headers", "spooled", "once", "within", always(Fault(status=200, delay_s=LONG_S))
    ),
    AtDestination(
        "no body", "spooled", "once", "within", always(Fault(body=b"x", body_delay_s=LONG_S))
    ),
    AtDestination(
        "slow drip",
        "spooled",
        "once",
        "within",
        always(Fault(body=bytes(1000), drip_bytes_per_s=50)),
    ),
    AtDestination("302", "spooled", "once", "answered 302", always(Fault(status=302))),
    AtDestination(
        "redirect elsewhere",
        "spooled",
        "once",
        "answered 307",
        always(Fault(status=307, headers={"Location": NOBODY})),
    ),
    AtDestination("304", "spooled", "once", "answered 304", always(Fault(status=304))),
    AtDestination(
        "400",
        "dead",
        "often",
        "answered 400 (no such database)",
        always(Fault(status=400, body=b'{"error":"no such database"}')),
    ),
    AtDestination("401 then good", "pushed", "once more", "", first(Fault(status=401))),
    AtDestination("401 for ever", "spooled", "twice", "answered 401", always(Fault(status=401))),
    AtDestination("403", "spooled", "twice", "answered 403", always(Fault(status=403))),
    AtDestination("404", "spooled", "once", "answered 404", always(Fault(status=404))),
    AtDestination("408", "spooled", "often", "answered 408", always(Fault(status=408))),
    AtDestination("408 once", "pushed", "once more", "", first(Fault(status=408))),
    AtDestination("413 for the whole", "pushed", "in parts", "", of_a_whole_snapshot(Fault(413))),
    AtDestination(
        "413 for ever",
        "dead",
        "often",
        "413 for what cannot be split further",
        always(Fault(status=413)),
    ),
    AtDestination("429", "spooled", "often", "answered 429", always(Fault(status=429))),
    AtDestination("429 once", "pushed", "once more", "", first(Fault(status=429))),
    AtDestination(
        "429 for 1 s",
        "pushed",
        "once more",
        "",
        first(Fault(status=429, headers={"Retry-After": "1"})),
    ),
    AtDestination(
        "429 for an hour",
        "spooled",
        "once",
        "answered 429",
        always(Fault(status=429, headers={"Retry-After": "3600"})),
    ),
    AtDestination("500", "spooled", "often", "answered 500", always(Fault(status=500))),
    AtDestination(
        "500, incompatible tables",
        "dead",
        "often",
        "incompatible existing tables",
        always(Fault(status=500, body=INCOMPATIBLE)),
    ),
    AtDestination("503", "spooled", "often", "answered 503", always(Fault(status=503))),
    AtDestination("503 once", "pushed", "once more", "", first(Fault(status=503))),
    AtDestination("HTML", "spooled", "once", "with HTML", always(html_page())),
    AtDestination("HTML and 502", "spooled", "often", "answered 502", always(html_page(502))),
    AtDestination(
        "wrong JSON",
        "pushed",
        "once",
        "",
        always(Fault(rewrite=lambda _: Response(200, b'{"partialSuccess":{'))),
    ),
    AtDestination(
        "success: false",
        "spooled",
        "once",
        "answered 200 (no)",
        always(Fault(body=b'{"success":false,"error":"no"}')),
    ),
    AtDestination(
        "truncated gzip",
        "spooled",
        "often",
        "ends too early",
        always(Fault(status=200, truncate_gzip=True)),
    ),
    AtDestination(
        "too long", "pushed", "once", "", always(Fault(rewrite=lambda _: Response(200, NULLS)))
    ),
    AtDestination("gzip bomb", "pushed", "once", "", always(Fault(rewrite=lambda _: BOMB))),
    AtDestination(
        "partial success",
        "rejected",
        "once",
        "2 data points were rejected (too old)",
        always(partial(2, "too old")),
    ),
    AtDestination("an echo", "spooled", "once", "answered 418", echo),
]


# -- both -----------------------------------------------------------------------------------------

UNLIKE_RELAYS = ("reset before the answer", "no headers", "500", "403", "HTML", "too long")
UNLIKE_DESTINATIONS = (
    "reset before the answer",
    "stored, and the answer lost",
    "no headers",
    "400",
    "401 for ever",
    "413 for ever",
    "500, incompatible tables",
    "503",
    "503 once",
)

Pair = tuple[AtRelay, str, AtDestination, bool]


def pairs() -> Iterator[Pair]:
    """A fault of a relay, its kind, a fault of a destination, and whether there is a queue."""
    relays = {str(row): row for row in AT_RELAY}
    destinations = {str(row): row for row in AT_DESTINATION}
    yield from (
        (relays[at_relay], "claude", destinations[at_destination], queue)
        for at_relay, at_destination, queue in itertools.product(
            UNLIKE_RELAYS, UNLIKE_DESTINATIONS, [True, False]
        )
    )
    rng = random.Random(SEED)
    others = [row for row in AT_DESTINATION if str(row) not in UNLIKE_DESTINATIONS]
    for kind in ("claude", "wyolet"):
        at_relays = rng.sample(AT_RELAY, len(AT_RELAY))
        at_destinations = itertools.cycle(rng.sample(others, len(others)))
        for at_relay, at_destination in zip(at_relays, at_destinations, strict=False):
            yield at_relay, kind, at_destination, True


def named(pair: Pair) -> str:
    at_relay, kind, at_destination, queue = pair
    return f"{kind} {at_relay}, {at_destination}, {'SQS' if queue else 'no SQS'}"


@pytest.mark.parametrize("pair", list(pairs()), ids=named)
def test_a_fault_of_a_relay_and_one_of_a_destination(
    system: System, pair: Pair, localhost: Certified
) -> None:
    at_relay, kind, at_destination, queue = pair
    logging.getLogger(__name__).info("FAULTS_SEED=%s", SEED)  # shown where it fails
    tls = {"tls": localhost.context}
    relay = getattr(system, kind)("faulty", **(tls if at_relay.tls else {}))
    relay.fault = at_relay.hook()
    healthy = system.claude("healthy")
    well, there = system.receiver(), system.receiver("there", **(tls if at_destination.tls else {}))
    there.fault = at_destination.hook()
    own = dict(system.listed("there"))
    system.listed("faulty").update(at_relay.listed)
    system.listed("there").update(at_destination.listed)
    system.environment["RELAY_MAX_RESPONSE_BYTES"] = "200000"
    if at_relay.short:
        system.environment["RELAY_TIMEOUT_MS"] = SHORT_MS
    if at_destination.ends_by_its_time:
        system.environment["OTEL_TIMEOUT_MS"] = SHORT_MS
    if not queue:
        system.aws.faults["SendMessage"] = Fault(status=500)

    ended = system.collect()

    # the relay and the destination that are well have nothing of it
    of_healthy = well.of(relay_name="healthy")
    assert of_healthy["relay_up"] == [1.0]
    assert of_healthy["relay_requests_total"] == [healthy.usage_of_all().requests]
    assert "relay_model_requests" in of_healthy
    of_faulty = well.of(relay_name="faulty")
    assert of_faulty.keys() <= OF_THE_RUN, "what did not come is left out"
    assert of_faulty["relay_up"] == [0.0]
    type = at_relay.wyolet if at_relay.wyolet and kind == "wyolet" else at_relay.type
    assert set(well.names("error.type", relay_name="faulty")) == {type}
    asked = len(there.requests)
    least, most = {
        "never": (0, 0),
        "once": (2, 2),
        "once more": (3, 3),
        "in parts": (4, 4),
        "twice": (4, 4),
        "often": (4, 1000),
    }[at_destination.asked]
    assert least <= asked <= most
    if not queue and at_destination.fate in ("spooled", "dead"):
        assert isinstance(ended.error, NotDelivered), "what is lost is said"
        assert "are lost" in str(ended.error)
        return
    assert_reported(ended, at_relay, kind, at_destination)
    assert_queues(system, at_destination)
    assert (len(system.lines("relay")), len(system.lines("destination"))) == (2, 2)
    assert len(well.points) == ended.destination("default")["pushed"]

    # an operator fixes it
    there.fault = None
    system.listed("there").update(own, **({"ca_pem": localhost.pem} if at_destination.tls else {}))
    system.put_secret()
    system.restart()
    system.aws.bring_back()
    system.drain()
    assert_queues(system, replace(at_destination, fate="pushed"))
    assert there.points == well.points, "as if it had never failed"


def assert_reported(
    ended: Ended, at_relay: AtRelay, kind: str, at_destination: AtDestination
) -> None:
    """What the report says: each data point once, and why those of the destination failed."""
    assert ended.error is None, "nothing fails the invocation while there is a queue"
    assert ended.relay("healthy") == {**ended.relay("healthy"), "up": True, "error": None}
    assert not ended.relay("faulty")["up"]
    assert ended.relay("faulty")["error"].startswith("relay faulty: ")
    if not at_relay.wyolet or kind == "claude":
        assert at_relay.says in ended.relay("faulty")["error"]
    points = sum(one["samples"] for one in ended.answer["relays"])
    nothing = {"pushed": 0, "spooled": 0, "rejected": 0, "dead_lettered": 0}
    fates = {
        "pushed": {"pushed": points},
        "spooled": {"spooled": points},
        "rejected": {"pushed": points - 4, "rejected": 4},  # two of each relay's
        "dead": {"dead_lettered": points},
    }
    reported = ended.destination("there")
    assert {name: reported[name] for name in nothing} == nothing | fates[at_destination.fate]
    assert (reported["error"] is None) == (at_destination.fate == "pushed")
    # on a busy machine the time can run out in the last of several attempts
    late = "no whole answer within" if at_destination.asked == "often" else at_destination.says
    assert any(said in str(reported["error"]) for said in (at_destination.says, late))
    well = {"name": "default", **nothing, "pushed": points, "write_cost": None, "error": None}
    assert ended.destination("default") == well


def assert_queues(system: System, at_destination: AtDestination) -> None:
    """What was not pushed waits in the queue where it belongs, a message a relay."""
    spooled, dead = system.aws.spooled(), system.aws.dead()
    assert len(spooled) == (2 if at_destination.fate == "spooled" else 0)
    assert len(dead) == (2 if at_destination.fate == "dead" else 0)
    assert all(held.message.destination == "there" for held in (*spooled, *dead))
    assert all(held.reason is None for held in spooled)
    assert all(at_destination.says in str(held.reason) for held in dead)
