"""Run the whole way on this machine, and show what is in the store: `make demo`.

Nothing is needed but what `make demo` installs, and nothing is left running. Two simulated relays,
a stand-in for GreptimeDB, Secrets Manager and SQS are started on loopback; the collector runs three
times as Lambda would run it, with events/schedule.json; then the store is asked by SQL, and its
figures are held against the relays' own.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from local.figures import Comparison, Counted, Stored, counted, stored
from local.runtime_api import Result
from local.sql import Database, SqlError
from local.stack import CREDENTIALS, Stack
from local.table import grown, milliseconds, money, table, whole

RUNS = 3
MINUTES_A_RUN = 10
"""Of simulated use before each run."""

PROMISE_S = 0.01
"""Wyolet Relay's: the 99th percentile of its own time stays under it."""

_MOST_ROWS = 25
_EPILOG = """
environment variables:
  RELAY_BASE_URL          read this relay in place of the simulated ones; its credential is one of
                            RELAY_API_ID, RELAY_API_KEY,
                            RELAY_ADMIN_USERNAME with RELAY_ADMIN_PASSWORD,
                          or with RELAY_KIND=wyolet-relay, where it needs any,
                            RELAY_HEADERS, a JSON object
  OTEL_EXPORT_URL         push to this GreptimeDB in place of the stand-in, with
                            GREPTIME_USERNAME and GREPTIME_PASSWORD, and GREPTIME_DATABASE
  RELAY_ENVIRONMENT       the label of what is pushed (default: demo)

The collector's other variables, which docs/configuration.md lists, mean what they always do.

examples:
  make demo
  make demo ARGS=--logs
  RELAY_BASE_URL=https://relay.example.com RELAY_API_ID=… make demo
"""


class DemoError(Exception):
    """What went wrong, for the person who runs the demo."""


def main() -> int:
    """Run the demo; the exit status: 0 where the store holds what it should, else 1."""
    arguments = _arguments()
    for stream in (sys.stdout, sys.stderr):
        # a terminal without UTF-8 shows marks for what it cannot, and the demo goes on
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _demo(os.environ, show_logs=arguments.logs)
    except DemoError as error:
        print(f"\nmake demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: everything that was started has ended", file=sys.stderr)
        return 130
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.demo",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--logs", action="store_true", help="show the collector's log lines")
    return parser.parse_args()


