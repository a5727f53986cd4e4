"""What both functions do around their work."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay_metrics.entry import handler as module
from relay_metrics.entry.actions import act, unset
from relay_metrics.entry.handler import Handler
from relay_metrics.errors import NotDelivered, RelayMetricsError, SettingsError
from relay_metrics.observability import hide, logger
from relay_metrics.runtime import Runtime
from relay_metrics.settings.variables import environment

LAYER = Path(module.__file__).parents[2]
SECRET = "hunter2-the-secret"


class Context:
    aws_request_id = "request-1"

    def __init__(self, milliseconds: int = 55_250) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


@pytest.fixture(autouse=True)
def without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RELAY_KIND", "LOG_LEVEL", "SECRET_ID", "SPOOL_QUEUE_URL", "RELAY_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    before = logger.logger_handler.setStream(stream)  # type: ignore[attr-defined]
    yield stream
    logger.logger_handler.setStream(before)  # type: ignore[attr-defined]
    logger.remove_keys(["cold_start", "function_request_id"])


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def failing(error: Exception) -> Handler:
    def work(runtime: Runtime, event: Any, seconds: float) -> dict[str, Any]:
        raise error

    return Handler(work)


# -- an answer


def test_the_work_is_given_the_event_and_the_time_left() -> None:
    given: list[object] = []

    def work(runtime: Runtime, event: Any, seconds: float) -> dict[str, Any]:
        given.extend((event, seconds))
        return {"ok": True}

    assert Handler(work)({"shard": "1/2"}, Context(55_250)) == {"ok": True}
    assert given == [{"shard": "1/2"}, 55.25]


def test_without_a_context_there_is_a_minute() -> None:
    assert Handler(lambda runtime, event, seconds: {"seconds": seconds})({}, None) == {
        "seconds": 60.0
    }


def test_a_context_that_gives_no_time_counts_as_none() -> None:
    seconds: list[float] = []

    def work(runtime: Runtime, event: Any, left: float) -> dict[str, Any]:
        seconds.append(left)
        return {}

    Handler(work)({}, object())  # type: ignore[arg-type]  # somebody else's idea of a context
    assert seconds == [60]


def test_a_wrong_variable_is_a_finding_to_a_check_and_an_error_to_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RELAY_KIND", "nope")
    handler = Handler(act, unset)
    answer = handler({"action": "check"}, None)
    assert answer["ok"] is False
    [finding] = answer["findings"]
    assert (finding["target"], finding["ok"]) == ("settings", False)
    assert "RELAY_KIND must be one of" in finding["message"]
    assert "nope" not in finding["message"]
    for event in ({}, {"action": "dry-run"}, {"action": "other"}):
        with pytest.raises(SettingsError):
            handler(event, None)


@pytest.mark.parametrize("level", ["TRACE", "  "])
def test_a_log_level_of_no_sense_is_named_by_us(level: str) -> None:
    """Powertools reads it as well, while it is imported."""
    code = "import relay_metrics.entry.handler as h, relay_metrics.entry.actions as a\n"
    code += "print(h.Handler(a.act, a.unset)({'action': 'check'}, None)['findings'][0]['message'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"LOG_LEVEL": level, "PYTHONPATH": str(LAYER), "AWS_REGION": "eu-central-1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    said = "LOG_LEVEL must be one of" if level.strip() else "RELAY_BASE_URL is not set"
    assert said in done.stdout
    assert "TRACE" not in done.stdout + done.stderr


def test_what_is_warm_is_kept() -> None:
    seen: list[Runtime] = []

    def work(runtime: Runtime, event: Any, seconds: float) -> dict[str, Any]:
        seen.append(runtime)
        return {}

    handler = Handler(work)
    handler({}, Context())
    handler({}, Context())
    assert seen[0] is seen[1]


def test_nothing_is_read_before_an_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_KIND", "other")
    handler = Handler(lambda runtime, event, seconds: {"ok": True})
    with pytest.raises(SettingsError, match=r"^RELAY_KIND must be one of"):
        handler({}, Context())
    monkeypatch.delenv("RELAY_KIND")
    assert handler({}, Context()) == {"ok": True}


def test_the_process_s_environment_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_MAX_KEYS", "7")
    handler = Handler(lambda runtime, event, seconds: {"max": runtime.environment.max_keys})
    assert handler({}, Context()) == {"max": 7}
    assert environment().max_keys == 7


# -- a failure


def test_a_failure_of_ours_goes_on_as_it_is(log: io.StringIO) -> None:
    with pytest.raises(NotDelivered, match=r"^12 data points are lost$"):
        failing(NotDelivered("12 data points are lost"))({}, Context())
    (line,) = lines(log)
    assert (line["level"], line["message"]) == ("ERROR", "12 data points are lost")
    assert line["error"] == "NotDelivered"
    assert "exception" not in line


def test_a_line_has_the_keys_that_powertools_own_queries_look_for(log: io.StringIO) -> None:
    def work(runtime: Runtime, event: Any, seconds: float) -> dict[str, Any]:
        logger.info("said")
        return {}

    handler = Handler(work)
    for _ in range(2):
        handler({}, Context())
    first, second = lines(log)
    assert first["function_request_id"] == second["function_request_id"] == "request-1"
    assert (first["cold_start"], second["cold_start"]) == (True, False)


def test_a_failure_shows_neither_secret_nor_what_caused_it(log: io.StringIO) -> None:
    def work(runtime: Runtime, event: Any, seconds: float) -> dict[str, Any]:
        hide([SECRET])
        try:
            raise ValueError(SECRET)
        except ValueError:
            raise SettingsError(f"an echo of {SECRET}")  # noqa: B904 - as it would be by mistake

    with pytest.raises(SettingsError, match=r"^an echo of \*\*\*$") as caught:
        Handler(work)({}, Context())
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    assert SECRET not in log.getvalue()


def test_a_fault_is_logged_whole_and_reported_by_its_name(log: io.StringIO) -> None:
    hide([SECRET])
    with pytest.raises(RelayMetricsError) as caught:
        failing(KeyError(SECRET))({}, Context())
    assert str(caught.value) == "a fault of relay-metrics (KeyError): see the log"
    assert type(caught.value) is RelayMetricsError
    assert caught.value.__suppress_context__
    (line,) = lines(log)
    assert line["exception_name"] == "KeyError"
    assert "test_handler.py" in line["exception"]
    assert SECRET not in log.getvalue()


def test_after_a_fault_the_next_invocation_works(log: io.StringIO) -> None:
    outcomes = iter([ValueError("once"), None])

    def work(runtime: Runtime, event: Any, seconds: float) -> dict[str, Any]:
        if error := next(outcomes):
            raise error
        return {"ok": True}

    handler = Handler(work)
    with pytest.raises(RelayMetricsError):
        handler({}, Context())
    assert handler({}, Context()) == {"ok": True}


def test_a_process_that_is_to_end_ends() -> None:
    def work(runtime: Runtime, event: Any, seconds: float) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Handler(work)({}, None)


def test_the_module_keeps_nothing_between_handlers() -> None:
    one = Handler(lambda runtime, event, seconds: {"warm": id(runtime)})
    other = Handler(lambda runtime, event, seconds: {"warm": id(runtime)})
    assert one({}, None) != other({}, None)
    assert not [name for name in vars(module) if name == "_runtime"]
