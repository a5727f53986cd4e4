"""Shards of one relay: each delivers its own run, and each counts where its relay is down."""

from __future__ import annotations

from local.http_server import Fault
from tests.integration.conftest import System
from tests.integration.receiver import number

SHARDS = ("1/2", "2/2")


def runs(system: System, name: str) -> dict[str | None, float]:
    """The latest value of a metric of the run, by shard."""
    return {
        dict(series).get("shard"): number(written)
        for ((metric, series), _), written in system.servers[-1].points.items()
        if metric == name
    }


def test_each_shard_delivers_its_own_run(system: System) -> None:
    system.claude()
    system.receiver()
    reports = {shard: system.collect({"shard": shard}).relay("claude") for shard in SHARDS}
    assert runs(system, "relay_up") == {"1/2": 1, "2/2": 1}
    # one key: one shard has its figures, the other none, and together they are the relay's
    assert min(runs(system, "relay_scrape_samples").values()) == 0
    assert all(one["up"] for one in reports.values())


def test_one_that_is_alone_has_no_shard(system: System) -> None:
    system.claude()
    system.receiver()
    system.collect({"shard": "1/1"})
    assert runs(system, "relay_up") == {None: 1}


def test_a_relay_that_is_down_counts_in_every_shard(system: System) -> None:
    relay = system.claude()
    system.receiver()
    system.collect({"shard": "1/2"})
    assert "RelaysDown" not in system.printed()
    relay.fault = lambda request: Fault(status=500)
    for shard in SHARDS:
        system.collect({"shard": shard})
        assert '"RelaysDown":[1.0]' in system.printed().replace(" ", "")
    assert runs(system, "relay_up") == {"1/2": 0, "2/2": 0}
    # what is not known by this environment alone is not delivered
    assert runs(system, "relay_last_success_timestamp_seconds").keys() == {"1/2"}
