"""What the demo is made of: AWS on loopback, SQL over HTTP, tables, quantiles of stored buckets."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.aws import Aws
from local.figures import Stored, counted, stored
from local.greptimedb import GreptimeDB
from local.http_server import HttpServer, Response
from local.relay import WyoletRelay, for_demo
from local.sql import Database, SqlError, literal, place, root_of
from local.stack import Stack
from local.table import MONEY_PARTS, moneys, table


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with Aws({"relay_api_key": "cr_0123456789"}) as running:
        yield running


def test_the_secret_is_in_secrets_manager(aws: Aws) -> None:
    answer = aws.secrets_manager.get_secret_value(SecretId=aws.environment["SECRET_ID"])
    assert json.loads(answer["SecretString"]) == {"relay_api_key": "cr_0123456789"}


def test_the_queues_are_those_of_the_template(aws: Aws) -> None:
    spool = aws.sqs.get_queue_attributes(
        QueueUrl=aws.environment["SPOOL_QUEUE_URL"], AttributeNames=["All"]
    )["Attributes"]
    redrive = json.loads(spool["RedrivePolicy"])
    dead_letters = aws.sqs.get_queue_attributes(
        QueueUrl=aws.dead_letters_url, AttributeNames=["All"]
    )["Attributes"]
    assert redrive == {"deadLetterTargetArn": dead_letters["QueueArn"], "maxReceiveCount": 1000}
    assert spool["VisibilityTimeout"] == "1260"
    for queue in (spool, dead_letters):
        assert queue["MessageRetentionPeriod"] == "1209600"
        assert queue["MaximumMessageSize"] == "1048576"


def test_a_message_is_counted_while_it_is_hidden(aws: Aws) -> None:
    before = aws.waiting(aws.spool_url)
    aws.sqs.send_message(QueueUrl=aws.spool_url, MessageBody="snapshot")
    assert aws.waiting(aws.spool_url) == before + 1
    aws.sqs.receive_message(QueueUrl=aws.spool_url)
    assert aws.waiting(aws.spool_url) == before + 1


def test_a_closed_one_has_ended() -> None:
    running = Aws({})
    running.close()
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(running._process.pid, 0)


@pytest.mark.parametrize(
    ("otlp", "root"),
    [
        ("https://db.example.com", "https://db.example.com"),
        ("https://db.example.com/", "https://db.example.com"),
        ("https://db.example.com/v1/otlp/", "https://db.example.com"),
        ("https://db.example.com:4000/v1/otlp/v1/metrics?a=b", "https://db.example.com:4000"),
        ("https://proxy.example.com/db/v1/otlp/v1/metrics", "https://proxy.example.com/db"),
        ("https://a.aws.greptime.cloud/v1/metrics", "https://a.aws.greptime.cloud"),
        ("http://alloy.example.com:4318/v1/metrics", None),
        ("http://vm.example.com/opentelemetry/v1/metrics", None),
    ],
)
def test_sql_is_asked_where_greptimedb_has_it(otlp: str, root: str | None) -> None:
    assert root_of(otlp) == root


def test_an_address_is_shown_without_credentials() -> None:
    shown = place("https://user:pass-word@db.example.com:4000/v1/otlp?token=abc")
    assert shown == "https://db.example.com:4000/v1/otlp"


def test_a_quote_in_a_text_ends_no_literal() -> None:
    with GreptimeDB() as database:
        text = "it's '' --"
        [row] = Database(database.url).query(f"SELECT {literal(text)} AS said")
    assert row == {"said": text}


def test_a_refusal_says_what_the_database_says() -> None:
    with GreptimeDB(username="reader", password="pass-word") as database:
        with pytest.raises(SqlError, match="answered 401") as refused:
            Database(database.url).query("SELECT 1")
        assert refused.value.code == 7003
        right = Database(database.url, credentials=("reader", "pass-word"))
        with pytest.raises(SqlError, match="answered 400") as unknown:
            right.query("SELECT * FROM nowhere")
        assert unknown.value.code == 4001
        assert right.query("SELECT 1 AS one") == [{"one": 1}]
    with pytest.raises(SqlError, match="cannot be reached"):
        right.query("SELECT 1")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"output": [{"affectedrows": 1}]}', b'{"output": 3}']
)
def test_another_server_is_found_out(body: bytes) -> None:
    with (
        HttpServer(lambda _: Response(body=body)) as server,
        pytest.raises(SqlError, match="did not answer as GreptimeDB does"),
    ):
        Database(server.url).query("SELECT 1")


def test_a_table_shows_no_control_characters_and_stays_aligned() -> None:
    shown = table(("key", ">count"), [("\x1b[31mred\x07\n", "1"), ("名前", "1,000"), ("é", "22")])
    assert shown.splitlines() == [
        "key         count",
        "──────────  ─────",
        "�[31mred��      1",
        "名前        1,000",
        "é              22",
    ]


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=20))
def test_what_is_shown_of_usd_adds_up_to_the_sum_that_is_shown(values: list[float | None]) -> None:
    shown, total = moneys(values)
    known = [value for value in values if value is not None]
    assert [text == "–" for text in shown] == [value is None for value in values]
    parts = [int(text.replace(",", "").replace(".", "")) for text in shown if text != "–"]
    if not known:
        assert total == "–"
        return
    assert sum(parts) == int(total.replace(",", "").replace(".", ""))
    assert sum(parts) / MONEY_PARTS == pytest.approx(math.fsum(known), abs=0.6 / MONEY_PARTS)
    for part, value in zip(parts, known, strict=True):
        assert part / MONEY_PARTS == pytest.approx(value, abs=1.01 / MONEY_PARTS)


def test_a_sum_stands_below_a_line() -> None:
    assert table(("key", ">n"), [("a", "1"), ("b", "20")], ("all", "21")).splitlines() == [
        "key   n",
        "───  ──",
        "a     1",
        "b    20",
        "───  ──",
        "all  21",
    ]


def test_quantiles_of_stored_buckets_are_those_of_the_relays_histogram() -> None:
    with Stack({}) as stack:
        assert stack.claude is not None
        assert stack.wyolet is not None
        assert stack.database is not None
        stack.tick(5)
        own = counted(stack.claude, stack.wyolet)
        before = {
            source: (histogram.count, histogram.quantile(0.5), histogram.quantile(0.99))
            for source, histogram in stack.wyolet.histograms["relay_overhead_seconds"].items()
        }
        assert stack.collect().error is None
        store = stored(stack.database, 0, "demo")
    assert store.counted(0) == own
    assert {
        source: (histogram.count, histogram.quantile(0.5), histogram.quantile(0.99))
        for source, histogram in store.overheads(0).items()
    } == before


def test_a_relay_that_started_anew_counts_from_nothing() -> None:
    def buckets(at: int, counts: dict[str, float]) -> list[dict[str, object]]:
        return [
            {"greptime_timestamp": at, "source": "proxy", "le": le, "greptime_value": count}
            for le, count in counts.items()
        ]

    rows = (*buckets(1, {"0.01": 90, "inf": 100}), *buckets(2, {"0.01": 3, "inf": 4}))
    histograms = [Stored((1, 2), (), (), rows, ()).overheads(run)["proxy"] for run in (0, 1)]
    assert [histogram.counts for histogram in histograms] == [[90, 10], [3, 1]]
    assert math.isclose(histograms[1].quantile(0.5), 0.01 * 2 / 3)


@pytest.mark.parametrize("period", ["daily", "monthly", "alltime"])
def test_the_relays_own_figures_are_of_the_period_that_is_asked_for(period: str) -> None:
    with for_demo() as claude, WyoletRelay() as wyolet:
        own = counted(claude, wyolet, period)
        key = claude.keys[0]
        model = key.models[0]
        current = {"daily": claude.day(), "monthly": claude.month(), "alltime": "total"}[period]
        assert own["model requests", key.id, model] == key.models_in(current)[model].requests
