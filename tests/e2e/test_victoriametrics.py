"""What is delivered of an exposition, held against what VictoriaMetrics scrapes of it itself.

One VictoriaMetrics scrapes an endpoint. A second one is pushed the same endpoint by the collector.
Every series, label and value must be equal, but for what `DIFFERENT` lists with its reason.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.http_server import HttpServer, Response
from relay_metrics import catalogue
from relay_metrics.entry.actions import act
from relay_metrics.runtime import Runtime
from relay_metrics.snapshot import Scope
from tests import RECORDED_EXPOSITION
from tests.e2e.victoriametrics import PATIENCE_S, VictoriaMetrics

TEXT = "text/plain; version=0.0.4; charset=utf-8"

pytestmark = pytest.mark.e2e

# -- what is scraped and pushed

AT_MS = (int(time.time()) - 60) * 1000

EQUAL = rf"""
# HELP requests_total Requests, by path.
# TYPE requests_total counter
requests_total{{path="/"}} 1027
requests_total{{path="C:\\a",quote="say \"hi\"",lines="one\ntwo"}} 3
requests_total{{path="/ünï/世界",empty=""}} 4
# TYPE large_total counter
large_total 9007199254740993
large_total{{size="huge"}} 1.8446744073709552e+19
# TYPE depth gauge
depth{{value="negative"}} -2.5
depth{{value="small"}} 1e-300
depth{{value="zero"}} 0
depth{{value="infinite"}} +Inf
depth{{value="-infinite"}} -Inf
# TYPE at_its_time gauge
at_its_time{{source="a"}} 5 {AT_MS}
untyped{{source="a"}} 42
# TYPE odd__name gauge
odd__name{{odd__label="1"}} 1
# TYPE labelled gauge
labelled{{job="j",instance="i"}} 1
# TYPE seconds histogram
seconds_bucket{{le="-1"}} 1
seconds_bucket{{le="0"}} 2
seconds_bucket{{le="0.005"}} 4
seconds_bucket{{le="2.5"}} 10
seconds_bucket{{le="+Inf"}} 12
seconds_sum 17.25
seconds_count 12
seconds_bucket{{path="/",le="1"}} 0
seconds_bucket{{path="/",le="+Inf"}} 0
seconds_sum{{path="/"}} 0
seconds_count{{path="/"}} 0
# TYPE only_infinite histogram
only_infinite_bucket{{le="+Inf"}} 7
only_infinite_sum 70
only_infinite_count 7
# TYPE without_sum histogram
without_sum_bucket{{le="1"}} 2
without_sum_bucket{{le="+Inf"}} 3
without_sum_count 3
typeless_seconds_bucket{{le="0.5"}} 4
typeless_seconds_bucket{{le="+Inf"}} 5
typeless_seconds_sum 3
typeless_seconds_count 5
# TYPE pause_seconds summary
pause_seconds{{quantile="0"}} 0.001
pause_seconds{{quantile="0.5"}} 0.01
pause_seconds_sum 12.5
pause_seconds_count 100
pause_seconds{{gen="1",quantile="0.99"}} 1
pause_seconds_sum{{gen="1"}} 2
pause_seconds_count{{gen="1"}} 2
typeless_pause_seconds{{quantile="0.5"}} 0.01
typeless_pause_seconds_sum 12.5
typeless_pause_seconds_count 100
# TYPE build_info gauge
build_info{{version="1.2.3"}} 1
# TYPE twice gauge
twice 1
twice 1
# TYPE unknown gauge
unknown NaN
"""


@dataclass(frozen=True)
class Difference:
    """Why an exposition's series cannot be equal, and which are then there on either side."""

    reason: str
    exposition: str
    scraped: tuple[str, ...]
    pushed: tuple[str, ...] = ()


