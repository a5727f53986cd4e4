"""Measures the whole collector with large expositions, and vmagent and the SDK's encoder too.

    taken = scrape("text", 100_000)
    scrape("names", 0).peak_bytes

One process serves the endpoint and accepts what is pushed. The
collector's whole handler runs in another, as in a function with the default memory.
"""

from __future__ import annotations

import ctypes
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.collector import clean_environment, collect
from local.http_server import HttpServer, Response

ROOT = Path(__file__).parents[1]
BUCKETS = ("0.005", "0.01", "0.05", "0.1", "0.5", "1", "5", "+Inf")
SERIES = 250
"""Of a family: a service's routes, methods and statuses."""
LARGEST = 8 << 20
"""The default of RELAY_MAX_RESPONSE_BYTES."""
SCRAPES, TURNS = 5, 3
SPOOL, DOWN = "/spool", "/down"
"""Paths of the endpoint's server: of a queue, and of a destination that takes nothing."""


# -- what is served


def exposition(
    samples: int, *, route: str = "/api/v1/items/{}", openmetrics: bool = False
) -> Iterator[str]:
    """The lines: a third of the samples each are of counters, of gauges, of histograms."""
    number, written = 0, 0
    while written < samples:
        for line in _family(number, route, openmetrics):
            written += not line.startswith("#")
            yield line
            if written == samples:
                break
        number += 1
    if openmetrics:
        yield "# EOF\n"


