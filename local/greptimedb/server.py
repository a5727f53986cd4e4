"""The HTTP side: what is refused before it reaches a table, and with which words."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import ssl
import time
import zlib
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import duckdb
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from local.closing import Closing
from local.greptimedb.otlp import Options, metric_names, tables_of
from local.greptimedb.store import (
    Answer,
    MixedTablesError,
    NoSuchDatabaseError,
    RefusedRowsError,
    Store,
    json_value,
)
from local.http_server import Fault, FaultHook, HttpServer, Request, Response

OTLP_PATH: Final = "/v1/otlp/v1/metrics"
SQL_PATH: Final = "/v1/sql"
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
REQUESTS_KEPT: Final = 1000

_PROTOBUF: Final = "application/x-protobuf"
_ZLIB_WINDOW: Final = {"gzip": 31, "deflate": 15}

# GreptimeDB's status codes (its `status_code.rs`).
_INTERNAL: Final = 1003
_INVALID_ARGUMENTS: Final = 1004
_INVALID_SYNTAX: Final = 2000
_ENGINE_EXECUTE_QUERY: Final = 3001
_TABLE_NOT_FOUND: Final = 4001
_PERMISSION_DENIED: Final = 7006
_DATABASE_NOT_FOUND: Final = 4004
_USER_PASSWORD_MISMATCH: Final = 7002
_AUTH_HEADER_NOT_FOUND: Final = 7003
_INVALID_AUTH_HEADER: Final = 7004
_SQL_STATUSES: Final = {_ENGINE_EXECUTE_QUERY: 500, _PERMISSION_DENIED: 403}


@dataclass(frozen=True, slots=True)
class Received:
    """A request that reached the stand-in, whatever was answered.

    Attributes:
        headers: by lower-case name; not shown in the repr, they hold the credential.
        body: as it was sent.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of the body after decompression. Raises ValueError where it cannot be undone."""
        return len(self.decompressed())

    def decompressed(self) -> bytes:
        """The body after decompression. Raises ValueError where it cannot be undone."""
        return _decompressed(self.headers, self.body)


class GreptimeDB(Closing):
    """The stand-in, serving on 127.0.0.1 from its making until `close`.

    Args:
        username: with `password`, the only credential that is accepted; None accepts everybody.
        password: see `username`.
        databases: those that exist; `CREATE SCHEMA` makes more.
        port: 0 takes a free one.
        path: a file to keep the data in; in memory where it is None.
        latency_s: the least time an answer takes.
        tls: a server-side context; the URL is then https.

    Attributes:
        url: root URL without a slash at its end.
        requests: the last 1,000 requests, oldest first, those that met a fault included.
        fault: asked for every request, returns how its answer goes wrong, or None. A fault with a
            status keeps the request from being stored; `Fault(close="before")` stores it and loses
            the answer.
    """

    def __init__(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        databases: Collection[str] = ("public",),
        port: int = 0,
        path: Path | None = None,
        latency_s: float = 0.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if (username is None) != (password is None):
            raise ValueError("username and password go together")
        self.requests: deque[Received] = deque(maxlen=REQUESTS_KEPT)
        self.fault: FaultHook | None = None
        self._credential = None if username is None else (username.encode(), _bytes(password))
        self._store = Store(databases, path)
        self._server = HttpServer(self._handle, port=port, latency_s=latency_s, tls=tls)
        self._server.fault = self._receive
        self.url = self._server.url

    @property
    def errors(self) -> list[Exception]:
        """Faults of the stand-in itself, answered with 500. A test asserts that it is empty."""
        return self._server.errors

    def sql(self, query: str, database: str = "public") -> list[dict[str, Any]]:
        """The rows of a query, as `POST /v1/sql` gives them but with NaN and infinities kept.

        Timestamps are whole milliseconds. Of several statements the last one's rows, of a write
        none. Raises duckdb.Error for a wrong statement, NoSuchDatabaseError for the database.
        """
        answer = self._store.run(database, query)[-1]
        names = [column.name for column in answer.columns or ()]
        return [dict(zip(names, row, strict=True)) for row in answer.rows]

    def tables(self, database: str = "public") -> list[str]:
        """The names of the tables, sorted."""
        return self._store.tables(database)

    def close(self) -> None:
        """Stop serving; data that is only in memory is gone. Safe to call twice."""
        self._server.close()
        self._store.close()

    def _receive(self, request: Request) -> Fault | None:
        self.requests.append(Received(request.method, request.path, request.headers, request.body))
        return self.fault(request) if self.fault else None

    def _handle(self, request: Request) -> Response:
        if request.path == "/health":
            return Response.of_json({})
        routes = {OTLP_PATH: self._metrics, SQL_PATH: self._sql}
        if request.path not in routes:
            return Response(404)
        if request.method != "POST":
            return Response(405, headers={"Allow": "POST"})
        return self._unauthorized(request) or routes[request.path](request)

    def _unauthorized(self, request: Request) -> Response | None:
        """The refusal where the request has not the right credential."""
        if self._credential is None:
            return None
        header = request.headers.get("authorization")
        if header is None:
            return _error(
                401, _AUTH_HEADER_NOT_FOUND, "Not found http or grpc authorization header"
            )
        scheme, _, encoded = header.partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except binascii.Error:
            given = b""
        if scheme.lower() != "basic" or b":" not in given:
            return _error(401, _INVALID_AUTH_HEADER, "Invalid http authorization header")
        # at the first colon: a user name that has one can only be refused
        name, _, word = given.partition(b":")
        alike = [*map(hmac.compare_digest, (name, word), self._credential)]
        if not all(alike):
            user = name.decode(errors="replace")
            message = f"Username and password does not match, username: {user}"
            return _error(401, _USER_PASSWORD_MISMATCH, message)
        return None

    def _metrics(self, request: Request) -> Response:
        try:
            headers = _headers(request)
        except UnicodeDecodeError:
            return _refused("Invalid header value: it is not UTF-8")
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != _PROTOBUF:
            return _refused(f"Unsupported content type: {content_type or 'none'}")
        try:
            options = Options.of(headers)
            message = ExportMetricsServiceRequest.FromString(_decompressed(headers, request.body))
            database = _database(headers, request.query)
            legacy = self._store.is_legacy(database, metric_names(message))
            tables = tables_of(message, replace(options, legacy=legacy))
            self._store.write(database, tables)
        except _TooLargeError:
            return Response(413, b"length limit exceeded", "text/plain; charset=utf-8")
        except DecodeError as error:
            return _refused(f"Failed to decode OTLP request: {error}")
        except (ValueError, NoSuchDatabaseError, RefusedRowsError) as error:
            return _refused(str(error))
        except MixedTablesError as error:
            return _error(500, _INTERNAL, str(error))
        written = json.dumps({"greptime_exec_write_cost": sum(map(len, tables.rows.values()))})
        return Response(content_type=_PROTOBUF, headers={"x-greptime-metrics": written})

    def _sql(self, request: Request) -> Response:
        start = time.monotonic()
        form = parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        sql = form.get("sql", [request.query.get("sql", "")])[0]
        try:
            database = _database(_headers(request), request.query)
            answers = self._store.run(database, sql)
            if not answers:
                return _sql_error(start, _INVALID_ARGUMENTS, "sql parameter is required.")
        except UnicodeDecodeError as error:
            return _sql_error(start, _INVALID_ARGUMENTS, str(error))
        except NoSuchDatabaseError as error:
            return _sql_error(start, _DATABASE_NOT_FOUND, str(error))
        except duckdb.Error as error:
            return _sql_error(start, _code_of(error), str(error))
        return Response.of_json(
            {
                "output": [_output(answer) for answer in answers],
                "execution_time_ms": _milliseconds_since(start),
            }
        )


class _TooLargeError(Exception):
    """A body that is longer than GreptimeDB takes."""


def _bytes(text: str | None) -> bytes:
    return (text or "").encode()


def _headers(request: Request) -> dict[str, str]:
    """The headers, by lower-case name, their values read as UTF-8.

    Raises:
        UnicodeDecodeError: one is not.
    """
    return {name: text.encode("latin-1").decode() for name, text in request.headers.items()}


def _database(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The header comes before `?db=`."""
    return headers.get("x-greptime-db-name") or query.get("db") or "public"


