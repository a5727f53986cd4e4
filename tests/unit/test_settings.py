"""What the environment and the secret are read as."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import relay_metrics
from relay_metrics import settings as module
from relay_metrics.relays.claude.settings import ClaudeAccess, KeyCredential, Login, access
from relay_metrics.relays.wyolet.settings import WyoletAccess
from relay_metrics.settings import Destination, Relay
from relay_metrics.settings.variables import NOT_IN_SETTINGS, SETTINGS
from tests.unit.settings_read import (
    CONTRACT,
    NOT_HERE,
    PLAIN,
    SECRET,
    destination,
    listed,
    read,
    relay,
)

# -- which variables there are


class Recording(dict[str, str]):
    """An environment that notes what is read of it."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the whole environment is read")

    def __contains__(self, name: object) -> bool:
        raise AssertionError("a variable is asked for without its value")


def test_every_variable_of_the_contract_is_read_and_no_other() -> None:
    variables = Recording(PLAIN)
    module.settings(module.environment(variables), json.dumps(SECRET))
    own = {"AWS_SAM_LOCAL", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"}
    assert variables.read == CONTRACT | own


def test_the_environment_is_read_in_one_place() -> None:
    package = Path(relay_metrics.__file__).parent
    readers = [
        path.relative_to(package)
        for path in package.rglob("*.py")
        if re.search(r"\benviron\b|\bgetenv\b", re.sub('`.*?`|""".*?"""', "", path.read_text()))
    ]
    assert len(readers) == 1
    assert readers[0].parts[0].startswith("settings")


def test_defaults() -> None:
    environment = module.environment({})
    assert environment.relay_kind == "claude-relay"
    assert environment.period == "monthly"
    assert environment.relay_timeout_s == 5
    assert environment.max_response_bytes == 8_388_608
    assert environment.concurrency == 16
    assert environment.scans_per_run == 10
    assert (environment.max_keys, environment.max_models_per_key) == (10_000, 100)
    assert environment.utc_offset_hours == 8
    assert environment.secret_max_age_s == 300
    assert environment.database == "public"
    assert environment.push_timeout_s == 5
    assert (environment.max_families, environment.usage_lookback_s) == (10_000, 3600)
    assert environment.key_labels == ()
    assert environment.log_level == "INFO"
    unset = {
        *("relay_base_url", "relay_name", "secret_id", "export_url", "spool_queue_url"),
        *("deployment_environment", "service_name", "service_namespace", "service_version"),
    }
    assert all(getattr(environment, name) is None for name in unset)
    assert environment.export_headers == environment.resource_attributes == {}


@pytest.mark.parametrize("empty", ["", "  ", "\t\n"])
def test_an_empty_variable_counts_as_unset(empty: str) -> None:
    assert module.environment(dict.fromkeys(CONTRACT, empty)) == module.environment({})


def test_space_around_a_value_is_not_of_it() -> None:
    assert relay({"RELAY_NAME": " main "}).name == "main"
    assert relay({"RELAY_BASE_URL": "\thttps://a.example \n"}).base_url == "https://a.example"


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("RELAY_TIMEOUT_MS", "1500", "relay_timeout_s", 1.5),
        ("RELAY_TIMEOUT_MS", "+1500", "relay_timeout_s", 1.5),
        ("OTEL_TIMEOUT_MS", "1", "push_timeout_s", 0.001),
        ("RELAY_SCANS_PER_RUN", "0", "scans_per_run", 0),
        ("SECRET_MAX_AGE_SECONDS", "0", "secret_max_age_s", 0),
        ("RELAY_UTC_OFFSET_HOURS", "-5.5", "utc_offset_hours", -5.5),
        ("RELAY_KIND", "Wyolet-Relay", "relay_kind", "wyolet-relay"),
        ("RELAY_METRICS_PERIOD", "AllTime", "period", "alltime"),
        ("LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("RELAY_USAGE_LOOKBACK_MINUTES", "5", "usage_lookback_s", 300),
        ("RELAY_KEY_LABELS", " team,cost centre , ,team", "key_labels", ("team", "cost centre")),
        ("RELAY_METRICS_SETTINGS", " RELAY_MAX_FAMILIES=7\tLOG_LEVEL=debug ", "max_families", 7),
        (
            "RELAY_METRICS_SETTINGS",
            "RELAY_KEY_LABELS=team,owner=x",
            "key_labels",
            ("team", "owner=x"),
        ),
        ("RELAY_METRICS_SETTINGS", "RELAY_CONCURRENCY=", "concurrency", 16),
        ("OTEL_EXPORT_HEADERS", '{"X-A": " b "}', "export_headers", {"X-A": "b"}),
        ("OTEL_RESOURCE_ATTRIBUTES", "", "resource_attributes", {}),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b", "resource_attributes", {"a": "b"}),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            " a = b%2Cc , d.e=f=g,,%C3%A9q=%E2%82%AC",
            "resource_attributes",
            {"a": "b,c", "d.e": "f=g", "éq": "€"},
        ),
    ],
)
def test_values(variable: str, value: str, field: str, expected: object) -> None:
    assert getattr(module.environment({variable: value}), field) == expected


