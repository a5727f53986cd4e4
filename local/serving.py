"""What `make demo-serve` does: run after run of the collector, and the page of the store."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from local.page import History, serve_page
from local.sql import SqlError
from local.stack import Stack

SIMULATED_EVERY_S: Final = 5.0
OTHERS_EVERY_S: Final = 60.0
BEHIND_MINUTES: Final = 24 * 60
REPLAY_MINUTES: Final = 30
"""From run to run while the day is collected that the simulated relays have behind them."""


class Runs:
    """The runs of the collector, and their data for the page.

    Args:
        stack: the system; it has a database that answers SQL.
        every_s: the time from the start of one run to that of the next.
    """

    def __init__(self, stack: Stack, history: History, every_s: float) -> None:
        self._stack = stack
        self._history = history
        self._every_s = every_s
        self._count = 0
        self._left = BEHIND_MINUTES // REPLAY_MINUTES if stack.claude else 0
        self._trouble: str | None = None

    def figures(self) -> Mapping[str, Any]:
        """The data that the page shows."""
        return {
            **self._history.figures(),
            "run": self._count,
            "replaying": self._left,
            "simulated": self._stack.claude is not None,
            "every_s": self._every_s,
            "now": self._stack.clock() if self._stack.claude else time.time(),
            "trouble": self._trouble,
        }

    def go_on(self, stop: threading.Event) -> None:
        """Back-fill the days before, then run after run, until it is stopped."""
        if self._stack.claude is not None and not stop.is_set():
            self._deliver_days(stop)
        while not stop.is_set():
            began = time.monotonic()
            self._stack.tick(REPLAY_MINUTES if self._left else None)
            self._trouble = self._run()
            # Ctrl-C reaches the collector's process as well
            if self._trouble and not stop.is_set():
                print(f"  {self._trouble}", file=sys.stderr, flush=True)
            self._count += 1
            if self._left:
                self._left -= 1
            else:
                stop.wait(max(0.0, began + self._every_s - time.monotonic()))

    def _deliver_days(self, stop: threading.Event) -> None:
        for result in self._stack.backfill():
            if stop.is_set():
                return
            if result.error:
                print(f"  the back-fill says: {result.error.message}", file=sys.stderr, flush=True)
                return
            for relay in result.payload["relays"]:
                print(
                    f"  back-fill  {relay['from']} to {relay['to']} of {relay['name']}: "
                    f"{relay['samples']:,} points",
                    flush=True,
                )

    def _run(self) -> str | None:
        """One run; a sentence on what went wrong with it."""
        result = self._stack.replay() if self._left else self._stack.collect()
        if result.error:
            return f"the collector says: {result.error.message}"
        parts = [*result.payload["relays"], *result.payload["destinations"]]
        try:
            self._history.read()
        except SqlError as error:
            return f"the store cannot be asked: {error}"
        return next((one["error"] for one in parts if one["error"]), None)


def serve(port: int, host: str, every_s: float | None, stop: threading.Event) -> str | None:
    """Serve until `stop` is set.

    Args:
        every_s: from run to run; None for what suits the relays.

    Returns:
        A sentence on why it could not; None where it could.
    """
    behind_s = 60 * BEHIND_MINUTES
    began = round(1000 * (time.time() - behind_s))
    try:
        stack = Stack(os.environ, lambda part: print(f"  {part}", flush=True), behind_s=behind_s)
    except (OSError, RuntimeError, ValueError) as error:
        return None if stop.is_set() else str(error)
    with stack:
        if stack.database is None:
            return "OTEL_EXPORT_URL is not GreptimeDB's: there is no SQL to ask it by"
        simulated = SIMULATED_EVERY_S if stack.claude else OTHERS_EVERY_S
        history = History(stack.database, stack.environment["RELAY_ENVIRONMENT"], began)
        runs = Runs(stack, history, every_s or simulated)
        try:
            server = serve_page(runs.figures, port, host)
        except OSError as error:
            return (
                f"port {port} of {host}: {error.strerror}; take another: "
                "make demo-serve ARGS='--port 0'"
            )
        with server:
            if not stop.is_set():
                print(f"\nOpen {server.url} in a browser. Ctrl-C ends it.", flush=True)
            runs.go_on(stop)
    return None
