"""The local Runtime API runs a handler under AWS's own runtime client, as Lambda does."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.runtime_api import MAX_PAYLOAD_BYTES, Function

HANDLER = """
import json, os, sys, time
print("loaded")
calls = 0

def handler(event, context):
    global calls
    calls += 1
    print(json.dumps({"message": "called", "request_id": context.aws_request_id}))
    print("to stderr", file=sys.stderr)
    match event.get("do"):
        case "raise":
            raise ValueError("no such relay")
        case "exit":
            os._exit(3)
        case "hang":
            print("hanging")
            time.sleep(600)
        case "fill":
            return "x" * event["size"]
        case "chatter":
            print("y" * 1_000_000)
    return {
        "event": event,
        "calls": calls,
        "pid": os.getpid(),
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "remaining_ms": context.get_remaining_time_in_millis(),
        "function": [context.function_name, context.memory_limit_in_mb, context.function_version],
        "arn": context.invoked_function_arn,
        "path": sys.path,
    }
"""

Make = Callable[..., Function]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes functions of some source code, and closes them."""
    made: list[Function] = []

    def function(source: str = HANDLER, **options: Any) -> Function:
        root = tmp_path / f"task{len(made)}"
        root.mkdir()
        (root / "app.py").write_text(source)
        made.append(Function(root, "app.handler", **options))
        return made[-1]

    yield function
    for one in made:
        one.close()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_handler_gets_the_event_and_its_context(make: Make, tmp_path: Path) -> None:
    function = make(memory_mb=512, timeout_s=20, name="collector")
    result = function.invoke({"action": "check", "text": "é"})
    assert result.error is None
    assert result.payload["event"] == {"action": "check", "text": "é"}
    assert result.payload["cwd"] == str(tmp_path / "task0")
    assert result.payload["function"] == ["collector", "512", "$LATEST"]
    assert result.payload["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:collector"
    assert 0 < result.payload["remaining_ms"] <= 20_000
    assert result.duration_ms > 0


def test_the_child_has_only_the_environment_that_it_is_given(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_BASE_URL", "http://the-parents")
    monkeypatch.setenv("AWS_PROFILE", "the-users")
    function = make(environment={"LOG_LEVEL": "DEBUG", "AWS_REGION": "eu-west-1"})
    result = function.invoke({})
    environment = result.payload["environment"]
    assert environment["LOG_LEVEL"] == "DEBUG"
    assert environment["AWS_REGION"] == "eu-west-1"
    assert ":eu-west-1:" in result.payload["arn"]
    assert environment["_X_AMZN_TRACE_ID"].startswith("Root=1-")
    assert environment["HOME"] != os.environ["HOME"]
    assert not {"RELAY_BASE_URL", "AWS_PROFILE", "PYTEST_CURRENT_TEST"} & environment.keys()


def test_a_warm_child_is_kept_and_its_logs_are_kept_apart(make: Make) -> None:
    function = make()
    first, second = function.invoke({}), function.invoke({})
    assert [r.payload["calls"] for r in (first, second)] == [1, 2]
    assert first.payload["pid"] == second.payload["pid"]
    assert first.init_duration_ms is not None
    assert second.init_duration_ms is None
    assert first.logs[0] == "loaded"
    assert "loaded" not in second.logs
    assert "to stderr" in second.logs
    assert json.dumps({"message": "called", "request_id": second.request_id}) in second.logs
    assert first.request_id != second.request_id


def test_an_exception_is_an_error_and_the_child_lives_on(make: Make) -> None:
    function = make()
    result = function.invoke({"do": "raise"})
    assert result.payload is None
    assert result.error is not None
    assert (result.error.type, result.error.message) == ("ValueError", "no such relay")
    assert any("app.py" in line for line in result.error.stack_trace)
    assert "[ERROR] ValueError: no such relay" in result.logs
    assert function.invoke({}).payload["calls"] == 2


def test_an_invocation_that_overruns_is_ended_with_its_child(make: Make) -> None:
    function = make(timeout_s=1)
    pid = function.invoke({}).payload["pid"]
    result = function.invoke({"do": "hang"})
    assert result.error is not None
    assert result.error.type == "Sandbox.Timedout"
    assert result.error.message.endswith("Task timed out after 1.00 seconds")
    assert "hanging" in result.logs
    assert not is_running(pid)
    after = function.invoke({})
    assert (after.payload["calls"], after.logs[0]) == (1, "loaded")


def test_a_child_that_ends_is_an_error_and_is_replaced(make: Make) -> None:
    function = make()
    result = function.invoke({"do": "exit"})
    assert result.error is not None
    assert result.error.type == "Runtime.ExitError"
    assert result.error.message.endswith("Runtime exited with error: exit status 3")
    assert function.invoke({}).payload["calls"] == 1


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("import nothing_of_that_name", "Runtime.ImportModuleError", "nothing_of_that_name"),
        ("raise RuntimeError('no secret')", "RuntimeError", "no secret"),
        ("def handler(:", "Runtime.UserCodeSyntaxError", "Syntax error"),
        ("x = 1", "Runtime.HandlerNotFound", "handler"),
        ("import os; os._exit(7)", "Runtime.ExitError", "exit status 7"),
    ],
)
def test_a_child_that_cannot_start_is_an_error_each_time(
    make: Make, source: str, kind: str, words: str
) -> None:
    function = make(source)
    for result in (function.invoke({}), function.invoke({})):
        assert result.error is not None
        assert (result.error.type, result.payload) == (kind, None)
        assert words in result.error.message
        assert result.init_duration_ms is None


