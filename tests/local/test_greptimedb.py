"""The stand-in keeps GreptimeDB's rules, asked over HTTP as a sender and a reader ask."""

import gzip
import math
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from local.greptimedb import GreptimeDB
from local.http_server import Fault
from tests import ROOT

NOW_MS = 1_700_000_000_123
NOW_NS = NOW_MS * 1_000_000
AUTH = ("relay", "pass:word")
PROTOBUF = "application/x-protobuf"


@pytest.fixture
def db() -> Iterator[GreptimeDB]:
    with GreptimeDB() as db:
        yield db
        assert db.errors == []


def attributes(**values: Any) -> list[dict[str, Any]]:
    """OTLP attributes; `__` in a keyword stands for a dot."""
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue", bool: "boolValue"}
    return [
        {"key": key.replace("__", "."), "value": {kinds[type(value)]: value}}
        for key, value in values.items()
    ]


def point(value: Any, time_ns: int = NOW_NS, **tags: Any) -> dict[str, Any]:
    """A data point. ParseDict takes `"Infinity"` and `"NaN"` only as text."""
    data = {"timeUnixNano": time_ns, "attributes": attributes(**tags)}
    if value is None:
        return data
    return data | {"asInt" if isinstance(value, int) else "asDouble": value}


def gauge(name: str, *points: dict[str, Any], unit: str = "") -> dict[str, Any]:
    return {"name": name, "unit": unit, "gauge": {"dataPoints": list(points)}}


def histogram(name: str, *points: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "histogram": {"dataPoints": list(points), "aggregationTemporality": 2},
    }


def resource(*metrics: dict[str, Any], **tags: Any) -> dict[str, Any]:
    scope = {"scope": {"name": "s", "attributes": attributes(scope_tag="x")}, "metrics": metrics}
    return {"resource": {"attributes": attributes(**tags)}, "scopeMetrics": [scope]}


def encoded(*resources: dict[str, Any]) -> bytes:
    return ParseDict(
        {"resourceMetrics": resources}, ExportMetricsServiceRequest()
    ).SerializeToString()


def post(
    db: GreptimeDB, body: bytes, headers: dict[str, str] | None = None, **options: Any
) -> requests.Response:
    return requests.post(
        db.url + "/v1/otlp/v1/metrics",
        data=body,
        headers={"Content-Type": PROTOBUF, **(headers or {})},
        timeout=30,
        **options,
    )


