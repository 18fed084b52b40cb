"""Connections for reading, lent to one thread at a time and kept for the next."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.eventstore.sqlite.connection import SqliteLimits, connect_reader
from services.eventstore.sqlite.errors import translated
from services.kernel.errors import Unavailable


class SqliteReaders:
    """As many connections as threads read at once; only `idle_readers_max` stay open when nobody reads."""

    def __init__(self, log: Path, limits: SqliteLimits) -> None:
        self._log = log
        self._limits = limits
        self._idle: list[sqlite3.Connection] = []
        self._changing = threading.Lock()
        self._is_closed = False

    @contextmanager
    def lent(self) -> Iterator[sqlite3.Connection]:
        """A connection for a short read; SQLite's errors come out as DomainErrors. Raises Unavailable when closed."""
        connection = self._take()
        try:
            with translated(self._log):
                yield connection
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)

    def close(self) -> None:
        """Close the idle connections; those that are lent are closed as they come back."""
        with self._changing:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> sqlite3.Connection:
        with self._changing:
            if self._is_closed:
                raise Unavailable("the event store is closed; open it again", reason="EVENT_STORE_CLOSED")
            if self._idle:
                return self._idle.pop()
        return connect_reader(self._log, self._limits)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._changing:
            is_kept = not self._is_closed and len(self._idle) < self._limits.idle_readers_max
            if is_kept:
                self._idle.append(connection)
        if not is_kept:
            connection.close()
