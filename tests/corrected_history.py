"""A log of usage and of what is said about it, and beside it what a plain reader keeps of that."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from google.protobuf.message import Message

from meterlog.events.v1 import correction_pb2 as events
from meterlog.events.v1.meter_pb2 import UsageCondition
from services.eventstore.catalogue import encode
from services.eventstore.event import NO_STREAM, StreamName
from services.kernel.timestamp import to_timestamp
from tests.aggregator_room import NOW, Log
from tests.plain_corrections import (
    Amend,
    Cancel,
    Close,
    Drop,
    Recorded,
    Revert,
    Said,
    Wanted,
)
from tests.plain_usage import Event

HOUR = datetime(2024, 3, 31, 22, tzinfo=UTC)


@dataclass
class History:
    """A log that is written and, beside it, what a plain reader keeps of it."""

    log: Log = field(default_factory=Log)
    recorded: list[Recorded] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    backfills: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, Wanted | None] = field(default_factory=dict)

    @property
    def head(self) -> int:
        return self.log.store.head().position

    def record(self, batch: Sequence[Event], source: str, partition: str) -> None:
        position = self.log.record(batch, partition, source)
        self.recorded += [Recorded(event, source, position, row) for row, event in enumerate(batch)]

    def cancel_named(self, picks: Sequence[int]) -> None:
        chosen = [self.recorded[pick % len(self.recorded)] for pick in picks]
        places = frozenset((each.position, each.row) for each in chosen)
        named = [self._named(each) for each in chosen]
        key, until = self._new_key(), self.head
        event = events.UsageCancelled(key=key, usage_events=named, until_position=until)
        self.said.append(Cancel(key, self._append("correction", key, event), until, places=places))

    def cancel_by_filter(self, wanted: Wanted, until_pick: int) -> None:
        key, until = self._new_key(), 1 + until_pick % self.head
        event = events.UsageCancelled(key=key, filter=filter_of(wanted), until_position=until)
        self.said.append(Cancel(key, self._append("correction", key, event), until, wanted=wanted))

    def amend(self, pick: int, value: Decimal | None, properties: dict[str, str] | None) -> None:
        usage, key = self.recorded[pick % len(self.recorded)], self._new_key()
        event = events.UsageAmended(key=key, usage_event=self._named(usage))
        if value is not None:
            event.value = format(value, "f")
        if properties is not None:
            event.properties.SetInParent()
            event.properties.properties.update(properties)
        position = self._append("correction", key, event)
        self.said.append(Amend(key, position, (usage.position, usage.row), value, properties))

    def revert(self, pick: int) -> None:
        key = self.keys[pick % len(self.keys)]
        if not any(isinstance(each, Revert) and each.key == key for each in self.said):
            event = events.CorrectionReverted(key=key)
            self.said.append(Revert(key, self._append("correction", key, event)))

    def move_backfill(self, key: str, wanted: Wanted | None) -> None:
        """Open it, or else close it, or else revert it."""
        state = self.backfills.get(key)
        if state is None:
            opened = events.BackfillOpened(key=key, replaces_existing=wanted is not None)
            if wanted is not None:
                opened.subjects.extend([wanted.subject] if wanted.subject else [])
                opened.types.extend([wanted.type] if wanted.type else [])
                opened.start_at.CopyFrom(to_timestamp(wanted.start or HOUR))
                opened.end_at.CopyFrom(to_timestamp(wanted.end or HOUR + timedelta(hours=2)))
                wanted = Wanted(
                    wanted.subject, wanted.type, wanted.start or HOUR, wanted.end or HOUR + timedelta(hours=2)
                )
            self.wanted[key], self.backfills[key] = wanted, "open"
            self._append("backfill", key, opened)
        elif state == "open":
            until, self.backfills[key] = self.head, "closed"
            position = self._append("backfill", key, events.BackfillClosed(key=key, until_position=until))
            self.said.append(Close(key, position, until, self.wanted[key]))
        elif state == "closed":
            self.backfills[key] = "reverted"
            self.said.append(Drop(key, self._append("backfill", key, events.BackfillReverted(key=key))))

    def _new_key(self) -> str:
        self.keys.append(f"c{len(self.keys)}")
        return self.keys[-1]

    def _named(self, usage: Recorded) -> events.RecordedUsage:
        return events.RecordedUsage(
            position=usage.position,
            row=usage.row,
            time=to_timestamp(usage.event.at),
            subject=usage.event.subject,
        )

    def _append(self, category: str, key: str, event: Message) -> int:
        stream, store = StreamName(category, key), self.log.store
        version = len(store.read_stream(stream)) - 1 if store.read_stream(stream) else NO_STREAM
        return store.append(stream, [encode(event, stream, version + 1, NOW)], version).position


def filter_of(wanted: Wanted) -> events.UsageFilter:
    conditions = []
    if wanted.region is not None:
        conditions.append(UsageCondition(property="region", operator="equals", values=[wanted.region]))
    if wanted.below is not None:
        conditions.append(UsageCondition(property="$value", operator="less", values=[str(wanted.below)]))
    return events.UsageFilter(
        subjects=[wanted.subject] if wanted.subject else [],
        types=[wanted.type] if wanted.type else [],
        start_at=None if wanted.start is None else to_timestamp(wanted.start),
        end_at=None if wanted.end is None else to_timestamp(wanted.end),
        conditions=conditions,
    )
