"""What the events `check` and `dry-run` answer, and that they write nothing."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from local.http_server import Fault
from relay_metrics import check as check_module
from relay_metrics import dry_run as dry_run_module
from relay_metrics.entry.event import Event
from relay_metrics.runtime import Runtime
from tests.integration.conftest import System
from tests.unit.settings_read import SECRET, read

CHECK = {"action": "check"}
DRY_RUN = {"action": "dry-run"}


def findings(system: System, event: object = None) -> dict[str, dict[str, Any]]:
    answer = system.collect(event or CHECK).answer
    assert answer["ok"] == all(finding["ok"] for finding in answer["findings"])
    assert all(set(one) == {"target", "ok", "message", "hint"} for one in answer["findings"])
    return {finding["target"]: finding for finding in answer["findings"]}


def test_all_is_well_and_nothing_was_written(system: System) -> None:
    claude, _ = system.claude(), system.wyolet()
    db = system.database()
    other = system.receiver("other")
    found = findings(system)
    assert set(found) == {
        "secret",
        "relay claude",
        "relay wyolet",
        "destination default",
        "destination other",
        "spool",
        "dead-letter queue",
    }
    assert all(finding["ok"] and finding["hint"] is None for finding in found.values())
    assert db.tables() == []
    assert other.of() == {}
    assert claude.scans == 0
    assert system.aws.spooled() == []


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        (Fault(status=401), "answered 401", "does not accept the credential"),
        (Fault(status=403), "answered 403", "disabled or expired"),
        (Fault(status=404), "answered 404", "does not know the key's id"),
        (Fault(status=200, body=b"<html>"), "answered 200", "something else answers there"),
        (
            Fault(status=307, headers={"Location": "/elsewhere/?token=t0ken"}),
            "answered 307, to /elsewhere/",
            "it redirects",
        ),
        (Fault(status=403, body=b"<html>"), "answered 403 with HTML", "a web page answers"),
        (Fault(close="before"), "closed", "nothing listens there"),
        (Fault(status=500), "answered 500", "the relay's own log"),
    ],
)
def test_a_relay_that_is_not_well(system: System, fault: Fault, message: str, hint: str) -> None:
    claude = system.claude()
    system.wyolet()
    system.receiver()
    claude.fault = lambda request: fault
    found = findings(system)
    assert not found["relay claude"]["ok"]
    assert message in found["relay claude"]["message"]
    assert hint in found["relay claude"]["hint"]
    assert found["relay wyolet"]["ok"]


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (Fault(status=401), "greptime_username and greptime_password"),
        (Fault(status=403), "may not write"),
        (Fault(status=404), "the path is wrong"),
        (Fault(status=400), "does the database exist"),
        (Fault(status=302), "something else answers there"),
        (Fault(status=503), "busy or broken"),
        (Fault(close="before"), "cannot be reached"),
    ],
)
def test_a_destination_that_is_not_well(system: System, fault: Fault, hint: str) -> None:
    system.claude()
    there = system.receiver()
    system.receiver("other")
    system.environment["OTEL_TIMEOUT_MS"] = "3000"
    there.fault = lambda request: fault
    found = findings(system)
    assert not found["destination default"]["ok"]
    assert hint in found["destination default"]["hint"]
    assert found["destination other"]["ok"]


def test_a_secret_that_cannot_be_read_or_used(system: System) -> None:
    system.claude()
    system.receiver()
    system.aws.faults["GetSecretValue"] = Fault(status=400)
    found = findings(system)
    assert list(found) == ["secret"]
    assert "SECRET_ID" in found["secret"]["hint"]
    system.aws.faults.clear()
    system.aws.put_secret({**system.secret, "realys": []})
    found = findings(system)
    assert list(found) == ["settings"]
    assert "'realys'" in found["settings"]["message"]


def test_a_secret_that_got_worse_is_named_although_the_last_good_one_is_used(
    system: System,
) -> None:
    system.claude()
    system.receiver()
    system.environment["SECRET_MAX_AGE_SECONDS"] = "0"
    assert findings(system)["secret"]["ok"]
    system.aws.put_secret({**system.secret, "realys": []})
    found = findings(system)
    assert not found["secret"]["ok"]
    assert "'realys'" in found["secret"]["message"]
    assert found["relay claude"]["ok"]
    system.aws.faults["GetSecretValue"] = Fault(status=500)
    found = findings(system)
    assert not found["secret"]["ok"]
    assert found["relay claude"]["ok"]


def test_a_secret_that_can_no_longer_be_read(system: System) -> None:
    system.claude()
    system.receiver()
    system.environment["SECRET_MAX_AGE_SECONDS"] = "0"
    assert findings(system)["secret"]["ok"]
    system.aws.faults["GetSecretValue"] = Fault(status=500)
    found = findings(system)
    assert not found["secret"]["ok"]
    assert "SECRET_ID" in found["secret"]["hint"]
    assert found["relay claude"]["ok"], "the copy that was read before is used"


def test_a_placeholder_beside_another_error(system: System) -> None:
    system.claude()
    system.receiver()
    system.aws.put_secret({**system.secret, "greptime_password": "REPLACE_ME", "relays": 7})
    found = findings(system)
    assert "relays" in found["secret"]["message"]
    assert "greptime_password" in found["destination default"]["message"]


def test_a_corrected_address_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_ID", "")
    monkeypatch.setenv("RELAY_KIND", "wyolet-relay")
    monkeypatch.setenv("RELAY_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORT_URL", "https://x.greptime.cloud/v1/metrics")
    # what is found before anything is asked
    found = next(check_module._findings(Runtime(), Event.of({"action": "check"}), 60))
    assert (found.target, found.ok) == ("settings", True)
    assert "/v1/otlp" in found.message


def test_an_empty_request_has_the_headers_and_the_resource_of_a_run(system: System) -> None:
    system.claude()
    system.wyolet()
    there = system.receiver()
    system.environment |= {
        "OTEL_EXPORT_HEADERS": '{"X-Greptime-OTLP-Metric-Ignore-Resource-Attrs": "team"}',
        "GREPTIME_DATABASE": "metrics",
        "OTEL_RESOURCE_ATTRIBUTES": "team=a",
    }
    findings(system)
    system.collect()
    asked, *run = there.requests
    sent = [
        ExportMetricsServiceRequest.FromString(gzip.decompress(one.body)) for one in (asked, *run)
    ]

    def resources(requests: list[ExportMetricsServiceRequest]) -> set[frozenset[str]]:
        every = [one.resource for request in requests for one in request.resource_metrics]
        delivered = {frozenset(str(item) for item in one.attributes) for one in every}
        # a key's have more
        return {one for one in delivered if "relay.key.id" not in str(one)}

    assert resources(sent[:1]) == resources(sent[1:])
    per_request = ("content-length", "host")
    named = [
        {name: text for name, text in one.headers.items() if name not in per_request}
        for one in there.requests
    ]
    assert named[0] == named[1]
    assert named[0]["x-greptime-db-name"] == "metrics"


def test_what_waits_in_the_queues(system: System) -> None:
    system.claude()
    there = system.receiver()
    found = findings(system)
    assert found["spool"]["message"] == "it is there; 0 messages wait"
    assert found["dead-letter queue"]["message"] == "it is there; 0 messages lie in it"
    there.fault = lambda request: Fault(status=401)
    system.collect()
    there.fault = lambda request: Fault(status=400)
    system.collect()
    there.fault = None
    found = findings(system)
    assert found["spool"] == {
        "target": "spool",
        "ok": True,
        "message": "it is there; 1 messages wait",
        "hint": "a destination did not take them; the redriver delivers them once it does",
    }
    assert found["dead-letter queue"]["message"] == "it is there; 1 messages lie in it"
    assert "docs/failures.md" in found["dead-letter queue"]["hint"]


def test_queues_that_do_not_answer(system: System) -> None:
    system.claude()
    system.receiver()
    system.aws.faults["GetQueueUrl"] = Fault(status=403)
    found = findings(system)
    assert (found["spool"]["ok"], found["dead-letter queue"]["ok"]) == (True, False)
    assert "redrive policy" in found["dead-letter queue"]["hint"]
    system.aws.faults["GetQueueAttributes"] = Fault(status=200, body=b"{}")
    found = findings(system)
    assert not found["spool"]["ok"]
    assert "may the role use it" in found["spool"]["hint"]
    assert "dead-letter queue" not in found
    system.environment["SPOOL_QUEUE_URL"] = ""
    system.restart()
    assert findings(system)["spool"]["ok"]
    assert "is lost" in findings(system)["spool"]["hint"]


def test_a_token_in_the_clear() -> None:
    """A Wyolet Relay's administrator's token, whose holder is a full administrator."""
    given = read(
        {"RELAY_KIND": "wyolet-relay", "RELAY_BASE_URL": "http://relay.example"},
        {"relay_admin_token": "t0ken"},
    )
    assert [one.target for one in check_module._in_the_clear(given)] == ["relay relay.example:80"]


@pytest.mark.parametrize(
    ("relay_headers", "headers", "targets"),
    [
        ({}, {}, []),
        ({"Accept": "text/plain"}, {}, []),
        ({"accept": "text/plain", "X-Token": "t0ken"}, {}, ["relay relay.example:80"]),
        ({}, {"X-Greptime-Auth": "Basic dDBrZW4="}, ["destination default"]),
        *(
            ({}, {name: value}, [])
            for name, value in {
                "x-greptime-otlp-metric-translation-strategy": "NoTranslation",
                "X-Greptime-Hints": "physical_table=relay_physical",
                "X-Greptime-DB-Name": "metrics",
            }.items()
        ),
    ],
)
def test_headers_in_the_clear(
    relay_headers: dict[str, str], headers: dict[str, str], targets: list[str]
) -> None:
    variables = {
        "RELAY_KIND": "wyolet-relay",
        "RELAY_BASE_URL": "http://relay.example",
        "OTEL_EXPORT_URL": "http://greptime.example",
        "OTEL_EXPORT_HEADERS": json.dumps(headers),
    }
    given = read(variables, {"relay_headers": relay_headers})
    assert [one.target for one in check_module._in_the_clear(given)] == targets


@pytest.mark.parametrize(
    ("secret", "overwrites", "delivered"),
    [
        ({"relay_admin_username": "a", "relay_admin_password": "b"}, False, True),
        ({"relay_admin_username": "a", "relay_admin_password": "b"}, True, False),
        (SECRET, False, False),
    ],
)
def test_what_a_destination_that_does_not_overwrite_is_not_sent_is_named(
    secret: dict[str, Any], overwrites: bool, delivered: bool
) -> None:
    other = {"name": "other", "url": "https://other.example", "overwrites": overwrites}
    [*found] = check_module._without_timed_figures(read({}, {**secret, "destinations": [other]}))
    assert [(one.target, one.ok) for one in found] == [("destination other", True)] * delivered
    assert all("overwrites: true" in one.hint for one in found)


def test_a_credential_in_the_clear(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system.claude()
    system.receiver()
    # no other host than this one is asked in a test: this one is called another
    monkeypatch.setattr(check_module, "_unprotected", lambda url, _: url.startswith("http://127."))
    answer = system.collect(CHECK).answer
    clear = [one for one in answer["findings"] if "plain http" in one["message"]]
    assert [one["target"] for one in clear] == ["relay claude", "destination default"]
    assert all(not one["ok"] and "https" in one["hint"] for one in clear)


@pytest.mark.parametrize(
    ("url", "unprotected"),
    [
        ("http://relay.example.com", True),
        ("http://10.0.0.7:3000", True),
        ("https://relay.example.com", False),
        ("http://127.0.0.1:3000", False),
        ("http://[::1]:3000", False),
        ("http://localhost:3000", False),
        ("http://localhost.example.com", True),
    ],
)
def test_what_is_in_the_clear(url: str, unprotected: bool) -> None:
    assert check_module._unprotected(url, frozenset()) is unprotected


@pytest.mark.parametrize("host", ["host.docker.internal", "172.17.0.1"])
def test_under_sam_local_the_engine_s_host_is_no_other_one(host: str) -> None:
    url = f"http://{host}:3000"
    assert check_module._unprotected(url, frozenset())
    assert not check_module._unprotected(url, check_module._DOCKERS_HOST)


def test_a_dry_run_shows_what_a_run_pushes_and_pushes_nothing(system: System) -> None:
    system.claude()
    system.wyolet()
    there = system.receiver()
    answer = system.collect(DRY_RUN).answer
    assert there.of() == {}
    assert set(answer) == {"relays", "metrics"}
    shown = {metric["name"]: len(metric["points"]) for metric in answer["metrics"]}
    report = system.collect().answer
    assert sum(shown.values()) == sum(relay["samples"] for relay in answer["relays"])
    pushed = {name: len(points) for name, points in there.of().items()}
    # a total and its family of the other relay share a name
    assert shown == pushed
    assert sum(shown.values()) == report["destinations"][0]["pushed"]
    requests = next(one for one in answer["metrics"] if one["name"] == "relay_tokens_total")
    assert (requests["kind"], requests["unit"]) == ("monotonic sum", "{token}")
    [point] = requests["points"]
    assert set(point) == {"resource", "attributes", "value", "time"}
    assert point["resource"]["relay.name"] == "claude"


def test_a_dry_run_fits_what_lambda_answers_with(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.claude()
    system.receiver()
    whole = system.collect(DRY_RUN).answer
    room = len(json.dumps(whole)) // 2
    monkeypatch.setattr(dry_run_module, "MAX_ANSWER_BYTES", room)
    cut = system.collect(DRY_RUN).answer
    assert len(json.dumps(cut["metrics"])) + len(json.dumps(cut["relays"])) <= room
    points = sum(len(metric["points"]) for metric in cut["metrics"])
    all_points = sum(relay["samples"] for relay in cut["relays"])
    assert f"{all_points - points} data points are left out" in cut["remark"]


def test_a_short_password_garbles_no_metric(system: System) -> None:
    system.claude()
    system.receiver()
    system.secret["destinations"] = [
        {"name": "other", "url": "http://127.0.0.1:9", "username": "u", "password": "token"}
    ]
    names = {metric["name"] for metric in system.collect(DRY_RUN).answer["metrics"]}
    assert "relay_tokens_total" in names
