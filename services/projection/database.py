"""The database of read models: one serialised writer, many readers with one snapshot each."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from services.kernel.clock import monotonic_s
from services.kernel.errors import InvalidInput, Overloaded, RuleViolated, TimedOut, Unavailable

WRITE_TIMEOUT_S = 30.0
FILE_LOCK_TIMEOUT_S = 10.0
FILE_LOCK_PAUSE_S = 0.05
BUSY_TIMEOUT_MS = 10_000
READERS_MAX = 48
"""Snapshots that are read at once: one for each thread that answers calls, and some for workers."""
READER_TIMEOUT_S = 5.0


class Database:
    """Read models in SQLite, one process at a time. Rebuilt from the log when lost, so it need not outlive a crash."""

    def __init__(self, reader: Engine, writer: Engine, file_lock: int) -> None:
        self._reader = reader
        self._writer = writer
        self._file_lock = file_lock
        self._writing = threading.Lock()

    @staticmethod
    def open(url: str) -> "Database":
        """Open or create; raises InvalidInput for an unknown scheme, RuleViolated when another process has it open."""
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite" or not parsed.database:
            raise InvalidInput(
                f'database "{url}" is not supported; use sqlite:///<file>', field="METERLOG_DATABASE_URL"
            )
        path = Path(parsed.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        file_lock = _locked(path)
        return Database(_sqlite_engine(url, "BEGIN", True), _sqlite_engine(url, "BEGIN IMMEDIATE", False), file_lock)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot, read only."""
        with _translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, alone; committed at the end, rolled back on any error."""
        if not self._writing.acquire(timeout=WRITE_TIMEOUT_S):
            raise TimedOut(f"the read models were busy for {WRITE_TIMEOUT_S:.0f} s; repeat later")
        try:
            with _translated(), self._writer.begin() as connection:
                yield connection
        finally:
            self._writing.release()

    def close(self) -> None:
        """Let go of the file."""
        self._reader.dispose()
        self._writer.dispose()
        os.close(self._file_lock)


def _sqlite_engine(url: str, begin: str, is_read_only: bool) -> Engine:
    engine = create_engine(url, pool_size=READERS_MAX, max_overflow=0, pool_timeout=READER_TIMEOUT_S)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if is_read_only:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def open_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _locked(path: Path) -> int:
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = monotonic_s() + FILE_LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic_s() > deadline:
                os.close(descriptor)
                raise RuleViolated(
                    f"another process has the read models {path} open; stop it first", reason="DATABASE_IN_USE"
                ) from None
            threading.Event().wait(FILE_LOCK_PAUSE_S)
        else:
            return descriptor


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except NoConnectionLeft as error:
        raise Overloaded(f"{READERS_MAX} others read the read models; repeat later") from error
    except DatabaseError as error:
        if type(error) not in (DatabaseError, OperationalError):
            raise
        raise Unavailable(f"the read models cannot be used: {error.orig}; check disk and permissions") from error
