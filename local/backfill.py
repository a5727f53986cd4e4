"""`make backfill`: delivers a relay's past, call after call until done, with a bar of progress.

With STACK the back-fill function of that stack is invoked; without, the collector runs on this
machine, as `make check` runs it. A dry run says first what will be asked of the relays. Where a
relay has to scan its database for an answer, it is asked once a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from local.stack import Stack

Event = dict[str, Any]
Invoke = Callable[[Event], dict[str, Any]]

EPILOG: Final = """\
variables:
  STACK     the name of the CloudFormation stack; without it RELAY_BASE_URL and OTEL_EXPORT_URL
            with their credentials, as `make demo ARGS=--help` lists them
  FROM, TO  dates, both inclusive (default: the 32 days before today)
  RELAYS    names, with commas between (default: all)
  MODELS=1  each key's models by day as well
  SCANS     scans of a relay's database that a call may make (default: RELAY_SCANS_PER_RUN)
  DRY_RUN=1 only say what would be asked and delivered

examples:
  make backfill STACK=relay-metrics FROM=2026-10-01
  make backfill STACK=relay-metrics FROM=2026-10-01 TO=2026-10-31 MODELS=1
  make backfill RELAY_BASE_URL=https://relay.example.com RELAY_ADMIN_USERNAME=… \\
    RELAY_ADMIN_PASSWORD=… OTEL_EXPORT_URL=https://greptimedb.example.com \\
    GREPTIME_USERNAME=… GREPTIME_PASSWORD=… FROM=2026-10-01

It can be stopped and begun again at any time: what is delivered twice changes nothing. The exit
code is 0 where all was delivered, 1 where something is left, 2 where it could not be run at all,
and 130 where it was stopped by Ctrl-C.
"""
MINUTE_S: Final = 60.0
TRIES: Final = 3
"""Calls without any progress, after which it ends."""
INVOCATION_S: Final = 900
_OUTPUT: Final = "BackfillFunctionName"
_BAR: Final = 30


class BackfillError(Exception):
    """A failure, with a message for the person who runs it."""


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m local.backfill",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        event = event_of(os.environ)
        with _invoker(os.environ) as invoke:
            return run(invoke, event, dry_run=bool(os.environ.get("DRY_RUN")))
    except (BackfillError, OSError, RuntimeError, ValueError) as error:
        print(f"make backfill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped: begin it again at any time", file=sys.stderr)
        return 130


def event_of(variables: Mapping[str, str]) -> Event:
    """The event that the variables ask for.

    Raises:
        BackfillError: one has a value that it cannot have.
    """
    event: Event = {"action": "backfill"}
    for name in ("FROM", "TO"):
        if text := variables.get(name, "").strip():
            event[name.lower()] = text
    if names := [name.strip() for name in variables.get("RELAYS", "").split(",") if name.strip()]:
        event["relays"] = names
    if variables.get("MODELS"):
        event["models"] = True
    if scans := variables.get("SCANS", "").strip():
        if not scans.isdigit():
            raise BackfillError("SCANS must be a whole number")
        event["scans"] = int(scans)
    return event


def run(
    invoke: Invoke,
    event: Event,
    *,
    dry_run: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Print the plan, back-fill call after call, and print the result. Returns the exit code."""
    plan = invoke({**event, "dry_run": True})
    for relay in plan["relays"]:
        print(f"  {_planned(relay)}")
    if dry_run:
        return 1 if any(relay["error"] for relay in plan["relays"]) else 0
    scanning = {one["name"] for one in plan["relays"] if one.get("scans")}
    progress = Progress({one["name"]: _days(one["from"], one["to"]) for one in plan["relays"]})
    progress.show()
    left: Event | None = event
    idle = 0
    while left is not None:
        began = time.monotonic()
        report = invoke(left)
        progress.count(report)
        idle = idle + 1 if report["next"] == left and not progress.progressed else 0
        left = report["next"]
        if idle == TRIES:
            break
        # without a relay that scans its database, the next call follows at once
        scans = any(one["name"] in scanning for one in report["relays"])
        progress.show(waits=left is not None and scans)
        if left is not None and scans:
            sleep(max(0.0, began + MINUTE_S - time.monotonic()))
    progress.end()
    if left is not None:
        print(f"\nNot all was delivered. To go on later: FROM={left.get('from', '…')}")
    return 1 if left is not None or progress.errors else 0


