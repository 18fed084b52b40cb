"""Closed periods as they were said last, with what changed on the way: newest first, page by page."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, and_, or_, select

from services.aggregator.periods.period import PeriodUsage
from services.aggregator.periods.period_kind import PeriodKind, period_key
from services.aggregator.periods.usage_periods import KEY, PeriodKey, PeriodTables
from services.eventstore.event import Position
from services.kernel.calendar import Span
from services.kernel.clock import epoch_us, from_epoch_us


@dataclass(frozen=True, slots=True)
class Restatement:
    """One change of a closed period, counted from 1: by meter slug the quantity before and then, None for none."""

    number: int
    previous_position: Position
    position: Position
    totals: Mapping[str, tuple[str | None, str | None]]
    restated_at: datetime


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """A period of one subject that was closed: its usage as it was said last, and its restatements, oldest first."""

    usage: PeriodUsage
    closed_at: datetime
    restatements: tuple[Restatement, ...]


@dataclass(frozen=True, slots=True)
class ClosedChoice:
    """Which closed periods; empty texts stand for all."""

    subject: str = ""
    kind: str = ""
    only_restated: bool = False


def list_closed(
    connection: Connection, tables: PeriodTables, choice: ClosedChoice, *, after: PeriodKey | None, limit: int
) -> tuple[list[ClosedPeriod], PeriodKey | None]:
    """Up to `limit` closed periods behind `after`, latest start first, and the key to go on behind (None: the end)."""
    periods = tables.periods.c
    order = (periods.start_us.desc(), periods.subject, periods.kind, periods.time_zone)
    chosen = _chosen(tables, choice).order_by(*order).limit(limit + 1)
    if after is not None:
        chosen = chosen.where(_is_behind(tables, after))
    rows = connection.execute(chosen).all()
    listed = _closed(connection, tables, rows[:limit])
    return listed, _key(rows[limit - 1]) if len(rows) > limit else None


def find_closed(
    connection: Connection, tables: PeriodTables, subject: str, kind: PeriodKind, span: Span
) -> ClosedPeriod | None:
    """One closed period; None while it is open."""
    key = (epoch_us(span.start), subject, str(kind.length), kind.zone)
    chosen = select(tables.periods).where(*_is(tables.periods, key))
    return next(iter(_closed(connection, tables, connection.execute(chosen).all())), None)


def _chosen(tables: PeriodTables, choice: ClosedChoice) -> Select[Any]:
    periods, chosen = tables.periods.c, select(tables.periods)
    if choice.subject:
        chosen = chosen.where(periods.subject == choice.subject)
    if choice.kind:
        chosen = chosen.where(periods.kind == choice.kind)
    if choice.only_restated:
        chosen = chosen.where(periods.restatements > 0)
    return chosen


def _is_behind(tables: PeriodTables, after: PeriodKey) -> Any:
    start_us, subject, kind, zone = after
    columns = tables.periods.c
    is_later_kind = or_(columns.kind > kind, and_(columns.kind == kind, columns.time_zone > zone))
    is_later_subject = or_(columns.subject > subject, and_(columns.subject == subject, is_later_kind))
    return or_(columns.start_us < start_us, and_(columns.start_us == start_us, is_later_subject))


def _is(table: Table, key: PeriodKey) -> Iterator[Any]:
    return (table.c[name] == part for name, part in zip(KEY, key, strict=True))


def _closed(connection: Connection, tables: PeriodTables, rows: Sequence[Row[Any]]) -> list[ClosedPeriod]:
    totals: defaultdict[PeriodKey, dict[str, str]] = defaultdict(dict)
    for row in _rows_of(connection, tables.totals, rows):
        totals[_key(row)][row.meter] = row.quantity
    restatements = _restatements(connection, tables, [row for row in rows if row.restatements])
    return [_closed_period(row, totals[_key(row)], restatements[_key(row)]) for row in rows]


def _rows_of(connection: Connection, table: Table, periods: Sequence[Row[Any]]) -> Iterator[Row[Any]]:
    """The rows of a table for these periods (and maybe for others), in key order."""
    for start_us in dict.fromkeys(row.start_us for row in periods):
        subjects = sorted({row.subject for row in periods if row.start_us == start_us})
        chosen = select(table).where(table.c.start_us == start_us, table.c.subject.in_(subjects))
        yield from connection.execute(chosen.order_by(*table.primary_key.columns))


def _restatements(
    connection: Connection, tables: PeriodTables, periods: Sequence[Row[Any]]
) -> defaultdict[PeriodKey, list[Restatement]]:
    totals: defaultdict[tuple[Any, ...], dict[str, tuple[str | None, str | None]]] = defaultdict(dict)
    for row in _rows_of(connection, tables.restated_totals, periods):
        totals[*_key(row), row.number][row.meter] = (row.old_quantity, row.new_quantity)
    found: defaultdict[PeriodKey, list[Restatement]] = defaultdict(list)
    for row in _rows_of(connection, tables.restatements, periods):
        found[_key(row)].append(_restatement(row, totals[*_key(row), row.number]))
    return found


def _restatement(row: Row[Any], totals: Mapping[str, tuple[str | None, str | None]]) -> Restatement:
    positions = Position(row.previous_position), Position(row.position)
    return Restatement(row.number, *positions, totals, from_epoch_us(row.restated_at_us))


def _closed_period(row: Row[Any], totals: dict[str, str], restatements: Sequence[Restatement]) -> ClosedPeriod:
    kind = PeriodKind.stored(period_key(row.kind, row.time_zone))
    span = Span(from_epoch_us(row.start_us), from_epoch_us(row.end_us))
    usage = PeriodUsage(row.subject, kind, span, totals, Position(row.position))
    return ClosedPeriod(usage, from_epoch_us(row.closed_at_us), tuple(restatements))


def _key(row: Row[Any]) -> PeriodKey:
    return row.start_us, row.subject, row.kind, row.time_zone
