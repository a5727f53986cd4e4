"""A simulated Wyolet Relay: its usage API, and its `/metrics` as its Go client writes it.

Names, help, types, labels and buckets are those of Wyolet Relay's own exposition. Every tick
handles some requests and moves the overhead's median up and down over an hour of minutes, so that
its p99 crosses the promised 10 ms now and then. The same seed and number of ticks always give the
same figures, and a test reads them from the attributes.
"""

from __future__ import annotations

import math
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from local.http_server import HttpServer, Request, Response, Served
from local.relay.exposition import Histogram, by_label, family, go_float, head, histogram_lines
from local.relay.wyolet_usage import PREFIX, WyoletUsage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=values"
SOURCES = ("pipeline", "proxy", "ws")
# Share of a tick's requests by source; ws has never failed in the recorded exposition.
SHARE = {"pipeline": 0.85, "proxy": 0.12, "ws": 0.03}
TICKS_A_SWING = 60
INCIDENT_S = 2400

REQUEST_BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)
OVERHEAD_BOUNDS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.25, 0.5),
)
ADMISSION_BOUNDS = OVERHEAD_BOUNDS[:-1]
POST_FLIGHT_BOUNDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class WyoletRelay(Served):
    """Serves `/metrics` on loopback from the moment it is made until it is closed.

    Args:
        seed: of `tick`.
        requests_per_tick: how many requests a tick handles, on average.
        latency_s, port, tls: of the server.
        clock: epoch seconds; only `process_start_time_seconds` and the GC's instant show it.
        headers: what a request must carry (lower-case names), as behind a reverse proxy that
            authenticates; 401 without.
        usage: what answers under `/api/`; None where the administrator's API is switched off.
        overhead: the median of its own time by epoch seconds, in place of `overhead_median_s`'s.

    Attributes:
        requests: handled requests by (source, status class).
        histograms: by family name, then by source (`""` for the family without labels).
        inflight, queue_depth, records_lost, keys_down: by their one label.
        calls: requests by path. `server`, `url`: as ClaudeRelay's.
    """

    def __init__(  # noqa: PLR0913 - all that makes it another relay
        self,
        *,
        seed: int = 1,
        requests_per_tick: int = 300,
        latency_s: float = 0.0,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        headers: Mapping[str, str] | None = None,
        usage: WyoletUsage | None = None,
        overhead: Callable[[float], float] | None = None,
    ) -> None:
        self.usage = usage
        self._overhead = overhead
        self.seed = seed
        self.requests_per_tick = requests_per_tick
        self.clock = clock
        self.headers = dict(headers or {})
        self.ticks = 0
        self.started_at = clock()
        self.calls: Counter[str] = Counter()
        self.requests: Counter[tuple[str, str]] = Counter()
        self.records_lost: Counter[str] = Counter()
        self.keys_down: Counter[str] = Counter()
        self.inflight = dict.fromkeys((*SOURCES, "batch", "unknown"), 0)
        self.queue_depth = {"usage": 0, "payload": 0}
        self.histograms: dict[str, dict[str, Histogram]] = {
            "relay_request_seconds": {name: Histogram(REQUEST_BOUNDS) for name in SOURCES},
            "relay_overhead_seconds": {name: Histogram(OVERHEAD_BOUNDS) for name in SOURCES},
            "relay_admission_seconds": {name: Histogram(ADMISSION_BOUNDS) for name in SOURCES},
            "relay_post_flight_seconds": {"": Histogram(POST_FLIGHT_BOUNDS)},
        }
        self.gc = Counter(count=5)
        self.lock = threading.RLock()
        self.server = HttpServer(self._answer, port=port, latency_s=latency_s, tls=tls)
        self.url = self.server.url

    def overhead_median_s(self, at: float | None = None) -> float:
        """The overhead's median in the next tick: 0.8 to 4 ms over an hour of minutes.

        Or what `overhead` makes of the time, where it was given.
        """
        if self._overhead is not None:
            return self._overhead(self.clock() if at is None else at)
        swing = (1 - math.cos(2 * math.pi * self.ticks / TICKS_A_SWING)) / 2
        return 0.0008 * math.pow(5, swing)

    def tick(self, at: float | None = None) -> None:
        """Handle the requests of the minute that ends at `at`, epoch seconds, now by default."""
        with self.lock:
            median = self.overhead_median_s(at)
            self.ticks += 1
            rng = random.Random(f"{self.seed}:{self.ticks}")  # noqa: S311 - wanted repeatable
            for source in SOURCES:
                mean = self.requests_per_tick * SHARE[source]
                for _ in range(round(mean * rng.uniform(0.7, 1.3))):
                    self._handle(rng, source, median)
                self.inflight[source] = rng.randint(0, max(2, round(mean / 30)))
            self.queue_depth = {"usage": rng.randint(0, 8), "payload": rng.randint(0, 40)}
            if self.queue_depth["payload"] > 35:
                self.records_lost["payload"] += rng.randint(1, 3)
            if rng.random() < 0.3:
                self.keys_down[rng.choice(("rate_limit", "auth", "server_error"))] += 1
            self.gc["count"] += rng.randint(0, 2)

    def _handle(self, rng: random.Random, source: str, median: float) -> None:
        luck = rng.random()
        failed = source != "ws" and luck < 0.045
        status = ("5xx" if luck < 0.018 else "4xx") if failed else "2xx"
        self.requests[source, status] += 1
        families = self.histograms
        families["relay_request_seconds"][source].observe(rng.lognormvariate(0.2, 1.1))
        families["relay_post_flight_seconds"][""].observe(rng.lognormvariate(-7.0, 0.7))
        if status == "4xx":
            return  # refused before upstream: no overhead to speak of
        overhead = median * rng.lognormvariate(0, 0.75)
        families["relay_overhead_seconds"][source].observe(overhead)
        families["relay_admission_seconds"][source].observe(overhead * rng.uniform(0.3, 0.9))

    def exposition(self) -> str:
        """The text of `/metrics` now."""
        with self.lock:
            return "".join(f"{line}\n" for line in self._lines())

    def _answer(self, request: Request) -> Response:
        with self.lock:
            self.calls[request.path] += 1
        if self.usage is not None and request.path.startswith(PREFIX):
            return self.usage.answer(request)
        if (request.method, request.path) != ("GET", "/metrics"):
            return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")
        if any(request.headers.get(name.lower()) != value for name, value in self.headers.items()):
            return Response(401, b"unauthorized\n", "text/plain; charset=utf-8")
        return Response(200, self.exposition().encode(), CONTENT_TYPE)

    def _lines(self) -> Iterator[str]:
        yield from family(
            "relay_requests_total",
            "counter",
            "Total requests handled, by source runner and status class (2xx/4xx/5xx).",
            {
                f'source="{source}",status="{status}"': count
                for (source, status), count in sorted(self.requests.items())
            },
        )
        for name, text in HISTOGRAM_HELP.items():
            yield from head(name, "histogram", text)
            for source, histogram in self.histograms[name].items():
                yield from histogram_lines(name, source, histogram)
        yield from family(
            "relay_inflight_requests",
            "gauge",
            "Currently-open requests, by source runner. Streams count until body close.",
            by_label("source", self.inflight),
        )
        yield from family(
            "relay_records_lost_total",
            "counter",
            "Background records dropped due to a full emitter queue, by kind (usage/payload).",
            by_label("kind", self.records_lost),
        )
        yield from family(
            "relay_emit_queue_depth",
            "gauge",
            "Events waiting in a bounded emitter queue, by kind (usage/payload).",
            by_label("kind", self.queue_depth),
        )
        yield from family(
            "relay_provider_keys_down_total",
            "counter",
            "Times a pooled provider key was put into cooldown by a failure, by reason.",
            by_label("reason", self.keys_down),
        )
        yield from self._runtime()

    def _runtime(self) -> Iterator[str]:
        """The Go runtime's and the process's families."""
        name = "go_gc_duration_seconds"
        text = "A summary of the wall-time pause (stop-the-world) duration in garbage collection"
        yield from head(name, "summary", f"{text} cycles.")
        for quantile, seconds in GC_PAUSES.items():
            yield f'{name}{{quantile="{quantile}"}} {go_float(seconds)}'
        yield f"{name}_sum {go_float(self.gc['count'] * 0.00068)}"
        yield f"{name}_count {self.gc['count']}"
        allocated = 1.5557384e07 + self.ticks * 2.5e06
        moving = {
            "go_goroutines": 20 + sum(self.inflight.values()),
            "go_memstats_alloc_bytes_total": allocated,
            "go_memstats_last_gc_time_seconds": self.started_at + 60.0 * self.ticks,
            "process_cpu_seconds_total": round(0.11 + self.ticks * 0.37, 2),
            "process_network_receive_bytes_total": 7.83639846e08 + self.ticks * 4.1e05,
            "process_network_transmit_bytes_total": 2.4712299e07 + self.ticks * 1.3e06,
            "process_start_time_seconds": self.started_at,
        }
        for name, (kind, help_text, resting) in RUNTIME.items():
            labels = 'version="go1.24.4"' if name == "go_info" else ""
            yield from family(name, kind, help_text, {labels: moving.get(name, resting)})


