"""The tables of corrections and backfills, part of the projection "usage_windows"."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table

from services.projection.columns import TEXT, Apart, apart


@dataclass(frozen=True, slots=True)
class CorrectionTables:
    """What acts on usage, found by the time of the usage that it can touch.

    `corrections` has one row a correction: the stored events of its decision and of its reverting, where they stand,
    and for a filter the event times it can choose (NULL: no bound). `named` has one row for each usage event that a
    correction names. `backfills` has one row a backfill; `loads` counts its usage events by hour and subject, also
    those of a key that nobody opened.
    """

    corrections: Table
    named: Table
    backfills: Table
    loads: Table


def correction_tables_in(metadata: MetaData, suffix: str) -> CorrectionTables:
    """Declare the tables of one generation."""
    return CorrectionTables(
        corrections=_corrections(metadata, suffix),
        named=_named(metadata, suffix),
        backfills=_backfills(metadata, suffix),
        loads=_loads(metadata, suffix),
    )


def _place(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, info=apart(Apart.PLACE))


def _event(name: str, *, nullable: bool = False) -> Column[bytes]:
    """A stored event as it stands in the log; it names positions, which every store numbers in its own way."""
    return Column(name, LargeBinary, nullable=nullable, info=apart(Apart.PLACE))


def _corrections(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "usage_corrections" + suffix,
        metadata,
        Column("key", TEXT, primary_key=True),
        Column("kind", TEXT, nullable=False),
        Column("is_by_filter", Integer, nullable=False),
        Column("start_us", BigInteger),
        Column("end_us", BigInteger),
        _place("position"),
        _place("reverted_position", nullable=True),
        _event("event"),
        _event("reverted", nullable=True),
        Index("usage_corrections_newest" + suffix, "position"),
        Index("usage_corrections_by_time" + suffix, "is_by_filter", "start_us", "end_us"),
    )


def _named(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "usage_corrections_named" + suffix,
        metadata,
        Column("key", TEXT, primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("kind", TEXT, nullable=False),
        Column("at_us", BigInteger, nullable=False),
        Column("value", TEXT),
        Column("properties", TEXT),
        _place("usage_position"),
        _place("row"),
        _place("position"),
        _place("reverted_position", nullable=True),
        Index("usage_corrections_named_by_time" + suffix, "at_us"),
        sqlite_with_rowid=False,
    )


def _backfills(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "usage_backfills" + suffix,
        metadata,
        Column("key", TEXT, primary_key=True),
        _place("position"),
        _place("closed_position", nullable=True),
        _place("reverted_position", nullable=True),
        _event("opened"),
        _event("closed", nullable=True),
        _event("reverted", nullable=True),
        Index("usage_backfills_newest" + suffix, "position"),
    )


def _loads(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "usage_backfill_loads" + suffix,
        metadata,
        Column("key", TEXT, primary_key=True),
        Column("hour_us", BigInteger, primary_key=True, autoincrement=False),
        Column("subject", TEXT, primary_key=True),
        Column("usage_events", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
