"""What a role needs on a log that another role owns: to append and read, or to read only; never to change or delete."""

from contextlib import closing
from enum import StrEnum
from typing import Final

from psycopg import sql

from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import PostgresLimits, connect
from services.eventstore.postgres.errors import translated
from services.eventstore.postgres.schema import require_log

APPENDED_TO: Final = ("categories", "streams", "runs", "events", "commits")


class Access(StrEnum):
    """How a role may use a log."""

    APPEND = "append"
    READ = "read"


def grant(address: LogAddress, role: str, access: Access, limits: PostgresLimits | None = None) -> None:
    """Give `role` this access and take from it whatever else it was granted. Safe to repeat.

    To be done by the owner of the log, once, and again after the log was brought up to a later version. Raises NotFound
    when there is no log, and Unavailable when this role may not grant.
    """
    with closing(connect(address, limits or PostgresLimits(), writes=True)) as connection:
        require_log(connection, address)
        with translated(address):
            connection.execute(grants(address.schema, role, access))


def grants(schema: str, role: str, access: Access) -> sql.Composed:
    """The statements; in one go, so that the role is never without what it had and keeps."""
    tables = sql.SQL(", ").join(sql.Identifier(schema, table) for table in APPENDED_TO)
    names = {"schema": sql.Identifier(schema), "role": sql.Identifier(role), "tables": tables}
    statements = [
        "REVOKE ALL ON SCHEMA {schema} FROM {role}",
        "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}",
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
    ]
    if access is Access.APPEND:
        statements.append("GRANT INSERT ON {tables} TO {role}")
    return sql.SQL("; ").join(sql.SQL(statement).format(**names) for statement in statements)
