"""Run the built functions under `sam local` with a Docker engine of its own: no registry, no AWS.

    unshare --net --mount --pid --fork --kill-child --mount-proc \\
        python -m tests.e2e.sam_local WORK BUILT SAM

It runs in namespaces that it has for itself: the engine leaves the machine's firewall alone, has no
way out, and ends with the last process of them, its mounts with it. In here the relay, the store
and moto listen on loopback as they always do; containers reach them as `HOST`.

WORK has the image's files in `image.tar`; the answers are written to its `answers.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from local.aws import REGION, Aws
from local.greptimedb import GreptimeDB
from local.relay import for_demo
from local.relay.demo import ADMIN
from tests import ROOT
from tests.e2e.conftest import HERE

HOST: Final = "172.17.0.1"
"""What the containers of a Docker engine call the machine that it runs on."""

FUNCTIONS: Final = {"redrive": "RedriverFunction"}
"""The function that an event is for, where it is not the collector."""

INVOKED: Final = "check"
"""The event of the one `sam local invoke`."""

_IMAGE: Final = f"public.ecr.aws/lambda/python:3.13-{HERE}"
_START_S: Final = 120.0
_NOBODY: Final = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def main(work: Path, built: Path, sam: str) -> None:
    """Everything, from the engine to the answers."""
    with contextlib.ExitStack() as parts:
        docker = parts.enter_context(_engine(work))
        relay = parts.enter_context(for_demo())
        database = parts.enter_context(GreptimeDB(username="writer", password="of-the-store"))
        secret = {
            "relay_api_id": relay.keys[0].id,
            "relay_admin_username": ADMIN[0],
            "relay_admin_password": ADMIN[1],
            "greptime_username": "writer",
            "greptime_password": "of-the-store",
        }
        aws = parts.enter_context(Aws(secret))
        _make_image(work, docker, aws.url)
        variables = json.loads((ROOT / "events/env.json").read_text("utf-8"))["Parameters"]
        variables |= {
            "RELAY_BASE_URL": _from_containers(relay.url),
            "OTEL_EXPORT_URL": _from_containers(database.url),
            "SECRET_ID": aws.secret_id,
            "SPOOL_QUEUE_URL": _from_containers(aws.spool_url),
        }
        env_file = work / "env.json"
        env_file.write_text(json.dumps({"Parameters": variables}), "utf-8")
        local = _SamLocal(work, built, sam, docker, env_file)
        answers: dict[str, Any] = {"invoked": local.invoke(INVOKED)}
        with local.started() as invoke:
            for path in sorted((ROOT / "events").glob("*.json")):
                if path.name != "env.json":
                    answers[path.stem] = invoke(path.stem)
        answers["up"] = database.sql("SELECT relay_name, greptime_timestamp FROM relay_up")
        answers["redriven"] = database.sql(
            "SELECT greptime_value FROM relay_requests_total WHERE relay_key_name = 'example'"
        )
        answers["errors"] = list(map(str, database.errors))
    (work / "answers.json").write_text(json.dumps(answers), "utf-8")


def _from_containers(url: str) -> str:
    return url.replace("127.0.0.1", HOST).replace("localhost", HOST)


def _run(*command: str, variables: Mapping[str, str] | None = None) -> str:
    """What a command prints. Raises RuntimeError with all of it where it fails."""
    done = subprocess.run(
        command,
        env={**os.environ, **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}")
    return done.stdout


@contextlib.contextmanager
def _engine(work: Path) -> Iterator[dict[str, str]]:
    """A Docker engine; the variables by which its clients find it."""
    _run("ip", "link", "set", "lo", "up")
    # What engine and runtime write outside their folders is in these, and gone with them.
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")
    above = work / "above"
    above.mkdir()
    _run("mount", "-t", "tmpfs", "tmpfs", str(above))
    for name in ("etc", "opt"):
        over, scratch = above / name, above / f"{name}.scratch"
        over.mkdir()
        scratch.mkdir()
        layers = f"lowerdir=/{name},upperdir={over},workdir={scratch}"
        _run("mount", "-t", "overlay", "overlay", "-o", layers, f"/{name}")
    host = f"unix://{work}/docker.sock"
    command = [
        "dockerd",
        *("--host", host, "--pidfile", f"{work}/docker.pid"),
        *("--data-root", f"{work}/data", "--exec-root", f"{work}/exec"),
        *("--cgroup-parent", f"/{work.name}"),
    ]
    with (work / "dockerd.log").open("wb") as log:
        engine = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(engine, ["docker", "--host", host, "version"], work / "dockerd.log")
            Path("/proc/sys/net/ipv4/conf/docker0/route_localnet").write_text("1")
            _run(
                *("iptables", "-t", "nat", "-I", "PREROUTING", "-i", "docker0", "-d", HOST),
                *("-p", "tcp", "-j", "DNAT", "--to-destination", "127.0.0.1"),
            )
            yield {"DOCKER_HOST": host}
        finally:
            engine.terminate()
            engine.wait()
            _remove_cgroups(work.name)


def _wait(server: subprocess.Popen[bytes], ready: Sequence[str], log: Path) -> None:
    """Wait until a command succeeds. Raises RuntimeError with the log where the server ends."""
    deadline = time.monotonic() + _START_S
    while subprocess.run(ready, capture_output=True, check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it did not start:\n{log.read_text('utf-8')}")
        time.sleep(0.05)


def _remove_cgroups(name: str) -> None:
    """The groups that the containers were in: what is left of them is empty."""
    root = Path("/sys/fs/cgroup")
    for top in [root / name, *root.glob(f"*/{name}")]:
        if top.is_dir():
            for folder, _, _ in os.walk(top, topdown=False):
                Path(folder).rmdir()


def _make_image(work: Path, docker: Mapping[str, str], aws_url: str) -> None:
    """The image that SAM looks for, of files that were made on this machine."""
    changes = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "AWS_ENDPOINT_URL": _from_containers(aws_url),
    }
    arguments = [f"--change=ENV {name}={value}" for name, value in changes.items()]
    _run("docker", "import", *arguments, str(work / "image.tar"), _IMAGE, variables=docker)


class _SamLocal:
    """`sam local` for the built template."""

    def __init__(
        self, work: Path, built: Path, sam: str, docker: Mapping[str, str], env_file: Path
    ) -> None:
        self._work, self._sam = work, sam
        self._variables = {
            **os.environ,
            **docker,
            **_NOBODY,
            "AWS_DEFAULT_REGION": REGION,
            "HOME": str(work),
            "SAM_CLI_TELEMETRY": "0",
        }
        self._options = [
            *("--template", str(built / "template.yaml")),
            *("--env-vars", str(env_file), "--skip-pull-image"),
            *("--layer-cache-basedir", str(work / "layers")),
            *("--parameter-overrides", f"Architecture={HERE}"),
        ]

    def invoke(self, event: str) -> dict[str, Any]:
        """What one `sam local invoke` of the collector prints."""
        command = [self._sam, "local", "invoke", "CollectorFunction", *self._options]
        done = subprocess.run(
            [*command, "--event", str(ROOT / "events" / f"{event}.json")],
            cwd=ROOT,
            env=self._variables,
            capture_output=True,
            text=True,
            check=False,
        )
        # SAM's own status is 0 also where the function failed
        return {"status": done.returncode, "answer": done.stdout, "log": done.stderr}

    @contextlib.contextmanager
    def started(self) -> Iterator[Any]:
        """`sam local start-lambda`: a function that invokes one with an event."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [self._sam, "local", "start-lambda", *self._options, "--port", str(port)]
        log = self._work / "start-lambda.log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                [*command, "--warm-containers", "EAGER"],
                cwd=ROOT,
                env=self._variables,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        client = boto3.client(
            "lambda",
            region_name=REGION,
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"max_attempts": 0}, read_timeout=120, proxies={}),
        )

        def invoke(event: str) -> dict[str, Any]:
            answer = client.invoke(
                FunctionName=FUNCTIONS.get(event, "CollectorFunction"),
                Payload=(ROOT / "events" / f"{event}.json").read_bytes(),
            )
            payload = json.loads(answer["Payload"].read())
            return {"error": answer.get("FunctionError"), "answer": payload}

        try:
            self._wait(server, port, log)
            yield invoke
        finally:
            server.terminate()
            server.wait()

    @staticmethod
    def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    return
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("sam local start-lambda did not start:\n" + log.read_text())
            time.sleep(0.1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
