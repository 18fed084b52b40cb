"""PostgreSQL's errors as errors that a caller can act on."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as postgres
from psycopg_pool import PoolClosed, PoolTimeout

from services.eventstore.postgres.address import LogAddress
from services.kernel.errors import Corrupt, DomainError, NotFound, Overloaded, Unavailable

_UNREACHABLE = ("LOG_UNREACHABLE", "cannot be reached; see whether the server runs and the network lets it through")
_STANDBY = ("LOG_NOT_WRITABLE", "is on a server that takes no writes; give the URL of the primary")
_LOGIN = ("LOG_LOGIN_REFUSED", "refused the login; check user and password in the URL, and pg_hba.conf on the server")
_FULL = ("TOO_MANY_CONNECTIONS", "has no connection left; raise max_connections, or run fewer processes, then repeat")
_HELD = (
    "LOG_BUSY",
    "is held by another writer for too long; nothing was written; pg_locks shows who has the advisory lock",
)
_NOT_GRANTED = (
    "LOG_NOT_PERMITTED",
    "may not be used so by this role; let its owner grant it (python -m services.eventstore.postgres grant)",
)
_NO_DATABASE = "is not there: the server has no such database; create it, or check the URL"

_UNAVAILABLE: dict[type[psycopg.Error], tuple[str, str]] = {
    postgres.LockNotAvailable: _HELD,
    postgres.QueryCanceled: ("LOG_BUSY", "took too long, so the server ended the statement; see what loads it"),
    postgres.DeadlockDetected: ("LOG_BUSY", "is locked by somebody outside Meterlog; end that session, then repeat"),
    postgres.DiskFull: ("DISK_FULL", "has no room to grow: the server's disk is full; free space, then repeat"),
    postgres.OutOfMemory: ("LOG_OUT_OF_MEMORY", "is on a server that is out of memory; relieve it, then repeat"),
    postgres.IoError: ("DISK_FAILED", "could not be read or written; check the server's disk, then repeat"),
    postgres.TooManyConnections: _FULL,
    postgres.ReadOnlySqlTransaction: _STANDBY,
    postgres.InvalidPassword: _LOGIN,
    postgres.InvalidAuthorizationSpecification: _LOGIN,
    postgres.InsufficientPrivilege: _NOT_GRANTED,
}

# A connection that fails has no code, only text, and that only as long as the server speaks English.
_CONNECTION_TEXTS: tuple[tuple[str, tuple[str, str]], ...] = (
    ("session is read-only", _STANDBY),
    ("server is in hot standby mode", _STANDBY),
    ("too many clients", _FULL),
    ("too many connections", _FULL),
    ("connection slots", _FULL),
    ("authentication failed", _LOGIN),
    ("no pg_hba.conf entry", _LOGIN),
    ("no password supplied", _LOGIN),
    ('role "', _LOGIN),
)


@contextmanager
def translated(address: LogAddress) -> Iterator[None]:
    """Raise psycopg's errors as DomainErrors that name the log."""
    try:
        yield
    except psycopg.Error as error:
        raise domain_error(error, address) from error


def domain_error(error: psycopg.Error, address: LogAddress) -> DomainError:
    """Unavailable for what may pass or an operator can mend, NotFound for a missing database, Corrupt for damage."""
    for kind, (reason, explanation) in _UNAVAILABLE.items():
        if isinstance(error, kind):
            return _unavailable(address, reason, explanation, error)
    match error:
        case PoolClosed():
            return Unavailable("the event store is closed; open it again", reason="EVENT_STORE_CLOSED")
        case PoolTimeout():
            return Overloaded(f"all connections that read the log {address} are busy; wait, then repeat")
        case postgres.InvalidCatalogName():
            return NotFound(f"the log {address} {_NO_DATABASE}", reason="NO_DATABASE")
        case _ if is_damage(error):
            return Corrupt(f"the log {address} is damaged ({_text(error)}); verify it, and restore it from a backup")
        case _ if error.sqlstate is None or error.sqlstate[:2] in {"08", "57"}:
            return _connection_error(error, address)
    return _unavailable(address, "LOG_FAILED", "could not do what was asked; see the server's log, then repeat", error)


def outcome_unknown(error: psycopg.Error | None, address: LogAddress) -> Unavailable:
    """The answer when a commit was sent and what became of it was not heard."""
    heard = _text(error) if error else "the server warned while it committed"
    return Unavailable(
        f"the commit to the log {address} failed, its outcome is unknown: {heard}; repeat the very same append",
        reason="OUTCOME_UNKNOWN",
    )


def is_damage(error: psycopg.Error) -> bool:
    """Whether the server says that what is stored contradicts itself, or is not there."""
    return isinstance(
        error,
        psycopg.IntegrityError
        | postgres.DataCorrupted
        | postgres.IndexCorrupted
        | postgres.UndefinedTable
        | postgres.UndefinedColumn
        | postgres.InvalidSchemaName,
    )


def _connection_error(error: psycopg.Error, address: LogAddress) -> DomainError:
    text = str(error)
    if "database " in text and "does not exist" in text:
        return NotFound(f"the log {address} {_NO_DATABASE}", reason="NO_DATABASE")
    reason, explanation = next((found for part, found in _CONNECTION_TEXTS if part in text), _UNREACHABLE)
    return _unavailable(address, reason, explanation, error)


def _unavailable(address: LogAddress, reason: str, explanation: str, error: psycopg.Error) -> Unavailable:
    return Unavailable(f"the log {address} {explanation} ({_text(error)})", reason=reason)


def _text(error: psycopg.Error) -> str:
    """The first line of what the server or libpq said; neither ever repeats a password."""
    lines = (error.diag.message_primary or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
