"""A log of metering as plain Python reads it: usage events one by one, what was said about them, meters, periods.

Of the product it takes the decoding of stored events, and nothing that counts.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from google.protobuf.message import Message

from meterlog.events.v1 import correction_pb2 as said
from meterlog.events.v1.meter_pb2 import MeterCreated, MeterRedefined, UsagePeriodClosed, UsagePeriodRestated
from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.eventstore.usage_batch import PROPERTY_PREFIX, decode_usage
from services.kernel.timestamp import from_timestamp
from tests.plain_corrections import Amend, Cancel, Close, Drop, Recorded, Revert, Said, Wanted
from tests.plain_meters import PlainVersion
from tests.plain_usage import Event

Name: TypeAlias = tuple[str, str]
"""Source and id of a usage event."""

Place: TypeAlias = tuple[int, int]
"""Log position and row of a usage event."""

PeriodEvent: TypeAlias = UsagePeriodClosed | UsagePeriodRestated


@dataclass(frozen=True, slots=True)
class PlainMeter:
    """What one version of a meter says, and where the log says it."""

    position: int
    slug: str
    aggregation: str
    percentile: str
    version: PlainVersion


@dataclass(slots=True)
class PlainLog:
    """All that a log says of metering, in its order."""

    events: dict[int, RecordedEvent] = field(default_factory=dict)
    usage: list[Recorded] = field(default_factory=list)
    names: dict[Place, Name] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    meters: defaultdict[str, list[PlainMeter]] = field(default_factory=lambda: defaultdict(list))
    periods: defaultdict[str, list[tuple[int, PeriodEvent]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def head(self) -> int:
        """The last position."""
        return max(self.events, default=0)

    @property
    def by_place(self) -> dict[Place, Event]:
        """The usage events by where they lie."""
        return {(usage.position, usage.row): usage.event for usage in self.usage}


def read_plain(events: Sequence[RecordedEvent]) -> PlainLog:
    """What these events say, which are all there are."""
    log = PlainLog()
    opened: dict[str, said.BackfillOpened] = {}
    for recorded in events:
        log.events[recorded.position] = recorded
        message = decode(recorded)
        match message:
            case UsageRecorded():
                _read_usage(log, recorded.position, message)
            case MeterCreated():
                log.meters[message.slug].append(_meter(recorded.position, message, None))
            case MeterRedefined():
                since = from_timestamp(message.effective_from) if message.HasField("effective_from") else None
                log.meters[message.slug].append(_meter(recorded.position, message.definition, since))
            case UsagePeriodClosed() | UsagePeriodRestated():
                log.periods[str(recorded.stream)].append((recorded.position, message))
            case said.BackfillOpened():
                opened[message.key] = message
            case _ if recorded.stream.category in ("correction", "backfill"):
                log.said.append(_said(recorded.position, message, opened))
    return log


def _read_usage(log: PlainLog, position: int, message: UsageRecorded) -> None:
    for row, (name, event) in enumerate(_rows(decode_usage(message).to_pylist())):
        log.usage.append(Recorded(event, name[0], position, row))
        log.names[position, row] = name


def _rows(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[Name, Event]]:
    for row in rows:
        properties = {
            key.removeprefix(PROPERTY_PREFIX): text
            for key, text in row.items()
            if key.startswith(PROPERTY_PREFIX) and text is not None
        }
        yield (
            (row["source"], row["id"]),
            Event(row["type"], row["subject"], row["time"], row["value"], properties),
        )


def _meter(position: int, definition: MeterCreated, since: datetime | None) -> PlainMeter:
    assert not definition.value_expression, "the storm has no expressions"
    conditions = tuple(_equals(each.property, each.operator, list(each.values)) for each in definition.filters)
    version = PlainVersion(
        definition.event_type, tuple(definition.group_by), conditions, None, definition.value_property, since
    )
    return PlainMeter(position, definition.slug, definition.aggregation, definition.percentile, version)


def _equals(key: str, operator: str, values: list[str]) -> Any:
    assert operator == "equals", "the storm has no other conditions"
    return lambda event: event.properties.get(key) == values[0]


def _said(position: int, message: Message, opened: dict[str, said.BackfillOpened]) -> Said:
    match message:
        case said.UsageCancelled():
            places = frozenset((each.position, each.row) for each in message.usage_events)
            wanted = _wanted(message.filter) if message.HasField("filter") else None
            return Cancel(message.key, position, message.until_position, places, wanted)
        case said.UsageAmended():
            place = (message.usage_event.position, message.usage_event.row)
            value = Decimal(message.value) if message.value else None
            properties = dict(message.properties.properties) if message.HasField("properties") else None
            return Amend(message.key, position, place, value, properties)
        case said.CorrectionReverted():
            return Revert(message.key, position)
        case said.BackfillClosed():
            opening = opened[message.key]
            return Close(
                message.key, position, message.until_position, _about(opening) if opening.replaces_existing else None
            )
        case said.BackfillReverted():
            return Drop(message.key, position)
        case _:
            raise AssertionError(f"{type(message).__name__} is unknown to the plain reader")


def _wanted(chooser: said.UsageFilter) -> Wanted:
    assert not chooser.sources, "the storm has no such filters"
    assert not chooser.meter, "the storm has no such filters"
    for each in chooser.conditions:
        assert (each.property, each.operator) == ("region", "equals"), "the storm has no such conditions"
    return Wanted(
        subject=_only(chooser.subjects),
        type=_only(chooser.types),
        start=from_timestamp(chooser.start_at) if chooser.HasField("start_at") else None,
        end=from_timestamp(chooser.end_at) if chooser.HasField("end_at") else None,
        region=chooser.conditions[0].values[0] if chooser.conditions else None,
    )


def _about(opening: said.BackfillOpened) -> Wanted:
    return Wanted(
        subject=_only(opening.subjects),
        type=_only(opening.types),
        start=from_timestamp(opening.start_at),
        end=from_timestamp(opening.end_at),
    )


def _only(texts: Sequence[str]) -> str | None:
    assert len(texts) <= 1, "the storm names one or none"
    return texts[0] if texts else None