def push(db: GreptimeDB, *resources: dict[str, Any], **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = post(db, encoded(*resources), named)
    assert (answer.status_code, answer.content) == (200, b""), answer.text


def ask(db: GreptimeDB, sql: str, database: str = "public") -> requests.Response:
    return requests.post(db.url + "/v1/sql", params={"db": database}, data={"sql": sql}, timeout=30)


class TestTheRequest:
    def test_success_is_200_with_an_empty_body(self, db: GreptimeDB) -> None:
        push(db, resource(gauge("relay_up", point(1))))
        assert db.sql("SELECT * FROM relay_up") == [
            {"greptime_timestamp": NOW_MS, "greptime_value": 1.0}
        ]

    def test_an_empty_request_is_accepted_and_makes_no_table(self, db: GreptimeDB) -> None:
        push(db)
        push(db, resource(gauge("no_points")))
        assert db.tables() == []

    def test_json_is_refused(self, db: GreptimeDB) -> None:
        answer = post(db, b'{"resourceMetrics":[]}', {"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert answer.json() == {"error": "Unsupported content type: application/json"}

    def test_what_is_no_protobuf_is_refused(self, db: GreptimeDB) -> None:
        answer = post(db, b"\xff\xff\xff")
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("Failed to decode OTLP request")

    @pytest.mark.parametrize(
        ("encoding", "compress"),
        [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
    )
    def test_compressed_bodies_are_read(self, db: GreptimeDB, encoding: str, compress: Any) -> None:
        plain = encoded(resource(gauge("relay_up", point(1))))
        answer = post(db, compress(plain), {"Content-Encoding": encoding})
        assert answer.status_code == 200
        assert db.tables() == ["relay_up"]
        received = db.requests[-1]
        assert (received.size, len(received.body)) == (len(plain), len(compress(plain)))

    @pytest.mark.parametrize(
        ("encoding", "body"),
        [
            ("gzip", b"no gzip"),
            ("gzip", gzip.compress(b"x" * 1000)[:-9]),
            ("zstd", b"\x28\xb5\x2f\xfd"),
        ],
    )
    def test_a_body_that_cannot_be_decompressed_is_refused(
        self, db: GreptimeDB, encoding: str, body: bytes
    ) -> None:
        answer = post(db, body, {"Content-Encoding": encoding})
        assert answer.status_code == 400
        assert encoding in answer.json()["error"]

    def test_64_mib_after_decompression_are_the_most(self, db: GreptimeDB) -> None:
        bomb = gzip.compress(bytes(64 * 1024 * 1024 + 1), compresslevel=1)
        answer = post(db, bomb, {"Content-Encoding": "gzip"})
        assert answer.status_code == 413
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.text == "length limit exceeded"

    @pytest.mark.parametrize("auth", [None, ("relay", "wrong"), ("other", "pass:word"), ("", "")])
    def test_wrong_credentials_are_refused(self, auth: tuple[str, str] | None) -> None:
        with GreptimeDB(username=AUTH[0], password=AUTH[1]) as db:
            answer = post(db, encoded(), auth=auth)
            assert answer.status_code == 401
            assert answer.json().keys() == {"code", "error", "execution_time_ms"}
            assert post(db, encoded(), {"Authorization": "Bearer x"}).status_code == 401
            assert post(db, encoded(), {"Authorization": "Basic !"}).status_code == 401
            assert ask(db, "SELECT 1").status_code == 401
            assert post(db, encoded(), auth=AUTH).status_code == 200

    def test_the_header_chooses_the_database(self) -> None:
        with GreptimeDB(databases=("public", "team-public")) as db:
            metric = resource(gauge("relay_up", point(1)))
            push(db, metric, X_Greptime_DB_Name="team-public")
            assert (db.tables(), db.tables("team-public")) == ([], ["relay_up"])

    def test_the_header_comes_before_the_query(self) -> None:
        with GreptimeDB(databases=("public", "数据库")) as db:
            named = {"X-Greptime-DB-Name": "数据库".encode()}
            body = encoded(resource(gauge("relay_up", point(1))))
            assert post(db, body, named, params={"db": "public"}).status_code == 200  # type: ignore[arg-type]
            assert (db.tables(), db.tables("数据库")) == ([], ["relay_up"])
            assert post(db, body, params={"db": "数据库"}).status_code == 200

    def test_a_header_that_is_no_utf_8_is_refused(self, db: GreptimeDB) -> None:
        answer = post(db, encoded(), {"X-Other": b"\xe9quipe"})  # type: ignore[dict-item]
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": "Invalid header value: it is not UTF-8"},
        )

    def test_a_user_name_with_a_colon_can_only_be_refused(self) -> None:
        with GreptimeDB(username="a:b", password="c") as db:
            assert post(db, encoded(), auth=("a:b", "c")).status_code == 401

    def test_the_answer_says_what_the_write_cost(self, db: GreptimeDB) -> None:
        answer = post(db, encoded(resource(gauge("up", point(1, a="1"), point(2, a="2")))))
        assert answer.headers["x-greptime-metrics"] == '{"greptime_exec_write_cost": 2}'

    @pytest.mark.parametrize("database", ["nowhere", "main", "information_schema"])
    def test_an_unknown_database_is_refused(self, db: GreptimeDB, database: str) -> None:
        answer = post(db, encoded(), {"X-Greptime-DB-Name": database})
        assert answer.status_code == 400
        assert database in answer.json()["error"]

    def test_other_paths_and_methods(self, db: GreptimeDB) -> None:
        assert requests.get(db.url + "/health", timeout=30).status_code == 200
        assert requests.post(db.url + "/v1/metrics", timeout=30).status_code == 404
        assert requests.get(db.url + "/v1/otlp/v1/metrics", timeout=30).status_code == 405


class TestTables:
    def test_a_table_has_the_name_that_the_rules_give(self, db: GreptimeDB) -> None:
        total = {"dataPoints": [point(1)], "isMonotonic": True}
        push(
            db,
            resource(
                gauge("wait", point(1), unit="s"),
                gauge("share", point(1), unit="1"),
                {"name": "cost_total_usd", "sum": total},
                {"name": "now", "sum": {"dataPoints": [point(1)]}},
            ),
        )
        assert db.tables() == ["cost_usd_total", "now", "share_ratio", "wait_seconds"]

    def test_the_strategy_header_leaves_the_suffixes_out(self, db: GreptimeDB) -> None:
        header = "UnderscoreEscapingWithoutSuffixes"
        push(
            db,
            resource(gauge("a:wait", point(1), unit="s")),
            x_greptime_otlp_metric_translation_strategy=header,
        )
        assert db.tables() == ["a_wait"]

    @pytest.mark.parametrize(
        ("strategy", "table", "tag"),
        [
            ("UnderscoreEscapingWithSuffixes", "a_wait_seconds", "my_tag"),
            ("NoUTF8EscapingWithSuffixes", "a:wait_seconds", "my.tag"),
            ("NoTranslation", "a:wait", "my.tag"),
        ],
    )
    def test_the_other_strategies(
        self, db: GreptimeDB, strategy: str, table: str, tag: str
    ) -> None:
        push(
            db,
            resource(gauge("a:wait", point(1, my__tag="x"), unit="s")),
            x_greptime_otlp_metric_translation_strategy=strategy,
        )
        assert db.sql(f'SELECT "{tag}" AS tag FROM "{table}"') == [{"tag": "x"}]

    def test_any_other_strategy_is_refused(self, db: GreptimeDB) -> None:
        header = {"x-greptime-otlp-metric-translation-strategy": "None"}
        assert post(db, encoded(resource(gauge("up", point(1)))), header).status_code == 400
        assert db.tables() == []

    def test_a_histogram_becomes_cumulative_buckets_sum_and_count(self, db: GreptimeDB) -> None:
        measured = {
            "timeUnixNano": NOW_NS,
            "bucketCounts": [1, 0, 2],
            "explicitBounds": [0.005, 1],
            "sum": 4.5,
            "count": 3,
            "min": 0.001,
            "max": 3,
        }
        push(db, resource(histogram("latency", measured | {"attributes": attributes(le="mine")})))
        rows = db.sql('SELECT "le", greptime_value FROM latency_bucket ORDER BY greptime_value')
        assert [tuple(row.values()) for row in sorted(rows, key=lambda row: row["le"])] == [
            ("0.005", 1.0),
            ("1", 1.0),
            ("inf", 3.0),
        ]
        assert db.sql("SELECT greptime_value AS v FROM latency_sum") == [{"v": 4.5}]
        assert db.sql("SELECT greptime_value AS v FROM latency_count") == [{"v": 3.0}]
        assert len(db.tables()) == 3

    def test_a_histogram_without_a_sum_has_no_row_there(self, db: GreptimeDB) -> None:
        push(db, resource(histogram("latency", {"timeUnixNano": NOW_NS, "count": 3})))
        assert db.tables() == ["latency_count"]

    def test_two_histograms_of_one_name_in_one_request_overwrite_each_other(
        self, db: GreptimeDB
    ) -> None:
        measured = {"timeUnixNano": NOW_NS, "count": 1, "sum": 1}
        first = resource(histogram("latency", measured), service__name="first")
        second = resource(histogram("latency", measured), service__name="second")
        push(db, first, second)
        assert db.sql("SELECT job FROM latency_count") == [{"job": "second"}]
        push(db, first)
        rows = db.sql("SELECT job FROM latency_count ORDER BY job")
        assert rows == [{"job": "first"}, {"job": "second"}]

    def test_a_summary_becomes_quantiles_sum_and_count(self, db: GreptimeDB) -> None:
        measured = {
            "timeUnixNano": NOW_NS,
            "count": 7,
            "sum": 2.5,
            "quantileValues": [{"quantile": 0.5, "value": 1}, {"quantile": 1, "value": 2}],
        }
        push(db, resource({"name": "gc", "summary": {"dataPoints": [measured]}}))
        assert db.tables() == ["gc", "gc_count", "gc_sum"]
        assert db.sql("SELECT quantile, greptime_value AS v FROM gc ORDER BY v") == [
            {"quantile": "0.5", "v": 1.0},
            {"quantile": "1", "v": 2.0},
        ]

    def test_an_exponential_histogram_is_dropped(self, db: GreptimeDB) -> None:
        measured = {"timeUnixNano": NOW_NS, "count": 1, "sum": 1}
        push(db, resource({"name": "x", "exponentialHistogram": {"dataPoints": [measured]}}))
        assert db.tables() == []

    @pytest.mark.parametrize("name", ["", "_", "::", "请求"])
    def test_a_name_that_comes_to_no_table_costs_the_whole_request(
        self, db: GreptimeDB, name: str
    ) -> None:
        answer = post(db, encoded(resource(gauge("up", point(1)), gauge(name, point(1)))))
        assert (answer.status_code, answer.json().keys()) == (400, {"error"})
        assert db.tables() == []

    def test_names_that_differ_only_in_case_are_refused_not_mixed(self, db: GreptimeDB) -> None:
        push(db, resource(gauge("relay_up", point(1, model="m"))))
        for other in (
            gauge("Relay_up", point(1)),
            gauge("relay_up", point(1, Model="m")),
            gauge("new", point(1, a="1"), point(1, A="1")),
        ):
            answer = post(db, encoded(resource(other)))
            assert answer.status_code == 400
            assert "differ only in case" in answer.json()["error"]
        assert db.tables() == ["relay_up"]


class TestTags:
    def stored(self, db: GreptimeDB, metric: dict[str, Any], **tags: Any) -> dict[str, Any]:
        push(db, resource(metric, **tags))
        (row,) = db.sql(f'SELECT * FROM "{metric["name"]}"')
        return {name: value for name, value in row.items() if not name.startswith("greptime_")}

    def test_only_promoted_resource_attributes_are_stored(self, db: GreptimeDB) -> None:
        tags = {
            "service__name": "relay-metrics",
            "service__instance__id": "ab12",
            "deployment__environment__name": "production",
            "k8s__pod__name": "p",
            "service__endpoint": "http://relay",
            "faas__name": "f",
        }
        assert self.stored(db, gauge("up", point(1)), **tags) == {
            "service_name": "relay-metrics",
            "service_instance_id": "ab12",
            "deployment_environment_name": "production",
            "k8s_pod_name": "p",
            "job": "relay-metrics",
            "instance": "ab12",
        }

    def test_the_header_promotes_more(self, db: GreptimeDB) -> None:
        push(
            db,
            resource(gauge("up", point(1)), relay__name="a", service__endpoint="b", other="c"),
            x_greptime_otlp_metric_promote_resource_attrs="relay.name; service.endpoint",
        )
        assert db.sql("SELECT relay_name, service_endpoint FROM up") == [
            {"relay_name": "a", "service_endpoint": "b"}
        ]
        assert ask(db, "SELECT other FROM up").status_code == 400

    def test_a_header_promotes_all_but_those_that_another_names(self, db: GreptimeDB) -> None:
        tags = {"relay__name": "a", "a;b": "1", "équipe": "x", "k8s__node__name": "n", "left": "y"}
        push(
            db,
            resource(gauge("up", point(1)), service__name="s", **tags),
            x_greptime_otlp_metric_promote_all_resource_attrs="true",
            x_greptime_otlp_metric_ignore_resource_attrs="left; service.name",
        )
        (row,) = db.sql("SELECT * FROM up")
        assert {name: text for name, text in row.items() if not name.startswith("greptime")} == {
            "relay_name": "a",
            "a_b": "1",
            "key_quipe": "x",
            "k8s_node_name": "n",
            "job": "s",
        }

    def test_a_header_promotes_what_a_scope_has(self, db: GreptimeDB) -> None:
        header = {"x_greptime_otlp_metric_promote_scope_attrs": "true"}
        push(db, resource(gauge("up", point(1))), **header)
        (row,) = db.sql("SELECT * FROM up")
        assert {name: text for name, text in row.items() if not name.startswith("greptime")} == {
            "scope_tag": "x",
            "otel_scope_name": "s",
            "otel_scope_version": "",
            "otel_scope_schema_url": "",
        }

    def test_two_attributes_can_come_to_one_tag(self, db: GreptimeDB) -> None:
        metric = gauge("up", point(1, _foo="first", key_foo="second"))
        assert self.stored(db, metric) == {"key_foo": "second"}

    def test_a_data_points_attribute_overwrites_a_resources(self, db: GreptimeDB) -> None:
        metric = gauge("up", point(1, service__name="point", job="mine"))
        assert self.stored(db, metric, service__name="resource") == {
            "service_name": "point",
            "job": "mine",
        }

    def test_values_are_text_and_what_is_no_text_or_number_is_dropped(self, db: GreptimeDB) -> None:
        measured = point(1, text='é "q" \'', whole=7, real=0.5, one=1.0, flag=True, empty="")
        measured["attributes"] += [
            {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}},
            {"key": "map", "value": {"kvlistValue": {"values": []}}},
            {"key": "nothing", "value": {}},
        ]
        assert self.stored(db, gauge("up", measured)) == {
            "text": 'é "q" \'',
            "whole": "7",
            "real": "0.5",
            "one": "1",
            "empty": "",
        }

    def test_a_new_tag_makes_a_column_and_older_rows_lack_it(self, db: GreptimeDB) -> None:
        push(db, resource(gauge("up", point(1))))
        push(db, resource(gauge("up", point(2, model="m"))))
        push(db, resource(gauge("up", point(3, model=""))))
        rows = db.sql("SELECT model, greptime_value AS v FROM up ORDER BY v")
        assert rows == [
            {"model": None, "v": 1.0},
            {"model": "m", "v": 2.0},
            {"model": "", "v": 3.0},
        ]

    @pytest.mark.parametrize("key", ["greptime_value", "greptime.timestamp", "__tsid"])
    def test_a_reserved_name_is_refused_and_nothing_is_stored(
        self, db: GreptimeDB, key: str
    ) -> None:
        tag = {"key": key, "value": {"stringValue": "x"}}
        wrong = gauge("wrong", point(1) | {"attributes": [tag]})
        answer = post(db, encoded(resource(gauge("right", point(1)), wrong)))
        assert answer.status_code == 400
        assert db.tables() == []


class TestRows:
    def test_the_last_write_of_the_same_tags_and_millisecond_stays(self, db: GreptimeDB) -> None:
        push(db, resource(gauge("up", point(1, model="a"), point(1, model="b"))))
        push(db, resource(gauge("up", point(2, NOW_NS + 999_999, model="a"), point(3, model="a"))))
        push(db, resource(gauge("up", point(4, NOW_NS + 1_000_000, model="a"))))
        rows = db.sql(
            "SELECT model, greptime_timestamp AS t, greptime_value AS v FROM up ORDER BY v"
        )
        assert [tuple(row.values()) for row in rows] == [
            ("b", NOW_MS, 1.0),
            ("a", NOW_MS, 3.0),
            ("a", NOW_MS + 1, 4.0),
        ]

    def test_a_request_sent_again_changes_nothing(self, db: GreptimeDB) -> None:
        whole = [resource(gauge("up", *(point(n, model=f"m{n % 7}") for n in range(50))))]
        push(db, *whole)
        before = db.sql("SELECT * FROM up ORDER BY model")
        push(db, *whole)
        assert db.sql("SELECT * FROM up ORDER BY model") == before
        assert len(before) == 7

    def test_a_series_without_a_tag_is_another_series(self, db: GreptimeDB) -> None:
        push(db, resource(gauge("up", point(1), point(2, model="m"))))
        push(db, resource(gauge("up", point(3))))
        rows = db.sql("SELECT model, greptime_value AS v FROM up ORDER BY v")
        assert rows == [{"model": "m", "v": 2.0}, {"model": None, "v": 3.0}]

    def test_values_are_doubles(self, db: GreptimeDB) -> None:
        values = [2**53, -1, 0.1, "Infinity", "NaN", None]
        push(db, resource(gauge("up", *(point(v, n * 1_000_000) for n, v in enumerate(values)))))
        stored = [row["v"] for row in db.sql("SELECT greptime_value AS v FROM up ORDER BY ALL")]
        assert repr([*stored]) == repr([-1.0, 0.1, 2.0**53, math.inf, math.nan, None])

    def test_time_zero_is_1970(self, db: GreptimeDB) -> None:
        push(db, resource(gauge("up", point(1, 0))))
        assert db.sql("SELECT greptime_timestamp AS t, year(t) AS y FROM up") == [
            {"t": 0, "y": 1970}
        ]

    def test_a_large_request_is_stored_whole(self, db: GreptimeDB) -> None:
        points = [point(float(n), key=f"k{n // 45}", model=f"m{n % 45}") for n in range(45_000)]
        push(db, resource(gauge("tokens", *points), service__name="s"))
        push(db, resource(gauge("tokens", *points), service__name="s"))
        (row,) = db.sql("SELECT count(*) AS n, sum(greptime_value) AS s FROM tokens")
        assert row == {"n": 45_000, "s": sum(range(45_000))}

    def test_requests_side_by_side_are_all_stored(self, db: GreptimeDB) -> None:
        def send(number: int) -> None:
            push(db, resource(gauge("up", point(1, NOW_NS, **{f"tag{number}": "x"}))))
            ask(db, "SELECT * FROM up")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, range(40)))
        assert db.sql("SELECT count(*) AS n FROM up") == [{"n": 40}]

    def test_a_file_keeps_the_data(self, tmp_path: Path) -> None:
        for number in range(2):
            with GreptimeDB(path=tmp_path / "data.duckdb") as db:
                push(db, resource(gauge("up", point(number, NOW_NS + number * 1_000_000))))
                assert len(db.sql("SELECT * FROM up")) == number + 1


