"""Read models in a SQLite file, which belongs to one process at a time."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from services.kernel.clock import monotonic_s
from services.kernel.errors import Overloaded, RuleViolated, Unavailable
from services.projection.open_cursors import close_cursors_when_returned

FILE_LOCK_TIMEOUT_S: Final = 10.0
FILE_LOCK_PAUSE_S: Final = 0.05
BUSY_TIMEOUT_MS: Final = 10_000
READERS_MAX: Final = 48
"""Snapshots that are read at once: one for each thread that answers calls, and some for workers."""
READER_TIMEOUT_S: Final = 5.0


class SqliteTables:
    """A file lock keeps every other process out; it is gone with the process that holds it."""

    is_shared = False
    term = 1

    def __init__(self, file: str, url: str) -> None:
        """Open or create; raises RuleViolated when another process has the file open."""
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file_lock = _locked(path)
        self.readers = _engine(url, "BEGIN", True)
        self.writer = _engine(url, "BEGIN IMMEDIATE", False)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Overloaded when too many read, Unavailable when the file cannot be used."""
        try:
            yield
        except NoConnectionLeft as error:
            raise Overloaded(f"{READERS_MAX} others read the read models; repeat later") from error
        except DatabaseError as error:
            if type(error) not in (DatabaseError, OperationalError):
                raise
            raise Unavailable(f"the read models cannot be used: {error.orig}; check disk and permissions") from error

    def writing_process(self) -> str:
        """As in `Backend`: it is this one."""
        return ""

    @contextmanager
    def alone(self, _what: str, _wait_s: float) -> Iterator[Callable[[], None]]:
        """As in `Backend`: there is no other process."""
        yield lambda: None

    def close(self) -> None:
        """Let go of the file."""
        self.readers.dispose()
        self.writer.dispose()
        os.close(self._file_lock)


def _engine(url: str, begin: str, is_read_only: bool) -> Engine:
    engine = create_engine(url, pool_size=READERS_MAX, max_overflow=0, pool_timeout=READER_TIMEOUT_S)
    close_cursors_when_returned(engine)

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
