"""The tables, in DuckDB. A database of GreptimeDB is a schema here."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from local.greptimedb.naming import legacy_name
from local.greptimedb.otlp import Rows, Tables

VALUE: Final = "greptime_value"
TIMESTAMP: Final = "greptime_timestamp"

_RESERVED_TAGS: Final = frozenset({VALUE, TIMESTAMP, "__tsid", "__table_id"})

# The mark of a table that OTLP made, as GreptimeDB has a table option for it.
_OTLP_MARK: Final = "otlp"

_TIME_TYPES: Final = {"ms": "TIMESTAMP_MS", "ns": "TIMESTAMP_NS"}

_GREPTIMEDB_TYPES: Final = {
    "BOOLEAN": "Boolean",
    "TINYINT": "Int8",
    "SMALLINT": "Int16",
    "INTEGER": "Int32",
    "BIGINT": "Int64",
    "HUGEINT": "Int64",
    "UTINYINT": "UInt8",
    "USMALLINT": "UInt16",
    "UINTEGER": "UInt32",
    "UBIGINT": "UInt64",
    "FLOAT": "Float32",
    "DOUBLE": "Float64",
    "DATE": "Date",
    "BLOB": "Binary",
    "TIMESTAMP_NS": "TimestampNanosecond",
}


class NoSuchDatabaseError(Exception):
    """The database that a request names does not exist."""


class RefusedRowsError(Exception):
    """Rows that a table cannot take: a column of another type, or a name that is not allowed."""


class MixedTablesError(Exception):
    """A request's names meet both tables that OTLP made and tables that it did not make."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer: its name and GreptimeDB's name for its type."""

    name: str
    data_type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one SQL statement answers.

    Attributes:
        columns: of a query; None for a statement that returns no rows.
        rows: of a query; timestamps as whole milliseconds (nanoseconds for TimestampNanosecond).
        affected: the rows that a write changed.
    """

    columns: tuple[Column, ...] | None
    rows: list[tuple[Any, ...]]
    affected: int = 0


class Store:
    """Databases, tables and rows; one statement or one request at a time.

    Args:
        databases: those to begin with. `CREATE SCHEMA` makes more.
        path: a file to keep the data in; in memory where it is None.
    """

    def __init__(self, databases: Collection[str] = ("public",), path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._connection = duckdb.connect(":memory:" if path is None else str(path))
        # SQL comes from outside: it reads and writes these tables, no files.
        self._connection.execute("SET GLOBAL enable_external_access = false")
        self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
        for database in databases:
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(database)}")

    def close(self) -> None:
        """Release the database; without a file its data is gone."""
        with self._lock:
            self._connection.close()

    def tables(self, database: str) -> list[str]:
        """The names of a database's tables, sorted."""
        with self._session(database) as session:
            return sorted(self._marks(session, database))

    def is_legacy(self, database: str, names: Collection[str]) -> bool:
        """Whether a request with these metric names is to be written in the older way.

        That is decided by the tables that exist under the names, translated in the older way.

        Raises:
            MixedTablesError: some were made by OTLP and some were not.
        """
        with self._session(database) as session:
            marks = self._marks(session, database)
        sorts = {marks[table] for table in map(legacy_name, names) if table in marks}
        if len(sorts) > 1:
            raise MixedTablesError("OTLP metric input have incompatible existing tables")
        return sorts == {False}

    def write(self, database: str, tables: Tables) -> None:
        """Store a request's rows, all or none. Of the same tags and time the last write stays.

        Raises:
            NoSuchDatabaseError: there is no such database.
            RefusedRowsError: a table has a column of another type, or a name is not allowed.
        """
        with self._session(database) as session:
            session.begin()
            try:
                columns = _columns(session, database)
                for name, rows in tables.rows.items():
                    if rows:
                        _write_table(session, columns, name, rows, tables.precision)
                session.commit()
            except BaseException:
                session.rollback()
                raise

    def run(self, database: str, sql: str) -> list[Answer]:
        """Run SQL statements; one answer each.

        Raises:
            NoSuchDatabaseError: there is no such database.
            duckdb.Error: a statement is wrong or failed; those before it have taken effect.
        """
        with self._session(database) as session:
            return [_run(session, statement) for statement in session.extract_statements(sql)]

    @contextmanager
    def _session(self, database: str) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock, self._connection.cursor() as session:
            known = session.execute(
                "SELECT 1 FROM duckdb_schemas() WHERE schema_name = ? AND NOT internal", [database]
            ).fetchone()
            if known is None:
                raise NoSuchDatabaseError(f"Failed to find schema, schema info: {database}")
            session.execute(f"SET schema = {_literal(database)}")
            yield session

    @staticmethod
    def _marks(session: duckdb.DuckDBPyConnection, database: str) -> dict[str, bool]:
        """Each table of a database, and whether OTLP made it."""
        found = session.execute(
            "SELECT table_name, comment IS NOT DISTINCT FROM ? FROM duckdb_tables()"
            " WHERE schema_name = ?",
            [_OTLP_MARK, database],
        ).fetchall()
        return dict(found)


