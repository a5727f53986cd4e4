"""What a wrong setting says: it names the variable or the key, and shows no value."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.greptimedb.naming import STRATEGIES
from relay_metrics.catalogue import ATTRIBUTES
from relay_metrics.relays.kinds import KINDS
from tests.unit.settings_read import (
    CONTRACT,
    NOT_HERE,
    SECRET,
    failures,
    listed,
    read,
    refused,
    wrong,
)


def flat(table: Mapping[str, Sequence[Any]]) -> list[tuple[str, Any]]:
    """A row for each of the values that are wrong in one way."""
    return [(says, value) for says, values in table.items() for value in values]


# -- what a wrong variable says, which begins with its name

HEADER_VALUES = ("b\r\nX-C: d", 1, "数据库", "équipe", "a\0", "\x7f")
WRONG_VARIABLES: dict[str, Sequence[str]] = {
    "RELAY_KIND must be one of claude-relay, wyolet-relay": ["claude"],
    "RELAY_METRICS_PERIOD must be one of daily, monthly, alltime": ["weekly"],
    "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL": ["LOUD"],
    "RELAY_TIMEOUT_MS must be a whole number from 1 to 900000": ["5s", "0", "1.5"],
    "RELAY_CONCURRENCY must be a whole number from 1 to 256": ["-1", "٣"],
    "RELAY_MAX_KEYS must be a whole number from 1 to 1000000": ["9" * 99],
    "RELAY_USAGE_LOOKBACK_MINUTES must be a whole number from 5 to 1440": ["4"],
    "RELAY_UTC_OFFSET_HOURS must be a number from -14 to 14": ["nan", "Asia/Shanghai"],
    "RELAY_BASE_URL must be a URL, https://HOST": [
        *("relay.example", "ftp://relay.example", "https://"),
        *("https://a:99999", "https://a:0", "https://[::1"),
    ],
    "RELAY_BASE_URL must not have a query": ["https://a/?b=c"],
    **{
        f"{name} must not have a user name or password in it: they belong into the secret": [
            "https://user:hunter2@a"
        ]
        for name in ("RELAY_BASE_URL", "OTEL_EXPORT_URL")
    },
    "OTEL_EXPORT_URL must be a URL without fragment, space or backslash": [
        *("https://a/b#c", "https://a\n.example"),
    ],
    "OTEL_EXPORT_HEADERS must be a JSON object of header names to text": [
        *("X-A=b", "[" * 100_000, '["X-A"]'),
    ],
    "OTEL_EXPORT_HEADERS has a name that no HTTP header can have": ['{"X A": "b"}'],
    "OTEL_EXPORT_HEADERS has a value that no HTTP header can have": [
        json.dumps({"X-A": value}) for value in HEADER_VALUES
    ],
    **{
        f"OTEL_EXPORT_HEADERS cannot have {name.lower()}: the request itself needs it": [
            json.dumps({name: "5"})
        ]
        for name in (
            *("Content-Length", "transfer-encoding", "Connection", "Expect", "TE"),
            "Accept-Encoding",
        )
    },
    "GREPTIME_DATABASE has a value that no HTTP header can have": ["数据库", "b\r\nX-C: d", "é"],
    "OTEL_RESOURCE_ATTRIBUTES must be a list of key=value, commas between": ["team", "a=b,=c"],
    "OTEL_RESOURCE_ATTRIBUTES: name 2 must have a letter or digit of ASCII, "
    "and no control character": [
        f"a=b,{name}=c" for name in ("команда", "team%0d%0aX-Evil%3A 1", "%3B", "a%00", "_")
    ],
    "OTEL_RESOURCE_ATTRIBUTES: name 2 must not begin with two underscores": ["a=b,__tsid=1"],
    **{
        f"OTEL_RESOURCE_ATTRIBUTES: name 1 is stored as the tag {tag}, which is taken": [
            f"{name}=c"
        ]
        for name, tag in {
            **{name: name for name in ("le", "greptime_value", "job", "service_name")},
            "greptime.timestamp": "greptime_timestamp",
            "Relay.Name": "relay_name",
            **{
                name: name.replace(".", "_")
                for name in (
                    *("relay.kind", "relay.name", "relay.key.id", "relay.key.name"),
                    *("service.instance.id", "service.endpoint", "shard"),
                    *(name for names in ATTRIBUTES.values() for name in names),
                )
            },
            "Model": "model",
            "error-type": "error_type",
        }.items()
    },
    "OTEL_RESOURCE_ATTRIBUTES: names 1 and 2 are stored as one tag": [
        f"{names},x=1" for names in ("a%3Bb=1,a.b=2", "_foo=1,key_foo=2", "Team=1,team=2")
    ],
    "RELAY_KEY_LABELS: names 1 and 2 are stored as one tag": ["cost centre,cost.centre"],
    "RELAY_KEY_LABELS: name 2 is stored as the tag relay_key_owner, which is taken": [
        "team,relay_key_owner"
    ],
    "RELAY_KEY_LABELS: name 1 is stored as the tag relay_key_id, which is taken": ["relay.key.id"],
    "RELAY_KEY_LABELS: name 1 must have a letter or digit of ASCII, and no control character": [
        "团队"
    ],
    "RELAY_METRICS_SETTINGS must be a list of NAME=value, spaces between": [
        *("RELAY_CONCURRENCY = 4", "relay_concurrency=4"),
    ],
    "RELAY_METRICS_SETTINGS cannot have RELAY_BASE_URL: it is a variable of its own": [
        "LOG_LEVEL=INFO RELAY_BASE_URL=https://a"
    ],
    "RELAY_METRICS_SETTINGS has LOG_LEVEL twice": ["LOG_LEVEL=INFO LOG_LEVEL=DEBUG"],
}


STRATEGY = "x-greptime-otlp-metric-translation-strategy"


@pytest.mark.parametrize("value", ["nonsense", "notranslation", ""])
def test_a_strategy_that_greptimedb_does_not_know_is_refused(value: str) -> None:
    headers = {STRATEGY.title(): value}
    says = (
        f"{STRATEGY} in OTEL_EXPORT_HEADERS must be one of UnderscoreEscapingWithSuffixes, "
        "UnderscoreEscapingWithoutSuffixes, NoUTF8EscapingWithSuffixes, NoTranslation"
    )
    assert refused({"OTEL_EXPORT_HEADERS": json.dumps(headers)}) == says
    one = {"name": "b", "url": "https://b", "headers": headers}
    of_entry = says.replace("OTEL_EXPORT_HEADERS", "headers in destinations[0] of the secret")
    assert wrong({}, {**SECRET, "destinations": [one]}) == {"b": of_entry}


@pytest.mark.parametrize("value", STRATEGIES)
def test_the_strategies_that_greptimedb_knows_are_sent(value: str) -> None:
    given = read({"OTEL_EXPORT_HEADERS": json.dumps({STRATEGY: f" {value} "})})
    assert given.destinations[0].headers[STRATEGY] == value


@pytest.mark.parametrize(("says", "value"), flat(WRONG_VARIABLES))
def test_a_wrong_variable_is_named(says: str, value: str) -> None:
    variable = says.partition(" ")[0].rstrip(":")
    assert refused({variable: value}) == says


def test_a_label_of_keys_may_replace_an_attribute_of_every_series_under_its_own_name() -> None:
    attributes = {"OTEL_RESOURCE_ATTRIBUTES": "Cost.Centre=a,team=b"}
    says = "RELAY_KEY_LABELS: name 2 is stored as the tag cost_centre, which is taken"
    assert refused(attributes | {"RELAY_KEY_LABELS": "team,cost centre"}) == says
    assert read(attributes | {"RELAY_KEY_LABELS": "team"}).environment.key_labels == ("team",)


def test_a_name_in_the_settings_is_named_as_the_variable_would_be() -> None:
    given = "RELAY_CONCURRENCY=4 RELAY_TIMEOUT_MS=5s"
    assert refused({"RELAY_METRICS_SETTINGS": given}) == refused({"RELAY_TIMEOUT_MS": "5s"})


def test_an_unknown_name_in_the_settings_is_named_with_those_known() -> None:
    says = refused({"RELAY_METRICS_SETTINGS": "RELAY_CONCURENCY=4"})
    start = (
        "RELAY_METRICS_SETTINGS has an unknown name RELAY_CONCURENCY; known are GREPTIME_DATABASE, "
    )
    assert says.startswith(start)
    assert says.endswith(", SECRET_ID, SECRET_MAX_AGE_SECONDS")
    assert "URL" not in says


CREDENTIALS = "relay_api_id, relay_api_key, or relay_admin_username with relay_admin_password"
MISSING: dict[str, Sequence[tuple[dict[str, str], Any]]] = {
    "RELAY_BASE_URL is not set, and the secret has no relays: "
    "give the relay's address, https://HOST": [(NOT_HERE, SECRET)],
    "RELAY_BASE_URL is not set: give the relay's address, https://HOST": [
        ({**NOT_HERE, "SECRET_ID": ""}, None)
    ],
    "OTEL_EXPORT_URL is not set: give the URL of GreptimeDB, https://HOST": [
        ({"OTEL_EXPORT_URL": "", "SECRET_ID": "", "RELAY_KIND": "wyolet-relay"}, None)
    ],
    "OTEL_EXPORT_URL is not set, and the secret has no destinations: "
    "give the URL of GreptimeDB, https://HOST": [({"OTEL_EXPORT_URL": ""}, SECRET)],
    f"the secret has no credential for the relay: give {CREDENTIALS}": [({}, {})],
    f"SECRET_ID is not set: name a secret that has {CREDENTIALS}": [({"SECRET_ID": ""}, None)],
    "the secret has a claude-relay's credential, but RELAY_KIND is wyolet-relay, "
    "which takes relay_headers and relay_admin_token": [({"RELAY_KIND": "wyolet-relay"}, SECRET)],
    "relay_admin_token in the secret has a character that no token has": [
        ({"RELAY_KIND": "wyolet-relay"}, {"relay_admin_token": "t0 ken"})
    ],
    "RELAY_BASE_URL is set and the secret has relays: give the relay in one place": [
        ({}, listed())
    ],
    "relay_api_id is in the secret beside relays: put it into its relay": [
        (NOT_HERE, {**listed(), **SECRET})
    ],
    "relay_headers is in the secret beside relays: put it into its relay": [
        (NOT_HERE, {**listed(), "relay_headers": {"X-A": "b"}})
    ],
}


@pytest.mark.parametrize(("says", "given"), flat(MISSING))
def test_what_does_not_go_together_is_named(says: str, given: tuple[dict[str, str], Any]) -> None:
    assert refused(*given) == says


# -- what a wrong secret says

ONE_OBJECT = "the secret must be one JSON object; it is"
WRONG_SECRETS: dict[str, Sequence[Any]] = {
    f"{ONE_OBJECT} not JSON": [
        *("\xef\xbb\xbf{", "\xef\xbb\xbf\x81{}", "\xef\xbb\xbf\xe9{}"),
        *("relay_api_id=x", "", "[" * 100_000, '{"a": ' + "9" * 5000 + "}"),
    ],
    f"{ONE_OBJECT} other JSON": ['"text"', "[]", "null"],
    "the secret has an unknown key 'relay_api_key_id'; known are destinations, "
    "greptime_password, greptime_username, relay_admin_password, relay_admin_token, "
    "relay_admin_username, relay_api_id, relay_api_key, relay_headers, relays": [
        {"relay_api_key_id": "x"}
    ],
    "relay_api_id in the secret must be text": [{"relay_api_id": 7}, {"relay_api_id": ["x"]}],
    "relay_admin_password is missing in the secret: it goes with relay_admin_username": [
        {"relay_admin_username": "admin"}
    ],
    "greptime_username is missing in the secret: it goes with greptime_password": [
        {**SECRET, "greptime_password": "hunter2"}
    ],
    "greptime_username in the secret must not have a colon": [
        {**SECRET, "greptime_username": "a:b", "greptime_password": "c"}
    ],
    "relay_headers in the secret cannot have content-length: the request itself needs it": [
        {**SECRET, "relay_headers": {"Content-Length": "5"}}
    ],
    "relay_headers in the secret must be a JSON object of header names to text": [
        {**SECRET, "relay_headers": wrong_headers} for wrong_headers in ("X-A: b", 0)
    ],
    "relays in the secret must be a list": [{**SECRET, "relays": {}}],
    "destinations in the secret must be a list": [{**SECRET, "destinations": "x"}],
}


@pytest.mark.parametrize(("says", "secret"), flat(WRONG_SECRETS))
def test_a_wrong_secret_is_named(says: str, secret: Any) -> None:
    assert refused({}, secret) == says


WRONG_DESTINATIONS: dict[str, Sequence[Any]] = {
    "destinations[0] of the secret must be a JSON object": ["https://a"],
    "name is missing in destinations[0] of the secret": [{"name": None}],
    "url is missing in destinations[0] of the secret": [{"url": None}],
    "url in destinations[0] of the secret must be a URL, https://HOST": [{"url": "b"}],
    "destinations[0] of the secret has an unknown key 'token'; "
    "known are ca_pem, headers, name, overwrites, password, url, username": [{"token": "x"}],
    "username in destinations[0] of the secret must not have a colon": [
        {"username": "a:b", "password": "c"}
    ],
    "ca_pem in destinations[0] of the secret must be certificates in PEM form": [
        *({"ca_pem": "x"}, {"ca_pem": "x\u2028y"}),
    ],
    "overwrites in destinations[0] of the secret must be true or false": [{"overwrites": "yes"}],
}


@pytest.mark.parametrize(("says", "changes"), flat(WRONG_DESTINATIONS))
def test_a_wrong_destination_of_the_secret_is_that_one_s_failure(says: str, changes: Any) -> None:
    given = changes
    if isinstance(changes, dict):
        given = {"name": "b", "url": "https://b", **changes}
        given = {key: value for key, value in given.items() if value is not None}
    secret = {**SECRET, "destinations": [given, {"name": "good", "url": "https://good.example"}]}
    name = given.get("name") if isinstance(given, dict) else None
    assert wrong({}, secret) == {name or "destinations[0]": says}
    assert [one.wrong for one in read({}, secret).relays] == [None]


OF_WYOLET = {"kind": "wyolet-relay", "api_ids": None}
WRONG_RELAYS: dict[str, Sequence[dict[str, Any]]] = {
    "base_url is missing in relays[0] of the secret": [{"base_url": None}],
    "base_url in relays[0] of the secret must be a URL, https://HOST": [{"base_url": "a.example"}],
    "kind in relays[0] of the secret must be one of claude-relay, wyolet-relay": [
        {"kind": "prometheus"}
    ],
    "relays[0] of the secret has an unknown key 'api_id'; known are admin_password, "
    "admin_token, admin_username, api_ids, api_keys, base_url, ca_pem, headers, kind, "
    "metric_exclude, metrics_path, name, usage": [{"api_id": "x"}],
    "relays[0] of the secret has no credential: give api_ids, api_keys, "
    "or admin_username with admin_password": [{"api_ids": None}],
    "api_ids in relays[0] of the secret must be a list": [{"api_ids": "x"}],
    "api_ids in relays[0] of the secret must be a list of text": [{"api_ids": ["x", 7]}],
    "api_keys in relays[0] of the secret must be a list of text": [{"api_keys": [" "]}],
    "api_keys in relays[0] of the secret still is the placeholder REPLACE_ME: "
    "fill it in, or remove the key": [{"api_keys": ["REPLACE_ME"]}],
    "admin_username is missing in relays[0] of the secret: it goes with admin_password": [
        {"admin_password": "hunter2"}
    ],
    "usage and metrics_path and metric_exclude in relays[0] of the secret "
    "are for wyolet-relay only": [{"metrics_path": "/metrics"}],
    "relays[0] of the secret has a claude-relay's credential, but is a wyolet-relay, "
    "which takes headers and admin_token": [{"kind": "wyolet-relay"}],
    "metrics_path in relays[0] of the secret must begin with /": [
        {**OF_WYOLET, "metrics_path": path} for path in ("metrics", "/a b")
    ],
    "headers in relays[0] of the secret has a value that no HTTP header can have": [
        {"headers": {"X-A": "b\n"}}
    ],
}


@pytest.mark.parametrize(("says", "changes"), flat(WRONG_RELAYS))
def test_a_wrong_relay_of_the_secret_is_that_one_s_failure(
    says: str, changes: dict[str, Any]
) -> None:
    good = listed(name="good")["relays"][0]
    secret = {"relays": [*listed(**changes)["relays"], good]}
    assert wrong(NOT_HERE, secret) == {"a": says}
    bad, other = read(NOT_HERE, secret).relays
    assert other == read(NOT_HERE, {"relays": [good]}).relays[0]
    # what can be known of it stays, so that its series is the same when it is well again
    well = read(NOT_HERE, listed()).relays[0].resource
    if not {"base_url", "kind"} & changes.keys():
        assert bad.resource == well


@pytest.mark.parametrize(
    ("entry", "name", "kind"),
    [
        ("text", "relays[0]", "claude-relay"),
        ({}, "relays[0]", "claude-relay"),
        ({"name": 7, "base_url": "ftp://x", "kind": ["x"]}, "relays[0]", "claude-relay"),
        ({"base_url": "https://a.example/"}, "a.example:443", "claude-relay"),
        (
            {"base_url": "https://a", "kind": "wyolet-relay", "api_ids": ["x"]},
            "a:443",
            "wyolet-relay",
        ),
        ({"name": " a\ud800 "}, "a\ufffd", "claude-relay"),
    ],
)
def test_a_wrong_relay_has_the_name_and_kind_that_can_be_known(
    entry: Any, name: str, kind: str
) -> None:
    (one,) = read(NOT_HERE, {"relays": [entry]}).relays
    assert one.wrong is not None
    assert (one.name, one.kind, one.resource["relay.name"]) == (name, kind, name)
    assert not one.access.credentials


def test_of_two_of_one_name_the_later_one_is_wrong() -> None:
    one = listed()["relays"][0]
    assert wrong(NOT_HERE, {"relays": [one, {**one, "name": "b"}, one]}) == {
        "relays[2]": "relays[2] of the secret has the name of one before it"
    }
    secret = {**SECRET, "destinations": [{"name": "default", "url": "https://b"}]}
    assert wrong({}, secret) == {
        "destinations[0]": "destinations[0] of the secret has the name of one before it"
    }


# -- what is not filled in yet

STACK = {
    "greptime_username": "REPLACE_ME",
    "greptime_password": "REPLACE_ME",
    "relay_api_id": "REPLACE_ME",
}
"""What the template writes into the secret that it makes."""
DATABASE = (
    "greptime_username and greptime_password in the secret still are the placeholder REPLACE_ME: "
    "fill them in, or remove the keys"
)
KEY = (
    "relay_api_id in the secret still is the placeholder REPLACE_ME: fill it in, or remove the key"
)


@pytest.mark.parametrize(
    ("environment", "secret", "unfilled"),
    [
        ({}, STACK, (DATABASE, KEY)),
        ({}, {**STACK, "relay_api_id": "x"}, (DATABASE,)),
        ({}, {"relay_api_id": "REPLACE_ME"}, (KEY,)),
        ({"RELAY_KIND": "wyolet-relay"}, STACK, (DATABASE, KEY)),
        ({"OTEL_EXPORT_URL": ""}, STACK, (DATABASE, KEY)),
        (NOT_HERE, STACK, (KEY, DATABASE)),
        (
            NOT_HERE,
            listed(api_ids=["REPLACE_ME"], headers={"X-Token": "Bearer REPLACE_ME"}),
            (
                (
                    "api_ids and headers in relays[0] of the secret still are the placeholder "
                    "REPLACE_ME: fill them in, or remove the keys"
                ),
            ),
        ),
    ],
)
def test_a_stack_that_was_just_made_is_not_filled_in(
    environment: dict[str, str], secret: Any, unfilled: tuple[str, ...]
) -> None:
    assert read(environment, secret).unfilled == unfilled


def test_a_placeholder_elsewhere_is_that_one_s_failure() -> None:
    secret = {
        "relays": [
            *listed(api_ids=["REPLACE_ME"])["relays"],
            {"name": "b", "base_url": "https://b.example", "api_ids": ["x"]},
        ],
        "destinations": [
            {"name": "c", "url": "https://c", "username": "u", "password": "REPLACE_ME"}
        ],
    }
    assert read(NOT_HERE, secret).unfilled == ()
    assert wrong(NOT_HERE, secret) == {
        name: f"{key} still is the placeholder REPLACE_ME: fill it in, or remove the key"
        for name, key in [
            ("a", "api_ids in relays[0] of the secret"),
            ("c", "password in destinations[0] of the secret"),
        ]
    }


# -- no message holds a value

KEYS = st.sampled_from(
    [
        *("greptime_username", "greptime_password", "relays", "destinations"),
        *("relay_api_id", "relay_api_key", "relay_admin_username", "relay_admin_password"),
        *("relay_headers", "name", "kind", "base_url", "url", "api_ids", "api_keys", "headers"),
        *("admin_username", "admin_password", "username", "password"),
        *("metrics_path", "metric_exclude", "ca_pem", "admin_token", "relay_admin_token", "usage"),
    ]
)
MARK = "hunter2"
VALUES = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats(),
    st.text().map(lambda text: text + MARK),
    st.sampled_from(["https://", "https://a.example/?", "https://u:", "/", "-----BEGIN "]).map(
        lambda text: text + MARK
    ),
    st.sampled_from(["wyolet-relay", "https://a.example", ""]),
)
DOCUMENTS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, DOCUMENTS, max_size=6), st.booleans(), st.sampled_from(["", *KINDS]))
def test_no_error_shows_a_value_of_the_secret(secret: Any, single: bool, kind: str) -> None:
    environment = {"RELAY_KIND": kind, **({} if single else NOT_HERE)}
    for error in failures(environment, secret):
        assert MARK not in str(error)
        assert error.__suppress_context__ or error.__context__ is None


@given(st.text().map(lambda text: text + MARK))
def test_no_error_shows_a_text_that_is_no_secret(text: str) -> None:
    assert MARK not in refused({}, text)


@given(st.sampled_from(sorted(CONTRACT)), st.text().map(lambda text: text + MARK))
def test_no_error_shows_a_variable_s_value(variable: str, value: str) -> None:
    for error in failures({variable: value}, SECRET):
        assert variable in str(error)
        assert MARK not in str(error)


def test_no_repr_shows_a_credential() -> None:
    secret = {
        "relay_admin_username": f"user-{MARK}",
        "relay_admin_password": MARK,
        "relay_headers": {"X-A": MARK},
        "greptime_username": "u",
        "greptime_password": MARK,
    }
    token = b64encode(f"u:{MARK}".encode()).decode()
    shown = repr(read({"OTEL_EXPORT_HEADERS": json.dumps({"X-B": MARK})}, secret))
    assert MARK not in shown
    assert token not in shown
    shown = repr(read(NOT_HERE, listed(api_ids=None, api_keys=[MARK])))
    assert MARK not in shown
