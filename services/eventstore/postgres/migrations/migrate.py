"""Bring the tables of a log to the version of this release, whoever else starts at the same moment."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import PostgresLimits, connect
from services.eventstore.postgres.errors import domain_error

VERSION_TABLE = "log_version"

_SCHEMA_EXISTS = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s"


def migrate(address: LogAddress, limits: PostgresLimits) -> None:
    """Create the schema, or bring it up to date, in one transaction with a lock around it. Safe to repeat.

    Who comes second waits for the first, sees what it did (hence READ COMMITTED), and finds nothing to do. Raises
    Unavailable (LOG_NOT_PERMITTED) when the role may not create schema or tables.
    """
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(address, limits, writes=True),
        poolclass=NullPool,
        isolation_level="READ COMMITTED",
        use_native_hstore=False,
    )
    try:
        with engine.begin() as connection:
            _upgrade(connection, address)
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise domain_error(error.orig, address) from error
        raise


def config(connection: Connection | None, schema: str) -> Config:
    """Alembic's configuration, without a file."""
    found = Config(attributes={"connection": connection, "schema": schema, "version_table": VERSION_TABLE})
    found.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    found.set_main_option("path_separator", "os")
    return found


def _upgrade(connection: Connection, address: LogAddress) -> None:
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (address.lock_key("migration"),))
    # Only where it is missing: CREATE SCHEMA asks for a right on the database even when it has nothing to do.
    if connection.exec_driver_sql(_SCHEMA_EXISTS, (address.schema,)).first() is None:
        connection.exec_driver_sql(f'CREATE SCHEMA "{address.schema}"')
    command.upgrade(config(connection, address.schema), "head")
