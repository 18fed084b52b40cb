"""Connections for reading, lent to one thread at a time and kept for the next."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import (
    BoundedConnection,
    PostgresLimits,
    connect,
    connect_arguments,
    is_lost,
    set_up,
)
from services.eventstore.postgres.errors import translated

_CLOSE_TIMEOUT_S: Final = 5.0


class PostgresReaders:
    """At most `readers_max` connections; those that the server has closed are replaced before anybody gets them."""

    def __init__(self, address: LogAddress, limits: PostgresLimits, *, writes: bool) -> None:
        self._address = address
        self._limits = limits
        self._writes = writes
        self._pool = ConnectionPool(
            connection_class=BoundedConnection,
            kwargs=connect_arguments(address, limits, writes=writes) | {"autocommit": True},
            configure=lambda connection: set_up(connection, address, limits),
            check=_require_alive,
            min_size=0,
            max_size=limits.readers_max,
            timeout=limits.reader_wait_s,
            reconnect_timeout=limits.reader_wait_s,
            name="event-store-readers",
            open=True,
        )

    @contextmanager
    def lent(self) -> Iterator[BoundedConnection]:
        """A connection for a short read; PostgreSQL's errors come out as DomainErrors.

        Raises Overloaded when all are lent for too long, Unavailable when closed or when the server does not answer.
        """
        with translated(self._address):
            connection = self._taken()
            try:
                with connection:
                    yield connection
            finally:
                self._pool.putconn(connection)

    def close(self) -> None:
        """Close the connections; those that are lent are closed as they come back. Safe to repeat."""
        self._pool.close(_CLOSE_TIMEOUT_S)

    def _taken(self) -> BoundedConnection:
        try:
            return self._pool.getconn()
        except PoolTimeout:
            # Connecting is the pool's business, but it keeps to itself why it fails: ask the server once more.
            connect(self._address, self._limits, writes=self._writes).close()
            raise


def _require_alive(connection: BoundedConnection) -> None:
    if is_lost(connection):
        raise psycopg.OperationalError("the server has closed this connection")
