"""The environment and the secret, parsed once into frozen settings.

This is the only reader of `os.environ`. Messages name the variable or the key and say what is
allowed; none shows a value.
"""

from __future__ import annotations

import json
import math
import os
import re
import ssl
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from relay_metrics.errors import SettingsError
from relay_metrics.snapshot import Kind, mend

PERIODS = ("daily", "monthly", "alltime")
DEFAULT_DESTINATION = "default"
PLACEHOLDER = "REPLACE_ME"
"""What the template writes into a secret that it makes; it counts as not filled in."""


@dataclass(frozen=True)
class Environment:
    """The variables of the contract; times in seconds, sizes in bytes."""

    relay_kind: Kind
    relay_base_url: str | None
    relay_name: str | None
    period: str
    deployment_environment: str | None
    relay_timeout_s: float
    max_response_bytes: int
    concurrency: int
    scans_per_run: int
    max_keys: int
    max_models_per_key: int
    utc_offset_hours: float
    secret_id: str | None
    secret_max_age_s: int
    export_url: str | None
    database: str
    export_headers: Mapping[str, str] = field(repr=False)
    push_timeout_s: float
    service_name: str | None
    service_namespace: str | None
    service_version: str | None
    resource_attributes: Mapping[str, str]
    spool_queue_url: str | None
    log_level: str


@dataclass(frozen=True)
class KeyCredential:
    """How one key of a claude-relay is asked for: by its id, or by the key itself."""

    api_id: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @property
    def configured(self) -> str:
        """What is configured, id or key."""
        return self.api_id or self.api_key or ""


