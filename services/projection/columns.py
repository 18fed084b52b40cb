"""How tables declare what they hold: text that compares alike in every database, long keys, what is not content."""

from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects import postgresql

TEXT: Final = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text, compared byte by byte in UTF-8 wherever it is stored, so that order, pages and digests are the same."""

LONG_TEXT_BYTES: Final = 512
"""PostgreSQL indexes no entry of more than 2,704 bytes; a longer text of a long key is indexed by its SHA-256."""

_APART: Final = "apart"


class Apart(StrEnum):
    """Why a column, or a whole table, is no part of the content: logs of equal content may differ in it."""

    PLACE = "place"
    """Where something lies in the log, which every store numbers in its own way."""
    CHANCE = "chance"
    """Drawn at random, such as the salt of a secret."""
    MEASURED = "measured"
    """Measured on the way, such as a duration."""
    DEPLOYMENT = "deployment"
    """Where a platform is installed, such as an address."""


def apart(reason: Apart) -> dict[Any, Any]:
    """The `info` of a column or a table that is no part of the content."""
    return {_APART: reason}


def is_apart(declared: Column[Any] | Table) -> bool:
    """Whether a column, or a table, is no part of the content."""
    return _APART in declared.info


def long_key(name: str, *columns: str, long: tuple[str, ...]) -> tuple[PrimaryKeyConstraint, Index]:
    """A primary key whose `long` texts may be longer than PostgreSQL indexes; `name` is that of its index there.

    PostgreSQL keeps it as a unique index over the columns, where texts beyond LONG_TEXT_BYTES stand as their SHA-256,
    padded so that no short text can equal it.
    """
    indexed = (text(_shortened(column)) if column in long else text(f'"{column}"') for column in columns)
    key = PrimaryKeyConstraint(*columns).ddl_if(dialect="sqlite")
    return key, Index(name, *indexed, unique=True).ddl_if(dialect="postgresql")


def conflict_target(table: Table) -> str:
    """What a row of `table` is recognised by, as PostgreSQL wants it behind ON CONFLICT."""
    keys = [index for index in table.indexes if index.unique]
    parts = (
        [str(part) for part in keys[0].expressions] if keys else [f'"{column.name}"' for column in table.primary_key]
    )
    return f"({', '.join(parts)})"


def _shortened(column: str) -> str:
    # The cast reads bytes as they are once backslashes are doubled, and, unlike convert_to, it may stand in an index.
    digest = f"encode(sha256(replace(\"{column}\", '\\', '\\\\')::bytea), 'hex')"
    padding = LONG_TEXT_BYTES + 1 - 64
    return (
        f'(CASE WHEN octet_length("{column}") <= {LONG_TEXT_BYTES} THEN "{column}" '
        f"ELSE {digest} || repeat('-', {padding}) END)"
    )
