"""The relays, of the environment or of the secret."""

from __future__ import annotations

import re
from typing import Any

from relay_metrics.errors import SettingsError
from relay_metrics.settings.addresses import base_address, host_port
from relay_metrics.settings.model import Environment, KeyCredential, Login, Relay
from relay_metrics.settings.secret import Keys
from relay_metrics.snapshot import Kind

_RELAY = (
    "name",
    "kind",
    "base_url",
    "api_ids",
    "api_keys",
    "admin_username",
    "admin_password",
    "headers",
    "metrics_path",
    "metric_exclude",
    "ca_pem",
)
ONE_RELAY = (
    "relay_api_id",
    "relay_api_key",
    "relay_admin_username",
    "relay_admin_password",
    "relay_headers",
)
"""The keys of the secret that are of the environment's one relay."""


def relays_of(environment: Environment, secret: Keys) -> tuple[Relay, ...]:
    """The one relay of the environment, or those of the secret.

    Raises:
        SettingsError: there is none, it is in both places, or something of one is wrong.
    """
    listed = secret.listed("relays")
    if not listed:
        if environment.relay_base_url is None:
            raise SettingsError(
                "RELAY_BASE_URL is not set, and the secret has no relays: "
                "give the relay's address, https://HOST"
            )
        return (_one_relay(environment, secret, environment.relay_base_url),)
    if environment.relay_base_url is not None:
        raise SettingsError(
            "RELAY_BASE_URL is set and the secret has relays: give the relay in one place"
        )
    for key in ONE_RELAY:
        if secret.text(key) if key != "relay_headers" else secret.headers(key):
            raise SettingsError(f"{key} is in the secret beside relays: put it into its relay")
    return tuple(
        _listed_relay(environment, Keys(f"relays[{at}] of the secret", one, _RELAY))
        for at, one in enumerate(listed)
    )


def _one_relay(environment: Environment, secret: Keys, base_url: str) -> Relay:
    api_id, api_key = secret.text("relay_api_id"), secret.text("relay_api_key")
    login = secret.pair("relay_admin_username", "relay_admin_password")
    headers = secret.headers("relay_headers")
    if environment.relay_kind is Kind.CLAUDE_RELAY:
        if not (api_id or api_key or login):
            raise SettingsError(
                "the secret has no credential for the relay: give relay_api_id, relay_api_key, "
                "or relay_admin_username with relay_admin_password"
                + ("" if environment.secret_id else " (SECRET_ID is not set)")
            )
        keys = (KeyCredential(api_id, None if api_id else api_key),) if api_id or api_key else ()
        return _relay(
            environment, environment.relay_name, environment.relay_kind, base_url,
            keys=keys, login=login and Login(*login), headers=headers,
        )  # fmt: skip
    if api_id or api_key or login:
        raise SettingsError(
            "the secret has a claude-relay's credential, but RELAY_KIND is wyolet-relay, "
            "which takes relay_headers"
        )
    return _relay(
        environment, environment.relay_name, environment.relay_kind, base_url, headers=headers
    )


def _listed_relay(environment: Environment, read: Keys) -> Relay:
    kind_text = read.text("kind") or environment.relay_kind
    if kind_text not in tuple(Kind):
        raise SettingsError(f"kind in {read.where} must be one of {', '.join(Kind)}")
    kind = Kind(kind_text)
    base_url = base_address(f"base_url in {read.where}", read.needed("base_url"))
    ids, api_keys = read.texts("api_ids"), read.texts("api_keys")
    login = read.pair("admin_username", "admin_password")
    metrics_path = read.text("metrics_path")
    exclude = read.texts("metric_exclude")
    if kind is Kind.CLAUDE_RELAY:
        if not (ids or api_keys or login):
            raise SettingsError(
                f"{read.where} has no credential: give api_ids, api_keys, "
                "or admin_username with admin_password"
            )
        if metrics_path or exclude:
            raise SettingsError(
                f"metrics_path and metric_exclude in {read.where} are for wyolet-relay only"
            )
    elif ids or api_keys or login:
        raise SettingsError(
            f"{read.where} has a claude-relay's credential, but is a wyolet-relay, "
            "which takes headers"
        )
    if metrics_path is not None and not re.fullmatch(r"/[\x21-\x7e]*", metrics_path):
        raise SettingsError(f"metrics_path in {read.where} must begin with /")
    return _relay(
        environment,
        read.text("name"),
        kind,
        base_url,
        keys=tuple(
            [KeyCredential(api_id=one) for one in ids]
            + [KeyCredential(api_key=one) for one in api_keys]
        ),
        login=login and Login(*login),
        headers=read.headers("headers"),
        metrics_path=metrics_path or "/metrics",
        metric_exclude=exclude,
        ca_pem=read.certificates("ca_pem"),
    )


def _relay(
    environment: Environment, name: str | None, kind: Kind, base_url: str, **rest: Any
) -> Relay:
    instance = host_port(base_url)
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
            environment.service_namespace or given.get("service.namespace") or str(kind)
        ),
        "service.version": environment.service_version or given.get("service.version") or "1.0.0",
        "service.instance.id": instance,
        "service.endpoint": base_url,
        "deployment.environment": deployment,
        "deployment.environment.name": deployment,
        "relay.name": name,
        "relay.kind": str(kind),
    }
    return Relay(
        name, kind, base_url, {key: text for key, text in resource.items() if text}, **rest
    )
