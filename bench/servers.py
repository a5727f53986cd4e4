"""The servers of a measurement, in a process of their own.

    with Servers(keys=1000, latency_s=0.05) as servers:
        before = servers.counts()
        ...

A relay, a database that decodes nothing, and a Secrets Manager that knows one secret. Their
processor time is not the collector's, and neither waits for the other's interpreter lock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.closing import Closing
from local.http_server import HttpServer, Request, Response
from local.relay import ClaudeRelay, many_keys

ROOT = Path(__file__).parents[1]
LOGIN = ("bench", "bench-password")

SCANNING = 2
"""Ticks that the relay's keys are used before it is asked: rows of four models a key or so."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The requests that the servers have received since they started.

    Attributes:
        calls: relay requests by path.
        scans: of the relay's database.
        relay_bytes: of all the relay's answers, headers included.
        pushes: requests to the database.
        pushed_bytes: of their bodies, as sent.
    """

    calls: Mapping[str, int]
    scans: int
    relay_bytes: int
    pushes: int
    pushed_bytes: int

    def since(self, earlier: Counts) -> Counts:
        """The requests received since an earlier state."""
        calls = {path: count - earlier.calls.get(path, 0) for path, count in self.calls.items()}
        return Counts(
            {path: count for path, count in calls.items() if count},
            self.scans - earlier.scans,
            self.relay_bytes - earlier.relay_bytes,
            self.pushes - earlier.pushes,
            self.pushed_bytes - earlier.pushed_bytes,
        )

    def shared(self, runs: int) -> Counts:
        """The average for each of several runs."""
        return Counts(
            {path: round(count / runs) for path, count in self.calls.items()},
            round(self.scans / runs),
            round(self.relay_bytes / runs),
            round(self.pushes / runs),
            round(self.pushed_bytes / runs),
        )

    @property
    def requests(self) -> int:
        """All relay requests."""
        return sum(self.calls.values())


class Servers(Closing):
    """Starts the process, and ends it.

    Args:
        keys: that the relay has.
        latency_s: the least time of each answer of the relay and of the database.

    Attributes:
        relay_url, push_url: of the relay, and of the OTLP endpoint.
        key_ids: of all keys.
    """

    def __init__(self, keys: int, latency_s: float) -> None:
        command = [sys.executable, "-m", "bench.servers", str(keys), str(latency_s)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started = self._line()
        self.relay_url: str = started["relay"]
        self.push_url: str = started["push"]
        self._secrets_url: str = started["secrets"]
        self.key_ids: list[str] = started["key_ids"]

    def _line(self) -> Any:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        return json.loads(self._process.stdout.readline())

    def _ask(self, value: object) -> Any:
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        print(json.dumps(value), file=self._process.stdin, flush=True)
        return self._line()

    def counts(self) -> Counts:
        """The requests that the servers have received so far."""
        return Counts(**self._ask("counts"))

    def environment(self, secret: Mapping[str, Any], **variables: str) -> dict[str, str]:
        """The variables of a collector that reads this secret and these servers."""
        self._ask({"secret": {"greptime_username": "u", "greptime_password": "p", **secret}})
        return {
            "SECRET_ID": "bench",
            "OTEL_EXPORT_URL": self.push_url,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self._secrets_url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            **variables,
        }

    def one_key(self) -> dict[str, str]:
        """The variables of a collector for the first key."""
        secret = {"relay_api_id": self.key_ids[0]}
        return self.environment(secret, RELAY_BASE_URL=self.relay_url)

    def configured(self) -> dict[str, str]:
        """The variables of a collector for all keys, by their ids."""
        relay = {"name": "bench", "base_url": self.relay_url, "api_ids": self.key_ids}
        return self.environment({"relays": [relay]})

    def discovered(self) -> dict[str, str]:
        """The variables of a collector for all keys, by the administrator's login."""
        username, password = LOGIN
        relay = {
            "name": "bench",
            "base_url": self.relay_url,
            "admin_username": username,
            "admin_password": password,
        }
        return self.environment({"relays": [relay]})

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.communicate(timeout=30)


class _Sink:
    """Accepts all pushes quickly, so that the destination is never the bottleneck."""

    def __init__(self, latency_s: float) -> None:
        self.pushes = 0
        self.pushed_bytes = 0
        self._lock = threading.Lock()
        self.server = HttpServer(self._take, latency_s=latency_s)

    def _take(self, request: Request) -> Response:
        with self._lock:
            self.pushes += 1
            self.pushed_bytes += len(request.body)
        return Response()


def serve(keys: int, latency_s: float) -> None:
    """Serve, and answer the lines of the standard input, until it ends."""
    relay = ClaudeRelay(many_keys(keys), admin=LOGIN, latency_s=latency_s)
    for _ in range(SCANNING):
        relay.tick()
    sink = _Sink(latency_s)
    secret = {"SecretString": "{}"}
    secrets = HttpServer(lambda _: Response.of_json(secret))
    with relay, sink.server, secrets:
        urls = {"relay": relay.url, "push": sink.server.url, "secrets": secrets.url}
        print(json.dumps({**urls, "key_ids": [key.id for key in relay.keys]}), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            if asked != "counts":
                secret["SecretString"] = json.dumps(asked["secret"])
            seen = Counts(
                relay.calls,
                relay.scans,
                relay.server.bytes_out,
                sink.pushes,
                sink.pushed_bytes,
            )
            print(json.dumps({name: getattr(seen, name) for name in Counts.__slots__}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.servers", description=__doc__)
    parser.add_argument("keys", type=int)
    parser.add_argument("latency_s", type=float)
    options = parser.parse_args()
    serve(options.keys, options.latency_s)
