"""A Claude Relay Service: what its keys use and may use, and how it is itself."""

from __future__ import annotations

from relay_metrics.errors import RelayError
from relay_metrics.relays import Fetched
from relay_metrics.relays.claude.admin import Administrator
from relay_metrics.relays.claude.keys import Identity, configured, in_shard
from relay_metrics.relays.claude.records import Records, State
from relay_metrics.relays.claude.settings import Login, access
from relay_metrics.relays.client import RelayClient

__all__ = ["State", "fetch"]


def fetch(client: RelayClient, kept: State) -> Fetched:
    """What the configured keys, and with a login all keys, have used and may use."""
    everyone, without_id = configured(client, kept.key_ids)
    keys = [key for key in everyone if in_shard(key.id, client.shard)]
    login = access(client.relay).login
    environment = client.environment
    if login is None and not keys and everyone:
        fetched = _whether_up(client, kept, everyone[0])
    elif (
        login is None
        and 2 * len(keys) <= environment.scans_per_run
        and len(keys) <= environment.max_keys
    ):
        fetched = _a_few(client, kept, keys)
    else:
        # a few keys need not import what a whole relay takes
        from relay_metrics.relays.claude.whole import Whole

        administrator = None if login is None else _administrator(client, kept, login)
        fetched = Whole(client, kept, keys, administrator).run()
        if login is not None and administrator is None:
            fetched = fetched._replace(up=False)
    if client.shard.first:
        fetched = fetched._replace(keys_failed=fetched.keys_failed + without_id)
    return fetched


def _a_few(client: RelayClient, kept: State, keys: list[Identity]) -> Fetched:
    """A few configured keys: everything side by side, in one round trip.

    User-stats of a key that never cost anything makes the relay scan, and so do model rows: there
    is room for two scans a key.
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


def _whether_up(client: RelayClient, kept: State, key: Identity) -> Fetched:
    """Whether the relay answers for a key that is another shard's: the credential is as good."""
    records = Records(client, kept, [key])
    client.together([records.stats(key.id)])
    return Fetched(up=records.accepted, keys_failed=records.failed)


def _administrator(client: RelayClient, kept: State, login: Login) -> Administrator | None:
    """The administrator, logged in; None where the relay refuses that."""
    administrator = Administrator(client, kept.sessions, login)
    try:
        administrator.enter()
    except RelayError as error:
        client.failed(error)
        return None
    return administrator
