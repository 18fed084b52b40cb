"""Rows written in bulk, by primary key. The one file that speaks the dialects of SQL."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Integer, LargeBinary, Table

from services.projection.columns import conflict_target

STATEMENTS_MAX: Final = 128
COPY_ROWS_MIN: Final = 200
"""So many rows PostgreSQL takes by COPY into a table of the session: in a third of the time, when there are many."""

Rows = Sequence[tuple[Any, ...]]


def upsert(connection: Connection, table: Table, rows: Rows) -> None:
    """Write rows, one value a column in the table's order; a row that stands under the same key is replaced.

    Of rows with one key the last counts.
    """
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        # Past SQLAlchemy's own handling of parameters, which takes twice as long as the database itself.
        connection.exec_driver_sql(_statement(table, "?", _replaces(table, _sqlite_key(table))), list(rows))
    else:
        _write(connection, table, _last_of_each_key(table, rows), _replaces(table, conflict_target(table)))


def insert_missing(connection: Connection, table: Table, rows: Rows) -> None:
    """Write the rows whose key is not there yet; the others change nothing."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_statement(table, "?", _KEEPS), list(rows))
    else:
        _write(connection, table, rows, _KEEPS)


def raise_values(connection: Connection, table: Table, rows: Rows) -> None:
    """Write rows, each key once; where a row stands under the same key, each other column keeps the greater value."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        conflict = _keeps_greater(table, _sqlite_key(table), "max")
        connection.exec_driver_sql(_statement(table, "?", conflict), list(rows))
    else:
        _write(connection, table, rows, _keeps_greater(table, conflict_target(table), "greatest"))


_KEEPS: Final = "ON CONFLICT DO NOTHING"


@lru_cache(STATEMENTS_MAX)
def _replaces(table: Table, key: str) -> str:
    rest = [_quoted(column.name) for column in table.columns if not column.primary_key]
    return f"ON CONFLICT {key} DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in rest)}"


@lru_cache(STATEMENTS_MAX)
def _keeps_greater(table: Table, key: str, greater: str) -> str:
    """`greater` is the function that SQLite, or PostgreSQL, has for the greater of two values."""
    rest = [_quoted(column.name) for column in table.columns if not column.primary_key]
    kept = ", ".join(f"{name} = {greater}({_quoted(table.name)}.{name}, excluded.{name})" for name in rest)
    return f"ON CONFLICT {key} DO UPDATE SET {kept}"


def _sqlite_key(table: Table) -> str:
    return f"({', '.join(_quoted(column.name) for column in table.primary_key)})"


@lru_cache(STATEMENTS_MAX)
def _statement(table: Table, placeholder: str, conflict: str) -> str:
    values = ", ".join([placeholder] * len(table.columns))
    return f"INSERT INTO {_quoted(table.name)} ({_columns(table)}) VALUES ({values}) {conflict}"  # noqa: S608 (names of our own)


def _write(connection: Connection, table: Table, rows: Rows, conflict: str) -> None:
    if len(rows) < COPY_ROWS_MIN:
        connection.exec_driver_sql(_statement(table, "%s", conflict), list(rows))
        return
    staging = _staging_table(connection, table)
    _copy(connection, table, staging, rows)
    columns = _columns(table)
    connection.exec_driver_sql(
        f"INSERT INTO {_quoted(table.name)} ({columns}) SELECT {columns} FROM {staging} {conflict}"  # noqa: S608 (as above)
    )


def _last_of_each_key(table: Table, rows: Rows) -> list[tuple[Any, ...]]:
    """One statement of PostgreSQL replaces a row once."""
    key = [index for index, column in enumerate(table.columns) if column.primary_key]
    return list({tuple([row[index] for index in key]): row for row in rows}.values())


def drop_staging(connection: Connection, table: Table) -> None:
    """Drop what COPY has left in this session for a table that goes."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS pg_temp.{_staging_name(table)}")


def _staging_name(table: Table) -> str:
    return _quoted(f"staging_{table.name}")


def _staging_table(connection: Connection, table: Table) -> str:
    """A table of this session with the columns of `table`, and no row."""
    name = _staging_name(table)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} (LIKE {_quoted(table.name)}) ON COMMIT DELETE ROWS"
    )
    connection.exec_driver_sql(f"TRUNCATE pg_temp.{name}")
    return f"pg_temp.{name}"


def _copy(connection: Connection, table: Table, staging: str, rows: Rows) -> None:
    cursor: Any = connection.connection.cursor()
    with cursor, cursor.copy(f"COPY {staging} ({_columns(table)}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types([_copy_type(column.type) for column in table.columns])
        for row in rows:
            copy.write_row(row)


def _copy_type(kind: Any) -> str:
    match kind:
        case BigInteger():
            return "int8"
        case Integer():
            return "int4"
        case LargeBinary():
            return "bytea"
        case _:
            return "text"


def _columns(table: Table) -> str:
    return ", ".join(_quoted(column.name) for column in table.columns)


def _quoted(name: str) -> str:
    return f'"{name}"'