_Columns = dict[str, dict[str, str]]
"""DuckDB's type of each column of each table of a database."""


def _columns(session: duckdb.DuckDBPyConnection, database: str) -> _Columns:
    columns: _Columns = {}
    for table, column, data_type in session.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = ?",
        [database],
    ).fetchall():
        columns.setdefault(table, {})[column] = data_type
    return columns


def _write_table(
    session: duckdb.DuckDBPyConnection,
    columns: _Columns,
    table: str,
    rows: Rows,
    precision: str,
) -> None:
    """Create the table or add columns if needed, and replace rows of the same tags and time."""
    tags = list(dict.fromkeys(tag for series, _ in rows for tag, _ in series))
    _check_names(table, tags)
    wanted = {TIMESTAMP: _TIME_TYPES[precision], VALUE: "DOUBLE"} | dict.fromkeys(tags, "VARCHAR")
    existing = columns.get(table)
    if existing is None:
        _refuse_case_clash(table, columns)
        _create_table(session, table, wanted, made_by_otlp=precision == "ms")
    else:
        _check_types(table, existing, wanted)
        for tag in [tag for tag in tags if tag not in existing]:
            _refuse_case_clash(tag, existing)
            session.execute(f"ALTER TABLE {_quoted(table)} ADD {_quoted(tag)} VARCHAR")
    columns[table] = (existing or {}) | wanted
    _stage(session, tags, rows, precision)
    if existing is not None:
        _delete_twins(session, table, tags, existing.keys() - wanted.keys())
    names = ", ".join(_quoted(name) for name in wanted)
    session.execute(
        f"INSERT INTO {_quoted(table)} ({names}) SELECT {names} FROM temp.staged"  # noqa: S608 - names, quoted
    )


def _create_table(
    session: duckdb.DuckDBPyConnection, table: str, columns: dict[str, str], *, made_by_otlp: bool
) -> None:
    listed = ", ".join(f"{_quoted(name)} {data_type}" for name, data_type in columns.items())
    session.execute(f"CREATE TABLE {_quoted(table)} ({listed})")
    if made_by_otlp:
        session.execute(f"COMMENT ON TABLE {_quoted(table)} IS {_literal(_OTLP_MARK)}")


def _stage(session: duckdb.DuckDBPyConnection, tags: list[str], rows: Rows, precision: str) -> None:
    """Put rows into the temporary table `staged`, column by column.

    One list a column is about a hundred times as fast as `executemany`, and needs neither Arrow
    nor pandas.
    """
    places = {tag: place for place, tag in enumerate(tags)}
    lists: list[list[str | None]] = [[None] * len(rows) for _ in tags]
    for number, (series, _) in enumerate(rows):
        for tag, value in series:
            lists[places[tag]][number] = value
    selected = [
        f"make_timestamp_{precision}(unnest(?::BIGINT[]))::{_TIME_TYPES[precision]} AS {TIMESTAMP}",
        f"unnest(?::DOUBLE[]) AS {VALUE}",
        *(f"unnest(?::VARCHAR[]) AS {_quoted(tag)}" for tag in tags),
    ]
    session.execute(
        f"CREATE OR REPLACE TEMP TABLE staged AS SELECT {', '.join(selected)}",
        [[time for _, time in rows], list(rows.values()), *lists],
    )


