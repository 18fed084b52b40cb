"""SQLite's errors as errors that a caller can act on."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.kernel.errors import Corrupt, DomainError, InvalidInput, Unavailable

_UNAVAILABLE: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_BUSY: ("LOG_BUSY", "is locked by a program outside Meterlog; end it, then repeat"),
    sqlite3.SQLITE_LOCKED: ("LOG_BUSY", "is locked by a program outside Meterlog; end it, then repeat"),
    sqlite3.SQLITE_FULL: ("DISK_FULL", "has no room to grow: the disk or a quota is full; free space, then repeat"),
    sqlite3.SQLITE_IOERR: ("DISK_FAILED", "could not be read or written; check the disk, then repeat"),
    sqlite3.SQLITE_READONLY: ("LOG_NOT_WRITABLE", "is read-only; check the permissions of the file and its directory"),
    sqlite3.SQLITE_PERM: ("LOG_NOT_WRITABLE", "may not be opened; check the permissions of the file"),
    sqlite3.SQLITE_CANTOPEN: ("LOG_NOT_OPENED", "cannot be opened; check the path and its permissions"),
}


@contextmanager
def translated(log: Path) -> Iterator[None]:
    """Raise SQLite's errors as DomainErrors that name the log; a text that it cannot even quote is damage, too."""
    try:
        yield
    except sqlite3.Error as error:
        raise domain_error(error, log) from error
    except UnicodeDecodeError as error:
        raise _damaged(error, log) from error


def domain_error(error: sqlite3.Error, log: Path) -> DomainError:
    """Unavailable for what may pass, InvalidInput for a file that is no database, Corrupt for damage."""
    code = primary_code(error)
    if code in _UNAVAILABLE:
        reason, explanation = _UNAVAILABLE[code]
        return Unavailable(f"the log {log} {explanation} ({error})", reason=reason)
    if code == sqlite3.SQLITE_NOTADB:
        return InvalidInput(f"{log} is no event log, not even a database; check the path", reason="NOT_AN_EVENT_LOG")
    if isinstance(error, sqlite3.ProgrammingError):
        return Unavailable(f"the log {log} was closed meanwhile; open it again", reason="EVENT_STORE_CLOSED")
    return _damaged(error, log)


def _damaged(error: Exception, log: Path) -> Corrupt:
    return Corrupt(f"the log {log} is damaged ({error}); verify it, and restore it from a backup")


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; 0 when the error is not SQLite's but of Python's module."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