def test_a_variable_that_is_set_directly_wins() -> None:
    settings = "RELAY_CONCURRENCY=4 OTEL_TIMEOUT_MS=900"
    variables = {"RELAY_METRICS_SETTINGS": settings, "RELAY_CONCURRENCY": "2"}
    environment = module.environment(variables)
    assert (environment.concurrency, environment.push_timeout_s) == (2, 0.9)
    assert module.environment(variables | {"RELAY_CONCURRENCY": " "}).concurrency == 4


@pytest.mark.parametrize("name", sorted(CONTRACT - NOT_IN_SETTINGS))
def test_the_settings_may_have_every_variable_but_urls_headers_and_attributes(name: str) -> None:
    value = "7" if name not in ("RELAY_KIND", "RELAY_METRICS_PERIOD", "LOG_LEVEL") else ""
    assert module.environment({SETTINGS: f"{name}={value}"}) == module.environment({name: value})


# -- relays


def test_a_relay_by_the_environment() -> None:
    assert relay({"RELAY_BASE_URL": "https://relay.example/sub/"}) == Relay(
        name="relay.example:443",
        kind="claude-relay",
        base_url="https://relay.example/sub",
        resource={
            "service.name": "relay-metrics",
            "service.namespace": "claude-relay",
            "service.version": "1.0.0",
            "service.instance.id": "relay.example:443",
            "service.endpoint": "https://relay.example/sub",
            "deployment.environment": "production",
            "deployment.environment.name": "production",
            "relay.name": "relay.example:443",
            "relay.kind": "claude-relay",
        },
        access=ClaudeAccess((KeyCredential(api_id="fb86b61d"),)),
    )


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://relay.example", "relay.example:443"),
        ("http://relay.example", "relay.example:80"),
        ("http://Relay.Example:3000", "relay.example:3000"),
        ("http://[::1]:3000", "[::1]:3000"),
        ("https://[2001:db8::1]", "[2001:db8::1]:443"),
    ],
)
def test_a_relay_s_name_is_host_and_port_where_it_has_none(url: str, name: str) -> None:
    assert relay({"RELAY_BASE_URL": url}).name == name
    assert relay({"RELAY_BASE_URL": url, "RELAY_NAME": "main"}).name == "main"
    assert relay({"RELAY_BASE_URL": url, "RELAY_NAME": "main"}).resource["relay.name"] == "main"


def test_the_id_wins_over_the_key() -> None:
    both = relay(secret={"relay_api_id": "id", "relay_api_key": "cr_key"})
    assert access(both).keys == (KeyCredential(api_id="id"),)
    assert access(both).keys[0].configured == "id"
    key = relay(secret={"relay_api_id": "", "relay_api_key": "cr_key"})
    assert access(key).keys == (KeyCredential(api_key="cr_key"),)
    assert access(key).keys[0].configured == "cr_key"


def test_a_key_and_a_login_go_together() -> None:
    secret = {**SECRET, "relay_admin_username": "admin", "relay_admin_password": "hunter2"}
    both = relay(secret=secret)
    assert both.access == ClaudeAccess(
        (KeyCredential(api_id="fb86b61d"),), Login("admin", "hunter2")
    )


def test_a_prometheus_endpoint_needs_no_secret() -> None:
    one = relay({"RELAY_KIND": "wyolet-relay", "SECRET_ID": ""}, None)
    assert one.kind == "wyolet-relay"
    assert one.resource["service.namespace"] == "wyolet-relay"
    assert one.access == WyoletAccess("/metrics")


def test_relays_in_the_secret() -> None:
    one, other = read(
        NOT_HERE,
        {
            "relays": [
                {
                    "name": "main",
                    "base_url": "https://a.example/",
                    "api_ids": ["1", "2", "1"],
                    "api_keys": [" cr_3 "],
                },
                {
                    "kind": "wyolet-relay",
                    "base_url": "http://b.example:8081",
                    "headers": {"X-Token": "hunter2"},
                    "metrics_path": "/internal?x=y",
                    "metric_exclude": ["go_*"],
                },
            ]
        },
    ).relays
    assert (one.name, one.kind, one.base_url) == ("main", "claude-relay", "https://a.example")
    assert [key.configured for key in access(one).keys] == ["1", "2", "cr_3"]
    assert access(one).keys[2].api_id is None
    assert (other.name, other.kind) == ("b.example:8081", "wyolet-relay")
    assert other.headers == {"X-Token": "hunter2"}
    assert other.access == WyoletAccess("/internal?x=y", ("go_*",))


