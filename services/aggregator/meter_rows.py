"""Meters in SQL."""

import json
from typing import Any

from sqlalchemy import Connection, select, update

from meterlog.events.v1.meter_pb2 import MeterArchived, MeterCreated, MeterUpdated
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.definition import Definition
from services.aggregator.meter import Meter, MeterEvent, definition_of, no_meter
from services.aggregator.tables import UsageTables
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.timestamp import from_timestamp
from services.projection.upsert import upsert


def fold_meter(connection: Connection, tables: UsageTables, event: MeterEvent) -> None:
    """Bring the row of one meter up to date."""
    meters = tables.meters
    match event:
        case MeterCreated():
            upsert(connection, meters, [_row(definition_of(event), epoch_us(from_timestamp(event.created_at)))])
            return
        case MeterUpdated():
            news: dict[str, Any] = {"display_name": event.display_name, "unit": event.unit}
        case MeterArchived():
            news = {"archived_at_us": epoch_us(from_timestamp(event.archived_at))}
    connection.execute(update(meters).where(meters.c.slug == event.slug).values(news))


def read_definitions(connection: Connection, tables: UsageTables) -> list[Definition]:
    """What every meter says, archived ones included, by slug."""
    rows = connection.execute(select(tables.meters).order_by(tables.meters.c.slug))
    return [_meter(row).definition for row in rows]


def read_meter(connection: Connection, tables: UsageTables, slug: str) -> Meter:
    """One meter; raises NotFound."""
    row = connection.execute(select(tables.meters).where(tables.meters.c.slug == slug)).one_or_none()
    if row is None:
        raise no_meter(slug)
    return _meter(row)


def list_meters(
    connection: Connection, tables: UsageTables, *, after: str, limit: int, include_archived: bool
) -> list[Meter]:
    """Up to `limit` meters behind the slug `after`, by slug."""
    meters = tables.meters
    chosen = select(meters).where(meters.c.slug > after).order_by(meters.c.slug).limit(limit)
    if not include_archived:
        chosen = chosen.where(meters.c.archived_at_us.is_(None))
    return [_meter(row) for row in connection.execute(chosen)]


def _row(definition: Definition, created_at_us: int) -> tuple[Any, ...]:
    return (
        definition.slug,
        definition.display_name,
        definition.event_type,
        str(definition.aggregation),
        definition.value_property,
        json.dumps(definition.group_by),
        definition.unit,
        created_at_us,
        None,
    )


def _meter(row: Any) -> Meter:
    definition = Definition(
        slug=row.slug,
        display_name=row.display_name,
        event_type=row.event_type,
        aggregation=AggregationName(row.aggregation),
        value_property=row.value_property,
        group_by=tuple(json.loads(row.group_by)),
        unit=row.unit,
    )
    archived_at = None if row.archived_at_us is None else from_epoch_us(row.archived_at_us)
    return Meter(definition, from_epoch_us(row.created_at_us), archived_at)
