"""Measure what a run costs, print it with its bounds, and exit with 1 if one is exceeded."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from bench.deployed import layer, peak_bytes
from bench.exposition import HOSTILE, in_turns, scrape, sdk_encoder_s, vmagent
from bench.former import MEMORY_MB, Former, former
from bench.imports import deployed, imports, installed
from bench.runs import LATENCY_S, Measured, measure
from bench.servers import Servers
from bench.table import Row, mb, ms, table

SCANS_PER_RUN = 10
"""The default of RELAY_SCANS_PER_RUN."""

MANY, MOST = 1000, 10_000
"""Keys; 10,000 are the default of RELAY_MAX_KEYS."""
SAMPLES = 100_000

MEMORY_SIZES_MB = (128, 256, 512, 1024)
DEPLOYED_MB = 256
"""The default of the template's MemorySize."""

RUNS = 730 * 60
"""One a minute, in a month as AWS counts it."""
SECONDS = RUNS * 60


def run_rows(measured: Sequence[Measured]) -> Iterator[Row]:
    """The duration of runs, and their requests to the relay."""
    one, *_, many, found, most = measured
    yield Row("a warm run for one key", ms(one.median_s), one.why, one.median_s / one.floor_s, 1.25)
    yield Row(many.name, ms(many.best_s), many.why, many.best_s / many.floor_s, 1.1)
    floor_s = found.floor_s + LATENCY_S
    against = f"{ms(floor_s)}: {found.why}, and a push"
    yield Row(found.name, ms(found.best_s), against, found.best_s / floor_s, 1.25)
    for what in (many, found):
        cpu_s = what.cpu_s / MANY
        yield Row(f"CPU a key, {what.name}", ms(cpu_s), "4 ms", cpu_s / 0.004, 1)
    peak = most.process.peak_bytes
    yield Row(f"peak memory, {most.name}", mb(peak), "200 MB", peak / 200e6, 1)
    for what in measured:
        scans = what.each.scans
        ratio = scans / SCANS_PER_RUN
        yield Row(f"scans a run, {what.name}", str(scans), str(SCANS_PER_RUN), ratio, 1)


def deployed_rows() -> Iterator[Row]:
    """The layer and the function, built as for Lambda."""
    with layer() as built:
        with Servers(1, LATENCY_S) as servers:
            peak = peak_bytes(built.folder, servers.one_key())
        yield Row("peak memory for one key", mb(peak), "90 MB", peak / 90e6, 1)
        size = built.zipped_bytes
        yield Row("the layer, zipped", mb(size), "5 MB", size / 5e6, 1)
        with installed() as sources:
            yield _import("import of the handler", sources, 1.1)
        yield _import("  compiled, as a cold start does", deployed(built.folder), None)


def _import(what: str, environment: Mapping[str, str], bound: float | None) -> Row:
    taken = imports(environment, processes=15)
    against = f"{ms(taken.packages_s)}: the packages alone"
    return Row(what, ms(taken.handler_s), against, taken.ratio, bound)


