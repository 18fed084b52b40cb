"""Connections to the log's file, and the settings that durability rests on."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from services.eventstore.sqlite.errors import translated
from services.kernel.errors import Unavailable

SQLITE_VERSION_MIN = (3, 37, 0)

_WRITER_CACHE_KIB = 32 * 1024


@dataclass(frozen=True, slots=True)
class SqliteLimits:
    """How long a writer waits for others, and the write-ahead log's size at which it is moved into the database."""

    lock_timeout_s: float = 10.0
    busy_timeout_s: float = 5.0
    wal_bytes_max: int = 16 * 1024 * 1024
    idle_readers_max: int = 8


def connect_writer(log: Path, limits: SqliteLimits, mode: str = "rw") -> sqlite3.Connection:
    """The connection that appends: every commit is synced, and checkpoints run only when they are asked for."""
    connection = _connect(log, mode, limits)
    with translated(log):
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
    return connection


def connect_reader(log: Path, limits: SqliteLimits) -> sqlite3.Connection:
    """A connection that cannot write, neither events nor a checkpoint."""
    return _connect(log, "ro", limits)


def _connect(log: Path, mode: str, limits: SqliteLimits) -> sqlite3.Connection:
    """Without implicit transactions, and free to pass from thread to thread (never two at a time)."""
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        raise Unavailable(f"SQLite {sqlite3.sqlite_version} is too old; Python needs one built with 3.37 or later")
    with translated(log):
        connection = sqlite3.connect(
            f"file:{quote(str(log.absolute()))}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=limits.busy_timeout_s,
        )
        connection.execute("PRAGMA mmap_size = 0")
    return connection
