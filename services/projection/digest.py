"""The digest of a projection: SHA-256 over every row of every table, in key order."""

import hashlib
from typing import Any

from sqlalchemy import Connection, MetaData, Table, select

FETCH_ROWS = 5_000


def tables_digest(connection: Connection, metadata: MetaData, suffix: str) -> str:
    """Hexadecimal SHA-256 over the rows of the tables of one generation; equal rows give equal digests."""
    digest = hashlib.sha256()
    for table in sorted(metadata.tables.values(), key=lambda table: table.name):
        digest.update(_encoded(table.name.removesuffix(suffix)))
        for row in _rows(connection, table):
            digest.update(b"r")
            digest.update(b"".join(map(_encoded, row)))
    return digest.hexdigest()


def _rows(connection: Connection, table: Table) -> Any:
    ordered = select(table).order_by(*table.primary_key.columns)
    return connection.execution_options(yield_per=FETCH_ROWS).execute(ordered)


def _encoded(value: object) -> bytes:
    match value:
        case None:
            return b"n"
        case int():
            return b"i%d;" % value
        case str():
            content = value.encode()
            return b"t%d;%b" % (len(content), content)
        case bytes():
            return b"b%d;%b" % (len(value), value)
        case _:
            raise TypeError(f"a projection holds integers, text and bytes, not {type(value).__name__}")
