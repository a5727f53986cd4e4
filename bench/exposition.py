"""A large Prometheus exposition on its whole way from text to OTLP bytes, in a process of its own.

taken = convert_text(100_000)
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.collector import clean_environment, peak_bytes

ROOT = Path(__file__).parents[1]
TIME_MS = 1_750_000_000_000
BUCKETS = ("0.005", "0.01", "0.05", "0.1", "0.5", "1", "5", "+Inf")
SERIES = 250
"""Of a family: a service's routes, methods and statuses."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What it took.

    Attributes:
        samples: lines of the exposition that are samples.
        points: data points made of them: a histogram's lines are one.
        size: bytes of the text; `body_bytes` those of the OTLP request, compressed.
        seconds: from text to bytes, processor time.
        peak_bytes: the most memory that the whole process had.
    """

    samples: int
    points: int
    size: int
    body_bytes: int
    seconds: float
    peak_bytes: int


def convert_text(samples: int) -> Taken:
    """Convert an exposition of about so many samples in a new process."""
    told = subprocess.run(
        [sys.executable, "-m", "bench.exposition", str(samples)],
        cwd=ROOT,
        env=clean_environment(),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    return Taken(**json.loads(told.stdout))


def exposition(samples: int) -> Iterator[str]:
    """The lines: a third of the samples each are of counters, of gauges, of histograms."""
    number, written = 0, 0
    while written < samples:
        for line in _family(number):
            written += not line.startswith("#")
            yield line
            if written == samples:
                return
        number += 1


def _family(number: int) -> Iterator[str]:
    kind = ("counter", "gauge", "histogram")[number % 3]
    name = (
        f"service_{number}_" + {"counter": "total", "gauge": "open", "histogram": "seconds"}[kind]
    )
    yield f"# HELP {name} What a service of many routes says of itself.\n"
    yield f"# TYPE {name} {kind}\n"
    for one in range(SERIES if kind != "histogram" else SERIES // (len(BUCKETS) + 2)):
        labels = f'method="GET",route="/api/v1/items/{one}",status="200"'
        if kind == "histogram":
            for at, bound in enumerate(BUCKETS):
                yield f'{name}_bucket{{{labels},le="{bound}"}} {at * one}\n'
            yield f"{name}_sum{{{labels}}} {one * 0.25}\n"
            yield f"{name}_count{{{labels}}} {(len(BUCKETS) - 1) * one}\n"
        else:
            yield f"{name}{{{labels}}} {one * 1.5}\n"


def main(samples: int) -> None:
    """Convert one, and print what it took."""
    sys.path.insert(0, str(ROOT / "layers" / "aggregator"))
    from relay_metrics.deliver.pieces import Piece
    from relay_metrics.relays.prometheus.exposition import read
    from relay_metrics.relays.prometheus.families import assemble
    from relay_metrics.snapshot import Snapshot

    text = "".join(exposition(samples)).encode()
    began = time.process_time()
    families = assemble(read(text, "text/plain"), TIME_MS)
    resource = {"service.name": "bench", "service.instance.id": "127.0.0.1:8081"}
    snapshot = Snapshot("wyolet-relay", "bench", TIME_MS, resource, families=families)
    request = Piece(snapshot).request
    seconds = time.process_time() - began
    if request is None:
        raise ValueError("it is more than one request")
    taken = {
        "samples": samples,
        "points": request.points,
        "size": len(text),
        "body_bytes": len(request.body),
        "seconds": seconds,
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(taken))


if __name__ == "__main__":
    main(int(sys.argv[1]))
