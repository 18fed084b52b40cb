"""The rules of a meter: what can happen to it, and what it is then."""

from dataclasses import dataclass, replace
from datetime import datetime

from meterlog.events.v1.meter_pb2 import MeterArchived, MeterCreated, MeterUpdated
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.definition import Definition, require_definition, require_display_name, require_unit
from services.eventstore.decider import Decider
from services.eventstore.event import StreamName
from services.kernel.errors import AlreadyExists, NotFound
from services.kernel.timestamp import from_timestamp, to_timestamp


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter as it stands; `archived_at` is None while it is in use."""

    definition: Definition
    created_at: datetime
    archived_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CreateMeter:
    """Begin to count, all earlier usage included."""

    definition: Definition
    at: datetime


@dataclass(frozen=True, slots=True)
class UpdateMeter:
    """Change what people read; None keeps it."""

    slug: str
    display_name: str | None
    unit: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class ArchiveMeter:
    """Let no new plan name it; it goes on counting."""

    slug: str
    at: datetime


MeterCommand = CreateMeter | UpdateMeter | ArchiveMeter
MeterEvent = MeterCreated | MeterUpdated | MeterArchived


def meter_stream(slug: str) -> StreamName:
    """The stream of one meter."""
    return StreamName("meter", slug)


def no_meter(slug: str) -> NotFound:
    """The refusal when there is no meter of that slug."""
    return NotFound(f'no meter "{slug[:64]}"; create it or check the slug', reason="METER_NOT_FOUND")


def _decide(command: MeterCommand, meter: Meter | None) -> list[MeterEvent]:
    match command:
        case CreateMeter():
            return _create(command, meter)
        case UpdateMeter():
            return _update(command, _existing(meter, command.slug))
        case ArchiveMeter():
            return _archive(command, _existing(meter, command.slug))


def _existing(meter: Meter | None, slug: str) -> Meter:
    if meter is None:
        raise no_meter(slug)
    return meter


def _create(command: CreateMeter, meter: Meter | None) -> list[MeterEvent]:
    definition = require_definition(command.definition)
    if meter is None:
        return [_created(definition, command.at)]
    if meter.definition != definition:
        raise AlreadyExists(
            f'meter "{definition.slug}" exists with another definition; choose another slug, or update its '
            "name and unit",
            reason="METER_EXISTS",
        )
    return []


def _created(definition: Definition, at: datetime) -> MeterCreated:
    return MeterCreated(
        slug=definition.slug,
        display_name=definition.display_name,
        event_type=definition.event_type,
        aggregation=definition.aggregation,
        value_property=definition.value_property,
        group_by=definition.group_by,
        unit=definition.unit,
        created_at=to_timestamp(at),
    )


def _update(command: UpdateMeter, meter: Meter) -> list[MeterEvent]:
    standing = meter.definition
    name = standing.display_name if command.display_name is None else command.display_name or command.slug
    unit = standing.unit if command.unit is None else command.unit
    require_display_name(name, "display_name")
    require_unit(unit, "unit")
    if (name, unit) == (standing.display_name, standing.unit):
        return []
    return [MeterUpdated(slug=command.slug, display_name=name, unit=unit, updated_at=to_timestamp(command.at))]


def _archive(command: ArchiveMeter, meter: Meter) -> list[MeterEvent]:
    if meter.archived_at is not None:
        return []
    return [MeterArchived(slug=command.slug, archived_at=to_timestamp(command.at))]


def _evolve(meter: Meter | None, event: MeterEvent) -> Meter | None:
    if isinstance(event, MeterCreated):
        return Meter(definition_of(event), from_timestamp(event.created_at))
    assert meter is not None, "a meter's stream begins with MeterCreated"
    if isinstance(event, MeterUpdated):
        definition = replace(meter.definition, display_name=event.display_name, unit=event.unit)
        return replace(meter, definition=definition)
    return replace(meter, archived_at=from_timestamp(event.archived_at))


def definition_of(event: MeterCreated) -> Definition:
    """What the meter said when it was created."""
    return Definition(
        slug=event.slug,
        display_name=event.display_name,
        event_type=event.event_type,
        aggregation=AggregationName(event.aggregation),
        value_property=event.value_property,
        group_by=tuple(event.group_by),
        unit=event.unit,
    )


METER: Decider[MeterCommand, Meter | None, MeterEvent] = Decider(None, _decide, _evolve)
