"""Rows written in bulk, by primary key. The one file of this room that speaks a dialect of SQL."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert, insert

STATEMENTS_MAX = 64

Rows = Sequence[tuple[Any, ...]]


def upsert(connection: Connection, table: Table, rows: Rows) -> None:
    """Write rows, one value a column in the table's order; a row that stands under the same key is replaced."""
    _execute(connection, _upsert_statement(table), rows)


def insert_missing(connection: Connection, table: Table, rows: Rows) -> None:
    """Write the rows whose key is not there yet; the others change nothing."""
    _execute(connection, _insert_statement(table), rows)


@lru_cache(STATEMENTS_MAX)
def _upsert_statement(table: Table) -> str:
    statement = insert(table)
    rest = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
    return _text(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=rest))


@lru_cache(STATEMENTS_MAX)
def _insert_statement(table: Table) -> str:
    return _text(insert(table).on_conflict_do_nothing())


def _text(statement: Insert) -> str:
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


def _execute(connection: Connection, statement: str, rows: Rows) -> None:
    """Past SQLAlchemy's own handling of parameters, which takes twice as long as the database itself."""
    if rows:
        connection.exec_driver_sql(statement, list(rows))
