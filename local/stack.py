"""The whole system on one machine: relays, database, Secrets Manager, SQS, and the collector.

    with Stack(os.environ, behind_s=600) as stack:
        stack.tick(minutes=10)
        print(stack.collect().payload)
        print(stack.database.query("SELECT * FROM relay_up"))

Everything listens on loopback, on ports that the system chooses, and ends with the `with`.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from local.aws import Aws
from local.closing import Closing
from local.greptimedb import GreptimeDB
from local.relay import ClaudeRelay, WyoletRelay, WyoletUsage, living_relay
from local.relay.demo import ADMIN
from local.relay.wyolet import overhead_with_incident
from local.runtime_api import Function, Result
from local.sql import LOOPBACK, Database, place, root_of

ROOT: Final = Path(__file__).parents[1]
LAYER: Final = ROOT / "layers" / "aggregator"
SCHEDULE: Final = ROOT / "events" / "schedule.json"

CREDENTIALS: Final[Mapping[str, str]] = {
    "RELAY_API_ID": "relay_api_id",
    "RELAY_API_KEY": "relay_api_key",
    "RELAY_ADMIN_USERNAME": "relay_admin_username",
    "RELAY_ADMIN_PASSWORD": "relay_admin_password",
    "RELAY_ADMIN_TOKEN": "relay_admin_token",
    "RELAY_HEADERS": "relay_headers",
    "GREPTIME_USERNAME": "greptime_username",
    "GREPTIME_PASSWORD": "greptime_password",
}
"""Variables that only this machine reads, and the keys of the secret that they stand for."""

PASSED_ON: Final = (
    "RELAY_KIND",
    "RELAY_BASE_URL",
    "RELAY_NAME",
    "RELAY_METRICS_PERIOD",
    "RELAY_ENVIRONMENT",
    "RELAY_TIMEOUT_MS",
    "RELAY_MAX_RESPONSE_BYTES",
    "RELAY_CONCURRENCY",
    "RELAY_SCANS_PER_RUN",
    "RELAY_MAX_KEYS",
    "RELAY_MAX_MODELS_PER_KEY",
    "RELAY_UTC_OFFSET_HOURS",
    "RELAY_MAX_FAMILIES",
    "RELAY_USAGE_LOOKBACK_MINUTES",
    "RELAY_KEY_LABELS",
    "RELAY_METRICS_SETTINGS",
    "SECRET_MAX_AGE_SECONDS",
    "OTEL_EXPORT_URL",
    "GREPTIME_DATABASE",
    "OTEL_EXPORT_HEADERS",
    "OTEL_TIMEOUT_MS",
    "OTEL_SERVICE_NAME",
    "OTEL_SERVICE_NAMESPACE",
    "OTEL_SERVICE_VERSION",
    "OTEL_RESOURCE_ATTRIBUTES",
    "LOG_LEVEL",
)
"""The collector's own variables, except those that say where the local AWS is."""

INCIDENT_AGO_S: Final = 5 * 3600
"""How long ago the simulated Wyolet Relay began to be slow for a while."""
BACKFILL_SCANS: Final = 100
"""More scans than the simulated relay's days without usage can take."""

Secret = dict[str, Any]

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Clock:
    """The simulated relays' clock: it stands still until it is moved.

    So what a relay counts does not change while it is collected and compared.

    Args:
        behind_s: how far behind this machine's it begins.
    """

    def __init__(self, behind_s: float = 0) -> None:
        self._now_s = time.time() - behind_s

    def __call__(self) -> float:
        """Epoch seconds."""
        return self._now_s

    def forward(self, seconds: float | None) -> None:
        """Move it on, but not beyond this machine's; None moves it up to that."""
        now_s = time.time()
        self._now_s = now_s if seconds is None else min(now_s, self._now_s + seconds)


