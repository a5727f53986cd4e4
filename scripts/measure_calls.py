"""Measures the calls, scans and bytes of a run, at a simulated claude-relay.

    python -m scripts.measure_calls             the table of docs/relays.md, on the output
    python -m scripts.measure_calls --write     … put into docs/relays.md

A quarter of the keys have a window, and a tenth were never used.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.relay import ClaudeRelay, many_keys
from local.relay.demo import ADMIN, demo_accounts
from relay_metrics.deadline import Deadline
from relay_metrics.entry.event import Event
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.scrape import scrape_all

FILE = Path(__file__).parent.parent / "docs" / "relays.md"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"
COUNTS = (1, 100, 1000, 10_000)
SHARDS = 4
NOW_S = 1_782_864_000
"""Any minute; it decides which keys come in turn."""
STATS = "/apiStats/api/user-stats"


@dataclass(frozen=True)
class Cost:
    """The requests of one run to a relay; `stats` of them were to user-stats."""

    calls: int
    stats: int
    scans: int
    bytes: int


class _Secret:
    def __init__(self, secret: object) -> None:
        self._text = json.dumps(secret)

    def get(self, name: str, max_age: int, *, force_fetch: bool) -> str:  # noqa: ARG002 - as asked
        return self._text


def measure(keys: int, *, by_login: bool, shards: int = 1) -> list[Cost]:
    """The requests of a warm run of each shard to a relay with a number of keys.

    Args:
        by_login: whether the keys are found by an administrator's login, or configured by id.
    """
    accounts = demo_accounts(NOW_S)
    with ClaudeRelay(many_keys(keys), admin=ADMIN, accounts=accounts, clock=lambda: NOW_S) as relay:
        relay.tick()
        login = {"admin_username": ADMIN[0], "admin_password": ADMIN[1]}
        ids = {"api_ids": [key.id for key in relay.keys]}
        secret = {"relays": [{"base_url": relay.url, **(login if by_login else ids)}]}
        variables = {"SECRET_ID": "secret", "OTEL_EXPORT_URL": "http://127.0.0.1:1"}
        runtime = Runtime(
            {**variables, "LOG_LEVEL": "WARNING"}, _Secret(secret), clock=lambda: NOW_S * 10**9
        )
        invocation = Invocation(runtime)

        def run(shard: int) -> Cost:
            relay.calls.clear()
            relay.scans, before = 0, relay.server.bytes_out
            event = Event.of({"time": NOW_S * 1000, "shard": f"{shard}/{shards}"})
            (result,) = scrape_all(runtime, invocation, event, Deadline.after(600), lambda _: None)
            if result.error or not result.up:
                raise RuntimeError(f"the run went wrong: {result.error}")
            calls = relay.calls
            read = relay.server.bytes_out - before
            return Cost(calls.total(), calls[STATS], relay.scans, read)

        run(1)  # logs in
        return [run(shard) for shard in range(1, shards + 1)]


def table(counts: Sequence[int] = COUNTS) -> Iterator[str]:
    """The lines of the table."""
    yield "| keys | found by | calls | of them user-stats | scans | the relay sends |\n"
    yield "|---|---|---|---|---|---|\n"
    for count in counts:
        for found_by, by_login in (("login", True), ("their ids", False)):
            (cost,) = measure(count, by_login=by_login)
            yield _row(f"{count:,}", found_by, cost)
    count = counts[-1]
    for shard, cost in enumerate(measure(count, by_login=True, shards=SHARDS), 1):
        yield _row(f"{count:,}, shard {shard}/{SHARDS}", "login", cost)


def _row(keys: str, found_by: str, cost: Cost) -> str:
    calls, stats = f"{cost.calls:,}", f"{cost.stats:,}"
    return f"| {keys} | {found_by} | {calls} | {stats} | {cost.scans} | {_size(cost.bytes)} |\n"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"


def main() -> None:
    """The table, printed or written."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="put it into docs/relays.md")
    measured = "".join(table())
    if not parser.parse_args().write:
        print(measured, end="")
        return
    text = FILE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    FILE.write_text(f"{before}{BEGIN}\n{measured}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
