"""A VictoriaMetrics on loopback: it takes OTLP and answers PromQL."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import requests

from local.closing import Closing
from tests import ROOT

PATIENCE_S: Final = 60


def installed() -> Path:
    """The program, fetched where there is none."""
    script = ROOT / "scripts/get-victoriametrics"
    ran = subprocess.run([script], check=False, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    return Path(ran.stdout.strip())


class VictoriaMetrics(Closing):
    """One of them on loopback, with its data in a folder, until it is closed."""

    def __init__(self, binary: Path, folder: Path, *flags: str) -> None:
        folder.mkdir()
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    binary,
                    "-httpListenAddr=127.0.0.1:0",
                    f"-storageDataPath={folder / 'data'}",
                    "-memory.allowedBytes=64MB",
                    "-search.latencyOffset=0s",
                    *flags,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.url = self._wait_for_url()

    def _wait_for_url(self) -> str:
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends and self._process.poll() is None:
            started = re.search(r"started server at (http://\S+)/\n", self._log.read_text())
            if started:
                return started[1]
            time.sleep(0.05)
        self.close()
        raise AssertionError(self._log.read_text()[-2000:])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def get(self, path: str, **query: str) -> str:
        answer = requests.get(self.url + path, params=query, timeout=PATIENCE_S)
        answer.raise_for_status()
        return answer.text

    def query(self, promql: str, **at: str) -> list[dict[str, Any]]:
        self.get("/internal/force_flush")
        answer = json.loads(self.get("/api/v1/query", query=promql, **at))
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def series(self) -> Iterator[tuple[dict[str, str], float, int]]:
        """Labels, latest value and its instant of every series."""
        self.get("/internal/force_flush")
        for line in self.get("/api/v1/export", **{"match[]": '{__name__!=""}'}).splitlines():
            one = json.loads(line)
            yield one["metric"], one["values"][-1], one["timestamps"][-1]
