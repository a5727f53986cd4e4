"""The two functions as they are deployed, between servers of every kind, all on loopback."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from local.greptimedb import GreptimeDB
from local.relay import ClaudeRelay, Key, Limits, WyoletRelay
from relay_metrics.aws import CONFIG
from relay_metrics.deliver import spool
from relay_metrics.deliver.spool import Message
from relay_metrics.errors import RelayMetricsError, SnapshotError
from relay_metrics.observability import logger
from relay_metrics.runtime import Runtime
from relay_metrics.settings import secrets_manager
from tests import ROOT
from tests.integration.aws import REGION, Aws
from tests.integration.leaks import Secrets
from tests.integration.receiver import Receiver
from tests.template.granted import MAY
from tests.tls import Certified, certified

USERNAME = "metrics-writer"


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return certified(tmp_path_factory.mktemp("tls"))


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:20]


class Context:
    """What Lambda gives an invocation: the time that it has left runs out."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return round((self._ends - time.monotonic()) * 1000)


@dataclass(frozen=True)
class Ended:
    """How an invocation ended.

    Attributes:
        answer: what it answered; empty where it failed.
        error: what it raised.
        left_s: the time that it had left.
    """

    answer: dict[str, Any]
    error: Exception | None
    left_s: float

    def relay(self, name: str) -> dict[str, Any]:
        """A relay's place in the report."""
        return next(one for one in self.answer["relays"] if one["name"] == name)

    def destination(self, name: str) -> dict[str, Any]:
        """A destination's place in the report."""
        return next(one for one in self.answer["destinations"] if one["name"] == name)


@dataclass
class System:
    """Relays, destinations, a secret and queues, and the functions between them.

    Attributes:
        environment: the variables of both functions; a change counts from the next `restart` on.
        secret: what `put_secret` writes, and the first function that starts where no test did.
        secrets: every text in it that must not be seen.
        seen: all that an operator could see of what ran, for the search for secrets.
    """

    aws: Aws
    environment: dict[str, str]
    log: io.StringIO
    secrets: Secrets
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    secret: dict[str, Any] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    clock: Callable[[], int] = time.time_ns
    servers: list[Any] = field(default_factory=list)
    _apps: dict[str, ModuleType] = field(default_factory=dict)

    # -- what there is

    def serve(self, server: Any) -> Any:
        """Have a server closed at the end."""
        self.servers.append(server)
        return server

    def claude(self, name: str = "claude", **more: Any) -> ClaudeRelay:
        """A Claude Relay with one key, configured by the key itself, and some usage."""
        limits = Limits(rate_limit_window=60, rate_limit_requests=500, daily_cost_limit=50)
        key = Key(name=f"{name}-team", limits=limits, models=("gpt-5", "claude-sonnet-4-20250514"))
        relay: ClaudeRelay = self.serve(ClaudeRelay([key], **more))
        relay.tick()
        self.secrets.add(key.api_key)
        listed = {"name": name, "base_url": relay.url, "api_keys": [key.api_key]}
        self.secret.setdefault("relays", []).append(listed)
        return relay

    def wyolet(self, name: str = "wyolet", **more: Any) -> WyoletRelay:
        """A Wyolet Relay behind a proxy that wants a token."""
        token = self.secrets.new(f'token "{_digest(name)}"/<&>%')
        headers = {"Authorization": f"Bearer {token}"}
        relay: WyoletRelay = self.serve(WyoletRelay(headers=headers, **more))
        relay.tick()
        self.secret.setdefault("relays", []).append(
            {"name": name, "kind": "wyolet-relay", "base_url": relay.url, "headers": headers}
        )
        return relay

    def receiver(self, name: str = "default", **more: Any) -> Receiver:
        """A destination: the default one, or one in the secret."""
        password = self._password(name)
        receiver: Receiver = self.serve(Receiver(USERNAME, password, **more))
        self._destine(name, receiver.url, password)
        return receiver

    def database(self, name: str = "default", **more: Any) -> GreptimeDB:
        """The same, of GreptimeDB, with the rules that its tables have."""
        password = self._password(name)
        db: GreptimeDB = self.serve(GreptimeDB(username=USERNAME, password=password, **more))
        self._destine(name, db.url, password)
        return db

    def _password(self, name: str) -> str:
        password = self.secrets.new(f'pässwörd "{_digest(name)}"/<&>%')
        self.secrets.add(self.secrets.basic(USERNAME, password))
        return password

    def _destine(self, name: str, url: str, password: str) -> None:
        if name == "default":
            self.environment["OTEL_EXPORT_URL"] = url
            self.secret |= {"greptime_username": USERNAME, "greptime_password": password}
        else:
            listed = {"name": name, "url": url, "username": USERNAME, "password": password}
            self.secret.setdefault("destinations", []).append(listed)

    def listed(self, name: str) -> dict[str, Any]:
        """A relay or a destination in the secret, to be changed."""
        both = [*self.secret.get("relays", []), *self.secret.get("destinations", [])]
        return next(one for one in both if one["name"] == name)

    def put_secret(self) -> None:
        """Write the secret as it is now."""
        self.aws.put_secret(self.secret)

    # -- what runs

    def restart(self) -> None:
        """Have the next invocations start cold, with the environment as it is now."""
        self._apps.clear()

    def collect(self, event: object = None, seconds: float = 60) -> Ended:
        """Invoke the collector."""
        return self._invoke("collector", {} if event is None else event, seconds)

    def redrive(self, event: object = None, seconds: float = 60) -> Ended:
        """Invoke the redriver with what is visible in the spool, and settle that as Lambda does."""
        if event is not None:
            return self._invoke("redriver", event, seconds)
        received = self.aws.event()
        ended = self._invoke("redriver", received, seconds)
        if ended.error is None:
            self.aws.settle(received, ended.answer)
        return ended

    def drain(self) -> None:
        """Have the redriver deliver all that the spool holds; each message has one attempt."""
        while self.aws.spooled():
            self.aws.let_time_pass()
            before = len(self.aws.spooled())
            self.redrive()
            assert len(self.aws.spooled()) < before, "nothing was delivered"

    def app(self, name: str) -> ModuleType:
        """A function as a warm environment has it, started where it is not yet."""
        if name not in self._apps:
            self._apps[name] = self.fresh(name)
        return self._apps[name]

    def fresh(self, name: str) -> ModuleType:
        """A function in an environment of its own."""
        if not self.aws.has_secret:
            self.put_secret()
        for variable, text in self.environment.items():
            self.monkeypatch.setenv(variable, text)
        path = ROOT / "functions" / name / "app.py"
        spec = importlib.util.spec_from_file_location(f"function_{name}", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module._handler._runtime = Runtime(clock=self._now)
        return module

    def invoke(self, module: ModuleType, event: object, seconds: float) -> Ended:
        """Invoke a function with so much time."""
        context = Context(seconds)
        self.aws.role = _role(module, event)
        answer: dict[str, Any] = {}
        error: Exception | None = None
        try:
            answer = module.lambda_handler(event, context)
        except RelayMetricsError as raised:
            error = raised
        if error is not None:
            self.seen.append(f"{error!r} {error} {error.__dict__} {error.__cause__!r}")
            assert error.__suppress_context__, "Lambda would show what a library said"
        left_s = context.get_remaining_time_in_millis() / 1000
        # Lambda writes an answer as JSON
        self.seen.append(json.dumps(answer))
        return Ended(answer, error, left_s)

    def _now(self) -> int:
        return self.clock()

    def _invoke(self, name: str, event: object, seconds: float) -> Ended:
        return self.invoke(self.app(name), event, seconds)

    def printed(self) -> str:
        """What was written to standard output beside the log: metrics."""
        out, err = self.capfd.readouterr()
        self.seen += [out, err]
        return out

    def lines(self, message: str | None = None) -> list[dict[str, Any]]:
        """The lines of the log, or those with that message."""
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if message in (None, line["message"])]