@dataclass(frozen=True)
class Login:
    """An administrator of a claude-relay."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True)
class Relay:
    """A relay, and what it takes to ask it.

    Attributes:
        base_url: without a slash at its end.
        resource: the attributes that everything of this relay has.
        metric_exclude: patterns (`go_*`) of family names that are left out.
    """

    name: str
    kind: Kind
    base_url: str
    resource: Mapping[str, str]
    keys: tuple[KeyCredential, ...] = ()
    login: Login | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    metrics_path: str = "/metrics"
    metric_exclude: tuple[str, ...] = ()
    ca_pem: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Destination:
    """An OTLP/HTTP metrics endpoint. `headers` has the credentials in it."""

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_pem: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Settings:
    """Everything that a run is told.

    Attributes:
        secrets: every value that must not be seen in any output.
        warnings: what was corrected, for the log.
    """

    environment: Environment
    relays: tuple[Relay, ...]
    destinations: tuple[Destination, ...]
    secrets: frozenset[str] = field(repr=False)
    warnings: tuple[str, ...] = ()

    def relay(self, name: str) -> Relay | None:
        """The relay of that name."""
        return next((relay for relay in self.relays if relay.name == name), None)

    def destination(self, name: str) -> Destination | None:
        """The destination of that name."""
        return next((one for one in self.destinations if one.name == name), None)


# -- the environment ------------------------------------------------------------------------------


def environment(variables: Mapping[str, str] | None = None) -> Environment:
    """The environment, typed. An empty variable counts as unset.

    Args:
        variables: in place of the process's environment.

    Raises:
        SettingsError: a variable has a value that it cannot have.
    """
    read = _Variables(os.environ if variables is None else variables)
    kind = read.choice("RELAY_KIND", tuple(Kind), Kind.CLAUDE_RELAY)
    base_url = read.text("RELAY_BASE_URL")
    export_url = read.text("OTEL_EXPORT_URL")
    return Environment(
        relay_kind=Kind(kind),
        relay_base_url=base_url and _base_url("RELAY_BASE_URL", base_url),
        relay_name=read.text("RELAY_NAME"),
        period=read.choice("RELAY_METRICS_PERIOD", PERIODS, "monthly"),
        deployment_environment=read.text("RELAY_ENVIRONMENT"),
        relay_timeout_s=read.integer("RELAY_TIMEOUT_MS", 5000, 1, 900_000) / 1000,
        max_response_bytes=read.integer("RELAY_MAX_RESPONSE_BYTES", 8 << 20, 1, 1 << 30),
        concurrency=read.integer("RELAY_CONCURRENCY", 16, 1, 256),
        scans_per_run=read.integer("RELAY_SCANS_PER_RUN", 10, 0, 1_000_000),
        max_keys=read.integer("RELAY_MAX_KEYS", 10_000, 1, 1_000_000),
        max_models_per_key=read.integer("RELAY_MAX_MODELS_PER_KEY", 100, 1, 1_000_000),
        utc_offset_hours=read.number("RELAY_UTC_OFFSET_HOURS", 8, -14, 14),
        secret_id=read.text("SECRET_ID"),
        secret_max_age_s=read.integer("SECRET_MAX_AGE_SECONDS", 300, 0, 31_536_000),
        export_url=export_url and _url("OTEL_EXPORT_URL", export_url).geturl(),
        database=read.text("GREPTIME_DATABASE") or "public",
        export_headers=read.headers("OTEL_EXPORT_HEADERS"),
        push_timeout_s=read.integer("OTEL_TIMEOUT_MS", 5000, 1, 900_000) / 1000,
        service_name=read.text("OTEL_SERVICE_NAME"),
        service_namespace=read.text("OTEL_SERVICE_NAMESPACE"),
        service_version=read.text("OTEL_SERVICE_VERSION"),
        resource_attributes=read.attributes("OTEL_RESOURCE_ATTRIBUTES"),
        spool_queue_url=read.text("SPOOL_QUEUE_URL"),
        log_level=read.choice(
            "LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "INFO"
        ),
    )


class _Variables:
    """Reads variables by type."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str) -> str | None:
        return mend(self._variables.get(name, "").strip()) or None

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(name) or default
        matching = next((one for one in allowed if one.lower() == value.lower()), None)
        if matching is None:
            raise SettingsError(f"{name} must be one of {', '.join(allowed)}")
        return matching

    def number(self, name: str, default: float, least: float, most: float) -> float:
        text = self.text(name)
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise SettingsError(f"{name} must be a number from {least:g} to {most:g}")
        return value

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        text = self.text(name)
        value = default if text is None else -1
        if text is not None and re.fullmatch(r"\+?[0-9]{1,18}", text, re.ASCII):
            value = int(text)
        if not least <= value <= most:
            raise SettingsError(f"{name} must be a whole number from {least} to {most}")
        return value

    def headers(self, name: str) -> Mapping[str, str]:
        text = self.text(name)
        if text is None:
            return {}
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise SettingsError(f"{name} must be a JSON object of header names to text") from None
        return _headers(name, value)

    def attributes(self, name: str) -> Mapping[str, str]:
        """`k=v,k=v`, percent-encoded, as in OpenTelemetry's specification of the SDK."""
        attributes = {}
        for item in (self.text(name) or "").split(","):
            key, equals, value = item.partition("=")
            if not item.strip():
                continue
            if not equals or not key.strip():
                raise SettingsError(f"{name} must be a list of key=value, commas between")
            attributes[unquote(key.strip())] = mend(unquote(value.strip()))
        return attributes


# -- the secret -----------------------------------------------------------------------------------

_ONE_RELAY = (
    "relay_api_id",
    "relay_api_key",
    "relay_admin_username",
    "relay_admin_password",
    "relay_headers",
)
_SECRET = ("greptime_username", "greptime_password", "relays", "destinations", *_ONE_RELAY)
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
_DESTINATION = ("name", "url", "headers", "username", "password", "ca_pem")


def settings(environment: Environment, secret: str | None) -> Settings:
    """The environment and the text of the secret, as settings.

    Args:
        secret: the secret's one JSON object; None where no secret is configured.

    Raises:
        SettingsError: a variable or a key of the secret is missing, unknown or wrong.
    """
    read = _Keys("the secret", _object(secret), _SECRET)
    warnings: list[str] = []
    relays = _relays(environment, read)
    destinations = tuple(_destinations(environment, read, warnings))
    if not destinations:
        raise SettingsError(
            "OTEL_EXPORT_URL is not set, and the secret has no destinations: "
            "give the URL of GreptimeDB, https://HOST"
        )
    _no_twins("relay", relays)
    _no_twins("destination", destinations)
    hidden = {*_hidden(relays, destinations), *environment.export_headers.values()}
    return Settings(
        environment,
        relays,
        destinations,
        frozenset(value for value in hidden if value),
        tuple(warnings),
    )