class TestTablesThatOtlpDidNotMake:
    def test_they_turn_the_whole_request_into_the_older_way(self, db: GreptimeDB) -> None:
        ask(
            db,
            "CREATE TABLE go_goroutines (greptime_timestamp TIMESTAMP(9), greptime_value DOUBLE)",
        )
        push(
            db,
            resource(
                gauge("go_goroutines", point(1)),
                gauge("Other.Metric", point(2, My__Tag="x"), unit="s"),
                faas__name="f",
                service__name="s",
            ),
        )
        assert db.tables() == ["go_goroutines", "other_metric"]
        assert db.sql("SELECT * FROM other_metric") == [
            {
                "greptime_timestamp": NOW_NS,
                "greptime_value": 2.0,
                "faas_name": "f",
                "service_name": "s",
                "scope_tag": "x",
                "my_tag": "x",
            }
        ]

    def test_beside_otlps_own_the_request_is_refused(self, db: GreptimeDB) -> None:
        push(db, resource(gauge("relay_up", point(1))))
        ask(
            db,
            "CREATE TABLE go_goroutines (greptime_timestamp TIMESTAMP(9), greptime_value DOUBLE)",
        )
        both = encoded(resource(gauge("relay_up", point(2)), gauge("go_goroutines", point(1))))
        answer = post(db, both)
        assert answer.status_code == 500
        assert answer.json()["error"] == "OTLP metric input have incompatible existing tables"
        assert db.sql("SELECT greptime_value AS v FROM relay_up") == [{"v": 1.0}]

    @pytest.mark.parametrize(
        "columns",
        [
            "greptime_timestamp TIMESTAMP(3), greptime_value DOUBLE",
            "greptime_timestamp TIMESTAMP(9), greptime_value BIGINT",
            "greptime_timestamp TIMESTAMP(9), greptime_value DOUBLE, service_name BIGINT",
            "greptime_timestamp TIMESTAMP(9)",
        ],
    )
    def test_a_column_of_another_type_is_refused(self, db: GreptimeDB, columns: str) -> None:
        ask(db, f"CREATE TABLE up ({columns})")
        answer = post(db, encoded(resource(gauge("up", point(1)), service__name="s")))
        assert answer.status_code == 400
        assert answer.json().keys() == {"error"}
        assert db.sql("SELECT * FROM up") == []


