"""Which UTC hours have usage of which subjects, and when the log said something new about them, in SQL."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from services.aggregator.tables import UsageTables
from services.aggregator.usage.usage_table import HOUR_US
from services.eventstore.event import Position
from services.kernel.calendar import Span
from services.kernel.clock import epoch_us


def touched_behind(connection: Connection, tables: UsageTables, position: Position) -> list[int]:
    """The hours that were touched behind a log position, in order."""
    hours = tables.periods.touched_hours.c
    return list(
        connection.execute(select(hours.hour_us).where(hours.position > position).order_by(hours.hour_us)).scalars()
    )


def last_touches(
    connection: Connection, tables: UsageTables, start_us: int, end_us: int, position: Position
) -> dict[str, int]:
    """The subjects with hours that share an instant with a range and were touched behind `position`, and where last."""
    hours = tables.periods.subject_hours.c
    chosen = (
        select(hours.subject, func.max(hours.position))
        .where(hours.hour_us > start_us - HOUR_US, hours.hour_us < end_us, hours.position > position)
        .group_by(hours.subject)
    )
    return {row[0]: row[1] for row in connection.execute(chosen)}


def subjects_between(connection: Connection, tables: UsageTables, start_us: int, end_us: int) -> list[str]:
    """The subjects with hours that begin from `start_us` until before `end_us`, in order."""
    hours = tables.periods.subject_hours.c
    chosen = select(hours.subject).where(hours.hour_us >= start_us, hours.hour_us < end_us)
    return sorted(connection.execute(chosen.distinct()).scalars())


def whole_hours(span: Span) -> tuple[int, int]:
    """The first of the hours that lie wholly within a span, and the first behind them; the second may be less."""
    start_us, end_us = epoch_us(span.start), epoch_us(span.end)
    return -(-start_us // HOUR_US) * HOUR_US, end_us // HOUR_US * HOUR_US


def cut_hours(span: Span) -> tuple[int, ...]:
    """The hours that an edge of the span falls inside of, in order."""
    edges = (epoch_us(span.start), epoch_us(span.end))
    return tuple(sorted({edge // HOUR_US * HOUR_US for edge in edges if edge % HOUR_US}))


def subjects_in_hours(connection: Connection, tables: UsageTables, hours_us: Sequence[int]) -> list[str]:
    """The subjects with usage in one of these hours, in order."""
    hours = tables.periods.subject_hours.c
    chosen = select(hours.subject).where(hours.hour_us.in_(hours_us)).distinct()
    return sorted(connection.execute(chosen).scalars())