def overhead_with_incident(began: float) -> Callable[[float], float]:
    """The median of a relay's overhead by time: within its promise but for 40 minutes.

    It is 0.6 to 0.8 ms over a day, of which the p99 is about six times as much; in the incident it
    rises to 5 ms and falls again.

    Args:
        began: when the incident did, epoch seconds.
    """

    def median_s(at: float) -> float:
        usual = 0.0007 + 0.0001 * math.sin(2 * math.pi * at / 86_400)
        inside = (at - began) / INCIDENT_S
        return usual + (0.004 * math.sin(math.pi * inside) if 0 < inside < 1 else 0.0)

    return median_s


HISTOGRAM_HELP = {
    "relay_request_seconds": "End-to-end request latency (handler entry to response closed).",
    "relay_overhead_seconds": "Relay overhead = total handler time minus the upstream call. "
    "Observed only when upstream was reached.",
    "relay_admission_seconds": "Time from request accept to upstream handoff (auth + rate-limit "
    "reserve + key selection). Observed only when upstream was reached.",
    "relay_post_flight_seconds": "Duration of the post-flight observer fan-out (hooks + "
    "collectors) per request.",
}
GC_PAUSES = {
    "0": 7.4471e-05,
    "0.25": 9.1106e-05,
    "0.5": 0.000102422,
    "0.75": 0.000173527,
    "1": 0.002959382,
}
# Type, help and value at rest.
RUNTIME: Mapping[str, tuple[str, str, float]] = {
    "go_goroutines": ("gauge", "Number of goroutines that currently exist.", 27),
    "go_info": ("gauge", "Information about the Go environment.", 1),
    "go_memstats_alloc_bytes": (
        "gauge",
        (
            "Number of bytes allocated in heap and currently in use. Equals to "
            "/memory/classes/heap/objects:bytes."
        ),
        9.218848e06,
    ),
    "go_memstats_alloc_bytes_total": (
        "counter",
        (
            "Total number of bytes allocated in heap until now, even if released already. "
            "Equals to /gc/heap/allocs:bytes."
        ),
        1.5557384e07,
    ),
    "go_memstats_heap_inuse_bytes": (
        "gauge",
        (
            "Number of heap bytes that are in use. Equals to /memory/classes/heap/objects:bytes + "
            "/memory/classes/heap/unused:bytes"
        ),
        1.1845632e07,
    ),
    "go_memstats_last_gc_time_seconds": (
        "gauge",
        "Number of seconds since 1970 of last garbage collection.",
        0,
    ),
    "go_threads": ("gauge", "Number of OS threads created.", 9),
    "process_cpu_seconds_total": (
        "counter",
        "Total user and system CPU time spent in seconds.",
        0.11,
    ),
    "process_max_fds": ("gauge", "Maximum number of open file descriptors.", 20000),
    "process_network_receive_bytes_total": (
        "counter",
        "Number of bytes received by the process over the network.",
        7.83639846e08,
    ),
    "process_network_transmit_bytes_total": (
        "counter",
        "Number of bytes sent by the process over the network.",
        2.4712299e07,
    ),
    "process_open_fds": ("gauge", "Number of open file descriptors.", 12),
    "process_resident_memory_bytes": ("gauge", "Resident memory size in bytes.", 6.680576e07),
    "process_start_time_seconds": (
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        0,
    ),
    "process_virtual_memory_bytes": ("gauge", "Virtual memory size in bytes.", 1.877245952e09),
    "process_virtual_memory_max_bytes": (
        "gauge",
        "Maximum amount of virtual memory available in bytes.",
        1.8446744073709552e19,
    ),
}
