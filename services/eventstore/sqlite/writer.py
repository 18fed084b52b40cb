"""The writing side of a log in SQLite: durable commits, one process at a time, and checkpoints of the WAL."""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.eventstore.draft import AppendRequest, prepare
from services.eventstore.event import Appended, WrongExpectedVersion
from services.eventstore.restoration import WholeCommit
from services.eventstore.sqlite.commit import write_commit
from services.eventstore.sqlite.connection import SqliteLimits, connect_writer
from services.eventstore.sqlite.errors import translated
from services.eventstore.sqlite.restore import write_restored
from services.eventstore.sqlite.schema import ensure_log, require_log
from services.eventstore.sqlite.writer_lock import WriterLock
from services.kernel.clock import Clock
from services.kernel.errors import DomainError
from services.kernel.failpoint import fail_at

_log = logging.getLogger(__name__)


class SqliteWriter:
    """The one connection of a store that writes, and only with the lock over all processes held. Not thread-safe.

    After any failure the connection is dropped and opened anew: what a file system holds after a failed sync is
    unknown to a connection that goes on.
    """

    def __init__(self, log: Path, clock: Clock, limits: SqliteLimits) -> None:
        """Creates the log when the file is missing or empty; raises InvalidInput or RuleViolated for any other."""
        self._log = log
        self._clock = clock
        self._limits = limits
        self._lock = WriterLock(log, limits.lock_timeout_s)
        self._wal = log.with_name(log.name + "-wal")
        self._checkpoint_at_bytes = limits.wal_bytes_max
        with self._lock.held():
            self._connection: sqlite3.Connection | None = self._created()

    def commit(self, requests: Sequence[AppendRequest]) -> Sequence[Appended | WrongExpectedVersion]:
        """Write what can be placed in one transaction, and answer each; raises Unavailable or Corrupt for all."""
        prepared = prepare(requests, self._clock.now())
        with self._lock.held(), self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            fail_at("append.before_write")
            answers = write_commit(connection, prepared)
            fail_at("append.before_commit")
            connection.execute("COMMIT")
            fail_at("append.after_commit")
        return answers

    def restore(self, wholes: Sequence[WholeCommit]) -> None:
        """Write commits of another log in one transaction; raises Conflict, Corrupt or Unavailable, then none of them.

        What stands there already is compared and passed over.
        """
        with self._lock.held(), self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            write_restored(connection, wholes)
            fail_at("append.before_commit")
            connection.execute("COMMIT")
            fail_at("append.after_commit")

    def checkpoint_when_large(self) -> None:
        """Move the write-ahead log into the database once it passes `wal_bytes_max`; a failure is only logged."""
        if self._wal_bytes() < self._checkpoint_at_bytes:
            return
        try:
            with self._lock.held(), self._connected() as connection:
                _checkpoint(connection, self._limits)
        except DomainError as error:
            _log.warning("the write-ahead log stays large: %s", error.message)
        # Readers in the midst of it keep it from shrinking; the next attempt then comes when it has grown further.
        self._checkpoint_at_bytes = self._wal_bytes() + self._limits.wal_bytes_max

    def close(self) -> None:
        """Let go of the file; the last one to do so moves the write-ahead log into the database."""
        if self._connection is None:
            return
        with self._lock.held():
            self._drop_connection()

    def _created(self) -> sqlite3.Connection:
        connection = connect_writer(self._log, self._limits, mode="rwc")
        try:
            ensure_log(connection, self._log)
        except BaseException:
            connection.close()
            raise
        return connection

    def _reopened(self) -> sqlite3.Connection:
        connection = connect_writer(self._log, self._limits)
        try:
            require_log(connection, self._log)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """The connection; an error drops it, and with it whatever it had begun."""
        if self._connection is None:
            self._connection = self._reopened()
        try:
            with translated(self._log):
                yield self._connection
        except BaseException:
            self._drop_connection()
            raise

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0


def _checkpoint(connection: sqlite3.Connection, limits: SqliteLimits) -> None:
    """Without waiting for readers: what they still need stays, and nobody who appends waits for them."""
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {int(limits.busy_timeout_s * 1000)}")
