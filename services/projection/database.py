"""The database of read models: one serialised writer, many readers with one snapshot each."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from services.kernel.errors import InvalidInput, TimedOut, Unavailable
from services.projection.database_sqlite import SqliteTables
from services.projection.database_url import FIELD, is_postgres

WRITE_TIMEOUT_S = 30.0
FOLD_WAIT_S = 3_600.0
"""A fold waits for a neighbour's: one that counts much usage anew takes minutes, and is no failure of the other."""
OWNER = "tables"
"""Whose the read models are when nobody says it."""


class Backend(Protocol):
    """One kind of database. `readers` gives snapshots that cannot write; `writer` writes as the only process.

    Whoever loses the right to be the only one can write no more.
    """

    readers: Engine
    writer: Engine

    def translated(self) -> AbstractContextManager[None]:
        """Raise the database's errors as errors that a caller can act on."""

    def close(self) -> None:
        """Let go of files and connections."""


class Database:
    """Read models, one process at a time. Rebuilt from the log when lost, so they need not outlive a crash."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._writing = threading.Lock()
        self._is_closed = False

    @staticmethod
    def open(url: str, owner: str = OWNER) -> "Database":
        """Open or create the read models of the service `owner`: `sqlite:///<file>`, or `postgresql://…`.

        In PostgreSQL each owner has a schema of its own, `meterlog_<owner>`, so that all services may share a database;
        `?schema=<name>` in the URL makes it `<name>_<owner>`. Raises InvalidInput for another URL, RuleViolated
        (DATABASE_IN_USE) when another process has these read models open, Unavailable when they cannot be used.
        """
        if is_postgres(url):
            from services.projection.database_postgres import PostgresTables

            return Database(PostgresTables(url, owner))
        return Database(SqliteTables(_sqlite_file(url), url))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot, read only."""
        self._require_open()
        with self._backend.translated(), self._backend.readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self, wait_s: float = WRITE_TIMEOUT_S) -> Iterator[Connection]:
        """One transaction, alone; committed at the end, rolled back on any error. Raises TimedOut after `wait_s`."""
        if not self._writing.acquire(timeout=wait_s):
            raise TimedOut(f"the read models were busy for {wait_s:.0f} s; repeat later")
        try:
            self._require_open()
            with self._backend.translated(), self._backend.writer.begin() as connection:
                yield connection
        finally:
            self._writing.release()

    def close(self) -> None:
        """Let go of files and connections. Safe to repeat."""
        if not self._is_closed:
            self._is_closed = True
            self._backend.close()

    def _require_open(self) -> None:
        """Whoever is late must not open it anew, when another process may have it by now."""
        if self._is_closed:
            raise Unavailable("the read models were closed meanwhile; the service is stopping")


def _sqlite_file(url: str) -> str:
    """The file that a SQLite URL names."""
    try:
        parsed = make_url(url)
        is_file = parsed.get_backend_name() == "sqlite" and bool(parsed.database)
    except ArgumentError:
        is_file = False
    if not is_file:
        scheme = url.partition("://")[0][:60]
        raise InvalidInput(
            f'read models are not kept in "{scheme}"; use sqlite:///<file> or postgresql://<user>@<host>/<database>',
            field=FIELD,
        )
    return str(parsed.database)
