"""Scrapes a claude-relay: a few configured keys, or the whole relay."""

from __future__ import annotations

from relay_metrics.errors import RelayError
from relay_metrics.relays import Fetched
from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.keys import Identity, configured, in_shard
from relay_metrics.relays.claude.records import Records, State
from relay_metrics.relays.claude.settings import Login, access
from relay_metrics.relays.claude.stats import BATCH_SIZE
from relay_metrics.relays.client import RelayClient
from relay_metrics.relays.phases import Request

__all__ = ["State", "fetch"]


def fetch(client: RelayClient, kept: State) -> Fetched:
    """Scrape the configured keys; with an administrator's login, all keys and the relay itself."""
    everyone, without_id = configured(client, kept.key_ids)
    keys = [key for key in everyone if in_shard(key.id, client.shard)]
    login = access(client.relay).login
    environment = client.environment
    if login is None and not keys and everyone:
        fetched = _whether_up(client, kept, everyone[:BATCH_SIZE])
    elif (
        login is None
        and 2 * len(keys) <= environment.scans_per_run
        and len(keys) <= environment.max_keys
    ):
        fetched = _a_few(client, kept, keys)
    else:
        # not imported for a few keys
        from relay_metrics.relays.claude.whole import Whole

        administrator = None if login is None else _administrator(client, kept, login)
        fetched = Whole(client, kept, keys, administrator).run()
        if login is not None and administrator is None:
            fetched = fetched._replace(up=False)
    if client.shard.first:
        fetched = fetched._replace(keys_failed=fetched.keys_failed + without_id)
    return fetched


def _a_few(client: RelayClient, kept: State, keys: list[Identity]) -> Fetched:
    """Scrape a few configured keys, with all requests at once.

    A key takes up to two scans: one for its models, and one for its user-stats if it never had a
    cost. The caller has made sure that so many are allowed.
    """
    records = Records(client, kept, keys)
    ids = list(records.of)
    client.together(
        [*map(records.stats, ids), *map(records.models, ids), *records.batches(ids)],
    )
    return Fetched(
        up=records.accepted,
        readings=tuple(records.readings()),
        keys_failed=records.failed,
        models_left_out=records.models_left_out,
    )


def _whether_up(client: RelayClient, kept: State, keys: list[Identity]) -> Fetched:
    """Check that the relay is up, with keys of other shards, if this shard has no keys."""
    records = Records(client, kept, keys)
    client.together([records.batch([key.id for key in keys])])
    healthy: list[object] = []
    if not records.accepted and client.environment.scans_per_run > 0:
        client.together([records.stats(keys[0].id)])  # it may scan; an older relay has no batch
    elif not records.accepted:
        from relay_metrics.relays.claude.at_large import HEALTH, health

        client.together([Request(HEALTH, lambda: health(client), healthy.append)])
    return Fetched(up=records.accepted or bool(healthy), keys_failed=records.failed)


def _administrator(client: RelayClient, kept: State, login: Login) -> Administrator | None:
    """The administrator, logged in; None if the login failed."""
    administrator = Administrator(client, kept.sessions, login)
    try:
        administrator.enter()
    except RelayError as error:
        client.failed(error)
        return None
    return administrator