def test_relay_kind_is_of_the_relays_that_say_none() -> None:
    secret = listed(api_ids=None)
    (one,) = read({**NOT_HERE, "RELAY_KIND": "wyolet-relay"}, secret).relays
    assert one.kind == "wyolet-relay"


@pytest.mark.parametrize(
    ("environment", "attribute", "value"),
    [
        ({}, "service.name", "relay-metrics"),
        ({"OTEL_SERVICE_NAME": "x"}, "service.name", "x"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=y"}, "service.name", "y"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name="}, "service.name", "relay-metrics"),
        (
            {"OTEL_SERVICE_NAME": "x", "OTEL_RESOURCE_ATTRIBUTES": "service.name=y"},
            "service.name",
            "x",
        ),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.namespace="}, "service.namespace", "claude-relay"),
        ({"OTEL_SERVICE_NAMESPACE": "x"}, "service.namespace", "x"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.version="}, "service.version", "1.0.0"),
        ({"OTEL_SERVICE_VERSION": "2"}, "service.version", "2"),
        ({"RELAY_ENVIRONMENT": "x"}, "deployment.environment", "x"),
        ({"RELAY_ENVIRONMENT": "x"}, "deployment.environment.name", "x"),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=y"},
            "deployment.environment.name",
            "y",
        ),
        ({"RELAY_NAME": "x"}, "relay.name", "x"),
        ({}, "relay.name", "relay.example:443"),
        ({}, "service.instance.id", "relay.example:443"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=a"}, "team", "a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team="}, "team", None),
    ],
)
def test_resource(environment: dict[str, str], attribute: str, value: str | None) -> None:
    assert relay(environment).resource.get(attribute) == value


def test_text_that_is_no_unicode_is_mended() -> None:
    assert relay({"RELAY_NAME": "a\ud800"}).name == "a\ufffd"
    (one,) = read(NOT_HERE, listed(name="a\ud800")).relays
    assert one.name == "a\ufffd"


# -- destinations


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://a.example", "https://a.example/v1/otlp/v1/metrics"),
        ("https://a.example/", "https://a.example/v1/otlp/v1/metrics"),
        ("http://a.example:4000/v1/otlp", "http://a.example:4000/v1/otlp/v1/metrics"),
        ("http://a.example:4000/v1/otlp/", "http://a.example:4000/v1/otlp/v1/metrics"),
        ("https://a.example/v1/otlp/v1/metrics", "https://a.example/v1/otlp/v1/metrics"),
        ("https://a.example/v1/metrics", "https://a.example/v1/metrics"),
        ("https://a.example/greptime", "https://a.example/greptime"),
        ("https://a.example/x/", "https://a.example/x/"),
        ("https://a.example?db=b", "https://a.example/v1/otlp/v1/metrics?db=b"),
    ],
)
def test_the_export_url_is_the_endpoint_that_it_means(url: str, endpoint: str) -> None:
    read_settings = read({"OTEL_EXPORT_URL": url})
    assert read_settings.destinations[0].url == endpoint
    assert read_settings.warnings == ()


@pytest.mark.parametrize("host", ["x.eu.aws.greptime.cloud", "greptime.cloud", "X.Greptime.Cloud."])
def test_greptime_cloud_s_other_path_is_corrected_with_a_warning(host: str) -> None:
    read_settings = read({"OTEL_EXPORT_URL": f"https://{host}/v1/metrics/"})
    assert read_settings.destinations[0].url == f"https://{host}/v1/otlp/v1/metrics"
    assert read_settings.warnings == (
        (
            "OTEL_EXPORT_URL ends in /v1/metrics, which is not GreptimeDB's OTLP endpoint: "
            "/v1/otlp/v1/metrics is used"
        ),
    )


@pytest.mark.parametrize("host", ["greptime.cloud.example", "notgreptime.cloud"])
def test_another_host_s_path_stays(host: str) -> None:
    assert read({"OTEL_EXPORT_URL": f"https://{host}/v1/metrics"}).warnings == ()


def basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def test_the_default_destination() -> None:
    secret = {**SECRET, "greptime_username": "ü", "greptime_password": "pä:ss"}
    assert destination(secret=secret) == Destination(
        name="default",
        url="https://greptime.example/v1/otlp/v1/metrics",
        headers={"X-Greptime-DB-Name": "public", "Authorization": basic("ü", "pä:ss")},
        overwrites=True,
    )


