"""A segment: consecutive events of one stream, of one type and one instant, as one row. Pure.

What the events share is stored once; ids, leaves and payloads stand side by side in blobs. A row for each event would
cost most of an append: the row, its place in two indexes, and the way there through Python.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import accumulate, groupby, pairwise
from operator import le
from struct import pack, unpack
from typing import Final
from uuid import UUID

from services.eventstore.draft import PlacedAppend
from services.eventstore.event import (
    APPEND_EVENTS_MAX,
    PAYLOAD_BYTES_MAX,
    NewEvent,
    Position,
    RecordedEvent,
    StreamName,
)
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.errors import Corrupt

LEAF_BYTES: Final = 32
_ID_BYTES: Final = 16
_END_BYTES: Final = 4

# Neighbours in the log share their instant.
_instant = lru_cache(maxsize=1024)(from_epoch_us)


@dataclass(frozen=True, slots=True)
class Segment:
    """Its events have the positions and versions that follow the first ones.

    `event_ids` holds 16 bytes an event, `leaves` 32; `payload_ends` says where each payload ends in `payloads`, in 4
    bytes, big-endian.
    """

    stream: StreamName
    first_position: int
    first_version: int
    recorded_at_us: int
    type: str
    schema_version: int
    leaves: bytes
    event_ids: bytes
    payload_ends: bytes
    payloads: bytes

    @property
    def event_count(self) -> int:
        return len(self.leaves) // LEAF_BYTES

    @property
    def last_position(self) -> int:
        return self.first_position + self.event_count - 1

    @property
    def last_version(self) -> int:
        return self.first_version + self.event_count - 1

    def events(self, first: int, count: int) -> list[RecordedEvent]:
        """Up to `count` events from index `first` on; raises Corrupt, naming the position, when the row was damaged."""
        last = min(first + count, self.event_count)
        ids, payloads = self._ids(first, last), self._payloads(first, last)
        recorded_at = self._recorded_at()
        return [
            RecordedEvent(
                Position(self.first_position + index),
                self.stream,
                self.first_version + index,
                event_id,
                self.type,
                self.schema_version,
                recorded_at,
                payload,
                self.leaves[index * LEAF_BYTES : (index + 1) * LEAF_BYTES],
            )
            for index, event_id, payload in zip(range(first, last), ids, payloads, strict=True)
        ]

    def _ids(self, first: int, last: int) -> list[UUID]:
        content = self.event_ids
        if len(content) != self.event_count * _ID_BYTES or len(self.leaves) % LEAF_BYTES:
            raise self._damaged(first, "ids and leaves are not of as many events")
        # From a number a UUID is made in two thirds of the time that it takes from bytes.
        return [
            UUID(int=int.from_bytes(content[start : start + _ID_BYTES]))
            for start in range(first * _ID_BYTES, last * _ID_BYTES, _ID_BYTES)
        ]

    def _payloads(self, first: int, last: int) -> list[bytes]:
        if len(self.payload_ends) != self.event_count * _END_BYTES:
            raise self._damaged(first, "payloads and leaves are not of as many events")
        ends = unpack(f">{self.event_count}I", self.payload_ends)
        bounds = (ends[first - 1] if first else 0, *ends[first:last])
        is_whole = bounds[-1] == len(self.payloads) if last == self.event_count else bounds[-1] <= len(self.payloads)
        if not is_whole or not all(map(le, bounds, bounds[1:])):
            raise self._damaged(first, "the payloads' lengths were changed")
        return [self.payloads[start:end] for start, end in pairwise(bounds)]

    def _recorded_at(self) -> datetime:
        try:
            return _instant(self.recorded_at_us)
        except (ValueError, OverflowError, OSError) as error:
            raise self._damaged(0, f"its instant cannot be ({error})") from error

    def _damaged(self, index: int, problem: str) -> Corrupt:
        return Corrupt(f"position {self.first_position + index} holds no event ({problem}); verify the log")


def segments_of_appends(placed: Iterable[PlacedAppend]) -> Iterator[Segment]:
    """The appends of a commit as segments, in log order: one an append, unless its events are of several types."""
    for append in placed:
        at_us = epoch_us(append.recorded_at)
        start = 0
        for _, group in groupby(append.request.events, _form):
            events = tuple(group)
            leaves = append.leaves[start : start + len(events)]
            position, version = append.first_position + start, append.first_version + start
            yield _segment(append.request.stream, position, version, at_us, events, leaves)
            start += len(events)


def segments_of_events(events: Iterable[RecordedEvent]) -> Iterator[Segment]:
    """Events that another log recorded, or an older form of this one, as segments, in log order."""
    run: list[RecordedEvent] = []
    size = 0
    for event in events:
        size += len(event.payload)
        if run and (not _continues(run[-1], event) or len(run) == APPEND_EVENTS_MAX or size > PAYLOAD_BYTES_MAX):
            yield _segment_of_run(run)
            run, size = [], len(event.payload)
        run.append(event)
    if run:
        yield _segment_of_run(run)


def _segment_of_run(run: Sequence[RecordedEvent]) -> Segment:
    first = run[0]
    events = [NewEvent(event.id, event.type, event.schema_version, event.payload) for event in run]
    leaves = [event.leaf for event in run]
    return _segment(first.stream, first.position, first.version, epoch_us(first.recorded_at), events, leaves)


def _segment(
    stream: StreamName,
    first_position: int,
    first_version: int,
    recorded_at_us: int,
    events: Sequence[NewEvent],
    leaves: Sequence[bytes],
) -> Segment:
    payloads = [event.payload for event in events]
    return Segment(
        stream=stream,
        first_position=first_position,
        first_version=first_version,
        recorded_at_us=recorded_at_us,
        type=events[0].type,
        schema_version=events[0].schema_version,
        leaves=b"".join(leaves),
        event_ids=b"".join([event.id.bytes for event in events]),
        payload_ends=pack(f">{len(events)}I", *accumulate(map(len, payloads))),
        payloads=b"".join(payloads),
    )


def _form(event: NewEvent) -> tuple[str, int]:
    return event.type, event.schema_version


def _continues(before: RecordedEvent, event: RecordedEvent) -> bool:
    return (
        event.stream == before.stream
        and event.position == before.position + 1
        and event.version == before.version + 1
        and event.recorded_at == before.recorded_at
        and (event.type, event.schema_version) == (before.type, before.schema_version)
    )
