"""The rules of a meter: what can happen to it, and what it is then."""

from dataclasses import dataclass, replace
from datetime import datetime

from meterlog.events.v1.meter_pb2 import MeterArchived, MeterCreated, MeterRedefined, MeterUpdated
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition, require_definition, require_display_name, require_unit
from services.aggregator.meters.stored_conditions import condition_event, conditions_of
from services.aggregator.meters.versions import require_succession, succeed
from services.eventstore.decider import Decider
from services.eventstore.event import StreamName
from services.kernel.errors import AlreadyExists, NotFound, RuleViolated
from services.kernel.timestamp import from_timestamp, to_timestamp

CATEGORY = "meter"
METER_NOT_FOUND = "METER_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter as it stands; `archived_at` is None while it is in use. Versions count from 1."""

    definition: Definition
    created_at: datetime
    archived_at: datetime | None = None
    version: int = 1


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
class RedefineMeter:
    """Count otherwise from `effective_from` on, None: always; decided by somebody who has seen `expected_version`."""

    definition: Definition
    effective_from: datetime | None
    expected_version: int
    at: datetime


@dataclass(frozen=True, slots=True)
class ArchiveMeter:
    """Let no new plan name it; it goes on counting."""

    slug: str
    at: datetime


MeterCommand = CreateMeter | UpdateMeter | RedefineMeter | ArchiveMeter
MeterEvent = MeterCreated | MeterUpdated | MeterRedefined | MeterArchived


def meter_stream(slug: str) -> StreamName:
    """The stream of one meter."""
    return StreamName(CATEGORY, slug)


def no_meter(slug: str) -> NotFound:
    """The refusal when there is no meter of that slug."""
    text = f'no meter "{slug[:64]}"; create it or check the slug'
    return NotFound(text, reason=METER_NOT_FOUND, metadata={"meter": slug})


def _decide(command: MeterCommand, meter: Meter | None) -> list[MeterEvent]:
    match command:
        case CreateMeter():
            return _create(command, meter)
        case UpdateMeter():
            return _update(command, _existing(meter, command.slug))
        case RedefineMeter():
            return _redefine(command, _existing(meter, command.definition.slug))
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
    if meter.definition.alone() != definition:
        raise AlreadyExists(
            f'meter "{definition.slug}" exists with another definition; choose another slug, update its name and '
            "unit, or redefine it",
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
        filters=map(condition_event, definition.filters),
        value_expression=definition.value_expression,
        percentile=definition.percentile,
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


def _redefine(command: RedefineMeter, meter: Meter) -> list[MeterEvent]:
    definition = require_definition(command.definition)
    says_so = (meter.definition.alone(), meter.definition.effective_from) == (definition, command.effective_from)
    if says_so and meter.version in (command.expected_version, command.expected_version + 1):
        return []
    if meter.version != command.expected_version:
        raise RuleViolated(
            f'meter "{definition.slug}" is at version {meter.version}, not {command.expected_version}; read it again, '
            "preview the change, then send the version that you have seen",
            reason="METER_REDEFINED",
        )
    if meter.archived_at is not None:
        raise RuleViolated(
            f'meter "{definition.slug}" is archived and stays as it is; create another one', reason="METER_ARCHIVED"
        )
    require_succession(meter.definition, definition, command.effective_from)
    return [
        MeterRedefined(
            slug=definition.slug,
            version=meter.version + 1,
            definition=_created(definition, meter.created_at),
            effective_from=None if command.effective_from is None else to_timestamp(command.effective_from),
            redefined_at=to_timestamp(command.at),
        )
    ]


def _archive(command: ArchiveMeter, meter: Meter) -> list[MeterEvent]:
    if meter.archived_at is not None:
        return []
    return [MeterArchived(slug=command.slug, archived_at=to_timestamp(command.at))]


def _evolve(meter: Meter | None, event: MeterEvent) -> Meter | None:
    if isinstance(event, MeterCreated):
        return Meter(definition_of(event), from_timestamp(event.created_at))
    assert meter is not None, "a meter's stream begins with MeterCreated"
    if isinstance(event, MeterRedefined):
        definition = succeed(meter.definition, definition_of(event.definition), effective_from_of(event))
        return replace(meter, definition=definition, version=event.version)
    if isinstance(event, MeterUpdated):
        definition = replace(meter.definition, display_name=event.display_name, unit=event.unit)
        return replace(meter, definition=definition)
    return replace(meter, archived_at=from_timestamp(event.archived_at))


def definition_of(event: MeterCreated) -> Definition:
    """What the meter said when it was created, or redefined."""
    return Definition(
        slug=event.slug,
        display_name=event.display_name,
        event_type=event.event_type,
        aggregation=AggregationName(event.aggregation),
        value_property=event.value_property,
        group_by=tuple(event.group_by),
        unit=event.unit,
        filters=conditions_of(event.filters),
        value_expression=event.value_expression,
        percentile=event.percentile,
    )


def effective_from_of(event: MeterRedefined) -> datetime | None:
    """The first event time that the version counts; None: all times."""
    return from_timestamp(event.effective_from) if event.HasField("effective_from") else None


METER: Decider[MeterCommand, Meter | None, MeterEvent] = Decider(None, _decide, _evolve)
