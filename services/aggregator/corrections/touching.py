"""Which hours of which subjects a correction or a backfill has just changed: those that must be counted anew."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import pyarrow as pa
from sqlalchemy import Connection

from meterlog.events.v1.correction_pb2 import (
    BackfillClosed,
    BackfillOpened,
    BackfillReverted,
    CorrectionReverted,
    RecordedUsage,
    UsageAmended,
    UsageCancelled,
)
from services.aggregator.corrections.acting import cancellation_of, replacements
from services.aggregator.corrections.backfill_rows import BackfillEvent, fold_backfill, loaded_hours, read_backfill
from services.aggregator.corrections.correction_rows import CorrectionEvent, fold_correction, read_correction
from services.aggregator.corrections.effect import is_hit
from services.aggregator.corrections.force import FilterCancellation
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US
from services.aggregator.usage.usage_reading import Extent, force_on, read_recorded
from services.aggregator.usage.usage_table import HOUR_US
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.kernel.clock import epoch_us
from services.kernel.timestamp import from_timestamp

Change: TypeAlias = CorrectionEvent | BackfillEvent


def fold_change(connection: Connection, tables: UsageTables, recorded: RecordedEvent) -> None:
    """Bring the rows of one correction or backfill up to date; states are not touched."""
    event = decode(recorded)
    if isinstance(event, BackfillOpened | BackfillClosed | BackfillReverted):
        fold_backfill(connection, tables.corrections, event, recorded.position)
    else:
        assert isinstance(event, UsageCancelled | UsageAmended | CorrectionReverted)
        fold_correction(connection, tables.corrections, event, recorded.position)


def touched_by(source: UsageSnapshot, recorded: RecordedEvent) -> Iterator[pa.Table]:
    """The hours and subjects of all usage events of which the log says something else since this event.

    Columns `hour_us` and `subject` (text), in parts; a pair comes once in a part. The event is folded already, and
    others behind it may be, too: they do not matter.
    """
    match decode(recorded):
        case UsageCancelled() as event if event.HasField("filter"):
            yield from _hit_hours(source, cancellation_of(event, recorded.position), recorded)
        case UsageCancelled() as event:
            yield _named_hours(event.usage_events)
        case UsageAmended() as event:
            yield _named_hours([event.usage_event])
        case CorrectionReverted() as event:
            yield from _touched_by_reverting(source, event, recorded)
        case BackfillClosed() | BackfillReverted() as event:
            yield from _backfilled_hours(source, event.key, recorded)


def _touched_by_reverting(
    source: UsageSnapshot, event: CorrectionReverted, recorded: RecordedEvent
) -> Iterator[pa.Table]:
    reverted = read_correction(source.connection, source.tables.corrections, event.key)
    decided = reverted.event
    if isinstance(decided, UsageAmended):
        yield _named_hours([decided.usage_event])
    elif decided.HasField("filter"):
        yield from _hit_hours(source, cancellation_of(decided, reverted.position), recorded)
    else:
        yield _named_hours(decided.usage_events)


def _backfilled_hours(source: UsageSnapshot, key: str, recorded: RecordedEvent) -> Iterator[pa.Table]:
    backfill = read_backfill(source.connection, source.tables.corrections, key)
    if backfill.closed is None:
        return
    yield loaded_hours(source.connection, source.tables.corrections, key)
    for cancellation in replacements(backfill):
        yield from _hit_hours(source, cancellation, recorded)


def _hit_hours(source: UsageSnapshot, cancellation: FilterCancellation, recorded: RecordedEvent) -> Iterator[pa.Table]:
    for usage in hit_usage(source, cancellation, recorded, ["subject"]):
        yield hours_of(usage)


def hit_usage(
    source: UsageSnapshot, cancellation: FilterCancellation, recorded: RecordedEvent, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """The usage events, as recorded, that a cancellation hits or hit, as the log says it at the event `recorded`."""
    chooser = cancellation.filter
    extent = Extent(
        EARLIEST_US if chooser.start_us is None else chooser.start_us,
        LATEST_US if chooser.end_us is None else chooser.end_us,
        chooser.subjects,
        chooser.types,
    )
    force = force_on(source, extent, recorded.position)
    needed = sorted(force.columns.union(chooser.columns).difference(columns))
    for usage in read_recorded(source, extent, [*columns, *needed], cancellation.until):
        hit = usage.filter(is_hit(usage, force, cancellation))
        if hit.num_rows:
            yield hit


def _named_hours(named: Sequence[RecordedUsage]) -> pa.Table:
    times = [epoch_us(from_timestamp(each.time)) for each in named]
    usage = pa.table(
        {
            "hour_us": pa.array([time - time % HOUR_US for time in times], pa.int64()),
            "subject": pa.array([each.subject for each in named], pa.utf8()),
        }
    )
    return hours_of(usage)


def hours_of(usage: pa.Table) -> pa.Table:
    """The different pairs of hour and subject (text) in a usage table."""
    pairs = usage.group_by(["hour_us", "subject"]).aggregate([])
    return pa.table({"hour_us": pairs["hour_us"], "subject": pairs["subject"].cast(pa.utf8())})