def _demo(variables: Mapping[str, str], *, show_logs: bool) -> None:
    _check_credential(variables)
    for note in _notes(variables):
        print(f"note: {note}")
    print("Starting the system on this machine")
    began = time.time_ns() // 1_000_000
    try:
        stack = Stack(
            variables,
            lambda part: print(f"  {part}", flush=True),
            behind_s=60 * MINUTES_A_RUN * RUNS,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise DemoError(str(error)) from error
    with stack:
        runs = _run(stack, show_logs=show_logs)
        if stack.database is None:
            print(
                "\nOTEL_EXPORT_URL is not GreptimeDB's: what was pushed has to be looked for there."
            )
        else:
            print(f"\nAsking {stack.database.url} what is there", flush=True)
            try:
                store = stored(stack.database, began, stack.environment["RELAY_ENVIRONMENT"])
            except SqlError as error:
                raise DemoError(f"the store cannot be asked: {error}") from error
            _show(store)
            if stack.wyolet is not None:
                _show_usage(stack.database)
            _check(stack, store, runs.own)
        if runs.errors:
            raise DemoError("a relay did not answer everything:\n  " + "\n  ".join(runs.errors))


def _check_credential(variables: Mapping[str, str]) -> None:
    of_claude = ("RELAY_API_ID", "RELAY_API_KEY", "RELAY_ADMIN_USERNAME")
    needed = variables.get("RELAY_BASE_URL") and variables.get("RELAY_KIND") != "wyolet-relay"
    if needed and not any(variables.get(name) for name in of_claude):
        raise DemoError(
            "the relay in RELAY_BASE_URL needs a credential: set RELAY_API_ID, RELAY_API_KEY, or "
            "RELAY_ADMIN_USERNAME with RELAY_ADMIN_PASSWORD (RELAY_KIND=wyolet-relay needs none)"
        )


def _notes(variables: Mapping[str, str]) -> list[str]:
    """What is set and has no effect."""
    needs = {"relay": "RELAY_BASE_URL", "greptime": "OTEL_EXPORT_URL"}
    return [
        f"{name} has no effect without {needs[key.partition('_')[0]]}"
        for name, key in CREDENTIALS.items()
        if variables.get(name) and not variables.get(needs[key.partition("_")[0]])
    ]


@dataclass
class Runs:
    """What came of the runs.

    Attributes:
        own: what the simulated relays had counted at each; empty where a real one was read.
        errors: what a relay did not answer, each sentence once.
    """

    own: list[Counted] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def _run(stack: Stack, *, show_logs: bool) -> Runs:
    """Invoke the collector. Raises DemoError where nothing came of it."""
    simulated = f", after {MINUTES_A_RUN} simulated minutes each" if stack.claude else ""
    print(f"\nInvoking the collector {RUNS} times with events/schedule.json{simulated}", flush=True)
    runs = Runs()
    for run in range(RUNS):
        stack.tick(MINUTES_A_RUN)
        own = _counted(stack)
        result = stack.collect()
        if show_logs:
            print("\n".join(f"    {line}" for line in result.logs))
        if result.error:
            raise DemoError(f"the collector says: {result.error.message}")
        if own:
            runs.own.append(own)
        print(f"  run {run + 1}      {_told(result)}", flush=True)
        relays = result.payload["relays"]
        failed = [relay["error"] for relay in relays if relay["error"]]
        for destination in result.payload["destinations"]:
            if destination["error"]:
                raise DemoError(destination["error"])
        if not any(relay["up"] for relay in relays):
            raise DemoError("; ".join(failed) or "no relay is up")
        runs.errors += [error for error in failed if error not in runs.errors]
    return runs


def _counted(stack: Stack) -> Counted | None:
    """What the simulated relays have counted; None where a real one is read."""
    if stack.claude is None or stack.wyolet is None:
        return None
    period = stack.environment.get("RELAY_METRICS_PERIOD", "monthly")
    return counted(stack.claude, stack.wyolet, period)


def _told(result: Result) -> str:
    """One line on an invocation."""
    relays = ", ".join(
        f"{relay['samples']} points of {relay['name']}" for relay in result.payload["relays"]
    )
    pushed = sum(destination["pushed"] for destination in result.payload["destinations"])
    start = "a cold start and " if result.init_duration_ms else ""
    return f"{relays}; {pushed} pushed, in {start}{result.duration_ms:.0f} ms"


def _show(store: Stored) -> None:
    if not store.instants:
        raise DemoError("the store holds nothing of these runs")
    last = len(store.instants) - 1
    keys = store.at(store.keys, last)
    if keys:
        number = "1 key" if len(keys) == 1 else f"{len(keys)} keys"
        _print(
            f"{number}: what each has used since it was made",
            ("key", ">requests, run by run", ">tokens", ">cost USD"),
            [
                (
                    row["relay_key_name"] or row["relay_key_id"],
                    grown(whole(one) for one in _history(store, row["relay_key_id"])),
                    whole(row["tokens"]),
                    money(row["cost_usd"]),
                )
                for row in keys
            ],
        )
    if models := store.at(store.models, last):
        _print(
            f"Models: what each key has used of them ({models[0]['period']})",
            ("key", "model", ">requests", ">tokens", ">cost USD"),
            [
                (
                    row["relay_key_name"] or row["relay_key_id"],
                    row["model"],
                    whole(row["requests"]),
                    whole(row["tokens"]),
                    money(row["cost_usd"]),
                )
                for row in models
            ],
        )
    if store.overhead:
        _show_overhead(store)
    _print(
        "The collector itself",
        ("relay", "kind", ">up, run by run", ">points", ">ms"),
        [
            (
                row["relay_name"],
                row["relay_kind"],
                grown(
                    whole(one["up"])
                    for one in store.health
                    if one["relay_name"] == row["relay_name"]
                ),
                whole(row["samples"]),
                milliseconds(row["seconds"]),
            )
            for row in store.at(store.health, last)
        ],
    )


def _history(store: Stored, key_id: str) -> list[float]:
    return [row["requests"] for row in store.keys if row["relay_key_id"] == key_id]


def _show_overhead(store: Stored) -> None:
    runs = [store.overheads(run) for run in range(len(store.instants))]
    rows = []
    for source in runs[-1]:
        histograms = [run[source] for run in runs if source in run]
        p50, p99 = ([one.quantile(quantile) for one in histograms] for quantile in (0.5, 0.99))
        rows.append(
            (
                source,
                whole(sum(one.count for one in histograms)),
                grown(milliseconds(seconds) for seconds in p50),
                grown(milliseconds(seconds) for seconds in p99),
                "broken" if any(seconds >= PROMISE_S for seconds in p99) else "kept",
            )
        )
    _print(
        f"The relay's own time (relay_overhead_seconds): p99 under {milliseconds(PROMISE_S)} ms?",
        ("source", ">requests", ">p50 ms, run by run", ">p99 ms, run by run", "promise"),
        rows,
    )


def _show_usage(database: Database) -> None:
    """What the Wyolet relay's minutes add up to; their times are before the runs."""
    for of, column in (("model", "model"), ("key", "relay_key_id")):
        rows = database.query(
            f"SELECT {column}, sum(greptime_value) AS usd FROM relay_usage_by_{of}_cost_usd "  # noqa: S608 - both are ours
            f"WHERE relay_name = 'wyolet' GROUP BY {column} ORDER BY usd DESC"
        )
        _print(
            f"The Wyolet relay's cost by {of}, minute by minute, added up",
            (of, ">cost USD"),
            [(row[column] or "(none)", money(row["usd"])) for row in rows],
        )


def _print(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    print(f"\n{title}\n")
    for line in table(columns, rows[:_MOST_ROWS]).splitlines():
        print(f"  {line}")
    if len(rows) > _MOST_ROWS:
        print(f"  … and {len(rows) - _MOST_ROWS} more")


def _check(stack: Stack, store: Stored, own: list[Counted]) -> None:
    """Say whether the store holds what it should. Raises DemoError where it does not."""
    if len(store.instants) != RUNS:
        raise DemoError(f"the store holds {len(store.instants)} runs of {RUNS}")
    for name, queue in (
        ("spool", stack.aws.spool_url),
        ("dead-letter queue", stack.aws.dead_letters_url),
    ):
        if waiting := stack.aws.waiting(queue):
            raise DemoError(f"{waiting} messages are in the {name}")
    if not own:
        print(f"\nAll {RUNS} runs are in the store; nothing had to be spooled.")
        return
    comparison = Comparison()
    for run, figures in enumerate(own):
        comparison.add(run, figures, store.counted(run))
    if comparison.different:
        shown = "\n  ".join(comparison.different[:10])
        raise DemoError(
            f"{len(comparison.different)} figures differ from the relays' own:\n  {shown}"
        )
    print(
        f"\nChecked: all {comparison.equal} figures of {RUNS} runs in the store are the relays'"
        " own; nothing had to be spooled."
    )


if __name__ == "__main__":
    sys.exit(main())