def exposition_rows() -> Iterator[Row]:
    """Large expositions, compared with the SDK's encoder and with vmagent, and hostile ones."""
    program = vmagent()
    if program is None:
        print("vmagent cannot be had here: its rows are skipped", file=sys.stderr)
    for kind in ("text", "openmetrics", "escapes"):
        ours, theirs = in_turns(program, kind, SAMPLES)
        encoder_s = sdk_encoder_s(ours.points)
        against = f"{ms(encoder_s)}: the SDK's encoder alone"
        what = f"{SAMPLES:,} samples, {kind}"
        yield Row(what, ms(ours.cpu_s), against, ours.cpu_s / encoder_s, 0.6)
        yield Row("  peak memory", mb(ours.peak_bytes), "110 MB", ours.peak_bytes / 110e6, 1)
        if theirs is not None:
            ratio = ours.cpu_s / theirs.cpu_s
            yield Row("  against vmagent", ms(ours.cpu_s), ms(theirs.cpu_s), ratio, 1.25)
            memory = (mb(ours.peak_bytes), mb(theirs.peak_bytes))
            yield Row("  memory of both", *memory, ours.peak_bytes / theirs.peak_bytes, None)
    for spooling in (False, True):
        ten_times = scrape("text", 10 * SAMPLES, 2, spooling=spooling)
        what = f"{10 * SAMPLES:,} samples{', all spooled' if spooling else ''}, peak memory"
        peak = ten_times.peak_bytes
        yield Row(what, mb(peak), "200 MB", peak / 200e6, 1)
    for kind in HOSTILE:
        taken = scrape(kind, 0, 2)
        yield Row(f"8 MiB of {kind}", f"{taken.cpu_s:.2f} s", "4 s", taken.cpu_s / 4, 1)
        yield Row("  peak memory", mb(taken.peak_bytes), "200 MB", taken.peak_bytes / 200e6, 1)


def in_a_run(measured: Sequence[Measured]) -> Iterator[Sequence[str]]:
    """The requests and bytes of a run, and how long it would take on Lambda."""
    yield (
        *("a warm run", "relay requests", "scans", "bytes in", "samples", "bytes out"),
        *("bytes/sample", "wall", "CPU", "peak"),
        *(f"at {memory} MB" for memory in MEMORY_SIZES_MB),
    )
    for one in measured:
        each = one.each
        yield (
            *(one.name, f"{each.requests}", f"{each.scans}", f"{each.relay_bytes:,}"),
            *(f"{one.samples:,}", f"{each.pushed_bytes:,}"),
            *(f"{each.pushed_bytes / one.samples:.1f}", ms(one.best_s), ms(one.cpu_s)),
            mb(one.process.peak_bytes),
            *(f"{one.on_lambda_s(memory):.2f} s" for memory in MEMORY_SIZES_MB),
        )


def beside_former(one: Measured, former: Former) -> Iterator[Sequence[str]]:
    """One key once a minute: with this project, with the former publisher, and in a container."""
    ours = RUNS * one.on_lambda_s(DEPLOYED_MB) * DEPLOYED_MB / 1024
    bytes_out = one.each.pushed_bytes
    yield "one key", "critical path", "bytes a push", "bytes/sample", "GB-seconds a month"
    yield (
        *(f"this, with {DEPLOYED_MB} MB of Lambda", ms(one.median_s), f"{bytes_out:,}"),
        *(f"{bytes_out / one.samples:.1f}", f"{ours:,.0f}"),
    )
    yield (
        *("the former publisher", ms(former.seconds), f"{former.body_bytes:,}"),
        *(f"{former.body_bytes / former.samples:.1f}", f"{MEMORY_MB / 1024 * SECONDS:,.0f}"),
    )
    yield (
        *("a container of 0.25 vCPU, 0.5 GB", "", "", ""),
        f"{0.5 * SECONDS:,.0f}, and {0.25 * SECONDS:,.0f} vCPU-seconds",
    )


def main() -> int:
    """Measure everything; the exit code is 1 where a bound is not kept."""
    measured = [
        measure(1, 10),
        measure(100, 6),
        measure(MANY, 4),
        measure(MANY, 4, discovered=True),
        measure(MOST, 2, discovered=True),
    ]
    rows = [*run_rows(measured), *deployed_rows(), *exposition_rows()]
    head = ("what", "measured", "against", "ratio", "bound", "")
    print(table([head, *(row.cells for row in rows)]), end="\n\n")
    print(table(in_a_run(measured)), end="\n\n")
    with Servers(1, LATENCY_S) as servers:
        print(table(beside_former(measured[0], former(servers, 9))))
    past = [row.what.strip() for row in rows if not row.within]
    print(f"\nPast their bounds: {'; '.join(past)}" if past else "\nAll within their bounds")
    return 1 if past else 0


if __name__ == "__main__":
    sys.exit(main())
