"""Backfills in SQL: folded from their events, with what was loaded for each, hour by hour and subject by subject."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
from sqlalchemy import Connection, func, select, update

from meterlog.events.v1.correction_pb2 import BackfillClosed, BackfillOpened, BackfillReverted
from services.aggregator.corrections.backfill_source import backfill_key, has_backfilled, where_source
from services.aggregator.corrections.tables import CorrectionTables
from services.eventstore.event import Position
from services.kernel.errors import NotFound
from services.projection.upsert import upsert

BackfillEvent: TypeAlias = BackfillOpened | BackfillClosed | BackfillReverted


@dataclass(frozen=True, slots=True)
class BackfillRow:
    """A backfill as folded: its events, and where they stand (None: not yet)."""

    opened: BackfillOpened
    position: Position
    closed: BackfillClosed | None
    closed_position: Position | None
    reverted: BackfillReverted | None
    reverted_position: Position | None


def fold_backfill(connection: Connection, tables: CorrectionTables, event: BackfillEvent, position: Position) -> None:
    """Bring the row of one backfill up to date."""
    backfills = tables.backfills
    stored = event.SerializeToString(deterministic=True)
    match event:
        case BackfillOpened():
            upsert(connection, backfills, [(event.key, position, None, None, stored, None, None)])
            return
        case BackfillClosed():
            news: dict[str, Any] = {"closed": stored, "closed_position": position}
        case BackfillReverted():
            news = {"reverted": stored, "reverted_position": position}
    connection.execute(update(backfills).where(backfills.c.key == event.key).values(news))


def read_backfill(connection: Connection, tables: CorrectionTables, key: str) -> BackfillRow:
    """One backfill; raises NotFound."""
    row = connection.execute(select(tables.backfills).where(tables.backfills.c.key == key)).one_or_none()
    if row is None:
        raise no_backfill(key)
    return backfill_row(row)


def no_backfill(key: str) -> NotFound:
    """The refusal of a key that no backfill has."""
    return NotFound(f'no backfill "{key[:128]}"; open it first, or check the key', reason="BACKFILL_NOT_FOUND")


def list_backfills(
    connection: Connection, tables: CorrectionTables, before: int | None, limit: int
) -> list[BackfillRow]:
    """Up to `limit` backfills that were opened before the position (None: all), newest first."""
    backfills = tables.backfills
    chosen = select(backfills).order_by(backfills.c.position.desc()).limit(limit)
    if before is not None:
        chosen = chosen.where(backfills.c.position < before)
    return [backfill_row(row) for row in connection.execute(chosen)]


def backfill_row(row: Any) -> BackfillRow:
    """The row of the table as a value."""
    return BackfillRow(
        BackfillOpened.FromString(row.opened),
        Position(row.position),
        None if row.closed is None else BackfillClosed.FromString(row.closed),
        None if row.closed_position is None else Position(row.closed_position),
        None if row.reverted is None else BackfillReverted.FromString(row.reverted),
        None if row.reverted_position is None else Position(row.reverted_position),
    )


def store_loads(connection: Connection, tables: CorrectionTables, usage: pa.Table) -> None:
    """Count the usage events of backfills in a usage table with the columns source and subject."""
    sources = usage["source"].combine_chunks()
    if not has_backfilled(sources):
        return
    loaded = usage.filter(where_source(sources, lambda source: bool(backfill_key(source))))
    counted = loaded.group_by(["source", "hour_us", "subject"]).aggregate([([], "count_all")])
    news: dict[tuple[str, int, str], int] = {}
    for row in counted.to_pylist():
        key = (backfill_key(row["source"]), row["hour_us"], row["subject"])
        news[key] = news.get(key, 0) + row["count_all"]
    standing = _standing_loads(connection, tables, news)
    upsert(connection, tables.loads, [(*key, count + standing.get(key, 0)) for key, count in sorted(news.items())])


def loaded_hours(connection: Connection, tables: CorrectionTables, key: str) -> pa.Table:
    """The hours and subjects of a backfill's usage: `hour_us`, `subject` (text), each pair once."""
    loads = tables.loads
    rows = connection.execute(select(loads.c.hour_us, loads.c.subject).where(loads.c.key == key)).all()
    hours, subjects = [row.hour_us for row in rows], [row.subject for row in rows]
    return pa.table({"hour_us": pa.array(hours, pa.int64()), "subject": pa.array(subjects, pa.utf8())})


def loaded_count(connection: Connection, tables: CorrectionTables, key: str) -> int:
    """How many usage events were loaded so far."""
    loads = tables.loads
    return int(connection.execute(select(func.sum(loads.c.usage_events)).where(loads.c.key == key)).scalar() or 0)


def _standing_loads(
    connection: Connection, tables: CorrectionTables, news: dict[tuple[str, int, str], int]
) -> dict[tuple[str, int, str], int]:
    """The counts that stand for the backfills and hours of `news`, other subjects of these hours among them."""
    loads, standing = tables.loads, {}
    hours: dict[str, list[int]] = {}
    for key, hour_us, _ in news:
        hours.setdefault(key, []).append(hour_us)
    for key, of_key in hours.items():
        chosen = select(loads).where(loads.c.key == key, loads.c.hour_us >= min(of_key), loads.c.hour_us <= max(of_key))
        for row in connection.execute(chosen):
            standing[row.key, row.hour_us, row.subject] = row.usage_events
    return standing
