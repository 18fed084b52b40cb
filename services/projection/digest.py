"""The digest of a projection: SHA-256 over every row of every table, in key order, what is content by itself."""

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, MetaData, Table, select

from services.projection.columns import is_apart

FETCH_ROWS: Final = 5_000
SEPARATOR: Final = "-"


class TwoDigests:
    """Takes rows in, and gives one text for them: `<content>-<the rest>`, two hexadecimal SHA-256.

    The content is what logs of equal content agree in, whatever store they lie in; the rest is what they may differ in,
    such as positions. Two digests are equal when all of both is.
    """

    def __init__(self) -> None:
        self._content = hashlib.sha256()
        self._rest = hashlib.sha256()

    def add_content(self, encoded: bytes) -> None:
        """Take in what is content."""
        self._content.update(encoded)

    def add_rest(self, encoded: bytes) -> None:
        """Take in what is not."""
        self._rest.update(encoded)

    def text(self) -> str:
        """Both digests."""
        return f"{self._content.hexdigest()}{SEPARATOR}{self._rest.hexdigest()}"


def content_digest(digest: str) -> str:
    """The first half of a digest of `TwoDigests`: equal for equal content."""
    return digest.partition(SEPARATOR)[0]


def tables_digest(connection: Connection, metadata: MetaData, suffix: str) -> str:
    """The two digests over the rows of the tables of one generation; columns say which of them is no content."""
    digests = TwoDigests()
    for table in sorted(metadata.tables.values(), key=lambda table: table.name):
        name = _encoded(table.name.removesuffix(suffix))
        content, rest = _column_indexes(table)
        digests.add_content(name)
        digests.add_rest(name)
        for row in _rows(connection, table):
            if content:
                digests.add_content(_encoded_row(row, content))
            if rest:
                digests.add_rest(_encoded_row(row, rest))
    return digests.text()


def _column_indexes(table: Table) -> tuple[list[int], list[int]]:
    """The columns that are content, and the others. A key is content, or its whole table is not."""
    content = [index for index, column in enumerate(table.columns) if not (is_apart(table) or is_apart(column))]
    rest = [index for index in range(len(table.columns)) if index not in content]
    assert not content or not any(map(is_apart, table.primary_key)), f"{table.name} has a key that is no content"
    return content, rest


def _rows(connection: Connection, table: Table) -> Any:
    ordered = select(table).order_by(*table.primary_key.columns)
    return connection.execute(ordered.execution_options(yield_per=FETCH_ROWS))


def _encoded_row(row: Any, columns: Iterable[int]) -> bytes:
    return b"r" + b"".join([_encoded(row[index]) for index in columns])


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