def test_what_a_failed_start_logged_is_shown(make: Make) -> None:
    result = make("print('so far')\nraise RuntimeError('no secret')").invoke({})
    assert result.logs[0] == "so far"
    assert any("no secret" in line for line in result.logs[1:])


def test_an_answer_past_lambdas_limit_is_an_error(make: Make) -> None:
    function = make()
    fits = function.invoke({"do": "fill", "size": MAX_PAYLOAD_BYTES - 2})
    assert fits.error is None
    result = function.invoke({"do": "fill", "size": MAX_PAYLOAD_BYTES - 1})
    assert result.error is not None
    assert result.error.type == "Function.ResponseSizeTooLarge"
    assert function.invoke({}).error is None


def test_a_large_event_and_much_log_pass(make: Make) -> None:
    event = {"do": "chatter", "text": "z" * 1_000_000}
    result = make().invoke(event)
    assert result.error is None
    assert result.payload["event"] == event
    assert "y" * 1_000_000 in result.logs


def test_closing_ends_the_child(make: Make) -> None:
    with make() as function:
        pid = function.invoke({}).payload["pid"]
        assert is_running(pid)
    assert not is_running(pid)


def test_a_child_that_died_between_invocations_is_replaced(make: Make) -> None:
    source = HANDLER.replace("calls = 0", "calls = 0\nimport threading\n").replace(
        "calls += 1", "calls += 1; threading.Timer(0.2, lambda: os._exit(0)).start()"
    )
    function = make(source)
    function.invoke({})
    sandbox, limit = function._sandbox, time.monotonic() + 30
    assert sandbox is not None
    while not sandbox.has_ended and time.monotonic() < limit:
        time.sleep(0.05)
    result = function.invoke({})
    assert (result.error, result.payload["calls"]) == (None, 1)
    assert result.init_duration_ms is not None


def test_code_wins_over_layer_over_environment(make: Make, tmp_path: Path) -> None:
    source = "import a, b, json\ndef handler(event, context): return [a.x, b.x]"
    for layer in (tmp_path / "built", tmp_path / "source"):
        packages = layer / "python" if layer.name == "built" else layer
        packages.mkdir(parents=True)
        (packages / "a.py").write_text("x = 'layer'")
        (packages / "b.py").write_text("x = 'layer'")
        function = make(source, layer_path=layer)
        (tmp_path / f"task{0 if layer.name == 'built' else 1}" / "a.py").write_text("x = 'code'")
        assert function.invoke({}).payload == ["code", "layer"]


def test_an_isolated_child_finds_what_lambda_ships_and_no_more(make: Make) -> None:
    source = """
import importlib.util
def handler(event, context):
    return {name: importlib.util.find_spec(name) is not None for name in event}
"""
    names = ["boto3", "urllib3", "dateutil", "pytest", "requests", "opentelemetry", "pydantic"]
    assert make(source, isolated=True).invoke(names).payload == {
        "boto3": True,
        "urllib3": True,
        "dateutil": True,
        "pytest": False,
        "requests": False,
        "opentelemetry": False,
        "pydantic": False,
    }
    everything = make(source).invoke(names).payload
    assert everything == dict.fromkeys(names, True)


def test_an_isolated_child_can_use_boto3(make: Make) -> None:
    source = """
import boto3
def handler(event, context):
    return boto3.client("sqs", region_name="us-east-1").meta.service_model.service_name
"""
    result = make(source, isolated=True).invoke({})
    assert (result.payload, result.error) == ("sqs", None)


def test_no_bytecode_is_left_in_the_code(make: Make, tmp_path: Path) -> None:
    function = make("import other\nhandler = lambda event, context: None")
    (tmp_path / "task0" / "other.py").write_text("")
    assert function.invoke({}).error is None
    assert {path.name for path in (tmp_path / "task0").iterdir()} == {"app.py", "other.py"}


def test_an_event_that_is_no_json_raises(make: Make) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        make().invoke({"x": object()})
