"""Serve the stand-in on its own: `python -m local.greptimedb --port 4000`."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

from local.greptimedb.server import OTLP_PATH, SQL_PATH, GreptimeDB

PASSWORD_VARIABLE = "GREPTIME_PASSWORD"  # noqa: S105 - its name, not its value


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m local.greptimedb",
        description="A stand-in for GreptimeDB on 127.0.0.1: OTLP metrics in, SQL out.",
    )
    parser.add_argument("--port", type=int, default=4000, help="0 takes a free one (default: 4000)")
    parser.add_argument("--path", type=Path, help="a file to keep the data in (default: memory)")
    parser.add_argument(
        "--database", action="append", help="a database beside `public`; may be repeated"
    )
    parser.add_argument(
        "--username",
        help=f"ask for this user's Basic credential; its password is read from {PASSWORD_VARIABLE}",
    )
    arguments = parser.parse_args()
    password = os.environ.get(PASSWORD_VARIABLE)
    if arguments.username and not password:
        parser.error(f"--username needs the password in {PASSWORD_VARIABLE}")
    # Before any thread is started, so that none of them takes a signal and dies of it.
    stop_signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    with GreptimeDB(
        username=arguments.username,
        password=password if arguments.username else None,
        databases=["public", *(arguments.database or ())],
        port=arguments.port,
        path=arguments.path,
    ) as db:
        print(f"OTLP metrics: POST {db.url}{OTLP_PATH}", flush=True)
        print(f"SQL:          POST {db.url}{SQL_PATH}?db=public, form field sql", flush=True)
        signal.sigwait(stop_signals)


if __name__ == "__main__":
    main()
