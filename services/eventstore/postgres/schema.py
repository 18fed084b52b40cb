"""Whether a schema holds a log, of which version, and how it gets the version of this release."""

from contextlib import closing
from typing import Final

from psycopg import sql

from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import PostgresLimits, connect
from services.eventstore.postgres.errors import translated
from services.eventstore.postgres.query import Connection
from services.kernel.errors import InvalidInput, NotFound, RuleViolated

SCHEMA_VERSIONS: Final = ("log_0001",)
"""The versions that this release can bring up to date; the last is the one that it works with."""

SERVER_VERSION_MIN: Final = 140_000

_RELATIONS = """
    SELECT count(*), count(*) FILTER (WHERE relname = 'log_version') FROM pg_catalog.pg_class
    WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s)
"""
_SERVER = """
    SELECT current_setting('server_version_num')::integer, current_setting('server_encoding'), current_setting('fsync')
"""


def ensure_log(address: LogAddress, limits: PostgresLimits) -> None:
    """Make a schema that is absent or empty a log, and bring an earlier log up to date.

    Raises InvalidInput for a schema that holds something else, RuleViolated for a log of a newer release or a server
    that cannot keep one, Unavailable (LOG_NOT_PERMITTED) when this role may not create what is missing.
    """
    with closing(connect(address, limits, writes=True)) as connection:
        _require_server(connection, address)
        version = stored_version(connection, address)
    if version != SCHEMA_VERSIONS[-1]:
        from services.eventstore.postgres.migrations.migrate import migrate

        migrate(address, limits)


def require_log(connection: Connection, address: LogAddress) -> None:
    """Raises NotFound when there is no log, RuleViolated for one of another version."""
    version = stored_version(connection, address)
    if version is None:
        raise NotFound(f"no log {address}; check the URL, or start a service to create it", reason="NO_LOG")
    if version != SCHEMA_VERSIONS[-1]:
        raise RuleViolated(
            f"the log {address} is of version {version}, this release reads {SCHEMA_VERSIONS[-1]}; let its owner "
            "bring it up to date (python -m services.eventstore.postgres migrate)",
            reason="UNKNOWN_SCHEMA_VERSION",
        )


def stored_version(connection: Connection, address: LogAddress) -> str | None:
    """The version of the log; None for a schema that is absent or empty.

    Raises InvalidInput for a schema that holds something else, RuleViolated for a log of a newer release.
    """
    with translated(address):
        relations, version_tables = connection.execute(_RELATIONS, (address.schema,)).fetchone() or (0, 0)
        row = connection.execute(_version_query(address)).fetchone() if version_tables else None
    if row is None:
        if relations:
            raise InvalidInput(
                f"there are tables {address}, but no event log; name another one with ?schema=",
                reason="NOT_AN_EVENT_LOG",
            )
        return None
    version = str(row[0])
    if version not in SCHEMA_VERSIONS:
        raise RuleViolated(
            f"the log {address} has schema version {version}, this release knows {SCHEMA_VERSIONS[-1]}; "
            "upgrade this release",
            reason="UNKNOWN_SCHEMA_VERSION",
        )
    return version


def _version_query(address: LogAddress) -> sql.Composed:
    """By its full name: to a role that may not use the schema, the search path hides it as if it were not there."""
    return sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(address.schema, "log_version"))


def _require_server(connection: Connection, address: LogAddress) -> None:
    with translated(address):
        row = connection.execute(_SERVER).fetchone()
    assert row is not None, "a SELECT without FROM has one row"
    number, encoding, fsync = row
    if int(str(number)) < SERVER_VERSION_MIN:
        raise RuleViolated(f"the server of the log {address} is too old; Meterlog needs PostgreSQL 14 or later")
    if encoding != "UTF8":
        raise RuleViolated(
            f"the log {address} is in a database encoded in {encoding}; create one with ENCODING 'UTF8'",
            reason="NOT_UTF8",
        )
    if fsync != "on":
        raise RuleViolated(
            f"the server of the log {address} has fsync = {fsync}, so a commit can be lost after it was acknowledged; "
            "set fsync = on",
            reason="LOG_NOT_DURABLE",
        )