@pytest.fixture(autouse=True)
def patient_aws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the time for calls to AWS: on a busy machine a second try is a second message.

    Tests of these time-outs are marked with `aws_time_outs`.
    """
    if request.node.get_closest_marker("aws_time_outs") is None:
        config = CONFIG.merge(Config(connect_timeout=20, read_timeout=20))
        for module in (spool, secrets_manager):
            monkeypatch.setattr(module, "CONFIG", config)


@pytest.fixture
def system(
    moto: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[System]:
    """An empty system; at its end nothing that anybody could see may hold a secret."""
    nobody = tmp_path / "nobody"
    for variable, text in {
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local-secret-access-key",
        "AWS_CONFIG_FILE": str(nobody),
        "AWS_SHARED_CREDENTIALS_FILE": str(nobody),
    }.items():
        monkeypatch.setenv(variable, text)
    aws = Aws(moto)
    stream = io.StringIO()
    level = logger.log_level
    before = logger.logger_handler.setStream(stream)  # type: ignore[attr-defined]
    secrets = Secrets(["local-secret-access-key", USERNAME])
    environment = {
        **aws.environment,
        # a busy machine must not look like a fault: a test of a time-out sets its own
        "RELAY_TIMEOUT_MS": "20000",
        "OTEL_TIMEOUT_MS": "20000",
        "LOG_LEVEL": "DEBUG",
    }
    system = System(aws, environment, stream, secrets, monkeypatch, capfd)
    yield system
    logger.setLevel(level)
    logger.logger_handler.setStream(before)  # type: ignore[attr-defined]
    out, err = capfd.readouterr()
    seen = [*system.seen, stream.getvalue(), out, err]
    for held in (*aws.spooled(), *aws.dead()):
        seen += [held.body, held.reason or "", _unfolded(held.body)]
    for server in system.servers:
        if isinstance(server, GreptimeDB):
            seen += [one.decompressed().decode("latin-1") for one in server.requests]
        if isinstance(server, Receiver):
            seen += server.sent()
        server.close()
    aws.close()
    for text in seen:
        secrets.assert_not_in(text)
    for role, resource, action in aws.exercised:
        assert action in MAY[role].get(resource, ()), f"{role} may not {action} at {resource}"
    assert "Traceback" not in err


def _role(module: ModuleType, event: object) -> str:
    """The role of the function of the stack that such an event is meant for."""
    if module.__name__ == "function_redriver":
        return "RedriverRole"
    backfill = isinstance(event, Mapping) and event.get("action") == "backfill"
    return "BackfillRole" if backfill else "CollectorRole"


def _unfolded(body: str) -> str:
    """The snapshot in a message; nothing where it is none of ours."""
    try:
        return Message.load(body).snapshot.dump().decode()
    except SnapshotError:
        return ""


def contents(db: GreptimeDB) -> dict[str, list[Mapping[str, Any]]]:
    """Every row of every table, in an order of its own."""
    return {
        table: sorted(db.sql(f'SELECT * FROM "{table}"'), key=lambda row: str(sorted(row.items())))
        for table in db.tables()
    }
