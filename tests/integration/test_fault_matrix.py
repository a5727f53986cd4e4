"""Every fault at every place: what is reported, what is stored, what waits in which queue.

No secret may be seen in any of it: the fixture `system` looks through all that was written.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from local.http_server import Fault, FaultHook, Request, Response, html_page, oversized
from tests.integration.conftest import System
from tests.tls import Certified

LONG_S = 30.0
SHORT_MS = "1000"
"""The time of an exchange where it is a time-out that is tested; the others have seconds."""

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


def bomb() -> Fault:
    packed = gzip.compress(bytes(30_000_000), 1)
    return Fault(status=200, body=packed, headers={"Content-Encoding": "gzip"})


def echo() -> FaultHook:
    """A server that tells everybody what it was sent."""

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
    AtRelay("gzip bomb", "too_large", "longer than", always(bomb())),
    AtRelay("an echo", "418", "answered 418", echo),
]


@pytest.fixture(params=["claude", "wyolet"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


OF_THE_RUN = {
    "relay_up",
    "relay_scrape_duration_seconds",
    "relay_scrape_samples",
    "relay_scrape_errors",
    "relay_keys_failed",
}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("row", AT_RELAY, ids=str)
def test_a_fault_of_a_relay(
    system: System, row: AtRelay, kind: str, beside: bool, localhost: Certified
) -> None:
    more = {"tls": localhost.context} if row.tls else {}
    relay = system.claude("faulty", **more) if kind == "claude" else system.wyolet("faulty", **more)
    relay.fault = row.hook()
    system.listed("faulty").update(row.listed)
    healthy = system.claude("healthy") if beside else None
    there = system.receiver()
    system.put_secret()
    system.environment["RELAY_MAX_RESPONSE_BYTES"] = "200000"
    if row.short:
        system.environment["RELAY_TIMEOUT_MS"] = SHORT_MS

    ended = system.collect()

    assert ended.error is None
    reported = ended.relay("faulty")
    assert not reported["up"]
    assert reported["error"].startswith("relay faulty: ")
    if not row.wyolet or kind == "claude":
        assert row.says in reported["error"]
    destination = ended.destination("default")
    assert (destination["spooled"], destination["rejected"], destination["error"]) == (0, 0, None)
    assert destination["pushed"] == sum(one["samples"] for one in ended.answer["relays"])

    stored = there.of(relay_name="faulty")
    type = row.wyolet if row.wyolet and kind == "wyolet" else row.type
    assert stored.keys() <= OF_THE_RUN, "what did not come is left out"
    assert stored["relay_up"] == [0.0]
    assert set(there.names("error.type", relay_name="faulty")) == {type}
    if healthy:
        assert ended.relay("healthy")["up"]
        assert ended.relay("healthy")["error"] is None
        of_healthy = there.of(relay_name="healthy")
        assert of_healthy["relay_up"] == [1.0]
        assert of_healthy["relay_requests_total"] == [healthy.usage_of_all().requests]
        assert "relay_model_requests" in of_healthy
    assert system.aws.spooled() == []
    assert system.aws.dead() == []
    assert len(system.lines("relay")) == 1 + beside
    assert len(system.lines("destination")) == 1


def test_401_of_a_relay_and_then_good(system: System, kind: str) -> None:
    relay = system.claude() if kind == "claude" else system.wyolet()
    relay.fault = first(Fault(status=401))()
    there = system.receiver()
    system.put_secret()

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
            twice), or `once more` (once, and one of all of them again).
        listed: what is in the secret in place of the destination's own.
    """

    what: str
    fate: str
    asked: str
    says: str
    hook: Callable[[], FaultHook] = well
    listed: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    short: bool = True

    def __str__(self) -> str:
        return self.what


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
    AtDestination(
        "401 then good", "pushed", "once more", "", first(Fault(status=401)), short=False
    ),
    AtDestination("401 for ever", "spooled", "twice", "answered 401", always(Fault(status=401))),
    AtDestination("403", "spooled", "twice", "answered 403", always(Fault(status=403))),
    AtDestination("404", "spooled", "once", "answered 404", always(Fault(status=404))),
    AtDestination("408", "spooled", "often", "answered 408", always(Fault(status=408))),
    AtDestination("408 once", "pushed", "once more", "", first(Fault(status=408)), short=False),
    AtDestination(
        "413 for the whole", "pushed", "often", "", first(Fault(status=413)), short=False
    ),
    AtDestination(
        "413 for ever",
        "dead",
        "often",
        "413 for what cannot be split further",
        always(Fault(status=413)),
        short=False,
    ),
    AtDestination("429", "spooled", "often", "answered 429", always(Fault(status=429))),
    AtDestination("429 once", "pushed", "once more", "", first(Fault(status=429)), short=False),
    AtDestination(
        "429 for 1 s",
        "pushed",
        "once more",
        "",
        first(Fault(status=429, headers={"Retry-After": "1"})),
        short=False,
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
    AtDestination("503 once", "pushed", "once more", "", first(Fault(status=503)), short=False),
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
        "too long", "spooled", "often", "longer than", always(Fault(body=bytes(1_100_000)))
    ),
    AtDestination("gzip bomb", "spooled", "often", "longer than", always(bomb())),
    AtDestination(
        "partial success",
        "rejected",
        "once",
        "2 data points were rejected (too old)",
        always(partial(2, "too old")),
    ),
    AtDestination("an echo", "spooled", "once", "answered 418", echo),
]


