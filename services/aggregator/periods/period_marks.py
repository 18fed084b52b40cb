"""The tables of "usage_windows" that say which hours have usage, and which periods are closed."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Index, MetaData, Table

from services.projection.columns import TEXT, Apart, apart


@dataclass(frozen=True, slots=True)
class PeriodMarks:
    """What periods of any kind and zone are derived from, and what is closed of them.

    `subject_hours`: the UTC hours (by their first microsecond) with usage of a subject, of any type, each with the last
    log position that said something about it. `touched_hours`: the last such position of each hour, whoever it was
    about. `closed_spans`: every period that is closed for somebody, by its key (see `PeriodKind`) and start.
    `closings`: for whom, the log position up to which usage is counted in, and the position of the event that said so.
    """

    subject_hours: Table
    touched_hours: Table
    closed_spans: Table
    closings: Table


def period_marks_in(metadata: MetaData, suffix: str) -> PeriodMarks:
    """Declare the tables of one generation."""
    return PeriodMarks(
        subject_hours=_subject_hours(metadata, suffix),
        touched_hours=_touched_hours(metadata, suffix),
        closed_spans=_closed_spans(metadata, suffix),
        closings=_closings(metadata, suffix),
    )


def _subject_hours(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "subject_hours" + suffix,
        metadata,
        Column("hour_us", BigInteger, primary_key=True, autoincrement=False),
        Column("subject", TEXT, primary_key=True),
        _position("position"),
        sqlite_with_rowid=False,
    )


def _touched_hours(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "touched_hours" + suffix,
        metadata,
        Column("hour_us", BigInteger, primary_key=True, autoincrement=False),
        _position("position"),
        Index("touched_hours_by_position" + suffix, "position"),
        sqlite_with_rowid=False,
    )


def _closed_spans(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "closed_spans" + suffix,
        metadata,
        Column("period", TEXT, primary_key=True),
        Column("start_us", BigInteger, primary_key=True, autoincrement=False),
        Column("end_us", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _closings(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "subject_closings" + suffix,
        metadata,
        Column("period", TEXT, primary_key=True),
        Column("start_us", BigInteger, primary_key=True, autoincrement=False),
        Column("subject", TEXT, primary_key=True),
        _position("counted_position"),
        _position("position"),
        Index("subject_closings_by_position" + suffix, "position"),
        sqlite_with_rowid=False,
    )


def _position(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, info=apart(Apart.PLACE))
