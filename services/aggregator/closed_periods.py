"""Closed periods, newest first, page by page."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select

from services.aggregator.period import PeriodUsage
from services.aggregator.usage_periods import PeriodTables
from services.eventstore.event import Position
from services.kernel.calendar import Span
from services.kernel.clock import from_epoch_us

PeriodKey = tuple[int, str, str]
"""Start (microseconds since 1970), subject and kind of a period."""


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """A period of one subject as it was closed."""

    kind: str
    usage: PeriodUsage
    closed_at: datetime


def list_closed(
    connection: Connection, tables: PeriodTables, *, subject: str, after: PeriodKey | None, limit: int
) -> tuple[list[ClosedPeriod], PeriodKey | None]:
    """Up to `limit` closed periods behind `after`, latest start first, and the key to go on behind (None: the end).

    An empty `subject` stands for all.
    """
    periods = tables.periods
    chosen = select(periods).order_by(periods.c.start_us.desc(), periods.c.subject, periods.c.period).limit(limit + 1)
    if subject:
        chosen = chosen.where(periods.c.subject == subject)
    if after is not None:
        chosen = chosen.where(_is_behind(tables, after))
    rows = connection.execute(chosen).all()
    totals = _totals(connection, tables, rows[:limit])
    listed = [_closed(row, totals[_key(row)]) for row in rows[:limit]]
    return listed, _key(rows[limit - 1]) if len(rows) > limit else None


def _is_behind(tables: PeriodTables, after: PeriodKey) -> Any:
    start_us, subject, kind = after
    columns = tables.periods.c
    is_later_subject = or_(columns.subject > subject, and_(columns.subject == subject, columns.period > kind))
    return or_(columns.start_us < start_us, and_(columns.start_us == start_us, is_later_subject))


def _totals(
    connection: Connection, tables: PeriodTables, rows: Sequence[Row[Any]]
) -> defaultdict[PeriodKey, dict[str, str]]:
    totals = tables.totals.c
    found: defaultdict[PeriodKey, dict[str, str]] = defaultdict(dict)
    for start_us in {row.start_us for row in rows}:
        subjects = [row.subject for row in rows if row.start_us == start_us]
        chosen = select(tables.totals).where(totals.start_us == start_us, totals.subject.in_(subjects))
        for row in connection.execute(chosen):
            found[_key(row)][row.meter] = row.quantity
    return found


def _closed(row: Row[Any], totals: dict[str, str]) -> ClosedPeriod:
    span = Span(from_epoch_us(row.start_us), from_epoch_us(row.end_us))
    usage = PeriodUsage(row.subject, span, totals, Position(row.position))
    return ClosedPeriod(row.period, usage, from_epoch_us(row.closed_at_us))


def _key(row: Row[Any]) -> PeriodKey:
    return row.start_us, row.subject, row.period