DIFFERENT = (
    Difference(
        "a start is no series: it becomes the start of its counter",
        """
# TYPE starts_total counter
starts_total 1
# TYPE starts_created gauge
starts_created 1700000000
""",
        scraped=("starts_created",),
    ),
    Difference(
        "a bound is a number in OTLP: how it was written is not kept",
        """
# TYPE bounds histogram
bounds_bucket{le="1.0"} 1
bounds_bucket{le="1e+06"} 2
bounds_bucket{le="+Inf"} 3
bounds_sum 5
bounds_count 3
""",
        scraped=('bounds_bucket{le="1.0"}', 'bounds_bucket{le="1e+06"}'),
        pushed=('bounds_bucket{le="1"}', 'bounds_bucket{le="1000000"}'),
    ),
    Difference(
        "a histogram that contradicts itself is left out and counted",
        """
# TYPE falling histogram
falling_bucket{le="1"} 5
falling_bucket{le="+Inf"} 3
falling_count 3
""",
        scraped=('falling_bucket{le="+Inf"}', 'falling_bucket{le="1"}', "falling_count"),
    ),
    Difference(
        "a histogram of which nobody says where it ends is left out and counted",
        """
# TYPE endless histogram
endless_bucket{le="1"} 5
endless_sum 5
""",
        scraped=('endless_bucket{le="1"}', "endless_sum"),
    ),
    Difference(
        "the last bucket of a histogram and its count follow from one another",
        """
# TYPE openended histogram
openended_bucket{le="1"} 5
openended_count 6
# TYPE countless histogram
countless_bucket{le="+Inf"} 5
""",
        scraped=(),
        pushed=('openended_bucket{le="+Inf"}', "countless_count"),
    ),
    Difference(
        "labels that GreptimeDB keeps for itself, and those of the resource, are renamed",
        """
# TYPE reserved gauge
reserved{le="1"} 1
reserved{quantile="0.5"} 2
reserved{greptime_value="v",greptime_timestamp="t"} 3
reserved{relay_name="r"} 4
""",
        scraped=(
            'reserved{greptime_timestamp="t",greptime_value="v"}',
            'reserved{le="1"}',
            'reserved{quantile="0.5"}',
            'reserved{relay_name="r"}',
        ),
        pushed=(
            'reserved{exported_greptime_timestamp="t",exported_greptime_value="v"}',
            'reserved{exported_le="1"}',
            'reserved{exported_quantile="0.5"}',
            'reserved{exported_relay_name="r"}',
        ),
    ),
    Difference(
        "where job and exported_job are both given, Prometheus' rule is kept, not VictoriaMetrics'",
        """
# TYPE exported gauge
exported{job="j",exported_job="e"} 1
""",
        scraped=('exported{exported_exported_job="e",exported_job="j"}',),
        pushed=('exported{exported_exported_job="j",exported_job="e"}',),
    ),
    Difference(
        "VictoriaMetrics, set to name as Prometheus, gives every counter of OTLP _total",
        """
# TYPE bare counter
bare 12
""",
        scraped=("bare",),
        pushed=("bare_total",),
    ),
    Difference(
        "and takes colons and a label's leading underscore out of what comes by OTLP",
        """
# TYPE job:latency:mean5m gauge
job:latency:mean5m 0.25
# TYPE leading gauge
leading{_label="1"} 1
""",
        scraped=("job:latency:mean5m", 'leading{_label="1"}'),
        pushed=("job_latency_mean5m", 'leading{key_label="1"}'),
    ),
)
GENERATED = EQUAL + "".join(one.exposition for one in DIFFERENT)

OF_A_SCRAPE = re.compile(r"up$|scrape_[a-z_]+$")
OF_A_RUN = {metric.name for scope in (Scope.RUN, Scope.FAILURE) for metric in catalogue.rows(scope)}
RESOURCE = {
    *("service_name", "service_namespace", "service_version", "service_instance_id"),
    *("service_endpoint", "deployment_environment", "deployment_environment_name"),
    *("relay_name", "relay_kind"),
}


@dataclass(frozen=True)
class Both:
    """The two, after each has the same exposition."""

    scraped: VictoriaMetrics
    pushed: VictoriaMetrics

    def differing(self) -> tuple[list[str], list[str]]:
        """Series and values that are only scraped, and only pushed."""
        scraped, pushed = set(self.of_scrape()), set(self.of_push())
        return sorted(scraped - pushed), sorted(pushed - scraped)

    def of_scrape(self) -> Iterator[str]:
        for labels, value, _ in self.scraped.series():
            if not OF_A_SCRAPE.match(labels["__name__"]):
                yield f"{_series(labels, {'job', 'instance'})} {value}"

    def of_push(self) -> Iterator[str]:
        for labels, value, _ in self.pushed.series():
            if labels["__name__"] not in OF_A_RUN:
                yield f"{_series(labels, RESOURCE)} {value}"


