"""What is hidden stays hidden, whatever wrote it, and the log stays readable."""

from __future__ import annotations

import html
import io
import json
import logging
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_metrics.observability import HIDDEN, count, hide, logger, redact, redacted
from tests import ROOT

SECRET = 'p"ä/s <s>\\wörd+%'


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    level = logger.log_level
    logger.setLevel("INFO")
    before = logger.logger_handler.setStream(stream)  # type: ignore[attr-defined]
    yield stream
    logger.setLevel(level)
    logger.logger_handler.setStream(before)  # type: ignore[attr-defined]


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        quote(SECRET),
        quote(SECRET, safe=""),
        html.escape(SECRET),
        b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_secret_is_hidden_in_each_form_of_an_echo(form: str) -> None:
    hide([SECRET])
    assert redact(f"you sent x{form}x") == f"you sent x{HIDDEN}x"


def test_of_two_secrets_the_longer_is_hidden_first() -> None:
    hide(["abcd", "abcdefgh"])
    assert redact("abcdefgh abcd") == f"{HIDDEN} {HIDDEN}"


def test_a_short_secret_is_hidden_where_it_stands_alone() -> None:
    hide(["a1", "", "ö"])
    assert redact("a1 ba1 'a1' password=a1&b a12 ö schön") == (
        f"{HIDDEN} ba1 '{HIDDEN}' password={HIDDEN}&b a12 {HIDDEN} schön"
    )


@given(st.text(min_size=4), st.text(), st.text())
def test_any_secret_in_any_text(secret: str, before: str, behind: str) -> None:
    hide([secret])
    assert secret not in redact(before + secret + behind) or secret in HIDDEN * 3


def test_a_json_value_is_redacted_in_its_texts_and_its_names_stay() -> None:
    hide(["secret"])
    assert redacted({"secret": ["a secret", 1, None, {"b": "secret"}]}) == {
        "secret": [f"a {HIDDEN}", 1, None, {"b": HIDDEN}]
    }


@pytest.mark.parametrize("secret", ["true", "relay", '"up"', "null", "1234567", "level", "{", ": "])
def test_a_line_stays_json_whatever_the_secret_is(log: io.StringIO, secret: str) -> None:
    hide([secret])
    logger.info("a line", extra={"relay": {"up": True, "error": None, "n": 12345678}})
    [line] = lines(log)
    assert line["relay"]["up"] is True
    assert line["relay"]["error"] is None
    assert line["relay"]["n"] == 12345678


def test_a_traceback_is_redacted(log: io.StringIO) -> None:
    hide([SECRET])
    try:
        raise ValueError(f"Authorization: {SECRET}")
    except ValueError:
        logger.exception("a fault", extra={"object": ValueError(SECRET)})
    [line] = lines(log)
    assert SECRET not in json.dumps(line, ensure_ascii=False)
    assert line["exception_name"] == "ValueError"
    assert line["exception"].endswith(f"Authorization: {HIDDEN}")
    assert line["object"] == HIDDEN


def test_the_lines_of_libraries_are_not_ours(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("urllib3.connectionpool", "botocore.parsers"):
        logging.getLogger(name).error("headers: %s", SECRET)
    assert caplog.text == ""


@pytest.mark.parametrize(("set_to", "service"), [(None, "relay-metrics"), ("stack", "stack")])
def test_whose_lines_they_are(set_to: str | None, service: str) -> None:
    code = (
        "from relay_metrics.observability import count, logger; logger.info('x'); count('Down', 2)"
    )
    environment = {"PYTHONPATH": str(ROOT / "layers" / "aggregator")}
    if set_to is not None:
        environment["POWERTOOLS_SERVICE_NAME"] = set_to
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    line, metric = map(json.loads, done.stdout.splitlines())
    assert (line["service"], line["message"]) == (service, "x")
    assert (metric["service"], metric["Down"]) == (service, [2.0])


def test_a_metric_has_no_dimension_but_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    count("PointsRejected", 3)
    [found] = json.loads(capsys.readouterr().out)["_aws"]["CloudWatchMetrics"]
    assert found == {
        "Namespace": "RelayMetrics",
        "Dimensions": [["service"]],
        "Metrics": [{"Name": "PointsRejected", "Unit": "Count"}],
    }


def test_a_metric_of_nothing_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    count("PointsRejected", 0)
    assert capsys.readouterr().out == ""
