"""What corrections and backfills make of a usage event, read from their events."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TypeAlias

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.events.v1.correction_pb2 import (
    BackfillClosed,
    BackfillOpened,
    BackfillReverted,
    CorrectionReverted,
    UsageAmended,
    UsageCancelled,
    UsageFilter,
)
from services.aggregator.check.plain_condition import meets_all
from services.aggregator.check.plain_usage import PlainUsage, units
from services.kernel.clock import epoch_us
from services.kernel.timestamp import from_timestamp

_BACKFILL = "backfill/"

Decided: TypeAlias = tuple[int, Message]
"""An event and its log position."""


@dataclass(slots=True)
class PlainCorrections:
    """All that was decided and not reverted."""

    named: set[tuple[int, int]] = field(default_factory=set)
    filters: list[tuple[int, int, UsageFilter, str]] = field(default_factory=list)
    amendments: defaultdict[tuple[int, int], list[tuple[int, UsageAmended]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    closed: dict[str, int] = field(default_factory=dict)

    def effect_on(self, recorded: PlainUsage) -> PlainUsage | None:
        """What the usage event says; None when it does not count."""
        place = (recorded.position, recorded.row)
        if place in self.named or self._is_held(recorded.source, None):
            return None
        if any(self._hits(recorded, *filtered) for filtered in self.filters):
            return None
        return self._said(recorded, None) if place in self.amendments else recorded

    def _hits(self, recorded: PlainUsage, until: int, freed_until: int, chooser: UsageFilter, spared: str) -> bool:
        """By what the usage event said at `until`, unless a backfill held it back at `freed_until`."""
        if recorded.position > until or (spared and recorded.source.startswith(spared)):
            return False
        return not self._is_held(recorded.source, freed_until) and _is_chosen(self._said(recorded, until), chooser)

    def _said(self, recorded: PlainUsage, until: int | None) -> PlainUsage:
        said = recorded
        for position, amended in self.amendments.get((recorded.position, recorded.row), ()):
            if until is None or position <= until:
                if amended.value:
                    said = replace(said, value=units(Decimal(amended.value)))
                if amended.HasField("properties"):
                    said = replace(said, properties=dict(amended.properties.properties))
        return said

    def _is_held(self, source: str, until: int | None) -> bool:
        if not source.startswith(_BACKFILL) or source.count("/") < 2:
            return False
        key = source.split("/", 2)[1]
        if not key:
            return False
        closed_at = self.closed.get(key)
        return closed_at is None or (until is not None and closed_at > until)


def read_corrections(events: Iterable[Decided]) -> PlainCorrections:
    """What these events, in log order, leave in force."""
    decided = list(events)
    reverted = {event.key for _, event in decided if isinstance(event, CorrectionReverted)}
    dropped = {event.key for _, event in decided if isinstance(event, BackfillReverted)}
    opened = {event.key: event for _, event in decided if isinstance(event, BackfillOpened)}
    read = PlainCorrections()
    for position, event in decided:
        if isinstance(event, UsageCancelled) and event.key not in reverted:
            read.named.update((each.position, each.row) for each in event.usage_events)
            if event.HasField("filter"):
                read.filters.append((event.until_position, event.until_position, event.filter, ""))
        elif isinstance(event, UsageAmended) and event.key not in reverted:
            read.amendments[event.usage_event.position, event.usage_event.row].append((position, event))
        elif isinstance(event, BackfillClosed) and event.key not in dropped:
            read.closed[event.key] = position
            opening = opened[event.key]
            if opening.replaces_existing:
                own = f"{_BACKFILL}{event.key}/"
                read.filters.append((event.until_position, position, _replaced(opening), own))
    return read


def _replaced(opened: BackfillOpened) -> UsageFilter:
    return UsageFilter(types=opened.types, subjects=opened.subjects, start_at=opened.start_at, end_at=opened.end_at)


def _is_chosen(usage: PlainUsage, chooser: UsageFilter) -> bool:
    lists = ((chooser.types, usage.type), (chooser.subjects, usage.subject), (chooser.sources, usage.source))
    return (
        all(not wanted or text in wanted for wanted, text in lists)
        and _is_from(usage.at_us, chooser, "start_at")
        and not _is_past(usage.at_us, chooser, "end_at")
        and _is_from(usage.recorded_us, chooser, "recorded_from")
        and not _is_past(usage.recorded_us, chooser, "recorded_until")
        and meets_all(usage, chooser.conditions)
    )


def _is_from(instant_us: int, chooser: UsageFilter, bound: str) -> bool:
    return not chooser.HasField(bound) or instant_us >= _us(getattr(chooser, bound))  # type: ignore[arg-type]  # one of its four instants


def _is_past(instant_us: int, chooser: UsageFilter, bound: str) -> bool:
    return chooser.HasField(bound) and instant_us >= _us(getattr(chooser, bound))  # type: ignore[arg-type]  # as above


def _us(instant: Timestamp) -> int:
    return epoch_us(from_timestamp(instant))