@pytest.mark.parametrize(
    ("environment", "headers"),
    [
        ({}, {"X-Greptime-DB-Name": "public"}),
        ({"GREPTIME_DATABASE": "metrics"}, {"X-Greptime-DB-Name": "metrics"}),
        (
            {"GREPTIME_DATABASE": "a", "OTEL_EXPORT_HEADERS": '{"x-greptime-db-name": "b"}'},
            {"x-greptime-db-name": "b"},
        ),
        (
            {"OTEL_EXPORT_HEADERS": '{"X-Scope": "b"}'},
            {"X-Greptime-DB-Name": "public", "X-Scope": "b"},
        ),
    ],
)
def test_headers_of_the_default_destination(
    environment: dict[str, str], headers: dict[str, str]
) -> None:
    assert destination(environment).headers == headers


@pytest.mark.parametrize("read_as", ["utf-8", "cp1252"])
def test_a_secret_with_a_byte_order_mark_is_read(read_as: str) -> None:
    text = '{"relay_api_id": "clé"}'
    marked = text.encode("utf-8-sig").decode(read_as)
    assert relay(secret=marked) == relay(secret=text)


def test_the_secret_s_credential_wins_over_a_header_of_any_case() -> None:
    secret = {**SECRET, "greptime_username": "u", "greptime_password": "p"}
    headers = destination({"OTEL_EXPORT_HEADERS": '{"authorization": "Bearer x"}'}, secret).headers
    assert headers == {"X-Greptime-DB-Name": "public", "Authorization": basic("u", "p")}


def test_destinations_in_the_secret() -> None:
    more = [
        {"name": "b", "url": "https://b.example", "username": "u", "password": "p"},
        {
            "name": "c",
            "url": "https://c.example/otlp",
            "headers": {"Authorization": "Bearer t"},
            "overwrites": True,
        },
    ]
    default, b, c = read(secret={**SECRET, "destinations": more}).destinations
    assert (default.name, default.overwrites) == ("default", True)
    assert b == Destination(
        "b", "https://b.example/v1/otlp/v1/metrics", {"Authorization": basic("u", "p")}
    )
    assert c == Destination(
        "c", "https://c.example/otlp", {"Authorization": "Bearer t"}, overwrites=True
    )
    (alone,) = read({"OTEL_EXPORT_URL": ""}, {**SECRET, "destinations": more[:1]}).destinations
    assert alone == b


def test_they_are_found_by_name() -> None:
    read_settings = read({"RELAY_NAME": "main"})
    assert read_settings.relay("main") is read_settings.relays[0]
    assert read_settings.destination("default") is read_settings.destinations[0]
    assert read_settings.relay("other") is None
    assert read_settings.destination("other") is None


# -- what must not be seen


def test_every_credential_is_among_the_secrets() -> None:
    secret = {
        "greptime_username": "u",
        "greptime_password": "password-1",
        "relays": [
            {
                "name": "a",
                "base_url": "https://a.example",
                "api_ids": ["id-1"],
                "api_keys": ["cr_2"],
                "admin_username": "admin",
                "admin_password": "password-3",
                "headers": {"Authorization": "Bearer token-4", "X-Token": "token-5"},
            }
        ],
        "destinations": [
            {
                "name": "b",
                "url": "https://b.example",
                "headers": {"Authorization": basic("u", "password-6")},
            }
        ],
    }
    headers = '{"X-Scope": "token-7"}'
    assert read({**NOT_HERE, "OTEL_EXPORT_HEADERS": headers}, secret).secrets == {
        *("password-1", basic("u", "password-1"), basic("u", "password-1").removeprefix("Basic ")),
        *("cr_2", "password-3", "Bearer token-4", "token-4", "token-5"),
        *("password-6", basic("u", "password-6"), basic("u", "password-6").removeprefix("Basic ")),
        "token-7",
    }


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("Basic no base64!", ["no base64!"]),
        (basic("u", ""), [basic("u", "").removeprefix("Basic ")]),
        ("bearer t0ken", ["t0ken"]),
        ("t0ken", []),
        ("", None),
    ],
)
def test_a_header_is_a_secret_and_so_is_what_it_is_made_of(
    header: str, parts: list[str] | None
) -> None:
    given = json.dumps({"Authorization": header})
    expected = set() if parts is None else {header, *parts}
    assert read({"OTEL_EXPORT_HEADERS": given}).secrets == expected


def test_the_database_is_no_secret() -> None:
    headers = '{"x-greptime-db-name": "metrics"}'
    assert read({"OTEL_EXPORT_HEADERS": headers}).secrets == frozenset()
