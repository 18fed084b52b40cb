"""Meters and their versions in SQL."""

import json
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Select, select, update

from meterlog.events.v1.meter_pb2 import MeterArchived, MeterCreated, MeterRedefined, MeterUpdated
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.conditions import Condition, Operator
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.meter import Meter, MeterEvent, definition_of, effective_from_of, no_meter
from services.aggregator.meters.versions import succeed
from services.aggregator.tables import UsageTables
from services.eventstore.event import Position
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.timestamp import from_timestamp
from services.projection.upsert import upsert


def fold_meter(connection: Connection, tables: UsageTables, event: MeterEvent, position: Position) -> None:
    """Bring the rows of one meter up to date with the event at `position`."""
    meters, versions = tables.meters, tables.meter_versions
    match event:
        case MeterCreated():
            upsert(connection, meters, [(event.slug, 1, epoch_us(from_timestamp(event.created_at)), None)])
            upsert(connection, versions, [_version_row(definition_of(event), 1, None, position)])
        case MeterRedefined():
            effective_from = effective_from_of(event)
            effective_us = None if effective_from is None else epoch_us(effective_from)
            row = _version_row(definition_of(event.definition), event.version, effective_us, position)
            upsert(connection, versions, [row])
            connection.execute(update(meters).where(meters.c.slug == event.slug).values(version=event.version))
        case MeterUpdated():
            latest = select(meters.c.version).where(meters.c.slug == event.slug).scalar_subquery()
            named = update(versions).where(versions.c.slug == event.slug, versions.c.version == latest)
            connection.execute(named.values(display_name=event.display_name, unit=event.unit))
        case MeterArchived():
            archived_at_us = epoch_us(from_timestamp(event.archived_at))
            archived = update(meters).where(meters.c.slug == event.slug)
            connection.execute(archived.values(archived_at_us=archived_at_us))


def read_definitions(connection: Connection, tables: UsageTables) -> list[Definition]:
    """What every meter says, archived ones included, by slug."""
    return [meter.definition for meter in _meters(connection, _rows(tables))]


def read_meter(connection: Connection, tables: UsageTables, slug: str, as_of: Position | None = None) -> Meter:
    """One meter, as it was defined at the position `as_of` (None: as it is); before its creation: as created.

    Raises NotFound.
    """
    meter = find_meter(connection, tables, slug, as_of)
    if meter is None:
        raise no_meter(slug)
    return meter


def find_meter(connection: Connection, tables: UsageTables, slug: str, as_of: Position | None = None) -> Meter | None:
    """The same, or None when there is none."""
    return next(_meters(connection, _rows(tables).where(tables.meters.c.slug == slug), as_of), None)


def read_versions(connection: Connection, tables: UsageTables, slug: str) -> list[Meter]:
    """What a meter said over time, oldest version first; raises NotFound."""
    rows = connection.execute(_rows(tables).where(tables.meters.c.slug == slug)).all()
    if not rows:
        raise no_meter(slug)
    return [_meter(rows[: index + 1]) for index in range(len(rows))]


def list_meters(
    connection: Connection, tables: UsageTables, *, after: str, limit: int, include_archived: bool
) -> list[Meter]:
    """Up to `limit` meters behind the slug `after`, by slug."""
    meters = tables.meters
    chosen = select(meters.c.slug).where(meters.c.slug > after).order_by(meters.c.slug).limit(limit)
    if not include_archived:
        chosen = chosen.where(meters.c.archived_at_us.is_(None))
    return list(_meters(connection, _rows(tables).where(meters.c.slug.in_(chosen))))


def _rows(tables: UsageTables) -> Select[Any]:
    """A row a version, with what its meter is now beside it, by slug and version."""
    meters, versions = tables.meters, tables.meter_versions
    both = select(versions, meters.c.created_at_us, meters.c.archived_at_us)
    return both.join(meters, meters.c.slug == versions.c.slug).order_by(versions.c.slug, versions.c.version)


def _meters(connection: Connection, chosen: Select[Any], as_of: Position | None = None) -> Iterator[Meter]:
    for _, rows in groupby(connection.execute(chosen).all(), key=lambda row: row.slug):
        first, *later = rows
        yield _meter([first, *(row for row in later if as_of is None or row.position <= as_of)])


def _meter(rows: Sequence[Any]) -> Meter:
    """The meter with these versions, oldest first."""
    first, *later = rows
    definition = reduce(
        lambda current, row: succeed(current, _definition(row), _instant(row.effective_from_us)),
        later,
        _definition(first),
    )
    latest = rows[-1]
    return Meter(definition, from_epoch_us(latest.created_at_us), _instant(latest.archived_at_us), latest.version)


def _instant(microseconds: int | None) -> Any:
    return None if microseconds is None else from_epoch_us(microseconds)


def _version_row(
    definition: Definition, version: int, effective_from_us: int | None, position: Position
) -> tuple[Any, ...]:
    return (
        definition.slug,
        version,
        position,
        effective_from_us,
        definition.display_name,
        definition.event_type,
        str(definition.aggregation),
        definition.value_property,
        json.dumps(definition.group_by),
        definition.unit,
        json.dumps([[filtered.property, filtered.operator, filtered.values] for filtered in definition.filters]),
        definition.value_expression,
        definition.percentile,
    )


def _definition(row: Any) -> Definition:
    return Definition(
        slug=row.slug,
        display_name=row.display_name,
        event_type=row.event_type,
        aggregation=AggregationName(row.aggregation),
        value_property=row.value_property,
        group_by=tuple(json.loads(row.group_by)),
        unit=row.unit,
        filters=tuple(
            Condition(key, Operator(operator), tuple(values)) for key, operator, values in json.loads(row.filters)
        ),
        value_expression=row.value_expression,
        percentile=row.percentile,
    )
