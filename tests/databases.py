"""The databases that read models are kept in, so that tests of tables run on both.

Run with TABLES=postgres in the environment to hold every room's tests to PostgreSQL.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

from sqlalchemy import Connection, create_engine

from tests.postgres import fresh_database

SQLITE, POSTGRES = "sqlite", "postgres"
DATABASES = (SQLITE, POSTGRES)
USUAL = os.environ.get("TABLES", SQLITE)

_numbers = count(1)


@cache
def _shared_database() -> str:
    return fresh_database()


def tables_url(database: str, folder: Path, name: str = "tables") -> str:
    """Where new read models go: a file in `folder`, or a schema that nobody else has."""
    if database == SQLITE:
        return f"sqlite:///{folder / f'{name}.db'}"
    separator = "&" if "?" in _shared_database() else "?"
    return f"{_shared_database()}{separator}schema=room_{next(_numbers)}"


@contextmanager
def scratch(database: str) -> Iterator[Connection]:
    """An empty database for one test, inside a transaction that is never committed."""
    engine = create_engine(_driver_url(database))
    with engine.connect() as connection:
        if database == POSTGRES:
            schema = f"scratch_{next(_numbers)}"
            connection.exec_driver_sql(f'CREATE SCHEMA "{schema}"')
            connection.exec_driver_sql(f'SET LOCAL search_path = "{schema}"')
        yield connection
        connection.rollback()
    engine.dispose()


def _driver_url(database: str) -> str:
    return "sqlite://" if database == SQLITE else _shared_database().replace("postgresql://", "postgresql+psycopg://")
