"""Recorded usage events, one by one: by source and id, or listed in the order of the log."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.aggregator.batch_rows import BatchPlace, batches_before, batches_behind
from services.aggregator.deadline import Deadline
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage_log import READ_EVENTS, read_batches
from services.eventstore.catalogue import decode
from services.eventstore.event import Position, RecordedEvent
from services.eventstore.usage_batch import decode_usage, property_column, property_keys
from services.kernel.clock import from_epoch_us
from services.kernel.errors import NotFound

SCANNED_BATCHES_MAX = 1_000
"""Batches that one page of a list looks into; a page that finds little in them is short and has a next one."""

BEFORE_ALL = (0, -1)
"""The place behind which a list begins."""


@dataclass(frozen=True, slots=True)
class RecordedUsage:
    """A usage event as recorded, and its place: log position, row in that event from 0."""

    id: str
    source: str
    type: str
    subject: str
    at: datetime
    value: Decimal
    properties: dict[str, str]
    position: Position
    row: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Choice:
    """Which usage events to list; empty texts and None choose all."""

    subject: str = ""
    type: str = ""
    start_us: int | None = None
    end_us: int | None = None


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Usage events by position and row; `next` is the place to go on behind, None when this is the end."""

    events: tuple[RecordedUsage, ...]
    next: tuple[int, int] | None


def find_usage(source: UsageSnapshot, usage_source: str, usage_id: str, deadline: Deadline) -> RecordedUsage:
    """The usage event of that source and id, looked for from the newest batch backwards; raises NotFound."""
    for places in _backwards(source):
        deadline.require()
        for events in read_batches(source.store, places):
            for event in events:
                batch = _batch(event)
                rows = _rows_where(_is_known_as(batch, usage_source, usage_id))
                if rows:
                    return next(_recorded(event, batch, rows))
    raise NotFound(
        f'no usage event "{usage_id[:64]}" of source "{usage_source[:64]}" was recorded; check both',
        reason="USAGE_EVENT_NOT_FOUND",
    )


def list_usage(
    source: UsageSnapshot, choice: Choice, behind: tuple[int, int], limit: int, deadline: Deadline
) -> UsagePage:
    """Up to `limit` usage events behind a place (position, row), in the order of the log."""
    places = batches_behind(
        source.connection,
        source.tables,
        behind[0],
        behind[1],
        SCANNED_BATCHES_MAX,
        start_us=choice.start_us,
        end_us=choice.end_us,
    )
    found: list[RecordedUsage] = []
    for event in _in_order(source, places):
        deadline.require()
        batch = _batch(event)
        rows = _rows_where(_is_chosen(batch, choice))
        if event.position == behind[0]:
            rows = [row for row in rows if row > behind[1]]
        found.extend(_recorded(event, batch, rows[: limit - len(found)]))
        if len(found) == limit:
            return UsagePage(tuple(found), (found[-1].position, found[-1].row))
    is_last = len(places) < SCANNED_BATCHES_MAX
    return UsagePage(tuple(found), None if is_last else (places[-1].position, places[-1].usage_event_count))


def _backwards(source: UsageSnapshot) -> Iterator[list[BatchPlace]]:
    before: int | None = None
    while places := batches_before(source.connection, source.tables, before, READ_EVENTS):
        yield places
        before = places[-1].position


def _in_order(source: UsageSnapshot, places: list[BatchPlace]) -> Iterator[RecordedEvent]:
    for start in range(0, len(places), READ_EVENTS):
        runs = read_batches(source.store, places[start : start + READ_EVENTS])
        yield from sorted((event for run in runs for event in run), key=lambda event: event.position)


def _batch(event: RecordedEvent) -> pa.RecordBatch:
    message = decode(event)
    assert isinstance(message, UsageRecorded)
    return decode_usage(message)


def _is_known_as(batch: pa.RecordBatch, source: str, usage_id: str) -> pa.Array:
    return pc.and_(pc.equal(batch.column("id"), usage_id), pc.equal(batch.column("source"), source))


def _is_chosen(batch: pa.RecordBatch, choice: Choice) -> pa.Array:
    is_chosen = pa.repeat(True, batch.num_rows)
    times = batch.column("time").view(pa.int64())
    for name, text in (("subject", choice.subject), ("type", choice.type)):
        if text:
            is_chosen = pc.and_(is_chosen, pc.equal(batch.column(name), text))
    if choice.start_us is not None:
        is_chosen = pc.and_(is_chosen, pc.greater_equal(times, choice.start_us))
    if choice.end_us is not None:
        is_chosen = pc.and_(is_chosen, pc.less(times, choice.end_us))
    return is_chosen


def _rows_where(is_chosen: pa.Array) -> list[int]:
    rows: list[int] = pc.indices_nonzero(is_chosen).to_pylist()
    return rows


def _recorded(event: RecordedEvent, batch: pa.RecordBatch, rows: list[int]) -> Iterator[RecordedUsage]:
    keys = property_keys(batch)
    chosen = batch.take(pa.array(rows, pa.int64()))
    times = chosen.column("time").view(pa.int64()).to_pylist()
    for row, at_us, fields in zip(rows, times, chosen.drop_columns("time").to_pylist(), strict=True):
        properties = {key: fields[property_column(key)] for key in keys if fields[property_column(key)] is not None}
        yield RecordedUsage(
            id=fields["id"],
            source=fields["source"],
            type=fields["type"],
            subject=fields["subject"],
            at=from_epoch_us(at_us),
            value=fields["value"],
            properties=properties,
            position=event.position,
            row=row,
            recorded_at=event.recorded_at,
        )