def _delete_twins(
    session: duckdb.DuckDBPyConnection, table: str, tags: list[str], absent: Collection[str]
) -> None:
    """Delete the rows that have a staged row's tags and time; `absent` tags are NULL in those."""
    # Most requests are newer than all that is stored, and this is cheaper than the join.
    overlap = session.execute(
        f"SELECT max({TIMESTAMP}) >= (SELECT min({TIMESTAMP}) FROM temp.staged)"  # noqa: S608 - names, quoted
        f" FROM {_quoted(table)}"
    ).fetchone()
    if overlap is None or not overlap[0]:
        return
    same = [f"old.{TIMESTAMP} = new.{TIMESTAMP}"]
    same += [f"old.{_quoted(tag)} IS NOT DISTINCT FROM new.{_quoted(tag)}" for tag in tags]
    same += [f"old.{_quoted(tag)} IS NULL" for tag in absent]
    session.execute(
        f"DELETE FROM {_quoted(table)} AS old USING temp.staged AS new"  # noqa: S608 - names, quoted
        f" WHERE {' AND '.join(same)}"
    )


def _run(session: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> Answer:
    if statement.expected_result_type != [duckdb.ExpectedResultType.QUERY_RESULT]:
        session.execute(statement)
        changed = session.fetchone()
        counts = duckdb.ExpectedResultType.CHANGED_ROWS in statement.expected_result_type
        return Answer(None, [], int(changed[0]) if counts and changed else 0)
    relation = session.query(statement.query)
    types = [str(kind) for kind in relation.types]
    # By place, not by name: an answer may have two columns of one name. As numbers, not as
    # datetime, which has no nanoseconds, and for zoned ones would need one more package.
    selected = relation.project(
        ", ".join(_as_number(f"#{place}", kind) for place, kind in enumerate(types, start=1))
    )
    columns = [
        Column(name, _data_type(kind)) for name, kind in zip(relation.columns, types, strict=True)
    ]
    return Answer(tuple(columns), selected.fetchall())


def _as_number(column: str, duckdb_type: str) -> str:
    if duckdb_type == "TIMESTAMP_NS":
        return f"epoch_ns({column})"
    if duckdb_type.startswith("TIMESTAMP"):
        return f"epoch_ms({column})"
    return column


def _data_type(duckdb_type: str) -> str:
    if duckdb_type in _GREPTIMEDB_TYPES:
        return _GREPTIMEDB_TYPES[duckdb_type]
    if duckdb_type.startswith("TIMESTAMP"):
        return "TimestampMillisecond"
    if duckdb_type.startswith("DECIMAL("):
        return duckdb_type.replace("DECIMAL(", "Decimal128(").replace(",", ", ")
    return "String"


def json_value(value: object) -> object:
    """A value of an answer as GreptimeDB writes it in JSON: NaN and infinities are null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dt.date():
            return (value - dt.date(1970, 1, 1)).days
        case decimal.Decimal():
            return str(value)
        case bytes():
            return list(value)
        case _:
            return str(value)


def _check_names(table: str, tags: Collection[str]) -> None:
    if not table:
        raise RefusedRowsError("Invalid table name: it is empty")
    for tag in tags:
        if tag in _RESERVED_TAGS or not tag:
            raise RefusedRowsError(
                f"Incompatible schema of table {table}: column {tag!r} cannot be a tag"
            )
    if len({tag.lower() for tag in tags}) < len(tags):
        raise RefusedRowsError(_case_clash(table))


def _refuse_case_clash(name: str, existing: Collection[str]) -> None:
    if any(name.lower() == other.lower() for other in existing):
        raise RefusedRowsError(_case_clash(name))


def _case_clash(name: str) -> str:
    return f"{name}: names that differ only in case are one name to the stand-in (see its docs)"


def _check_types(table: str, existing: dict[str, str], wanted: dict[str, str]) -> None:
    for column, wanted_type in wanted.items():
        found = existing.get(column)
        if found is None and column in (TIMESTAMP, VALUE):
            raise RefusedRowsError(f"Column {column} of table {table} does not exist")
        if found is not None and found != wanted_type:
            raise RefusedRowsError(
                f"Column {column} of table {table}: expected {_data_type(found)},"
                f" actual {_data_type(wanted_type)}"
            )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
