"""AWS Lambda's Runtime API on loopback, feeding AWS's own runtime client.

The function runs as it does in Lambda: a child process, `python -m awslambdaric HANDLER`, asks
this API for the next event, calls the handler, and posts what it returned or raised. It has the
environment that it is given and what Lambda adds to it; nothing of the parent's.

    with Function(Path("functions/collector"), "app.lambda_handler", {...}) as function:
        result = function.invoke({"action": "check"})
        print(result.payload, result.error, result.logs)

What it does not have: a limit on memory and processor, a frozen child between invocations,
extensions, SnapStart, streamed answers.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from local.closing import Closing
from local.http_server import HttpServer, Request, Response

MAX_PAYLOAD_BYTES: Final = 6 * 1024 * 1024 + 100
"""Lambda's limit on what a handler returns, as JSON."""

ACCOUNT_ID: Final = "123456789012"

# Lambda allows ten seconds. This one only guards against a hang: a busy machine may need longer.
_INIT_LIMIT_S: Final = 60.0

_API: Final = "/2018-06-01/runtime"
_ANSWERED: Final = re.compile(rf"{_API}/invocation/([^/]+)/(response|error)")

# What Lambda's Python runtimes ship beside Python itself (in /var/runtime).
_RUNTIME_DISTRIBUTIONS: Final = (
    "awslambdaric",
    "boto3",
    "botocore",
    "jmespath",
    "python-dateutil",
    "s3transfer",
    "simplejson",
    "six",
    "snapshot-restore-py",
    "urllib3",
)


@dataclass(frozen=True, slots=True)
class FunctionError:
    """Why an invocation failed, as Lambda reports it.

    Attributes:
        message: Lambda's `errorMessage`.
        type: Lambda's `errorType`: the exception's class, or `Sandbox.Timedout`,
            `Runtime.ExitError`, `Runtime.ImportModuleError`, `Function.ResponseSizeTooLarge`, ….
        stack_trace: Lambda's `stackTrace`.
    """

    message: str
    type: str
    stack_trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What one invocation gave.

    Attributes:
        request_id: Lambda's id of the invocation.
        payload: what the handler returned, through JSON; None where it failed.
        error: why it failed; None where it did not.
        logs: lines that the child wrote to stdout and stderr, those of its start included in the
            first invocation.
        duration_ms: from the event's handing over to the answer.
        init_duration_ms: from the child's start until it was ready; None for a warm one, and where
            it never was ready.
    """

    request_id: str
    payload: Any
    error: FunctionError | None
    logs: tuple[str, ...]
    duration_ms: float
    init_duration_ms: float | None


class Function(Closing):
    """A Lambda function on this machine; one child at a time, started when it is needed.

    The child is kept between invocations, as a warm one is in Lambda, and replaced after it ended
    or timed out. For invocations side by side make several.

    Args:
        task_root: the function's code, unpacked; also the child's working directory.
        handler: `module.function` in it.
        environment: the function's environment variables. They win over what Lambda sets.
        layer_path: an unpacked layer. Its `python` folder is importable, as `/opt/python` is, or
            it itself where it has none (a layer's source, as SAM's builder takes it).
        memory_mb: only a variable of the function's.
        timeout_s: a longer invocation is ended, the child with it.
        name: the function's name.
        isolated: let the child import nothing of this environment but Python, the runtime client
            and boto3, so that a package that a layer lacks is an error. Otherwise those installed
            here come last.
    """

    def __init__(
        self,
        task_root: Path,
        handler: str,
        environment: Mapping[str, str] | None = None,
        *,
        layer_path: Path | None = None,
        memory_mb: int = 256,
        timeout_s: float = 30.0,
        name: str = "function",
        isolated: bool = False,
    ) -> None:
        self._task_root = task_root.resolve()
        self._handler = handler
        self._timeout_s = timeout_s
        region = (environment or {}).get("AWS_REGION", "us-east-1")
        self._arn = f"arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}"
        self._isolated = isolated
        self._lock = threading.Lock()
        self._sandbox: _Sandbox | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="function-")
        path = [self._task_root]
        if layer_path is not None:
            packed = layer_path.resolve() / "python"
            path.append(packed if packed.is_dir() else layer_path.resolve())
        if isolated:
            path.append(_runtime_folder(Path(self._directory.name) / "runtime"))
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            # Not the user's: an AWS configuration there is nothing that a function would find.
            "HOME": self._directory.name,
            # Lambda's folders are read-only; a __pycache__ would end in the next deployment.
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "LAMBDA_TASK_ROOT": str(self._task_root),
            "_HANDLER": handler,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info[0]}.{sys.version_info[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            # The role's; good for a local endpoint only.
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            **(environment or {}),
        }

    def invoke(self, event: object) -> Result:
        """Invoke the function with an event (what JSON can hold) and wait for its end.

        Whatever the function does, the answer is a Result; only an event that is no JSON raises.
        """
        body = json.dumps(event).encode()
        with self._lock:
            result = None
            while result is None:
                self._sandbox = self._sandbox or self._start()
                result = self._sandbox.invoke(body)
                if self._sandbox.has_ended:
                    self._stop()
            return result

    def close(self) -> None:
        """End the child, if there is one, and wait for it. Safe to call twice."""
        with self._lock:
            self._stop()
            self._directory.cleanup()

    def _start(self) -> _Sandbox:
        # Without `site` there is no site-packages; PYTHONPATH still counts.
        options = ["-S"] if self._isolated else []
        command = [sys.executable, *options, "-m", "awslambdaric", self._handler]
        return _Sandbox(command, self._environment, self._task_root, self._arn, self._timeout_s)

    def _stop(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How an invocation ended, and when."""

    payload: Any = None
    error: FunctionError | None = None
    at: float = field(default_factory=time.monotonic)


