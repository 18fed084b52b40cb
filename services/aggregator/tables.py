"""The tables of the projection "usage_windows"."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table

from services.aggregator.corrections.tables import CorrectionTables, correction_tables_in
from services.aggregator.periods.period_marks import PeriodMarks, period_marks_in
from services.projection.columns import TEXT, Apart, apart, long_key


@dataclass(frozen=True, slots=True)
class UsageTables:
    """Meters, their states hour by hour, and where usage of which time lies in the log.

    `meters` has the number of the version that is in force, `meter_versions` what each version says and since when.

    States are kept by meter, hour (its first microsecond), subject and group with usage. They lie in `amounts`, where
    all groups of an hour and subject are lines of one row (columns that the aggregation does not use are NULL), for
    first and last in `moments`, and for unique counts in `texts`, one row for each different text. `meter_hours`
    lists the hours of each meter that have states. `batches` lists every stored batch of usage events with its
    earliest and latest event time. `types` counts the usage events of each type as they were recorded. `corrections`
    says what acts on usage. `periods` says which hours have usage of whom, and which periods are closed.
    """

    meters: Table
    meter_versions: Table
    amounts: Table
    moments: Table
    texts: Table
    meter_hours: Table
    batches: Table
    types: Table
    corrections: CorrectionTables
    periods: PeriodMarks


def usage_tables_in(metadata: MetaData, suffix: str) -> UsageTables:
    """Declare the tables of one generation."""
    return UsageTables(
        meters=_meters(metadata, suffix),
        meter_versions=_meter_versions(metadata, suffix),
        amounts=_amounts(metadata, suffix),
        moments=_moments(metadata, suffix),
        texts=_texts(metadata, suffix),
        meter_hours=_meter_hours(metadata, suffix),
        batches=_batches(metadata, suffix),
        types=_types(metadata, suffix),
        corrections=correction_tables_in(metadata, suffix),
        periods=period_marks_in(metadata, suffix),
    )


def _meters(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "meters" + suffix,
        metadata,
        Column("slug", TEXT, primary_key=True),
        Column("version", Integer, nullable=False),
        Column("created_at_us", BigInteger, nullable=False),
        Column("archived_at_us", BigInteger),
    )


def _meter_versions(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "meter_versions" + suffix,
        metadata,
        Column("slug", TEXT, primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Column("effective_from_us", BigInteger),
        Column("display_name", TEXT, nullable=False),
        Column("event_type", TEXT, nullable=False),
        Column("aggregation", TEXT, nullable=False),
        Column("value_property", TEXT, nullable=False),
        Column("group_by", TEXT, nullable=False),
        Column("unit", TEXT, nullable=False),
        Column("filters", TEXT, nullable=False),
        Column("value_expression", TEXT, nullable=False),
        Column("percentile", TEXT, nullable=False),
    )


def _amounts(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "usage_hour_amounts" + suffix,
        metadata,
        Column("meter", TEXT, primary_key=True),
        Column("hour_us", BigInteger, primary_key=True, autoincrement=False),
        Column("subject", TEXT, primary_key=True),
        Column("group_text", TEXT, nullable=False),
        Column("count", TEXT),
        Column("number", TEXT),
        sqlite_with_rowid=False,
    )


def _moments(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "usage_hour_moments" + suffix,
        metadata,
        *_state_key(),
        Column("number", TEXT, nullable=False),
        Column("at_us", BigInteger, nullable=False),
        Column("position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Column("row", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        *long_key("usage_hour_moments_key" + suffix, *_STATE_KEY, long=_LONG),
        sqlite_with_rowid=False,
    )


def _texts(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "usage_hour_texts" + suffix,
        metadata,
        *_state_key(),
        Column("text", TEXT, nullable=False),
        *long_key("usage_hour_texts_key" + suffix, *_STATE_KEY, "text", long=(*_LONG, "text")),
        sqlite_with_rowid=False,
    )


_STATE_KEY = ("meter", "hour_us", "subject", "group_text")
_LONG = ("group_text",)


def _state_key() -> tuple[Column[str] | Column[int], ...]:
    return (
        Column("meter", TEXT, nullable=False),
        Column("hour_us", BigInteger, nullable=False),
        Column("subject", TEXT, nullable=False),
        Column("group_text", TEXT, nullable=False),
    )


def _meter_hours(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "usage_meter_hours" + suffix,
        metadata,
        Column("meter", TEXT, primary_key=True),
        Column("hour_us", BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )


def _batches(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "usage_batches" + suffix,
        metadata,
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("stream", TEXT, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("usage_event_count", Integer, nullable=False),
        Column("first_at_us", BigInteger, nullable=False),
        Column("last_at_us", BigInteger, nullable=False),
        Index("usage_batches_by_time" + suffix, "last_at_us", "first_at_us"),
        info=apart(Apart.PLACE),
    )


def _types(metadata: MetaData, suffix: str) -> Table:
    return Table(
        "usage_types" + suffix,
        metadata,
        Column("type", TEXT, primary_key=True),
        Column("usage_event_count", BigInteger, nullable=False),
        Column("first_at_us", BigInteger, nullable=False),
        Column("last_at_us", BigInteger, nullable=False),
        Column("first_position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        Column("last_position", BigInteger, nullable=False, info=apart(Apart.PLACE)),
        sqlite_with_rowid=False,
    )
