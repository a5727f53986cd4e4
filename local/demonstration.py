"""What `make demo` does: run the whole way on this machine, and show what is in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from local.figures import Comparison, Counted, Day, Stored, counted, days, stored, used
from local.relay import ClaudeRelay, WyoletUsage
from local.runtime_api import Result
from local.sql import Database, SqlError
from local.stack import CREDENTIALS, Stack
from local.table import grown, milliseconds, moneys, table, whole

RUNS = 3
MINUTES_A_RUN = 10
"""Of simulated use before each run."""

PROMISE_S = 0.01
"""Wyolet Relay's: the 99th percentile of its own time stays under it."""

_MOST_ROWS = 25
_DAYS_SHOWN = 7


class DemoError(Exception):
    """A failure, with a message for the person who runs the demo."""


def demonstrate(variables: Mapping[str, str], *, show_logs: bool) -> str | None:
    """Run it; a sentence on what went wrong, None where the store holds what it should."""
    try:
        _demo(variables, show_logs=show_logs)
    except DemoError as error:
        return str(error)
    return None


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
        if stack.claude is not None and stack.database is not None:
            _backfill(stack)
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
            comparison = Comparison()
            if stack.claude is not None:
                _show_days(stack.database, stack.claude, comparison)
            _show(store)
            if stack.wyolet is not None and stack.wyolet.usage is not None:
                _show_usage(stack.database, stack.wyolet.usage, runs.asked_at, comparison)
            _check(stack, store, runs.own, comparison)
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
    """Variables that are set and have no effect."""
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
        asked_at: when each was, by the simulated relays' clock.
        errors: what a relay did not answer, each sentence once.
    """

    own: list[Counted] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def _backfill(stack: Stack) -> None:
    print("\nBack-filling the days before with the action of events/backfill.json", flush=True)
    for result in stack.backfill():
        if result.error:
            raise DemoError(f"the back-fill says: {result.error.message}")
        parts = [*result.payload["relays"], *result.payload["destinations"]]
        if failed := next((one["error"] for one in parts if one["error"]), None):
            raise DemoError(f"the back-fill says: {failed}")
        for relay in result.payload["relays"]:
            print(
                f"  back-fill  {relay['from']} to {relay['to']} of {relay['name']}: "
                f"{relay['samples']:,} points",
                flush=True,
            )


def _run(stack: Stack, *, show_logs: bool) -> Runs:
    """Invoke the collector. Raises DemoError if the run failed."""
    simulated = f", after {MINUTES_A_RUN} simulated minutes each" if stack.claude else ""
    print(f"\nInvoking the collector {RUNS} times with events/schedule.json{simulated}", flush=True)
    runs = Runs()
    for run in range(RUNS):
        stack.tick(MINUTES_A_RUN)
        own = _counted(stack)
        runs.asked_at.append(stack.clock())
        result = stack.collect()
        if show_logs:
            print("\n".join(f"    {line}" for line in result.logs))
        if result.error:
            raise DemoError(f"the collector says: {result.error.message}")
        if own:
            runs.own.append(own)
        print(f"  run {run + 1}      {_line(result)}", flush=True)
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


def _line(result: Result) -> str:
    """One line on an invocation."""
    relays = " + ".join(
        f"{relay['samples']:,} of {relay['name']}" for relay in result.payload["relays"]
    )
    pushed = sum(destination["pushed"] for destination in result.payload["destinations"])
    start = "a cold start and " if result.init_duration_ms else ""
    return f"{relays} = {pushed:,} points pushed, in {start}{result.duration_ms:.0f} ms"


def _show(store: Stored) -> None:
    if not store.instants:
        raise DemoError("the store holds nothing of these runs")
    last = len(store.instants) - 1
    keys = store.at(store.keys, last)
    if keys:
        number = "1 key" if len(keys) == 1 else f"{len(keys)} keys"
        cost, all_cost = moneys(row["cost_usd"] for row in keys)
        _print(
            f"{number}: what each has used since it was made, at the rates that it is charged",
            ("key", ">requests, run by run", ">tokens", ">rated cost, USD"),
            [
                (
                    row["relay_key_name"] or row["relay_key_id"],
                    grown(whole(one) for one in _history(store, row["relay_key_id"])),
                    whole(row["tokens"]),
                    usd,
                )
                for row, usd in zip(keys, cost, strict=True)
            ],
            (
                "all",
                grown(
                    whole(sum(row["requests"] for row in store.at(store.keys, run)))
                    for run in range(last + 1)
                ),
                whole(sum(row["tokens"] or 0 for row in keys)),
                all_cost,
            ),
        )
    if models := store.at(store.models, last):
        cost, all_cost = moneys(row["cost_usd"] for row in models)
        _print(
            f"What each key has used of each model ({models[0]['period']}), by the price list "
            "without a key's rate",
            ("key", "model", ">requests", ">tokens", ">real cost, USD"),
            [
                (
                    row["relay_key_name"] or row["relay_key_id"],
                    row["model"],
                    whole(row["requests"]),
                    whole(row["tokens"]),
                    usd,
                )
                for row, usd in zip(models, cost, strict=True)
            ],
            (
                "all",
                "",
                whole(sum(row["requests"] or 0 for row in models)),
                whole(sum(row["tokens"] or 0 for row in models)),
                all_cost,
            ),
        )
    if store.overhead:
        _show_overhead(store)
    _print(
        "The collector itself",
        ("relay", "kind", ">up, run by run", ">ms to ask it"),
        [
            (
                row["relay_name"],
                row["relay_kind"],
                grown(
                    whole(one["up"])
                    for one in store.health
                    if one["relay_name"] == row["relay_name"]
                ),
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


def _show_days(database: Database, claude: ClaudeRelay, comparison: Comparison) -> None:
    """What the back-fill delivered, day by day."""
    found = _asked(partial(days, database, claude))
    if not found:
        raise DemoError("the store holds no day")
    for (day, key_id), figures in found.items():
        own = claude.by_id[key_id].usage_in(day)
        what = f"{day}, key {key_id}"
        comparison.hold(f"{what}: requests", own.requests, figures.requests)
        comparison.hold(f"{what}: tokens", own.all_tokens, figures.tokens)
        comparison.hold(f"{what}: cost", own.rated_usd, figures.cost_usd)
    by_day: dict[str, list[Day]] = {}
    for (day, _), figures in found.items():
        by_day.setdefault(day, []).append(figures)
    earlier, shown = sorted(by_day)[:-_DAYS_SHOWN], sorted(by_day)[-_DAYS_SHOWN:]
    rows = [(day, by_day[day]) for day in shown]
    if earlier:
        before = [figures for day in earlier for figures in by_day[day]]
        rows.insert(0, (f"the {len(earlier)} days before", before))
    cost, all_cost = moneys(sum(one.cost_usd for one in figures) for _, figures in rows)
    _print(
        f"Back-filled: what all keys used on {len(by_day)} days of the relay's own calendar",
        ("day", ">keys used", ">requests", ">tokens", ">rated cost, USD"),
        [
            (
                day,
                "" if day.startswith("the") else whole(len(figures)),
                whole(sum(one.requests for one in figures)),
                whole(sum(one.tokens for one in figures)),
                usd,
            )
            for (day, figures), usd in zip(rows, cost, strict=True)
        ],
        (
            "all",
            "",
            whole(sum(one.requests for one in found.values())),
            whole(sum(one.tokens for one in found.values())),
            all_cost,
        ),
    )


def _show_usage(
    database: Database, usage: WyoletUsage, asked_at: Sequence[float], comparison: Comparison
) -> None:
    """What the Wyolet relay's minutes add up to; their times are before the runs."""
    for of in ("model", "key"):
        uses = _asked(partial(used, database, usage, of, asked_at))
        for one in uses:
            comparison.hold(f"usage of {of} {one.name}: cost", one.own_usd, one.usd)
            comparison.hold(f"usage of {of} {one.name}: requests", one.own_requests, one.requests)
        cost, all_cost = moneys(one.usd for one in uses)
        _print(
            f"The Wyolet relay's requests by {of}, minute by minute, added up",
            (of, ">requests", ">cost, USD"),
            [(one.name, whole(one.requests), usd) for one, usd in zip(uses, cost, strict=True)],
            ("all", whole(sum(one.requests for one in uses)), all_cost),
        )


