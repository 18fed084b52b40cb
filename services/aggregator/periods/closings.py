"""Which periods are closed for whom, and up to which log position their usage is counted in, in SQL."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, func, select

from services.aggregator.periods.period import PeriodEvent
from services.aggregator.periods.period_kind import PeriodKind, period_key
from services.aggregator.tables import UsageTables
from services.eventstore.catalogue import decode
from services.eventstore.event import BEGINNING, Position, RecordedEvent
from services.kernel.calendar import Span
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.timestamp import from_timestamp
from services.projection.upsert import insert_missing, upsert

VALUES_MAX = 1_000
"""Values in one IN list."""


@dataclass(frozen=True, slots=True, order=True)
class ClosedSpan:
    """A period, by its key and bounds in microseconds, that is closed for somebody."""

    end_us: int
    start_us: int
    period: str

    @property
    def kind(self) -> PeriodKind:
        """Its kind."""
        return PeriodKind.stored(self.period)

    @property
    def span(self) -> Span:
        """Its instants."""
        return Span(from_epoch_us(self.start_us), from_epoch_us(self.end_us))


def fold_closings(connection: Connection, tables: UsageTables, events: Iterable[RecordedEvent]) -> None:
    """Keep what these closings and restatements say."""
    spans, rows = [], []
    for recorded in events:
        event = cast(PeriodEvent, decode(recorded))
        period, start_us = period_key(event.period, event.time_zone), epoch_us(from_timestamp(event.start_at))
        spans.append((period, start_us, epoch_us(from_timestamp(event.end_at))))
        rows.append((period, start_us, event.subject, _counted_position(event, recorded), recorded.position))
    insert_missing(connection, tables.periods.closed_spans, spans)
    upsert(connection, tables.periods.closings, rows)


def _counted_position(event: PeriodEvent, recorded: RecordedEvent) -> Position:
    """Up to where usage is counted in.

    A log that was moved between stores may be numbered anew, while events say what they said: a position that cannot be
    is none, and the period is counted again.
    """
    return Position(event.position) if event.position < recorded.position else BEGINNING


def closed_spans_ending_after(connection: Connection, tables: UsageTables, after_us: int) -> list[ClosedSpan]:
    """Every closed period that ends behind an instant, by end."""
    spans = tables.periods.closed_spans.c
    chosen = select(spans.end_us, spans.start_us, spans.period).where(spans.end_us > after_us)
    return sorted(ClosedSpan(*row) for row in connection.execute(chosen))


def spans_stated_behind(connection: Connection, tables: UsageTables, position: Position) -> dict[ClosedSpan, int]:
    """The periods of which something was said behind a log position, each with the least position it is counted to."""
    closings, spans = tables.periods.closings.c, tables.periods.closed_spans.c
    stated = (
        select(closings.period, closings.start_us, func.min(closings.counted_position).label("counted"))
        .where(closings.position > position)
        .group_by(closings.period, closings.start_us)
        .subquery()
    )
    joined = stated.join(
        tables.periods.closed_spans, (spans.period == stated.c.period) & (spans.start_us == stated.c.start_us)
    )
    chosen = select(spans.end_us, spans.start_us, spans.period, stated.c.counted).select_from(joined)
    return {ClosedSpan(*row[:3]): row[3] for row in connection.execute(chosen)}


def subjects_closed(connection: Connection, tables: UsageTables, span: ClosedSpan) -> list[str]:
    """For whom a period is closed, in order."""
    closings = tables.periods.closings.c
    chosen = select(closings.subject).where(closings.period == span.period, closings.start_us == span.start_us)
    return sorted(connection.execute(chosen).scalars())


def counted_positions(
    connection: Connection, tables: UsageTables, period: str, start_us: int, among: Sequence[str]
) -> dict[str, int]:
    """Of these subjects, those for whom the period is closed, each with the position up to which usage is counted."""
    closings = tables.periods.closings.c
    chosen = select(closings.subject, closings.counted_position).where(
        closings.period == period, closings.start_us == start_us
    )
    if connection.execute(chosen.limit(1)).first() is None:
        return {}
    parts = (among[first : first + VALUES_MAX] for first in range(0, len(among), VALUES_MAX))
    return {
        row.subject: row.counted_position
        for part in parts
        for row in connection.execute(chosen.where(closings.subject.in_(part)))
    }
