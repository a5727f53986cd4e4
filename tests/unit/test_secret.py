"""The secret: read by its age, and the last copy where it cannot be read."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError, NoRegionError

from relay_metrics.errors import SecretError, SettingsError
from relay_metrics.relays.claude.settings import access
from relay_metrics.runtime import Invocation, Runtime
from relay_metrics.settings.secrets_manager import Secret


class Reader:
    """Gives one thing after the other; what is an exception is raised."""

    def __init__(self, *values: Any) -> None:
        self.values = list(values)
        self.asked: list[tuple[str, int, bool]] = []

    def get(self, name: str, max_age: int, *, force_fetch: bool) -> Any:
        self.asked.append((name, max_age, force_fetch))
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        if isinstance(value, BaseException):
            raise value
        return value


def denied() -> GetParameterError:
    """As Powertools raises it: around the library's own, whose text may hold anything."""
    error = GetParameterError("a t0ken")
    error.__context__ = ClientError(
        {"Error": {"Code": "AccessDeniedException", "Message": "a t0ken"}}, "GetSecretValue"
    )
    return error


def test_under_sam_local_it_asks_for_region_and_credentials_and_not_for_a_role() -> None:
    with pytest.raises(SecretError) as caught:
        Secret("name", 300, Reader(denied()), sam_local=True).text()
    assert "AWS_DEFAULT_REGION" in str(caught.value)
    assert "role" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDeniedException", "Access to KMS is not allowed"),
        ("DecryptionFailure", "the key is disabled"),
    ],
)
@pytest.mark.parametrize(
    ("sam_local", "who"),
    [(True, "your own credentials (the profile)"), (False, "the function's role")],
)
def test_a_key_that_stands_in_the_way_is_asked_for(
    code: str, message: str, sam_local: bool, who: str
) -> None:
    error = GetParameterError("a t0ken")
    error.__context__ = ClientError({"Error": {"Code": code, "Message": message}}, "GetSecretValue")
    with pytest.raises(SecretError) as caught:
        Secret("name", 300, Reader(error), sam_local=sam_local).text()
    assert caught.value.key
    assert str(caught.value).endswith(f"({code}): may {who} use the secret's KMS key?")


def test_a_secret_is_read_by_its_age() -> None:
    reader = Reader("{}")
    secret = Secret("name", 300, reader)
    assert [secret.text(), secret.text(anew=True)] == ["{}", "{}"]
    assert reader.asked == [("name", 300, False), ("name", 300, True)]


@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (denied(), "AccessDeniedException"),
        (NoRegionError(), "NoRegionError"),
        (GetParameterError("a t0ken"), "GetParameterError"),
    ],
)
def test_a_secret_that_cannot_be_read(failure: Exception, word: str) -> None:
    with pytest.raises(SecretError) as caught:
        Secret("name", 300, Reader(failure)).text()
    assert f"({word})" in str(caught.value)
    assert "SECRET_ID" in str(caught.value)
    assert "t0ken" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_last_copy_is_used_where_there_is_one() -> None:
    secret = Secret("name", 300, Reader("one", denied(), denied(), "two"))
    assert [secret.text() for _ in range(4)] == ["one", "one", "one", "two"]


@pytest.mark.parametrize("value", [b"{}", None, {"parsed": "by somebody"}])
def test_a_secret_that_is_no_text(value: Any) -> None:
    with pytest.raises(SecretError, match="the secret is binary"):
        Secret("name", 300, Reader(value)).text()


# -- an invocation --------------------------------------------------------------------------------

VARIABLES = {"SECRET_ID": "name", "RELAY_BASE_URL": "http://r", "OTEL_EXPORT_URL": "http://d"}
GOOD, BETTER = '{"relay_api_id":"one"}', '{"relay_api_id":"two"}'


def api_id(invocation: Invocation) -> str | None:
    return access(invocation.settings.relays[0]).keys[0].api_id


def warm_with(*values: Any) -> tuple[Runtime, Reader]:
    reader = Reader(*values)
    return Runtime(VARIABLES, reader), reader


def test_an_invocation_reads_anew_once() -> None:
    runtime, reader = warm_with(GOOD, BETTER)
    invocation = Invocation(runtime)
    assert api_id(invocation) == "one"
    for _ in range(3):
        invocation.renew()
    assert api_id(invocation) == "two"
    assert [anew for _, _, anew in reader.asked] == [False, True]


@pytest.mark.parametrize("worse", ["{", '{"relay_api_id":"REPLACE_ME"}', denied()])
def test_a_secret_that_has_become_worse_changes_nothing(worse: Any) -> None:
    runtime, _ = warm_with(GOOD, worse)
    invocation = Invocation(runtime)
    invocation.renew()
    assert api_id(invocation) == "one"


def test_a_secret_that_was_filled_in_since_counts_at_once() -> None:
    runtime, reader = warm_with('{"relay_api_id":"REPLACE_ME"}', GOOD)
    invocation = Invocation(runtime)
    assert api_id(invocation) == "one"
    assert [anew for _, _, anew in reader.asked] == [False, True]
    invocation.renew()
    assert len(reader.asked) == 2


def test_a_secret_that_is_never_filled_in_lets_nothing_begin() -> None:
    runtime, reader = warm_with('{"relay_api_id":"REPLACE_ME"}')
    for _ in range(2):
        assert Invocation(runtime).settings.unfilled
    assert len(reader.asked) == 4


@pytest.mark.parametrize("worse", ["{", "[]", '{"relays":1}', '{"relay_api_id":"REPLACE_ME"}'])
def test_where_the_secret_has_become_unreadable_the_last_good_settings_are_used(
    worse: str,
) -> None:
    with pytest.raises(SettingsError) if "REPLACE_ME" not in worse else nullcontext():
        Invocation(warm_with(worse)[0])
    runtime, reader = warm_with(GOOD, worse, worse, worse, worse, BETTER)
    assert [api_id(Invocation(runtime)) for _ in range(4)] == ["one", "one", "one", "two"]
    assert [anew for _, _, anew in reader.asked] == [False, *(2 * (False, True)), False]


def test_an_entry_that_has_become_wrong_is_read_anew_once_and_fails_alone() -> None:
    secret = {"destinations": [{"name": "a", "url": "http://a", "username": "x"}]}
    runtime, reader = warm_with(GOOD, json.dumps({**json.loads(GOOD), **secret}))
    Invocation(runtime)
    settings = Invocation(runtime).settings
    assert [one.wrong is None for one in settings.destinations] == [True, False]
    assert [anew for _, _, anew in reader.asked] == [False, False, True]
