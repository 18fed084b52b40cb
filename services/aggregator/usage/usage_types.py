"""The types of usage events that were ever recorded: how many, when, and where in the log."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, select

from services.aggregator.tables import UsageTables
from services.projection.upsert import upsert

TYPES_LOOKED_UP = 1_000
"""Types in one IN list."""


@dataclass(frozen=True, slots=True)
class RecordedType:
    """The usage events of one type as recorded, whatever became of them: cancelled and held back ones, too."""

    type: str
    usage_event_count: int
    first_at_us: int
    last_at_us: int
    first_position: int
    last_position: int


def store_types(connection: Connection, tables: UsageTables, usage: pa.Table) -> None:
    """Count the usage events of one table of `usage_tables`, all that were recorded, to their types."""
    aggregates = [("at_us", "count"), ("at_us", "min"), ("at_us", "max"), ("position", "min"), ("position", "max")]
    counted = usage.select(["type", "at_us", "position"]).group_by("type").aggregate(aggregates)
    names = ["type", *(f"{column}_{function}" for column, function in aggregates)]
    columns = [counted["type"].cast(pa.utf8()).to_pylist(), *(counted[name].to_pylist() for name in names[1:])]
    fresh = [RecordedType(*row) for row in zip(*columns, strict=True)]
    standing = {known.type: known for known in _standing(connection, tables, [each.type for each in fresh])}
    merged = (_merged(each, standing[each.type]) if each.type in standing else each for each in fresh)
    upsert(connection, tables.types, [_row(each) for each in sorted(merged, key=lambda each: each.type)])


def read_types(connection: Connection, tables: UsageTables, after: str, limit: int) -> list[RecordedType]:
    """Up to `limit` types behind `after`, by name."""
    types = tables.types
    chosen = select(types).where(types.c.type > after).order_by(types.c.type).limit(limit)
    return [RecordedType(*row) for row in connection.execute(chosen)]


def _standing(connection: Connection, tables: UsageTables, names: Sequence[str]) -> Iterator[RecordedType]:
    types = tables.types
    for start in range(0, len(names), TYPES_LOOKED_UP):
        chosen = select(types).where(types.c.type.in_(names[start : start + TYPES_LOOKED_UP]))
        for row in connection.execute(chosen):
            yield RecordedType(*row)


def _merged(fresh: RecordedType, standing: RecordedType) -> RecordedType:
    return RecordedType(
        fresh.type,
        fresh.usage_event_count + standing.usage_event_count,
        min(fresh.first_at_us, standing.first_at_us),
        max(fresh.last_at_us, standing.last_at_us),
        min(fresh.first_position, standing.first_position),
        max(fresh.last_position, standing.last_position),
    )


def _row(recorded: RecordedType) -> tuple[Any, ...]:
    return (
        recorded.type,
        recorded.usage_event_count,
        recorded.first_at_us,
        recorded.last_at_us,
        recorded.first_position,
        recorded.last_position,
    )
