"""The simulated Wyolet Relay's exposition has the recorded one's families, and moves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from local.http_server import html_page
from local.relay import WyoletRelay
from local.relay.exposition import go_float
from local.relay.wyolet import overhead_with_incident
from tests import RECORDED_EXPOSITION, ROOT


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def series(family: Metric) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples}


@pytest.fixture
def relay() -> Iterator[WyoletRelay]:
    with WyoletRelay(clock=lambda: 1_795_294_907.93) as running:
        for _ in range(60):
            running.tick()
        yield running


def scrape(relay: WyoletRelay, **headers: str) -> requests.Response:
    return requests.get(f"{relay.url}/metrics", timeout=10, headers=headers)


def test_families_are_the_recorded_ones(relay: WyoletRelay) -> None:
    answer = scrape(relay)
    ours, recorded = (
        families(answer.text),
        families(RECORDED_EXPOSITION.read_text("utf-8")),
    )

    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert [(name, family.type, family.documentation) for name, family in ours.items()] == [
        (name, family.type, family.documentation) for name, family in recorded.items()
    ]
    # Counters whose label values depend on what happened; every other series is there in both.
    by_event = {"relay_requests", "relay_records_lost", "relay_provider_keys_down"}
    for name in recorded.keys() - by_event:
        assert series(ours[name]) == series(recorded[name]), name
    for name in by_event:
        assert {labels for _, labels in series(ours[name])} & {
            labels for _, labels in series(recorded[name])
        }
        ours_named = {tuple(sample.labels) for sample in ours[name].samples}
        assert ours_named == {tuple(sample.labels) for sample in recorded[name].samples}


def test_the_text_is_what_the_attributes_say(relay: WyoletRelay) -> None:
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(scrape(relay).text).values()
        for sample in family.samples
    }

    histogram = relay.histograms["relay_overhead_seconds"]["pipeline"]
    assert found["relay_overhead_seconds_count", "pipeline"] == histogram.count
    assert found["relay_overhead_seconds_sum", "pipeline"] == histogram.sum
    assert found["relay_overhead_seconds_bucket", "0.01", "pipeline"] == sum(histogram.counts[:7])
    assert found["relay_overhead_seconds_bucket", "+Inf", "pipeline"] == histogram.count
    assert found["relay_requests_total", "proxy", "2xx"] == relay.requests["proxy", "2xx"]
    assert found["relay_emit_queue_depth", "usage"] == relay.queue_depth["usage"]
    assert found["process_start_time_seconds",] == 1_795_294_907.93
    reached = sum(n for (source, status), n in relay.requests.items() if status != "4xx")
    overheads = relay.histograms["relay_overhead_seconds"].values()
    assert sum(histogram.count for histogram in overheads) == reached


def test_quantiles_cross_the_promise_and_come_back() -> None:
    p99 = []
    with WyoletRelay() as relay:
        for _ in range(60):
            before = relay.histograms["relay_overhead_seconds"]["pipeline"].counts.copy()
            relay.tick()
            histogram = relay.histograms["relay_overhead_seconds"]["pipeline"]
            tick = type(histogram)(histogram.bounds)
            tick.counts = [now - then for now, then in zip(histogram.counts, before, strict=True)]
            p99.append(tick.quantile(0.99))
    assert min(p99[:5] + p99[-5:]) < 0.01 < max(p99[25:35])


def test_a_quantile_is_interpolated_as_promql_does() -> None:
    with WyoletRelay() as relay:
        histogram = relay.histograms["relay_post_flight_seconds"][""]
        assert histogram.quantile(0.5) != histogram.quantile(0.5)
        for value in (0.0002, 0.0003, 0.0007, 0.002):
            histogram.observe(value)
        assert histogram.quantile(0.5) == 0.0005
        assert histogram.quantile(0.75) == 0.001
        assert histogram.quantile(0.25) == pytest.approx(0.0003)
        histogram.observe(60)
        assert histogram.quantile(1) == 5


def test_counters_only_grow_and_a_seed_repeats_them() -> None:
    def clock() -> float:
        return 1_795_294_907.93

    with WyoletRelay(seed=5, clock=clock) as one, WyoletRelay(seed=5, clock=clock) as other:
        one.tick()
        first = families(one.exposition())
        one.tick()
        for name, family in families(one.exposition()).items():
            if family.type == "counter" and name in first:
                then = {tuple(s.labels.items()): s.value for s in first[name].samples}
                now = {tuple(s.labels.items()): s.value for s in family.samples}
                assert all(now[labels] >= value for labels, value in then.items())
        other.tick()
        other.tick()
        assert one.exposition() == other.exposition()
    with WyoletRelay(seed=6, clock=clock) as third:
        third.tick()
        third.tick()
        assert third.exposition() != one.exposition()


def test_a_proxy_in_front_can_ask_for_a_header() -> None:
    with WyoletRelay(headers={"X-Api-Key": "k"}) as relay:
        assert scrape(relay).status_code == 401
        assert scrape(relay, **{"X-Api-Key": "k"}).status_code == 200
        assert requests.get(f"{relay.url}/api/metrics", timeout=10).status_code == 404
        assert relay.calls == {"/metrics": 2, "/api/metrics": 1}


def test_faults_meet_it_too(relay: WyoletRelay) -> None:
    relay.fault = lambda _request: html_page()

    assert scrape(relay).text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (-0.5, "-0.5"),
        (20000, "20000"),
        (999999, "999999"),
        (1_000_000, "1e+06"),
        (9218848.0, "9.218848e+06"),
        (0.0001, "0.0001"),
        (7.4471e-05, "7.4471e-05"),
        (1.8446744073709552e19, "1.8446744073709552e+19"),
        (2101.98095079098, "2101.98095079098"),
    ],
)
def test_numbers_are_written_as_go_writes_them(value: float, text: str) -> None:
    assert go_float(value) == text


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("claude-relay", "/health", '"version":"1.1.314"'),
        ("wyolet-relay", "/metrics", "relay_overhead_seconds_bucket"),
    ],
)
def test_the_command_serves_until_it_is_interrupted(kind: str, path: str, expected: str) -> None:
    command = [sys.executable, "-m", "local.relay", "--kind", kind, "--tick-seconds", "0.05"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            assert expected in requests.get(url + path, timeout=10).text
            process.send_signal(2)
            assert "stopped" in process.stdout.read()
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_an_incident_breaks_the_promise_for_a_while_and_nothing_else_does() -> None:
    median = overhead_with_incident(began=1000)
    assert min(map(median, range(4000, 90_000, 600))) >= 0.0006
    assert max(map(median, range(4000, 90_000, 600))) <= 0.0008
    assert median(1000 + 1200) > 0.004
    with WyoletRelay(clock=lambda: 0.0, overhead=median) as relay:
        relay.tick(at=2200)
        assert relay.histograms["relay_overhead_seconds"]["pipeline"].quantile(0.99) > 0.01