_Answer = TypeVar("_Answer")


def _asked(ask: Callable[[], _Answer]) -> _Answer:
    try:
        return ask()
    except SqlError as error:
        raise DemoError(f"the store cannot be asked: {error}") from error


def _print(
    title: str,
    columns: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    total: tuple[str, ...] = (),
) -> None:
    print(f"\n{title}\n")
    for line in table(columns, rows[:_MOST_ROWS], total).splitlines():
        print(f"  {line}")
    if len(rows) > _MOST_ROWS:
        print(f"  {len(rows) - _MOST_ROWS} rows more are not shown")


def _check(stack: Stack, store: Stored, own: list[Counted], comparison: Comparison) -> None:
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
    before = comparison.equal
    for run, figures in enumerate(own):
        comparison.add(run, figures, store.counted(run))
    if comparison.different:
        shown = "\n  ".join(comparison.different[:10])
        raise DemoError(
            f"{len(comparison.different)} figures differ from the relays' own:\n  {shown}"
        )
    print(
        f"\nChecked: all {comparison.equal:,} figures in the store that the relays also count are "
        f"equal to theirs:\n{comparison.equal - before:,} of {RUNS} runs, {before:,} of days "
        "and minutes that are over. Nothing was lost, and nothing had to be spooled."
    )