@dataclass
class Progress:
    """What was delivered so far.

    Attributes:
        wanted: how many days are to be delivered, by relay.
        delivered: the first and last day that were, by relay.
        points: data points, by relay.
        errors: sentences of the last call.
        progressed: whether the last call delivered anything.
    """

    wanted: dict[str, int]
    delivered: dict[str, tuple[str, str]] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    progressed: bool = False
    _began: float = field(default_factory=time.monotonic)

    def count(self, report: Mapping[str, Any]) -> None:
        """Add what a call delivered."""
        self.errors, self.progressed = [], False
        for one in (*report["relays"], *report["destinations"]):
            if one["error"]:
                self.errors.append(one["error"])
        for relay in report["relays"]:
            if relay["from"] is None:
                continue
            self.progressed = True
            name = relay["name"]
            first = self.delivered.get(name, (relay["from"], ""))[0]
            self.delivered[name] = min(first, relay["from"]), relay["to"]
            self.points[name] = self.points.get(name, 0) + relay["samples"]

    def show(self, *, waits: bool = False) -> None:
        """The bar; on a terminal in place of the one before."""
        total = sum(self.wanted.values())
        done = min(sum(_days(*days) for days in self.delivered.values()), total)
        filled = _BAR * done // total if total else _BAR
        line = (
            f"  [{'#' * filled}{'.' * (_BAR - filled)}] {done} of {total} days, "
            f"{sum(self.points.values()):,} points{self._left(done, total)}"
            f"{', next call in a minute' if waits else ''}"
        )
        print(f"\r{line:<100}" if sys.stdout.isatty() else line, end="", flush=True)
        if not sys.stdout.isatty():
            print(flush=True)

    def _left(self, done: int, total: int) -> str:
        if not 0 < done < total:
            return ""
        seconds = (time.monotonic() - self._began) / done * (total - done)
        return f", about {max(1, round(seconds / 60))} min left"

    def end(self) -> None:
        """What was delivered of each relay, and the failures of the last call."""
        print()
        for name, (first, last) in sorted(self.delivered.items()):
            print(f"  {name}: {first} to {last}, {self.points[name]:,} points")
        for error in self.errors:
            print(f"  → {error}")


def _planned(relay: Mapping[str, Any]) -> str:
    if relay["error"] and relay["from"] is None:
        return f"{relay['name']}: {relay['error']}"
    if relay["from"] is None:
        return f"{relay['name']}: nothing to deliver"
    asked = sum(relay.get("requests", {}).values())
    scans = f", of which {relay['scans']} scan its database" if relay.get("scans") else ""
    text = (
        f"{relay['name']}: {relay['from']} to {relay['to']}, {asked:,} requests{scans}, "
        f"at most {relay['samples']:,} points"
    )
    return f"{text}; {relay['error']}" if relay["error"] else text


def _days(first: str | None, last: str | None) -> int:
    if first is None or last is None:
        return 0
    return (date.fromisoformat(last) - date.fromisoformat(first)).days + 1


@contextmanager
def _invoker(variables: Mapping[str, str]) -> Iterator[Invoke]:
    """A function that invokes the stack's function, or the one on this machine."""
    if stack := variables.get("STACK", "").strip():
        yield _of_stack(stack)
        return
    with Stack(variables, lambda line: print(f"  {line}", flush=True)) as system:

        def invoke(event: Event) -> dict[str, Any]:
            result = system.collector.invoke(event)
            if result.error is not None:
                raise BackfillError(result.error.message)
            payload: dict[str, Any] = result.payload
            return payload

        yield invoke


def _of_stack(stack: str) -> Invoke:
    # on this machine nothing of AWS is needed
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
    except (BotoCoreError, ClientError) as error:
        raise BackfillError(f"the stack {stack}: {error}") from error
    if _OUTPUT not in outputs:
        raise BackfillError(f"the stack {stack} has no output {_OUTPUT}: deploy this release")
    # invoking it once more while it runs would ask the relay twice
    patient = Config(read_timeout=INVOCATION_S + 20, retries={"total_max_attempts": 1})
    functions = boto3.client("lambda", config=patient)

    def invoke(event: Event) -> dict[str, Any]:
        try:
            answer = functions.invoke(FunctionName=outputs[_OUTPUT], Payload=json.dumps(event))
        except (BotoCoreError, ClientError) as error:
            raise BackfillError(str(error)) from error
        payload: dict[str, Any] = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise BackfillError(str(payload.get("errorMessage", payload)))
        return payload

    return invoke


if __name__ == "__main__":
    sys.exit(main())