class Stack(Closing):
    """The system, running from its making until `close`.

    Args:
        variables: the collector's, as somebody sets them. With `RELAY_BASE_URL` that relay is
            read in place of the simulated ones, with `OTEL_EXPORT_URL` that database is written to
            in place of the stand-in; `CREDENTIALS` says how their credentials are given.
        announce: gets a line on each part as it starts.
        behind_s: how far behind this machine's clock the simulated relays' is, until `tick` has
            moved it on.

    Attributes:
        claude, wyolet: the simulated relays; None where a real one is read.
        greptimedb: the stand-in; None where a real database is written to.
        database: whichever it is, to be asked by SQL; None where it is no GreptimeDB.
        environment: the collector's.
        clock: of the simulated relays.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        announce: Callable[[str], None] = lambda _: None,
        *,
        behind_s: float = 0,
    ) -> None:
        self.clock = Clock(behind_s)
        self._ticked_s = self.clock()
        self.claude: ClaudeRelay | None = None
        self.wyolet: WyoletRelay | None = None
        self.greptimedb: GreptimeDB | None = None
        self.environment = {
            name: variables[name] for name in PASSED_ON if variables.get(name, "").strip()
        }
        self.environment.setdefault("RELAY_ENVIRONMENT", "demo")
        # requests must not time out only because this machine is busy
        self.environment.setdefault("RELAY_TIMEOUT_MS", "20000")
        self.environment.setdefault("OTEL_TIMEOUT_MS", "20000")
        self.environment["POWERTOOLS_SERVICE_NAME"] = "relay-metrics"
        if self.environment.keys() & {"RELAY_BASE_URL", "OTEL_EXPORT_URL"}:
            self.environment |= _proxies(variables)
        secret = secret_of(variables)
        with ExitStack() as parts:
            secret = self._start_relays(parts, secret, announce)
            secret = self._start_database(parts, secret, announce)
            self.database = self._database(secret)
            self.aws = parts.enter_context(Aws(secret))
            self.environment |= self.aws.environment
            announce(f"AWS        {self.aws.url} is Secrets Manager and SQS (moto)")
            self.collector = parts.enter_context(self._function("functions/collector", "app"))
            self._replay = parts.enter_context(self._function("local", "replay"))
            self._parts = parts.pop_all()

    def _function(self, folder: str, module: str) -> Function:
        return Function(
            ROOT / folder,
            f"{module}.lambda_handler",
            self.environment,
            layer_path=LAYER,
            timeout_s=50,
            name="collector",
        )

    def tick(self, minutes: float | None = None) -> None:
        """Move the simulated relays' clock on, by default to now; they are used until then."""
        self.clock.forward(None if minutes is None else 60 * minutes)
        if self.claude is not None:
            self.claude.catch_up()
        if self.wyolet is not None:
            for _ in range(int((self.clock() - self._ticked_s) // 60)):
                self._ticked_s += 60
                self.wyolet.tick(self._ticked_s)

    def collect(self) -> Result:
        """Invoke the collector once, with the schedule's event; its time is now, as it would be."""
        return self.collector.invoke(self._event(time.time()))

    def replay(self) -> Result:
        """The same as of the simulated relays' clock, where that is behind."""
        return self._replay.invoke(self._event(self.clock()))

    def backfill(self) -> Iterator[Result]:
        """Back-fill the past days of the simulated claude-relay, call after call.

        It is the action of `make backfill`, as of the simulated clock. The Wyolet Relay's last day
        comes with the first run.
        """
        event: Any = {"action": "backfill", "relays": ["claude"], "scans": BACKFILL_SCANS}
        while event is not None:
            time_of = datetime.fromtimestamp(self.clock(), UTC).isoformat()
            result = self._replay.invoke({**event, "time": time_of})
            yield result
            event = None if result.error else result.payload["next"]

    def _event(self, at_s: float) -> Any:
        event = json.loads(SCHEDULE.read_text("utf-8"))
        return {**event, "time": datetime.fromtimestamp(at_s, UTC).isoformat()}

    def close(self) -> None:
        """End everything that was started. Safe to call twice."""
        self._parts.close()

    def _start_relays(
        self, parts: ExitStack, secret: Secret, announce: Callable[[str], None]
    ) -> Secret:
        if "RELAY_BASE_URL" in self.environment:
            announce(f"relay      {place(self.environment['RELAY_BASE_URL'])}, which is yours")
            return secret
        # so many that each run asks for all of this small relay, and can be compared with it
        self.environment.setdefault("RELAY_SCANS_PER_RUN", "40")
        self.environment.setdefault("RELAY_KEY_LABELS", "team")
        self.claude = parts.enter_context(living_relay(clock=self.clock, now=time.time()))
        token = secrets.token_urlsafe(16)
        usage = WyoletUsage(self.clock, token=token)
        overhead = overhead_with_incident(time.time() - INCIDENT_AGO_S)
        self.wyolet = parts.enter_context(
            WyoletRelay(clock=self.clock, usage=usage, overhead=overhead)
        )
        announce(f"relays     {self.claude.url} is a simulated Claude Relay Service, to be read")
        announce("           by an administrator's login;")
        announce(f"           {self.wyolet.url} is a simulated Wyolet Relay")
        relays = [
            {
                "name": "claude",
                "kind": "claude-relay",
                "base_url": self.claude.url,
                "admin_username": ADMIN[0],
                "admin_password": ADMIN[1],
            },
            {
                "name": "wyolet",
                "kind": "wyolet-relay",
                "base_url": self.wyolet.url,
                "admin_token": token,
            },
        ]
        databases = {key: text for key, text in secret.items() if key.startswith("greptime_")}
        return {**databases, "relays": relays}

    def _start_database(
        self, parts: ExitStack, secret: Secret, announce: Callable[[str], None]
    ) -> Secret:
        if "OTEL_EXPORT_URL" in self.environment:
            announce(f"database   {place(self.environment['OTEL_EXPORT_URL'])}, which is yours")
            return secret
        username, password = "demo", secrets.token_urlsafe(16)
        databases = {"public", self.environment.get("GREPTIME_DATABASE", "public")}
        self.greptimedb = parts.enter_context(
            GreptimeDB(username=username, password=password, databases=databases)
        )
        self.environment["OTEL_EXPORT_URL"] = self.greptimedb.url
        announce(f"database   {self.greptimedb.url} stands in for GreptimeDB")
        return {**secret, "greptime_username": username, "greptime_password": password}

    def _database(self, secret: Secret) -> Database | None:
        root = root_of(self.environment["OTEL_EXPORT_URL"])
        if root is None:
            return None
        username, password = secret.get("greptime_username"), secret.get("greptime_password")
        return Database(
            root,
            self.environment.get("GREPTIME_DATABASE", "public"),
            (username, password) if username and password else None,
        )


def secret_of(variables: Mapping[str, str]) -> Secret:
    """The secret that the `CREDENTIALS` among some variables make.

    Raises:
        ValueError: RELAY_HEADERS is no JSON.
    """
    secret: dict[str, Any] = {
        key: variables[name].strip()
        for name, key in CREDENTIALS.items()
        if variables.get(name, "").strip()
    }
    if variables.get("RELAY_KIND", "") != "wyolet-relay":
        # a Wyolet Relay itself reads a variable of this name, which may be exported
        secret.pop("relay_admin_token", None)
    if "relay_headers" in secret:
        try:
            secret["relay_headers"] = json.loads(secret["relay_headers"])
        except ValueError:
            raise ValueError(
                "RELAY_HEADERS must be a JSON object of header names to text"
            ) from None
    return secret


def _proxies(variables: Mapping[str, str]) -> dict[str, str]:
    """The proxy's variables, for what is elsewhere; never for what is on loopback."""
    given = {name: variables.get(name) or variables.get(name.lower(), "") for name in _PROXIES}
    given["NO_PROXY"] = ",".join(filter(None, (given["NO_PROXY"], *LOOPBACK)))
    return {name: value for name, value in given.items() if value}