def _decompressed(headers: Mapping[str, str], body: bytes) -> bytes:
    """The body, its Content-Encoding undone, never longer than the limit.

    Raises:
        ValueError: an encoding that is not known, or a body that is not of it.
        _TooLargeError: it is longer than the limit.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        data = body
    elif encoding in _ZLIB_WINDOW:
        stream = zlib.decompressobj(_ZLIB_WINDOW[encoding])
        try:
            data = stream.decompress(body, MAX_BODY_BYTES + 1)
        except zlib.error as error:
            raise ValueError(f"Failed to decompress the {encoding} body: {error}") from error
        if not stream.eof and len(data) <= MAX_BODY_BYTES:
            raise ValueError(f"Failed to decompress the {encoding} body: it ends too early")
    else:
        raise ValueError(f"Unsupported content encoding: {encoding}; the stand-in knows gzip")
    if len(data) > MAX_BODY_BYTES:
        raise _TooLargeError
    return data


def _output(answer: Answer) -> dict[str, Any]:
    if answer.columns is None:
        return {"affectedrows": answer.affected}
    schema = [{"name": column.name, "data_type": column.data_type} for column in answer.columns]
    rows = [[json_value(value) for value in row] for row in answer.rows]
    return {
        "records": {
            "schema": {"column_schemas": schema},
            "rows": rows,
            "total_rows": len(rows),
        }
    }


def _code_of(error: duckdb.Error) -> int:
    match error:
        case duckdb.ParserException():
            return _INVALID_SYNTAX
        case duckdb.CatalogException():
            return _TABLE_NOT_FOUND
        case duckdb.BinderException():
            return _INVALID_ARGUMENTS
        case duckdb.PermissionException() | duckdb.InvalidInputException():
            return _PERMISSION_DENIED
        case _:
            return _ENGINE_EXECUTE_QUERY


def _milliseconds_since(start: float) -> int:
    return round((time.monotonic() - start) * 1000)


def _refused(message: str) -> Response:
    return Response.of_json({"error": message}, 400)


def _error(status: int, code: int, message: str) -> Response:
    body = {"code": code, "error": message, "execution_time_ms": 0}
    return Response.of_json(body, status)


def _sql_error(start: float, code: int, message: str) -> Response:
    body = {"code": code, "error": message, "execution_time_ms": _milliseconds_since(start)}
    return Response.of_json(body, _SQL_STATUSES.get(code, 400))
