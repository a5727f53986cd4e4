"""GreptimeDB's SQL over HTTP, as the demo asks the real one and the stand-in alike."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlsplit

import requests

OTLP_PATHS: Final = ("/v1/otlp/v1/metrics", "/v1/otlp")
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
TABLE_NOT_FOUND: Final = 4001
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
_TIMEOUT_S: Final = 15.0

Row = dict[str, Any]


class SqlError(Exception):
    """A statement that was not answered.

    Attributes:
        code: GreptimeDB's status code; None where it was not GreptimeDB that answered.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Database:
    """A database of a GreptimeDB.

    Args:
        url: its root URL.
        name: of the database.
        credentials: user name and password.
    """

    def __init__(
        self, url: str, name: str = "public", credentials: tuple[str, str] | None = None
    ) -> None:
        self.url = f"{url}/v1/sql"
        self._name = name
        self._credentials = credentials

    def query(self, sql: str) -> list[Row]:
        """The rows of one query; timestamps are whole milliseconds.

        Raises:
            SqlError: it cannot be reached, refuses, or is no GreptimeDB.
        """
        answer = self._answer(sql)
        try:
            [output] = answer["output"]
            records = output["records"]
            names = [column["name"] for column in records["schema"]["column_schemas"]]
            return [dict(zip(names, row, strict=True)) for row in records["rows"]]
        except (KeyError, TypeError, ValueError):
            raise SqlError(f"{self.url} did not answer as GreptimeDB does") from None

    def query_if_there(self, sql: str) -> list[Row]:
        """The same; no rows if a table does not exist yet. Its first sample creates it."""
        try:
            return self.query(sql)
        except SqlError as error:
            if error.code == TABLE_NOT_FOUND:
                return []
            raise

    def _answer(self, sql: str) -> Any:
        with requests.Session() as session:
            # no proxy is asked for what is on this machine
            session.trust_env = urlsplit(self.url).hostname not in LOOPBACK
            try:
                with session.post(
                    self.url,
                    params={"db": self._name},
                    data={"sql": sql},
                    auth=self._credentials,
                    timeout=_TIMEOUT_S,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    status = response.status_code
                    body = response.raw.read(MAX_ANSWER_BYTES, decode_content=True)
            except (requests.RequestException, OSError) as error:
                raise SqlError(f"{self.url} cannot be reached ({type(error).__name__})") from None
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if status != 200:
            failure = answer if isinstance(answer, dict) else {}
            reason = str(failure.get("error", "no reason given"))[:300]
            raise SqlError(f"{self.url} answered {status}: {reason}", failure.get("code"))
        return answer


def root_of(otlp_url: str) -> str | None:
    """GreptimeDB's root URL, of an address as `OTEL_EXPORT_URL` may have it.

    None where the address is of another OTLP endpoint, which has no SQL.
    """
    parts = urlsplit(otlp_url)
    path = parts.path.rstrip("/")
    # the collector corrects /v1/metrics on that host
    in_cloud = (parts.hostname or "").endswith(".greptime.cloud")
    endings = (*OTLP_PATHS, "/v1/metrics") if in_cloud else OTLP_PATHS
    ending = next((one for one in endings if path.endswith(one)), "")
    if path and not ending:
        return None
    return parts._replace(path=path.removesuffix(ending), query="").geturl()


def place(url: str) -> str:
    """A URL for display, without the parts that may hold a credential."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def literal(value: str) -> str:
    """A text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"
