"""A relay and a destination that fail in one run, with a queue that is there or not.

The matrix of single faults is in test_fault_matrix.py; this is what two of them do together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from local.http_server import Fault, FaultHook, html_page, oversized
from relay_metrics.errors import NotDelivered
from tests.integration.conftest import System
from tests.integration.test_fault_matrix import LONG_S, always, first

AT_RELAY: dict[str, Callable[[], FaultHook]] = {
    "reset": always(Fault(close="before", reset=True)),
    "hangs": always(Fault(delay_s=LONG_S)),
    "500": always(Fault(status=500)),
    "401 once": first(Fault(status=401)),
    "HTML": always(html_page()),
    "too long": always(oversized(300_000)),
}
FOREIGN = b'{"error":"OTLP metric input have incompatible existing tables"}'
AT_DESTINATION: dict[str, Callable[[], FaultHook]] = {
    "reset": always(Fault(status=200, close="before", reset=True)),
    "stored, the answer lost": always(Fault(close="before")),
    "hangs": always(Fault(status=200, delay_s=LONG_S)),
    "400": always(Fault(status=400)),
    "401": always(Fault(status=401)),
    "503 once": first(Fault(status=503)),
    "413": always(Fault(status=413)),
    "foreign tables": always(Fault(status=500, body=FOREIGN)),
    "503": always(Fault(status=503)),
}
PUSHED = {"503 once"}


@pytest.mark.parametrize(
    ("at_relay", "at_destination", "queue"),
    list(itertools.product(AT_RELAY, AT_DESTINATION, [True, False])),
    ids=lambda part: {True: "SQS", False: "no SQS"}.get(part, part),
)
def test_a_pair_of_faults(system: System, at_relay: str, at_destination: str, queue: bool) -> None:
    system.claude("faulty").fault = AT_RELAY[at_relay]()
    healthy = system.claude("healthy")
    failing, well = system.receiver(), system.receiver("well")
    failing.fault = AT_DESTINATION[at_destination]()
    system.put_secret()
    system.environment |= {
        "RELAY_MAX_RESPONSE_BYTES": "200000",
        "RELAY_TIMEOUT_MS": "800",
        "OTEL_TIMEOUT_MS": "800" if at_destination not in PUSHED else "5000",
    }
    if not queue:
        system.aws.faults["SendMessage"] = Fault(status=500)

    ended = system.collect()

    # the relay and the destination that are well have nothing of it
    of_healthy = well.of(relay_name="healthy")
    assert of_healthy["relay_up"] == [1.0]
    assert of_healthy["relay_requests_total"] == [healthy.usage_of_all().requests]
    if not queue and at_destination not in PUSHED:
        assert isinstance(ended.error, NotDelivered), "what is lost is said"
        assert "are lost" in str(ended.error)
        return
    assert ended.error is None
    assert ended.relay("healthy")["error"] is None
    samples = sum(one["samples"] for one in ended.answer["relays"])
    assert ended.destination("well")["pushed"] == samples == len(well.points)
    fates = ("pushed", "spooled", "rejected", "dead_lettered")
    assert sum(ended.destination("default")[fate] for fate in fates) == samples, "each once"
    held = [*system.aws.spooled(), *system.aws.dead()]
    assert sum(one.message.piece.points for one in held) == (
        0 if at_destination in PUSHED else samples
    )

    failing.fault = None
    if queue:
        system.aws.bring_back()
        system.drain()
    assert failing.points == well.points, "as if it had never failed"
