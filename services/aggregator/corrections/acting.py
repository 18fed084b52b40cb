"""What acts on usage of some time at a position of the log, loaded from SQL: only what can touch that time."""

import json
from decimal import Decimal

from sqlalchemy import ColumnElement, Connection, Table, or_, select

from meterlog.events.v1.correction_pb2 import BackfillClosed, BackfillOpened, UsageCancelled
from services.aggregator.corrections.backfill_rows import BackfillRow, backfill_row
from services.aggregator.corrections.backfill_source import source_prefix
from services.aggregator.corrections.correction_rows import Kind
from services.aggregator.corrections.force import Amendment, FilterCancellation, Force, NamedCancellation
from services.aggregator.corrections.tables import CorrectionTables
from services.aggregator.corrections.usage_filter import UsageFilter, filter_of
from services.eventstore.event import Position
from services.kernel.clock import epoch_us
from services.kernel.timestamp import from_timestamp


def force_over(
    connection: Connection,
    tables: CorrectionTables,
    until: Position,
    start_us: int,
    end_us: int,
    subjects: tuple[str, ...] = (),
    types: tuple[str, ...] = (),
) -> Force:
    """What is in force at `until` and can touch usage from `start_us` until before `end_us`.

    Only of these subjects and types; none given: all.
    """
    named, amendments = _by_name(connection, tables.named, until, start_us, end_us)
    filters, closed = _by_filter(connection, tables.corrections, until, start_us, end_us), {}
    for row in _closed_backfills(connection, tables.backfills, until):
        closed[row.opened.key] = Position(row.closed_position or 0)
        filters.extend(replacements(row))
    able = [each for each in filters if each.filter.may_choose(start_us, end_us, subjects, types)]
    able.sort(key=lambda each: each.position)
    return Force(named, tuple(able), amendments, closed)


def is_said_since(connection: Connection, tables: CorrectionTables, position: Position) -> bool:
    """Whether anything was said about usage behind a log position."""
    corrections, backfills = tables.corrections.c, tables.backfills.c
    places = (
        corrections.position,
        corrections.reverted_position,
        backfills.closed_position,
        backfills.reverted_position,
    )
    return any(connection.execute(select(place).where(place > position).limit(1)).first() for place in places)


def cancellation_of(event: UsageCancelled, position: Position) -> FilterCancellation:
    """The cancellation by filter that an event says."""
    return FilterCancellation(event.key, position, Position(event.until_position), filter_of(event.filter))


def replacements(row: BackfillRow) -> list[FilterCancellation]:
    """What a closed backfill cancels: one cancellation, or none."""
    if row.closed is None or row.closed_position is None or not row.opened.replaces_existing:
        return []
    return [replacement(row.opened, row.closed, row.closed_position)]


def replacement(opened: BackfillOpened, closed: BackfillClosed, position: Position) -> FilterCancellation:
    """What the closing of a backfill that replaces cancels."""
    until = Position(closed.until_position)
    return FilterCancellation(opened.key, position, until, replaced_by(opened), source_prefix(opened.key))


def replaced_by(opened: BackfillOpened) -> UsageFilter:
    """What a backfill is about, all sources."""
    return UsageFilter(
        types=tuple(opened.types),
        subjects=tuple(opened.subjects),
        start_us=epoch_us(from_timestamp(opened.start_at)) if opened.HasField("start_at") else None,
        end_us=epoch_us(from_timestamp(opened.end_at)) if opened.HasField("end_at") else None,
    )


def _by_name(
    connection: Connection, named: Table, until: Position, start_us: int, end_us: int
) -> tuple[tuple[NamedCancellation, ...], tuple[Amendment, ...]]:
    chosen = select(named).where(named.c.at_us >= start_us, named.c.at_us < end_us, *_in_force(named, until))
    cancellations, amendments = [], []
    for row in connection.execute(chosen.order_by(named.c.position)):
        position, place = Position(row.position), (int(row.usage_position), int(row.row))
        if row.kind == Kind.CANCEL:
            cancellations.append(NamedCancellation(row.key, position, place))
        else:
            value = None if row.value is None else Decimal(row.value)
            properties = None if row.properties is None else json.loads(row.properties)
            amendments.append(Amendment(row.key, position, place, value, properties))
    return tuple(cancellations), tuple(amendments)


def _by_filter(
    connection: Connection, corrections: Table, until: Position, start_us: int, end_us: int
) -> list[FilterCancellation]:
    columns = corrections.c
    chosen = select(columns.event, columns.position).where(
        columns.is_by_filter == 1,
        or_(columns.start_us.is_(None), columns.start_us < end_us),
        or_(columns.end_us.is_(None), columns.end_us > start_us),
        *_in_force(corrections, until),
    )
    return [
        cancellation_of(UsageCancelled.FromString(row.event), Position(row.position))
        for row in connection.execute(chosen)
    ]


def _closed_backfills(connection: Connection, backfills: Table, until: Position) -> list[BackfillRow]:
    chosen = select(backfills).where(backfills.c.closed_position <= until, _not_reverted(backfills, until))
    return [backfill_row(row) for row in connection.execute(chosen)]


def _in_force(table: Table, until: Position) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.position <= until, _not_reverted(table, until)


def _not_reverted(table: Table, until: Position) -> ColumnElement[bool]:
    return or_(table.c.reverted_position.is_(None), table.c.reverted_position > until)
