"""PostgreSQL's errors as errors that a caller can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from services.kernel.errors import InvalidInput, Overloaded, Unavailable

_REFUSED: Final = (
    "DATABASE_REFUSES",
    "refuse the login; check user and password in METERLOG_DATABASE_URL, and pg_hba.conf",
)
_MISSING: Final = ("DATABASE_MISSING", "are not there: the server has no such database; create it, or check the URL")
_FULL: Final = ("DATABASE_FULL", "have no connection left; raise max_connections, or run fewer processes, then repeat")

_REMEDIES: Final = {
    "28P01": _REFUSED,
    "28000": _REFUSED,
    "3D000": _MISSING,
    "53300": _FULL,
    "53100": ("DISK_FULL", "have no room to grow: the server's disk is full; free space, then repeat"),
    "42501": (
        "DATABASE_FORBIDS",
        "may not be used so by this role; let it create the schema, or create the schema with it as the owner",
    ),
    "57014": ("DATABASE_SLOW", "took too long, so the server ended the statement; see what loads it"),
    "55P03": ("DATABASE_BUSY", "are locked by somebody outside Meterlog; end that session, then repeat"),
    "42P01": ("TABLES_GONE", "are gone: somebody dropped them; start the service again, and they are folded anew"),
    "25006": ("DATABASE_READ_ONLY", "are on a server that takes no writes; give the URL of the primary"),
}
"""Reason and remedy by SQLSTATE."""

# A connection that fails has no code, only text, and that only as long as the server speaks English.
_CONNECTION_TEXTS: Final = (
    ("authentication failed", _REFUSED),
    ("no pg_hba.conf entry", _REFUSED),
    ("no password supplied", _REFUSED),
    ("role ", _REFUSED),
    ("too many clients", _FULL),
    ("connection slots", _FULL),
    ("does not exist", _MISSING),
)
_UNREACHABLE: Final = (
    "DATABASE_UNREACHABLE",
    "cannot be reached; see whether the server runs and the network lets it through",
)

_NO_CHARACTER: Final = "22021"
_PASSING: Final = ("08", "40", "53", "57", "58")
"""Classes of SQLSTATE that say nothing of the statement: connection, rollback, resources, operator, system."""


@contextmanager
def translated(shown: str, readers_max: int) -> Iterator[None]:
    """Raise what the driver raises as DomainErrors that name the database as `shown`; defects stay as they are.

    InvalidInput is a text that PostgreSQL cannot take, such as one that a caller searches for.
    """
    try:
        yield
    except NoConnectionLeft as error:
        raise Overloaded(f"{readers_max} others read the read models; repeat later") from error
    except DBAPIError as error:
        _raise_known(error.orig, shown, error)
        raise
    except psycopg.Error as error:
        _raise_known(error, shown, error)
        raise


def _raise_known(error: BaseException | None, shown: str, cause: Exception) -> None:
    if not isinstance(error, psycopg.Error):
        return
    if isinstance(error, psycopg.DataError) and (error.sqlstate == _NO_CHARACTER or "NUL" in str(error)):
        raise InvalidInput("a text holds the character U+0000, which no text of ours has; leave it out") from cause
    known = _REMEDIES.get(error.sqlstate or "") or _passing(error)
    if known is not None:
        reason, remedy = known
        raise Unavailable(f"the read models {shown} {remedy} ({_text(error)})", reason=reason) from cause


def _passing(error: psycopg.Error) -> tuple[str, str] | None:
    """Why the connection, or the server behind it, failed; None when the statement did."""
    if error.sqlstate is not None:
        return _UNREACHABLE if error.sqlstate[:2] in _PASSING else None
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return None
    text = str(error)
    return next((known for part, known in _CONNECTION_TEXTS if part in text), _UNREACHABLE)


def _text(error: psycopg.Error) -> str:
    """The first line of what the server or libpq said; neither repeats a password."""
    lines = (error.diag.message_primary or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
