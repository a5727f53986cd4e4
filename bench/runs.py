"""Measures runs with a number of keys, and computes their duration on Lambda."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from bench.collector import Process, collect
from bench.floor import one_after_the_other_s, side_by_side_s
from bench.servers import Counts, Servers
from bench.table import ms

LATENCY_S = 0.1
"""The latency of each answer of the relay and the database: typical of a server that is reached
over the internet and asks a database of its own."""

CONCURRENCY = 16
"""The default of RELAY_CONCURRENCY."""


MB_OF_A_PROCESSOR = 1769
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""

SLOWER = 1.5
"""How much slower Lambda's arm64 processor is than this machine's; a high estimate."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The runs of one collector against servers of its own.

    Attributes:
        name: how many keys it has.
        each: what the servers saw in a warm run.
        floor_s: what the requests that it makes take by themselves, wall clock.
        why: the floor, in words.
    """

    name: str
    process: Process
    each: Counts
    floor_s: float
    why: str

    @property
    def median_s(self) -> float:
        """The median wall-clock time of the warm runs."""
        return statistics.median(run.wall_s for run in self.process.warm)

    @property
    def best_s(self) -> float:
        """The shortest wall-clock time of the warm runs, which other work disturbs least."""
        return min(run.wall_s for run in self.process.warm)

    @property
    def cpu_s(self) -> float:
        """The processor time of the best warm run."""
        return min(run.cpu_s for run in self.process.warm)

    @property
    def samples(self) -> int:
        """The data points that a run pushed."""
        return self.process.runs[-1].samples

    def on_lambda_s(self, memory_mb: int) -> float:
        """The duration of a warm run on Lambda with `memory_mb`: waiting and computing."""
        share = min(memory_mb / MB_OF_A_PROCESSOR, 1)
        return max(self.best_s - self.cpu_s, 0) + self.cpu_s * SLOWER / share


def measure(keys: int, runs: int, *, discovered: bool = False) -> Measured:
    """Measure the warm runs of a collector with a number of keys, and their floor.

    The floor of one key is a relay round trip and a push, since its requests run side by side. Of
    many it is their number × the latency ÷ how many are under way at once: the latency is measured
    with as many bare requests under way, on the same servers and machine.

    Args:
        runs: how many, the first of them cold.
        discovered: whether the keys are found by an administrator's login, or configured by id.
    """
    with Servers(keys, LATENCY_S) as servers:
        if discovered:
            name, environment = f"{keys:,} keys, discovered", servers.discovered()
        elif keys == 1:
            name, environment = "one key", servers.one_key()
        else:
            name, environment = f"{keys:,} keys", servers.configured()
        start = servers.counts()
        collect(environment, 1)
        cold = servers.counts()
        process = collect(environment, runs)
        each = servers.counts().since(cold).since(cold.since(start)).shared(runs - 1)
        if keys == 1:
            floor_s = one_after_the_other_s(servers, runs)
            why = f"{ms(floor_s)}: a round trip and a push"
        else:
            latency_s = side_by_side_s(servers, CONCURRENCY)
            floor_s = each.requests * latency_s / CONCURRENCY
            why = f"{ms(floor_s)}: {each.requests} × {ms(latency_s)} ÷ {CONCURRENCY}"
        return Measured(name, process, each, floor_s, why)