def _series(labels: dict[str, str], aside: set[str]) -> str:
    pairs = [
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in sorted(labels.items())
        if name not in aside and name != "__name__"
    ]
    return labels.get("__name__", "") + (f"{{{','.join(pairs)}}}" if pairs else "")


@pytest.fixture(scope="session", params=["recorded", "own", "generated"])
def both(
    request: pytest.FixtureRequest, victoriametrics: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp(request.param)
    with VictoriaMetrics(
        victoriametrics, folder / "pushed", "-opentelemetry.usePrometheusNaming"
    ) as pushed:
        exposition = {
            "recorded": RECORDED_EXPOSITION.read_text(),
            "own": pushed.get("/metrics"),
            "generated": GENERATED,
        }[request.param].encode()
        with HttpServer(lambda _: Response(200, exposition, TEXT)) as endpoint:
            config = folder / "scrape.yaml"
            config.write_text(
                json.dumps(
                    {
                        "scrape_configs": [
                            {
                                "job_name": "endpoint",
                                "scrape_interval": "1s",
                                "honor_timestamps": True,
                                "static_configs": [{"targets": [f"127.0.0.1:{endpoint.port}"]}],
                            }
                        ]
                    }
                )
            )
            _collect(endpoint.url, pushed.url)
            flag = f"-promscrape.config={config}"
            with VictoriaMetrics(victoriametrics, folder / "scraped", flag) as scraped:
                _wait_for_scrape(scraped)
                yield Both(scraped, pushed)


def _collect(relay: str, destination: str) -> None:
    runtime = Runtime(
        {
            "RELAY_KIND": "wyolet-relay",
            "RELAY_BASE_URL": relay,
            "OTEL_EXPORT_URL": f"{destination}/opentelemetry/v1/metrics",
        }
    )
    report = act(runtime, {}, 60.0)
    assert report["relays"][0]["error"] is None
    samples = report["relays"][0]["samples"]
    assert report["destinations"] == [
        {
            "name": "default",
            "pushed": samples,
            "spooled": 0,
            "rejected": 0,
            "dead_lettered": 0,
            "write_cost": None,
            "error": None,
        }
    ]


def _wait_for_scrape(scraped: VictoriaMetrics) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not any(float(one["value"][1]) == 1 for one in scraped.query("up")):
        assert time.monotonic() < ends, scraped.get("/targets")
        time.sleep(0.1)


def test_every_series_label_and_value_is_equal(both: Both, request: pytest.FixtureRequest) -> None:
    only_scraped, only_pushed = both.differing()
    different = DIFFERENT if "generated" in request.node.callspec.params.values() else ()
    assert _named(only_scraped) == sorted(one for each in different for one in each.scraped)
    assert _named(only_pushed) == sorted(one for each in different for one in each.pushed)
    assert len(set(both.of_push())) > 50


def _named(series: list[str]) -> list[str]:
    return sorted(one.rpartition(" ")[0] for one in series)


def test_every_quantile_of_every_histogram_is_equal(both: Both) -> None:
    names = {
        labels["__name__"]
        for labels, _, _ in both.scraped.series()
        if "le" in labels and labels["__name__"].endswith("_bucket")
    } - {"falling_bucket", "endless_bucket", "openended_bucket", "countless_bucket"}
    asked = [
        f"histogram_quantile({quantile}, {name})"
        for name in sorted(names)
        for quantile in ("0.01", "0.5", "0.9", "0.99", "1")
    ]
    scraped = {one: _answers(both.scraped.query(one), {"job", "instance"}) for one in asked}
    assert {one: _answers(both.pushed.query(one), RESOURCE) for one in asked} == scraped
    assert len([one for one in scraped.values() if one]) >= len(asked) / 2


def _answers(found: list[dict[str, Any]], aside: set[str]) -> dict[str, str]:
    return {_series(one["metric"], aside): one["value"][1] for one in found}


@pytest.mark.parametrize("both", ["generated"], indirect=True)
def test_a_timestamp_of_the_exposition_is_kept(both: Both) -> None:
    for database in (both.scraped, both.pushed):
        instants = {
            time_ms
            for labels, _, time_ms in database.series()
            if labels["__name__"] == "at_its_time"
        }
        assert instants == {AT_MS}