@pytest.mark.parametrize(
    ("relays", "beside"),
    [(1, False), (2, False), (2, True)],
    ids=["one relay", "two relays", "two relays and another destination"],
)
@pytest.mark.parametrize("row", AT_DESTINATION, ids=str)
def test_a_fault_of_a_destination(
    system: System, row: AtDestination, beside: bool, relays: int, localhost: Certified
) -> None:
    system.claude()
    if relays == 2:
        system.wyolet()
    there = system.receiver("faulty", **({"tls": localhost.context} if row.tls else {}))
    own = dict(system.listed("faulty"))
    there.fault = row.hook()
    system.listed("faulty").update(row.listed)
    other = system.receiver() if beside else None
    system.put_secret()
    if row.short:
        system.environment["OTEL_TIMEOUT_MS"] = SHORT_MS

    ended = system.collect()

    assert ended.error is None, (
        "a fault of a destination fails no invocation while there is a queue"
    )
    assert all(one["up"] for one in ended.answer["relays"])
    points = sum(one["samples"] for one in ended.answer["relays"])
    reported = ended.destination("faulty")
    counts = {name: reported[name] for name in ("pushed", "spooled", "rejected", "dead_lettered")}
    assert counts == {
        "pushed": {"pushed": points, "rejected": points - 2 * relays}.get(row.fate, 0),
        "spooled": {"spooled": points}.get(row.fate, 0),
        "rejected": {"rejected": 2 * relays}.get(row.fate, 0),
        "dead_lettered": {"dead": points}.get(row.fate, 0),
    }
    assert (reported["error"] is None) == (row.fate == "pushed")
    assert row.says in str(reported["error"])
    asked = len(there.requests)
    expected = {"never": 0, "once": relays, "once more": relays + 1, "twice": 2 * relays}
    assert asked >= 2 * relays if row.asked == "often" else asked == expected[row.asked]
    if other:
        healthy = {"name": "default", "pushed": points, "spooled": 0, "rejected": 0}
        assert ended.destination("default") == {
            **healthy, "dead_lettered": 0, "write_cost": None, "error": None
        }  # fmt: skip

    assert_queues(system, row, relays)

    # an operator mends it
    there.fault = None
    system.listed("faulty").update(own, **({"ca_pem": localhost.pem} if row.tls else {}))
    system.put_secret()
    system.restart()
    system.aws.bring_back()
    system.drain()
    assert_queues(system, replace(row, fate="pushed"), relays)
    assert len(there.points) == points
    if other:
        assert there.points == other.points, "as if it had never failed"


def assert_queues(system: System, row: AtDestination, relays: int) -> None:
    """What was not pushed waits in the queue where it belongs, a message a relay."""
    spooled, dead = system.aws.spooled(), system.aws.dead()
    assert len(spooled) == (relays if row.fate == "spooled" else 0)
    assert len(dead) == (relays if row.fate == "dead" else 0)
    for held in (*spooled, *dead):
        assert held.message.destination == "faulty"
    assert all(held.reason is None for held in spooled)
    assert all(row.says in str(held.reason) for held in dead)