def _object(secret: str | None) -> Any:
    if secret is None:
        return {}
    try:
        value = json.loads(secret)
    except (ValueError, RecursionError):
        raise SettingsError("the secret must be one JSON object; it is not JSON") from None
    if not isinstance(value, dict):
        raise SettingsError("the secret must be one JSON object; it is other JSON")
    return value


class _Keys:
    """Reads the keys of one JSON object of the secret by type. An empty value counts as unset."""

    def __init__(self, where: str, value: Any, known: tuple[str, ...]) -> None:
        if not isinstance(value, dict):
            raise SettingsError(f"{where} must be a JSON object")
        for key in value:
            if key not in known:
                raise SettingsError(
                    f"{where} has an unknown key {mend(key)[:64]!r}; "
                    f"known are {', '.join(sorted(known))}"
                )
        self.where = where
        self._value = value

    def text(self, key: str) -> str | None:
        value = self._value.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise SettingsError(f"{key} in {self.where} must be text")
        value = mend(value.strip())
        if value == PLACEHOLDER:
            raise SettingsError(
                f"{key} in {self.where} still is the placeholder {PLACEHOLDER}: "
                "fill it in, or remove the key"
            )
        return value or None

    def needed(self, key: str) -> str:
        value = self.text(key)
        if value is None:
            raise SettingsError(f"{key} is missing in {self.where}")
        return value

    def list(self, key: str) -> list[Any]:
        value = self._value.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise SettingsError(f"{key} in {self.where} must be a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        texts = self.list(key)
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise SettingsError(f"{key} in {self.where} must be a list of text")
        return tuple(dict.fromkeys(mend(text.strip()) for text in texts))

    def headers(self, key: str) -> Mapping[str, str]:
        value = self._value.get(key)
        return {} if not value else _headers(f"{key} in {self.where}", value)

    def pair(self, first: str, second: str) -> tuple[str, str] | None:
        one, other = self.text(first), self.text(second)
        if one is None and other is None:
            return None
        if one is None or other is None:
            missing = first if one is None else second
            raise SettingsError(f"{missing} is missing in {self.where}: it goes with its twin")
        return one, other

    def certificates(self, key: str) -> str | None:
        pem = self.text(key)
        if pem is not None:
            try:
                ssl.create_default_context().load_verify_locations(cadata=pem)
            except (ssl.SSLError, ValueError):
                raise SettingsError(
                    f"{key} in {self.where} must be certificates in PEM form"
                ) from None
        return pem


def _headers(where: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where} must be a JSON object of header names to text")
    for name, text in value.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", name):
            raise SettingsError(f"{where} has a name that no HTTP header can have")
        if not isinstance(text, str) or not re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", text):
            raise SettingsError(f"{where} has a value that no HTTP header can have")
    return {name: text.strip() for name, text in value.items()}


# -- relays ---------------------------------------------------------------------------------------


def _relays(environment: Environment, secret: _Keys) -> tuple[Relay, ...]:
    listed = secret.list("relays")
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
    for key in _ONE_RELAY:
        if secret.text(key) if key != "relay_headers" else secret.headers(key):
            raise SettingsError(f"{key} is in the secret beside relays: put it into its relay")
    return tuple(
        _listed_relay(environment, _Keys(f"relays[{at}] of the secret", one, _RELAY))
        for at, one in enumerate(listed)
    )


def _one_relay(environment: Environment, secret: _Keys, base_url: str) -> Relay:
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


def _listed_relay(environment: Environment, read: _Keys) -> Relay:
    kind_text = read.text("kind") or environment.relay_kind
    if kind_text not in tuple(Kind):
        raise SettingsError(f"kind in {read.where} must be one of {', '.join(Kind)}")
    kind = Kind(kind_text)
    base_url = _base_url(f"base_url in {read.where}", read.needed("base_url"))
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
    host_port = _host_port(urlsplit(base_url))
    name = name or host_port
    given = environment.resource_attributes
    deployment = (
        environment.deployment_environment
        or given.get("deployment.environment.name")
        or given.get("deployment.environment")
        or "production"
    )
    resource = {
        **given,
        "service.name": environment.service_name or given.get("service.name", "relay-metrics"),
        "service.namespace": environment.service_namespace or given.get("service.namespace", kind),
        "service.version": environment.service_version or given.get("service.version", "1.0.0"),
        "service.instance.id": host_port,
        "service.endpoint": base_url,
        "deployment.environment": deployment,
        "deployment.environment.name": deployment,
        "relay.name": name,
        "relay.kind": str(kind),
    }
    return Relay(
        name, kind, base_url, {key: text for key, text in resource.items() if text}, **rest
    )


# -- destinations ---------------------------------------------------------------------------------


def _destinations(
    environment: Environment, secret: _Keys, warnings: list[str]
) -> Iterator[Destination]:
    credentials = secret.pair("greptime_username", "greptime_password")
    if environment.export_url is not None:
        headers = {"X-Greptime-DB-Name": environment.database}
        yield Destination(
            DEFAULT_DESTINATION,
            _otlp_url("OTEL_EXPORT_URL", environment.export_url, warnings),
            _with_basic(_over(headers, environment.export_headers), credentials),
        )
    for at, one in enumerate(secret.list("destinations")):
        read = _Keys(f"destinations[{at}] of the secret", one, _DESTINATION)
        where = f"url in {read.where}"
        yield Destination(
            read.needed("name"),
            _otlp_url(where, _url(where, read.needed("url")).geturl(), warnings),
            _with_basic(read.headers("headers"), read.pair("username", "password")),
            read.certificates("ca_pem"),
        )


def _over(headers: Mapping[str, str], more: Mapping[str, str]) -> Mapping[str, str]:
    """Headers with more of them, which win whatever their case."""
    named = {name.lower() for name in more}
    return {**{name: text for name, text in headers.items() if name.lower() not in named}, **more}


def _with_basic(
    headers: Mapping[str, str], credentials: tuple[str, str] | None
) -> Mapping[str, str]:
    if credentials is None:
        return headers
    token = b64encode(":".join(credentials).encode()).decode()
    return _over(headers, {"Authorization": f"Basic {token}"})


def _otlp_url(where: str, url: str, warnings: list[str]) -> str:
    """The OTLP metrics endpoint that an address means; see GREPTIME's paths in the README."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    host = (parts.hostname or "").rstrip(".")
    cloud = host == "greptime.cloud" or host.endswith(".greptime.cloud")
    if cloud and path == "/v1/metrics":
        warnings.append(
            f"{where} ends in /v1/metrics, which is not GreptimeDB's OTLP endpoint: "
            "/v1/otlp/v1/metrics is used"
        )
        path = ""
    known = path in ("", "/v1/otlp")
    return parts._replace(path="/v1/otlp/v1/metrics" if known else parts.path).geturl()


# -- addresses ------------------------------------------------------------------------------------


def _url(where: str, text: str) -> SplitResult:
    problem = None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise SettingsError(f"{where} must be a URL, https://HOST") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        problem = "must be a URL, https://HOST"
    elif "@" in parts.netloc:
        problem = "must not have a user name or password in it: they belong into the secret"
    elif parts.fragment or re.search(r"[\s\\\x00-\x1f\x7f]", text):
        problem = "must be a URL without fragment, space or backslash"
    if problem:
        raise SettingsError(f"{where} {problem}")
    return parts


def _base_url(where: str, text: str) -> str:
    parts = _url(where, text)
    if parts.query:
        raise SettingsError(f"{where} must not have a query")
    return parts._replace(path=parts.path.rstrip("/")).geturl()


def _host_port(parts: SplitResult) -> str:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _no_twins(what: str, named: Sequence[Relay | Destination]) -> None:
    seen: dict[str, int] = {}
    for at, one in enumerate(named):
        if one.name in seen:
            raise SettingsError(
                f"two {what}s have one name (number {seen[one.name] + 1} and {at + 1}): "
                "give each a name of its own"
            )
        seen[one.name] = at


def _hidden(relays: tuple[Relay, ...], destinations: tuple[Destination, ...]) -> Iterator[str]:
    """Every value that is a credential, or from which one can be read."""
    for relay in relays:
        yield from relay.headers.values()
        for key in relay.keys:
            yield key.api_key or ""
        if relay.login:
            yield relay.login.password
    for destination in destinations:
        for value in destination.headers.values():
            yield value
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "basic":
                yield token
                yield from _decoded(token)
            elif scheme.lower() == "bearer":
                yield token


def _decoded(token: str) -> Iterator[str]:
    try:
        _, _, password = b64decode(token, validate=True).decode().partition(":")
    except ValueError:
        return
    yield password
