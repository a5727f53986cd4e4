"""Run the whole way on this machine, and show what is in the store: `make demo`.

Nothing is needed but what `make demo` installs, and nothing is left running. Two simulated relays,
a stand-in for GreptimeDB, Secrets Manager and SQS are started on loopback; a back-fill delivers
the days that the Claude Relay Service has behind it; the collector runs three times as Lambda would
run it, with events/schedule.json; then the store is asked by SQL, and its figures are held against
the relays' own.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys

_EPILOG = """
environment variables:
  RELAY_BASE_URL          read this relay in place of the simulated ones; its credential is one of
                            RELAY_API_ID, RELAY_API_KEY,
                            RELAY_ADMIN_USERNAME with RELAY_ADMIN_PASSWORD,
                          or with RELAY_KIND=wyolet-relay, where it needs any,
                            RELAY_HEADERS, a JSON object, RELAY_ADMIN_TOKEN
  OTEL_EXPORT_URL         push to this GreptimeDB in place of the stand-in, with
                            GREPTIME_USERNAME and GREPTIME_PASSWORD, and GREPTIME_DATABASE
  RELAY_ENVIRONMENT       the label of what is pushed (default: demo)

The collector's other variables, which docs/configuration.md lists, mean what they always do.

examples:
  make demo
  make demo ARGS=--logs
  RELAY_BASE_URL=https://relay.example.com RELAY_API_ID=… make demo
"""

_ENDING = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run the demo; the exit status: 0 where the store holds what it should, else 1."""
    heard: list[int] = []
    for number in _ENDING:
        signal.signal(number, lambda number, _: heard.append(number))
    try:
        arguments = _arguments()
        for stream in (sys.stdout, sys.stderr):
            # a terminal without UTF-8 shows marks for what it cannot, and the demo goes on
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        # importing takes a while, and an exception that a signal raises in it could get lost
        from local.demonstration import demonstrate

        for number in _ENDING:
            signal.signal(number, signal.default_int_handler)
        if heard:
            raise KeyboardInterrupt
        why = demonstrate(os.environ, show_logs=arguments.logs)
    except KeyboardInterrupt:
        print("\ninterrupted: everything that was started has ended", file=sys.stderr)
        return 130
    if why is not None:
        print(f"\nmake demo failed: {why}", file=sys.stderr)
        return 1
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


if __name__ == "__main__":
    sys.exit(main())
