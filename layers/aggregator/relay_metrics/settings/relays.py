"""Reads the relays: the one of the environment, or those of the secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay_metrics.errors import SettingsError, Unfilled
from relay_metrics.relays import kinds
from relay_metrics.relays.kinds import KINDS, NoAccess, OwnKeys, RelayKind
from relay_metrics.settings.addresses import base_address, host_port
from relay_metrics.settings.model import Environment, Relay
from relay_metrics.settings.secret import Keys
from relay_metrics.snapshot import well_formed

_OF_ANY_KIND = ("name", "kind", "base_url", "headers", "ca_pem")


def keys_of_one_relay() -> tuple[str, ...]:
    """The top-level keys of the secret that belong to the environment's one relay."""
    return (*_keys(lambda kind: kind.one), "relay_headers")


def keys_of_listed_relay() -> tuple[str, ...]:
    """The keys that an entry of `relays` may have."""
    return (*_OF_ANY_KIND, *_keys(lambda kind: kind.listed))


def relays_of(environment: Environment, secret: Keys) -> tuple[Relay, ...]:
    """The one relay of the environment, or those of the secret.

    A wrong entry of the secret's list becomes a relay with the error in `wrong`.

    Raises:
        SettingsError: no relay is configured, both places have one, or the one relay is wrong.
    """
    listed = secret.listed("relays")
    if not listed:
        if environment.relay_base_url is None:
            secret.filled_in(*keys_of_one_relay())
            nor_listed = environment.secret_id and ", and the secret has no relays"
            raise SettingsError(
                f"RELAY_BASE_URL is not set{nor_listed or ''}: "
                "give the relay's address, https://HOST"
            )
        return (_one_relay(environment, secret, environment.relay_base_url),)
    if environment.relay_base_url is not None:
        raise SettingsError(
            "RELAY_BASE_URL is set and the secret has relays: give the relay in one place"
        )
    for key in keys_of_one_relay():
        if secret.has(key):
            raise SettingsError(f"{key} is in the secret beside relays: put it into its relay")
    relays: dict[str, Relay] = {}
    for at, one in enumerate(listed):
        relay = _listed_relay(environment, f"relays[{at}]", one)
        if relay.name in relays:
            twin = SettingsError(f"relays[{at}] of the secret has the name of one before it")
            relay = _wrong_relay(
                environment, f"relays[{at}]", {**one, "name": f"relays[{at}]"}, twin
            )
        relays[relay.name] = relay
    return tuple(relays.values())


def _one_relay(environment: Environment, secret: Keys, base_url: str) -> Relay:
    name = environment.relay_kind
    try:
        secret.filled_in(*keys_of_one_relay())
    except Unfilled as error:
        return _relay(
            environment, environment.relay_name, name, base_url, access=NoAccess(), wrong=error
        )
    _no_other_kind(secret, name, lambda kind: kind.one, f"RELAY_KIND is {name}")
    own = kinds.kind(name).one
    try:
        access = own.read(secret)
    except SettingsError:
        if environment.secret_id is not None:
            raise
        raise SettingsError(f"SECRET_ID is not set: name a secret that has {own.takes}") from None
    return _relay(
        environment,
        environment.relay_name,
        name,
        base_url,
        access=access,
        headers=secret.headers("relay_headers"),
    )


def _listed_relay(environment: Environment, where: str, value: Any) -> Relay:
    try:
        return _read_relay(
            environment, Keys(f"{where} of the secret", value, keys_of_listed_relay())
        )
    except SettingsError as error:
        return _wrong_relay(environment, where, value, error)


def _wrong_relay(environment: Environment, where: str, value: Any, wrong: SettingsError) -> Relay:
    """A relay for a wrong entry, with its name, kind and address as far as the entry has them."""
    entry = value if isinstance(value, dict) else {}
    texts = {key: text for key, text in entry.items() if isinstance(text, str)}
    kind = texts.get("kind", "")
    try:
        base_url = base_address("", texts.get("base_url", "").strip())
    except SettingsError:
        base_url = ""
    return _relay(
        environment,
        well_formed(texts.get("name", "").strip()) or (host_port(base_url) if base_url else where),
        kind if kind in KINDS else environment.relay_kind,
        base_url,
        access=NoAccess(),
        wrong=wrong,
    )


def _read_relay(environment: Environment, read: Keys) -> Relay:
    read.filled_in()
    name = read.text("kind") or environment.relay_kind
    if name not in KINDS:
        raise SettingsError(f"kind in {read.where} must be one of {', '.join(KINDS)}")
    base_url = base_address(f"base_url in {read.where}", read.needed("base_url"))
    _no_other_kind(read, name, lambda kind: kind.listed, f"is a {name}")
    return _relay(
        environment,
        read.text("name"),
        name,
        base_url,
        access=kinds.kind(name).listed.read(read),
        headers=read.headers("headers"),
        ca_pem=read.certificates("ca_pem"),
    )


def _keys(place: Callable[[RelayKind], OwnKeys]) -> tuple[str, ...]:
    """The keys that any kind has of its own, for the one relay or for a listed one."""
    own = (place(kinds.kind(name)) for name in KINDS)
    return tuple(dict.fromkeys(key for one in own for key in (*one.credentials, *one.options)))


def _no_other_kind(read: Keys, name: str, place: Callable[[RelayKind], OwnKeys], said: str) -> None:
    """Check that no key is given that only another kind has.

    Raises:
        SettingsError: there is such a key.
    """
    own = place(kinds.kind(name))
    for other in (one for one in KINDS if one != name):
        theirs = place(kinds.kind(other))
        if any(read.has(key) for key in theirs.credentials if key not in own.credentials):
            raise SettingsError(
                f"{read.where} has a {other}'s credential, but {said}, which takes {own.takes}"
            )
        options = [key for key in theirs.options if key not in own.options]
        if any(read.has(key) for key in options):
            raise SettingsError(f"{' and '.join(options)} in {read.where} are for {other} only")


def _relay(
    environment: Environment, name: str | None, kind: str, base_url: str, **rest: Any
) -> Relay:
    instance = host_port(base_url) if base_url else name or ""
    name = name or instance
    given = environment.resource_attributes
    deployment = (
        environment.deployment_environment
        or given.get("deployment.environment.name")
        or given.get("deployment.environment")
        or "production"
    )
    resource = {
        **given,
        "service.name": environment.service_name or given.get("service.name") or "relay-metrics",
        "service.namespace": (
            environment.service_namespace or given.get("service.namespace") or kind
        ),
        "service.version": environment.service_version or given.get("service.version") or "1.0.0",
        "service.instance.id": instance,
        "service.endpoint": base_url,
        "deployment.environment": deployment,
        "deployment.environment.name": deployment,
        "relay.name": name,
        "relay.kind": kind,
    }
    return Relay(
        name, kind, base_url, {key: text for key, text in resource.items() if text}, **rest
    )