class TestSql:
    def test_records_have_a_schema_and_rows(self, db: GreptimeDB) -> None:
        push(db, resource(gauge("up", point(66.6, model="m"))))
        body = ask(db, "SELECT greptime_timestamp, greptime_value, model FROM up").json()
        (output,) = body["output"]
        assert output == {
            "records": {
                "schema": {
                    "column_schemas": [
                        {"name": "greptime_timestamp", "data_type": "TimestampMillisecond"},
                        {"name": "greptime_value", "data_type": "Float64"},
                        {"name": "model", "data_type": "String"},
                    ]
                },
                "rows": [[NOW_MS, 66.6, "m"]],
                "total_rows": 1,
            }
        }
        assert isinstance(body["execution_time_ms"], int)

    @pytest.mark.parametrize(
        ("expression", "data_type", "value"),
        [
            ("count(*)", "Int64", 1),
            ("sum(7)", "Int64", 7),
            ("true", "Boolean", True),
            ("NULL::DOUBLE", "Float64", None),
            ("'nan'::DOUBLE", "Float64", None),
            ("1::DECIMAL(5,2)", "Decimal128(5, 2)", "1.00"),
            ("DATE '1970-01-02'", "Date", 1),
            ("'1970-01-01 00:00:01'::TIMESTAMP", "TimestampMillisecond", 1000),
            ("'1970-01-01 00:00:01+00'::TIMESTAMPTZ", "TimestampMillisecond", 1000),
            ("'1970-01-01 00:00:01'::TIMESTAMP(9)", "TimestampNanosecond", 1_000_000_000),
            ("INTERVAL 1 DAY", "String", "1 day, 0:00:00"),
            ("'a'::BLOB", "Binary", [97]),
        ],
    )
    def test_types_have_greptimedbs_names(
        self, db: GreptimeDB, expression: str, data_type: str, value: object
    ) -> None:
        records = ask(db, f"SELECT {expression} AS x").json()["output"][0]["records"]
        assert records["schema"]["column_schemas"] == [{"name": "x", "data_type": data_type}]
        assert records["rows"] == [[value]]

    def test_writes_say_how_many_rows_they_changed(self, db: GreptimeDB) -> None:
        body = ask(db, "CREATE TABLE t (x BIGINT); INSERT INTO t VALUES (1), (2); SELECT * FROM t")
        made, inserted, selected = body.json()["output"]
        assert (made, inserted) == ({"affectedrows": 0}, {"affectedrows": 2})
        assert selected["records"]["rows"] == [[1], [2]]
        assert ask(db, "DELETE FROM t").json()["output"] == [{"affectedrows": 2}]

    @pytest.mark.parametrize(
        ("sql", "code"),
        [("SELEC 1", 2000), ("SELECT * FROM nowhere", 4001), ("SELECT 1/'x'", 3001), ("", 1004)],
    )
    def test_an_error_has_a_code(self, db: GreptimeDB, sql: str, code: int) -> None:
        answer = ask(db, sql)
        body = answer.json()
        assert answer.status_code == (500 if code == 3001 else 400)
        assert body.keys() == {"code", "error", "execution_time_ms"}
        assert body["code"] == code

    def test_an_unknown_database_is_an_error(self, db: GreptimeDB) -> None:
        assert ask(db, "SELECT 1", "nowhere").json()["code"] == 4004

    def test_a_schema_that_sql_makes_is_a_database(self, db: GreptimeDB) -> None:
        ask(db, "CREATE SCHEMA team")
        push(db, resource(gauge("up", point(1))), X_Greptime_DB_Name="team")
        assert ask(db, "SELECT * FROM up", "team").json()["output"][0]["records"]["total_rows"] == 1
        assert db.tables() == []

    def test_order_and_columns_of_one_name_are_kept(self, db: GreptimeDB) -> None:
        sql = "SELECT x, x, now() FROM range(5) AS r(x) ORDER BY x DESC"
        rows = ask(db, sql).json()["output"][0]["records"]["rows"]
        assert [row[:2] for row in rows] == [[n, n] for n in (4, 3, 2, 1, 0)]

    def test_sql_reaches_no_files(self, db: GreptimeDB, tmp_path: Path) -> None:
        target = tmp_path / "out.csv"
        for sql in (
            f"COPY (SELECT 1) TO '{target}'",
            f"SET enable_external_access = true; COPY (SELECT 1) TO '{target}'",
            f"SELECT * FROM read_text('{__file__}')",
        ):
            assert ask(db, sql).status_code == 403
        assert not target.exists()


