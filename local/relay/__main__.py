"""Run a simulated relay until interrupted: `python -m local.relay --help`."""

from __future__ import annotations

import argparse
import time

from local.relay.claude import ClaudeRelay
from local.relay.demo import ADMIN, for_demo, many_keys
from local.relay.wyolet import WyoletRelay


def main() -> None:
    """Serve, tick, and say what to point a collector at."""
    parser = argparse.ArgumentParser(prog="python -m local.relay", description=__doc__)
    parser.add_argument("--kind", choices=("claude-relay", "wyolet-relay"), default="claude-relay")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--keys", type=int, help="this many keys in place of the demo's three")
    parser.add_argument("--tick-seconds", type=float, default=5.0, help="usage grows this often")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="least time of an answer")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same usage")
    options = parser.parse_args()
    # as soon as it answers somebody may interrupt it
    try:
        with _relay(options) as relay:
            print(f"{options.kind} at {relay.url}", flush=True)
            if isinstance(relay, ClaudeRelay):
                print(f"administrator: {ADMIN[0]} {ADMIN[1]}", flush=True)
                for key in relay.keys[:3]:
                    print(f"key {key.name!r}: id {key.id}", flush=True)
            while True:
                time.sleep(options.tick_seconds)
                relay.tick()
    except KeyboardInterrupt:
        print("stopped", flush=True)


def _relay(options: argparse.Namespace) -> ClaudeRelay | WyoletRelay:
    latency_s = options.latency_ms / 1000
    if options.kind == "wyolet-relay":
        return WyoletRelay(seed=options.seed, port=options.port, latency_s=latency_s)
    if options.keys is None:
        return for_demo(seed=options.seed, port=options.port, latency_s=latency_s)
    relay = ClaudeRelay(
        many_keys(options.keys),
        admin=ADMIN,
        seed=options.seed,
        port=options.port,
        latency_s=latency_s,
    )
    relay.tick()
    return relay


if __name__ == "__main__":
    main()
