"""A real PostgreSQL for tests: one server a session, a database of its own for whoever asks."""

import atexit
from functools import cache
from itertools import count

import psycopg

from services.cli.processes.private_postgres import PrivatePostgres

_numbers = count(1)


@cache
def _server() -> PrivatePostgres:
    """Started by the first test that needs it, stopped when the process ends."""
    server = PrivatePostgres()
    atexit.register(server.close)
    return server


def fresh_database() -> str:
    """The URL of a new, empty database, as superuser, through a socket file."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(_server().url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return _server().database_url(name)