def _family(number: int, route: str, openmetrics: bool) -> Iterator[str]:
    kind = ("counter", "gauge", "histogram")[number % 3]
    name = f"service_{number}_" + {"counter": "hits", "gauge": "open", "histogram": "seconds"}[kind]
    total = "_total" if kind == "counter" else ""
    family = name if openmetrics else name + total
    yield f"# HELP {family} What a service of many routes says of itself.\n"
    yield f"# TYPE {family} {kind}\n"
    for one in range(SERIES if kind != "histogram" else SERIES // (len(BUCKETS) + 2)):
        labels = f'method="GET",route="{route.format(one)}",status="200"'
        if kind == "histogram":
            for at, bound in enumerate(BUCKETS):
                yield f'{name}_bucket{{{labels},le="{bound}"}} {at * one}\n'
            yield f"{name}_sum{{{labels}}} {one * 0.25}\n"
            yield f"{name}_count{{{labels}}} {(len(BUCKETS) - 1) * one}\n"
        else:
            yield f"{name}{total}{{{labels}}} {one * 1.5}\n"


def _filled(line: Callable[[int], str]) -> str:
    """As many lines as a body has room for."""
    lines, size, at = [], 0, 0
    while size < LARGEST - 65536:
        lines.append(line(at))
        size += len(lines[-1])
        at += 1
    return "".join(lines)


def _of_many_labels(at: int) -> str:
    labels = ",".join(f'l{one}="{at}"' for one in range(1000))
    return f"a{{{labels}}} 1\n"


HOSTILE: Mapping[str, Callable[[], str]] = {
    "made-up names": lambda: _filled(lambda at: f"a{at} 1\n"),
    "made-up names, with types": lambda: _filled(lambda at: f"# TYPE a{at} counter\na{at} 1\n"),
    "names in quotes": lambda: _filled(lambda at: f'{{"a.{at}"}} 1\n'),
    "label sets of one name": lambda: _filled(lambda at: f'a{{b="{at}"}} 1\n'),
    "label sets of two names in turns": lambda: _filled(lambda at: f'a{at % 2}{{b="{at}"}} 1\n'),
    "label names": lambda: _filled(lambda at: f'a{{b{at}="1"}} 1\n'),
    "spaces between labels": lambda: _filled(lambda at: f'a{{ b="{at}"}} 1\n'),
    "histograms of a bucket": lambda: (
        "# TYPE a histogram\n" + _filled(lambda at: f'a_bucket{{b="{at}",le="+Inf"}} 1\n')
    ),
    "buckets of one histogram": lambda: (
        "# TYPE a histogram\n" + _filled(lambda at: f'a_bucket{{le="{at}"}} {at}\n')
    ),
    "labels of 60 KiB": lambda: _filled(lambda at: f'a{{b="{at}{"x" * 61_000}"}} 1\n'),
    "a thousand labels": lambda: _filled(_of_many_labels),
    "one sample again and again": lambda: "a 1\n" * (LARGEST // 4 - 16384),
    "blank lines": lambda: "a 1\n" + "\n" * (LARGEST - 65536),
    "remarks": lambda: "a 1\n" + "#\n" * (LARGEST // 2 - 65536),
    "one line": lambda: f'b 1\na{{b="{"x" * (LARGEST - 65536)}"}} 1\n',
    "characters of four bytes": lambda: (
        _filled(lambda at: f'a{{b="{at}😀"}} 1\n')
        .encode()[: LARGEST // 2]
        .decode("utf-8", "ignore")
        .rpartition("\n")[0]
        + "\n"
    ),
}
"""Bodies of 8 MiB that each make one thing as large as it can be."""


def body_of(kind: str, samples: int) -> tuple[str, str]:
    """A body, and its content type."""
    if kind in HOSTILE:
        return HOSTILE[kind](), "text/plain"
    if kind == "openmetrics":
        return "".join(exposition(samples, openmetrics=True)), "application/openmetrics-text"
    route = r"C:\\items\\{}\"x" if kind == "escapes" else "/api/v1/items/{}"
    return "".join(exposition(samples, route=route)), "text/plain"


# -- the endpoint


class Endpoint:
    """Serves an exposition and takes what is pushed, in a process of its own."""

    def __init__(self, kind: str, samples: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.exposition", "serve", kind, str(samples)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started = self._line()
        self.url: str = started["url"]
        self.size: int = started["size"]

    def _line(self) -> Any:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        return json.loads(self._process.stdout.readline())

    @property
    def scrapes(self) -> int:
        """How often it was scraped."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        print(file=self._process.stdin, flush=True)
        scrapes: int = self._line()
        return scrapes

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.communicate(timeout=30)


@contextmanager
def endpoint(kind: str, samples: int) -> Iterator[Endpoint]:
    """An endpoint, until the `with` is left."""
    serving = Endpoint(kind, samples)
    try:
        yield serving
    finally:
        serving.close()


def serve(kind: str, samples: int) -> None:
    """Serve, and say how often for every line of the standard input, until it ends."""
    text, content_type = body_of(kind, samples)
    body = text.encode()
    scrapes = 0

    def answer(request: Any) -> Response:
        nonlocal scrapes
        if request.path == SPOOL:
            return Response.of_json({"MessageId": "1"})
        if request.method != "GET":
            return Response(503 if request.path.startswith(DOWN) else 200)
        scrapes += 1
        return Response(200, body, content_type)

    with HttpServer(answer) as server:
        print(json.dumps({"url": server.url, "size": len(body)}), flush=True)
        for _ in sys.stdin:
            print(scrapes, flush=True)


# -- who scrapes it


@dataclass(frozen=True, slots=True)
class Taken:
    """What scraping and pushing an exposition took.

    Attributes:
        points: data points that were pushed: a histogram's lines are one.
        size: bytes of the body.
        each_s: of each warm run, the whole process's processor time.
        peak_bytes: the most memory that the whole process had.
    """

    points: int
    size: int
    each_s: tuple[float, ...]
    peak_bytes: int

    @property
    def cpu_s(self) -> float:
        """The median of the warm runs."""
        return statistics.median(self.each_s)

    def joined(self, later: Taken) -> Taken:
        """This and what the same took in another process."""
        peak_bytes = max(self.peak_bytes, later.peak_bytes)
        return Taken(self.points, self.size, self.each_s + later.each_s, peak_bytes)


def in_turns(program: Path | None, kind: str, samples: int) -> tuple[Taken, Taken | None]:
    """Have the collector and vmagent scrape an exposition in turns, a few times each.

    What else this machine does is then shared between them.

    Args:
        program: vmagent; None where it cannot be had.
    """
    ours, theirs = scrape(kind, samples), None
    if program is not None:
        theirs = scrape_by_vmagent(program, kind, samples)
        for _ in range(TURNS - 1):
            ours = ours.joined(scrape(kind, samples))
            theirs = theirs.joined(scrape_by_vmagent(program, kind, samples))
    return ours, theirs


def scrape(kind: str, samples: int, runs: int = 4, *, spooling: bool = False) -> Taken:
    """Have the collector scrape an exposition so many times in one new process.

    Args:
        spooling: whether the destination is down, so that everything is spooled.
    """
    with endpoint(kind, samples) as serving:
        environment = {
            "RELAY_KIND": "wyolet-relay",
            "RELAY_BASE_URL": serving.url,
            "OTEL_EXPORT_URL": f"{serving.url}/v1/metrics",
            "RELAY_TIMEOUT_MS": "60000",
            "OTEL_TIMEOUT_MS": "60000",
            "RELAY_MAX_RESPONSE_BYTES": str(1 << 30),
        }
        if spooling:
            environment |= {
                "OTEL_EXPORT_URL": f"{serving.url}{DOWN}/v1/metrics",
                "OTEL_TIMEOUT_MS": "1000",
                "SPOOL_QUEUE_URL": f"{serving.url}{SPOOL}",
                "AWS_ENDPOINT_URL_SQS": f"{serving.url}{SPOOL}",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
            }
        process = collect(environment, runs, spooling=spooling)
        each_s = tuple(run.cpu_s for run in process.warm)
        return Taken(process.runs[-1].samples, serving.size, each_s, process.peak_bytes)


def sdk_encoder_s(points: int) -> float:
    """The processor time of the SDK's encoder alone over so many points, the median of three."""
    ended = subprocess.run(
        [sys.executable, "-m", "bench.exposition", "encode", "", str(points)],
        cwd=ROOT,
        env=clean_environment(),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    return float(ended.stdout)


def encode(points: int) -> None:
    """Encode so many points three times, and print the median of the processor times."""
    sys.path.insert(0, str(ROOT / "layers" / "aggregator"))
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    from relay_metrics.convert.points import GAUGE, Points

    made = Points({"service.name": "bench"}, 1_750_000_000_000)
    for at in range(points):
        route = f"/api/v1/items/{at % SERIES}"
        labels = {"method": "GET", "route": route, "status": "200"}
        made.of().number(GAUGE, f"service_{at // SERIES}", at * 1.5, labels)
    data, taken = made.data(), []
    for _ in range(3):
        began = time.process_time()
        encode_metrics(data).SerializeToString()
        taken.append(time.process_time() - began)
    print(statistics.median(taken))


def vmagent() -> Path | None:
    """The program, from the PATH or Debian's package; None where it cannot be had."""
    ran = subprocess.run(
        [ROOT / "scripts" / "get-victoriametrics"], check=False, stdout=subprocess.PIPE, text=True
    )
    beside = Path(ran.stdout.strip() or ".").with_name("vmagent")
    return beside if ran.returncode == 0 and beside.exists() else None


def scrape_by_vmagent(program: Path, kind: str, samples: int) -> Taken:
    """Have vmagent scrape an exposition every two seconds and forward it.

    Its processor time is measured from one scrape to the next, all other work included; only
    on Linux.
    """
    with endpoint(kind, samples) as serving, tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "scrape.yml"
        host = serving.url.removeprefix("http://")
        config.write_text(
            "global: {scrape_interval: 2s, scrape_timeout: 2s}\n"
            f"scrape_configs: [{{job_name: bench, static_configs: [{{targets: ['{host}']}}]}}]\n"
        )
        process = subprocess.Popen(
            [
                *(program, f"-promscrape.config={config}", f"-remoteWrite.url={serving.url}/write"),
                *("-httpListenAddr=127.0.0.1:0", f"-remoteWrite.tmpDataPath={folder}/data"),
                "-promscrape.maxScrapeSize=1GB",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            clock = _cpu_clock(process.pid)
            taken = []
            for number in range(1, SCRAPES + 1):
                ends = time.monotonic() + 30
                while serving.scrapes < number:
                    if time.monotonic() > ends:
                        raise RuntimeError("vmagent does not scrape")
                    time.sleep(0.02)
                taken.append(time.clock_gettime(clock))
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            peak = int(found[1]) * 1024 if found else 0
        finally:
            process.terminate()
            process.wait(30)
        # the first scrape creates what later ones reuse
        each_s = tuple(later - before for before, later in pairwise(taken[1:]))
        return Taken(0, serving.size, each_s, peak)


def _cpu_clock(pid: int) -> int:
    """The clock of another process's processor time: to the nanosecond, ended threads included."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise ProcessLookupError(pid)
    return clock.value


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        encode(int(sys.argv[3]))
