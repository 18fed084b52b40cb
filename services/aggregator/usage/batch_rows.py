"""The index of stored usage batches by time, in SQL."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Row, and_, func, or_, select

from services.aggregator.tables import UsageTables
from services.eventstore.event import BEGINNING, Position, RecordedEvent, StreamName
from services.projection.upsert import insert_missing


@dataclass(frozen=True, slots=True)
class BatchPlace:
    """Where a batch of usage events lies in the log, and the times of its earliest and latest usage event."""

    position: Position
    stream: StreamName
    version: int
    usage_event_count: int
    first_at_us: int
    last_at_us: int


def store_batches(
    connection: Connection, tables: UsageTables, usage: pa.Table, events: Iterable[RecordedEvent]
) -> None:
    """List the batches whose usage events are in `usage`."""
    times = usage.group_by("position").aggregate([("at_us", "count"), ("at_us", "min"), ("at_us", "max")])
    by_position = {row["position"]: row for row in times.to_pylist()}
    rows = [
        (event.position, str(event.stream), event.version, row["at_us_count"], row["at_us_min"], row["at_us_max"])
        for event in events
        if (row := by_position.get(event.position))
    ]
    insert_missing(connection, tables.batches, rows)


def batches_between(
    connection: Connection,
    tables: UsageTables,
    start_us: int,
    end_us: int,
    *,
    after: Position = BEGINNING,
    until: Position | None = None,
) -> list[BatchPlace]:
    """The batches that can hold usage from `start_us` until before `end_us`, in log order.

    Only those recorded behind `after`, and up to `until` (None: all).
    """
    batches = tables.batches
    chosen = select(batches).where(batches.c.last_at_us >= start_us, batches.c.first_at_us < end_us)
    if after != BEGINNING:
        chosen = chosen.where(batches.c.position > after)
    if until is not None:
        chosen = chosen.where(batches.c.position <= until)
    return _places(connection.execute(chosen.order_by(batches.c.position)).all())


def batches_at(connection: Connection, tables: UsageTables, positions: Sequence[int]) -> list[BatchPlace]:
    """The batches at these log positions, at most 1,000, in log order; where there is none, none."""
    batches = tables.batches
    chosen = select(batches).where(batches.c.position.in_(positions)).order_by(batches.c.position)
    return _places(connection.execute(chosen).all())


def recorded_until(connection: Connection, tables: UsageTables, until: Position) -> int:
    """How many usage events were recorded up to a log position."""
    batches = tables.batches
    chosen = select(func.sum(batches.c.usage_event_count)).where(batches.c.position <= until)
    return int(connection.execute(chosen).scalar() or 0)


def batches_behind(
    connection: Connection,
    tables: UsageTables,
    position: int,
    row: int,
    limit: int,
    *,
    start_us: int | None = None,
    end_us: int | None = None,
) -> list[BatchPlace]:
    """The first `limit` batches, in log order, that can hold usage of that time behind a row of the batch there."""
    batches = tables.batches
    has_more_rows = and_(batches.c.position == position, batches.c.usage_event_count > row + 1)
    chosen = select(batches).where(or_(batches.c.position > position, has_more_rows))
    chosen = chosen.order_by(batches.c.position).limit(limit)
    if start_us is not None:
        chosen = chosen.where(batches.c.last_at_us >= start_us)
    if end_us is not None:
        chosen = chosen.where(batches.c.first_at_us < end_us)
    return _places(connection.execute(chosen).all())


def batches_before(connection: Connection, tables: UsageTables, position: int | None, limit: int) -> list[BatchPlace]:
    """The newest `limit` batches before `position` (None: of the whole log), newest first."""
    batches = tables.batches
    chosen = select(batches).order_by(batches.c.position.desc()).limit(limit)
    if position is not None:
        chosen = chosen.where(batches.c.position < position)
    return _places(connection.execute(chosen).all())


def _places(rows: Sequence[Row[Any]]) -> list[BatchPlace]:
    return [
        BatchPlace(
            Position(row.position),
            StreamName.parse(row.stream),
            row.version,
            row.usage_event_count,
            row.first_at_us,
            row.last_at_us,
        )
        for row in rows
    ]
