"""Keep the demo running, and serve a page of what it stores: `make demo-serve`.

The system is that of `make demo`. First the last day of the simulated relays is collected, half an
hour by half an hour, by a clock that is moved; from then on they live by this machine's clock. A
relay of yours (`RELAY_BASE_URL`, see `python -m local.demo --help`) is asked once a minute. Ctrl-C
ends everything.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from local.page import History, serve_page
from local.sql import SqlError
from local.stack import Stack

PORT: Final = 8010
SIMULATED_EVERY_S: Final = 5.0
OTHERS_EVERY_S: Final = 60.0
BEHIND_MINUTES: Final = 24 * 60
REPLAY_MINUTES: Final = 30
"""From run to run while the day is collected that the simulated relays have behind them."""


class Runs:
    """The runs of the collector, and what the page is told of them.

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
        """What the page shows."""
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
        """Run after run, until it is told to stop."""
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

    def _run(self) -> str | None:
        """One run; a sentence on what went wrong with it."""
        result = self._stack.replay() if self._left else self._stack.collect()
        if result.error:
            return f"the collector says: {result.error.message}"
        told = [*result.payload["relays"], *result.payload["destinations"]]
        try:
            self._history.read()
        except SqlError as error:
            return f"the store cannot be asked: {error}"
        return next((one["error"] for one in told if one["error"]), None)


def main() -> int:
    """Serve until interrupted; the exit status."""
    arguments = _arguments()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print("Starting the system on this machine")
    behind_s = 60 * BEHIND_MINUTES
    began = round(1000 * (time.time() - behind_s))
    try:
        stack = Stack(os.environ, lambda part: print(f"  {part}", flush=True), behind_s=behind_s)
    except (OSError, RuntimeError, ValueError) as error:
        return _failed(str(error))
    with stack:
        if stack.database is None:
            return _failed("OTEL_EXPORT_URL is not GreptimeDB's: there is no SQL to ask it by")
        every_s = arguments.every or (SIMULATED_EVERY_S if stack.claude else OTHERS_EVERY_S)
        history = History(stack.database, stack.environment["RELAY_ENVIRONMENT"], began)
        runs = Runs(stack, history, every_s)
        try:
            server = serve_page(runs.figures, arguments.port)
        except OSError as error:
            return _failed(
                f"port {arguments.port}: {error.strerror}; take another: "
                "make demo-serve ARGS='--port 0'"
            )
        with server:
            print(f"\nOpen {server.url} in a browser. Ctrl-C ends it.", flush=True)
            runs.go_on(stop)
    print("\neverything that was started has ended", flush=True)
    return 0


def _failed(why: str) -> int:
    print(f"\nmake demo-serve failed: {why}", file=sys.stderr)
    return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--port", type=int, default=PORT, help=f"0 takes a free one (default: {PORT})"
    )
    parser.add_argument(
        "--every",
        type=_seconds,
        metavar="SECONDS",
        help=f"from run to run (default: {SIMULATED_EVERY_S:.0f}, "
        f"for a relay of yours {OTHERS_EVERY_S:.0f})",
    )
    return parser.parse_args()


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("between 0.1 and 86400")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
