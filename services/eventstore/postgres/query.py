"""Put one query to the server and take all of its rows, in binary and with a plan that is kept."""

from typing import Any

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]


def rows_of(connection: Connection, query: str, arguments: Any = ()) -> list[Any]:
    """The rows of a query; raises psycopg's errors."""
    with connection.cursor(binary=True) as cursor:
        return cursor.execute(query.encode(), arguments, prepare=True).fetchall()