class _Sandbox:
    """One child, its Runtime API, and its log.

    The API's threads and `invoke` meet in `_changed`, which guards what stands below it.
    """

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        task_root: Path,
        arn: str,
        timeout_s: float,
    ) -> None:
        self._arn = arn
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._request_id = ""
        self._event: bytes | None = None
        self._ready_at: float | None = None
        self._begun_at: float | None = None
        self._outcome: _Outcome | None = None
        self._ended = False
        # A file, not a pipe: what the child wrote before its answer is there when the answer is,
        # and a child that writes much never waits for a reader.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the sandbox
        self._log_read = 0
        self._server = HttpServer(self._handle)
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(
            command,
            cwd=task_root,
            env={**environment, "AWS_LAMBDA_RUNTIME_API": self._server.url.split("//")[1]},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def has_ended(self) -> bool:
        """Whether this child can take no more events."""
        with self._changed:
            return self._ended

    def invoke(self, event: bytes) -> Result | None:
        """The invocation's result; None where a warm child had ended and never saw the event."""
        with self._changed:
            was_ready = self._ready_at is not None
            self._request_id = str(uuid.uuid4())
            self._begun_at = None
            if not self._ended:
                self._outcome = None
                self._event = event
            self._changed.notify_all()
            outcome = self._wait_for_outcome()
            init_duration_ms = None if was_ready else self._init_duration_ms()
            duration_ms = self._duration_ms(outcome)
            ended, begun = self._ended, self._begun_at is not None
        if ended:
            self._end_child()
        if was_ready and not begun:
            return None
        return Result(
            self._request_id,
            outcome.payload,
            outcome.error,
            self._new_log_lines(),
            duration_ms,
            init_duration_ms,
        )

    def _init_duration_ms(self) -> float | None:
        return None if self._ready_at is None else (self._ready_at - self._started_at) * 1000

    def _duration_ms(self, outcome: _Outcome) -> float:
        return 0.0 if self._begun_at is None else (outcome.at - self._begun_at) * 1000

    def _wait_for_outcome(self) -> _Outcome:
        limit_s = _INIT_LIMIT_S
        if self._changed.wait_for(lambda: self._begun_at or self._outcome, limit_s):
            limit_s = self._timeout_s
            self._changed.wait_for(lambda: self._outcome, limit_s)
        return self._outcome or self._end(
            FunctionError(
                f"RequestId: {self._request_id} Error: Task timed out after {limit_s:.2f} seconds",
                "Sandbox.Timedout",
            )
        )

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._end_child()
        self._server.close()
        self._log.close()

    def _end_child(self) -> None:
        # As in Lambda, the function gets no warning.
        self._process.kill()
        self._process.wait()
        self._watcher.join()

    def _watch(self) -> None:
        code = self._process.wait()
        reason = f"signal: {-code}" if code < 0 else f"exit status {code}"
        with self._changed:
            self._end(
                FunctionError(
                    f"RequestId: {self._request_id} Error: Runtime exited with error: {reason}",
                    "Runtime.ExitError",
                )
            )

    def _end(self, error: FunctionError) -> _Outcome:
        """Note that the child cannot be used any more; the first reason is kept."""
        self._ended = True
        outcome = self._outcome = self._outcome or _Outcome(error=error)
        self._changed.notify_all()
        return outcome

    def _new_log_lines(self) -> tuple[str, ...]:
        size = os.fstat(self._log.fileno()).st_size
        # pread, since the child writes where this file's own position is.
        data = os.pread(self._log.fileno(), size - self._log_read, self._log_read)
        self._log_read += len(data)
        # The runtime client separates the lines of a traceback by carriage returns.
        lines = re.split(r"[\r\n]+", data.decode("utf-8", "replace"))
        return tuple(line for line in lines if line)

    def _handle(self, request: Request) -> Response:
        if request.path == f"{_API}/invocation/next" and request.method == "GET":
            return self._next()
        if request.path == f"{_API}/init/error" and request.method == "POST":
            with self._changed:
                self._end(_function_error(request.body))
            return _ACCEPTED
        answered = _ANSWERED.fullmatch(request.path)
        if answered is None or request.method != "POST":
            return Response(404)
        with self._changed:
            if answered[1] != self._request_id:
                return Response.of_json({"errorType": "InvalidRequestID"}, 400)
            if answered[2] == "error":
                self._outcome = _Outcome(error=_function_error(request.body))
            elif len(request.body) > MAX_PAYLOAD_BYTES:
                self._end(_too_large(len(request.body)))
                return Response.of_json({"errorType": "RequestEntityTooLarge"}, 413)
            else:
                self._outcome = _Outcome(payload=json.loads(request.body))
            self._changed.notify_all()
        return _ACCEPTED

    def _next(self) -> Response:
        with self._changed:
            self._ready_at = self._ready_at or time.monotonic()
            self._changed.wait_for(lambda: self._ended or self._event is not None)
            if self._event is None:
                return Response(410)
            event, self._event = self._event, None
            self._begun_at = time.monotonic()
            self._changed.notify_all()
            deadline_ms = int((time.time() + self._timeout_s) * 1000)
            headers = {
                "Lambda-Runtime-Aws-Request-Id": self._request_id,
                "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": self._arn,
                "Lambda-Runtime-Trace-Id": _trace_id(),
            }
        return Response(200, event, "application/json", headers)


_ACCEPTED: Final = Response.of_json({"status": "OK"}, 202)


def _trace_id() -> str:
    root = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
    return f"Root={root};Parent={secrets.token_hex(8)};Sampled=0"


def _function_error(body: bytes) -> FunctionError:
    report = json.loads(body)
    return FunctionError(
        report["errorMessage"], report["errorType"], tuple(report.get("stackTrace", ()))
    )


def _too_large(size: int) -> FunctionError:
    return FunctionError(
        f"Response payload size ({size} bytes) exceeded maximum allowed payload size"
        f" ({MAX_PAYLOAD_BYTES} bytes).",
        "Function.ResponseSizeTooLarge",
    )


def _runtime_folder(folder: Path) -> Path:
    """Make a folder with links to what Lambda's runtime ships, taken from this environment."""
    folder.mkdir()
    for name in _RUNTIME_DISTRIBUTIONS:
        distribution = metadata.distribution(name)
        entries = {file.parts[0] for file in distribution.files or ()}
        for entry in entries - {"..", "__pycache__"}:
            (folder / entry).symlink_to(Path(str(distribution.locate_file(entry))).resolve())
    return folder
