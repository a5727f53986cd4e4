"""Keep the demo running, and serve a page of what it stores: `make demo-serve`.

The system is that of `make demo`. First a back-fill delivers the days that the simulated Claude
Relay Service has behind it, then the last day of the simulated relays is collected, half an hour by
half an hour, by a clock that is moved; from then on they live by this machine's clock. A relay of
yours (`RELAY_BASE_URL`, see `python -m local.demo --help`) is asked once a minute. Ctrl-C ends
everything.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import Final

PORT: Final = 8010
HIGHEST_PORT: Final = 65_535


def main() -> int:
    """Serve until interrupted; the exit status."""
    # importing the server takes a while: interrupts are handled from here on
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    arguments = _arguments()
    if not 0 <= arguments.port <= HIGHEST_PORT:
        return _failed(f"--port {arguments.port}: a port is a number from 0 to {HIGHEST_PORT}")
    print("Starting the system on this machine", flush=True)
    from local.serving import serve

    why = None if stop.is_set() else serve(arguments.port, arguments.host, arguments.every, stop)
    if why is not None:
        return _failed(why)
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
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="listen on this address; 0.0.0.0 lets containers and other machines see the page, "
        "by whatever name (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--every",
        type=_seconds,
        metavar="SECONDS",
        help="from run to run (default: 5, for a relay of yours 60)",
    )
    return parser.parse_args()


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("between 0.1 and 86400")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