class TestFaults:
    def test_a_status_keeps_the_request_from_being_stored(self, db: GreptimeDB) -> None:
        db.fault = lambda _: Fault(status=503, headers={"Retry-After": "1"})
        answer = post(db, encoded(resource(gauge("up", point(1)))))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert db.tables() == []
        assert [received.path for received in db.requests] == ["/v1/otlp/v1/metrics"]

    def test_an_answer_can_be_lost_after_the_write(self, db: GreptimeDB) -> None:
        db.fault = lambda _: Fault(close="before")
        with pytest.raises(requests.ConnectionError):
            post(db, encoded(resource(gauge("up", point(1)))))
        assert db.tables() == ["up"]

    def test_the_record_of_requests_shows_no_credential(self) -> None:
        with GreptimeDB(username=AUTH[0], password=AUTH[1]) as db:
            post(db, encoded(), auth=AUTH)
            assert "authorization" in db.requests[-1].headers
            assert "Basic" not in repr(db.requests)


def test_it_runs_on_its_own() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "local.greptimedb", "--port", "0", "--username", "relay"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "GREPTIME_PASSWORD": AUTH[1]},
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        try:
            address = re.search(r"http://\S+", process.stdout.readline())
            assert address
            assert requests.post(address[0], timeout=30).status_code == 401
            assert requests.post(address[0], auth=AUTH, timeout=30).status_code == 400
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
