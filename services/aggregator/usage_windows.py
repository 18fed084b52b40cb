"""The projection "usage_windows": meters, and the usage of each, hour by hour."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, MetaData

from services.aggregator.corrections.acting import force_over
from services.aggregator.corrections.area import Area
from services.aggregator.corrections.backfill_rows import store_loads
from services.aggregator.corrections.backfill_source import has_backfilled
from services.aggregator.corrections.effect import is_held
from services.aggregator.corrections.recounting import recount_area, recount_meters
from services.aggregator.corrections.touching import fold_change, touched_by
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.meter import MeterEvent, meter_stream
from services.aggregator.meters.meter_changes import MeterChange, changes_of, last_said, to_recount
from services.aggregator.meters.meter_rows import fold_meter, read_definitions
from services.aggregator.periods.closings import fold_closings
from services.aggregator.periods.touched import note_touched, touched_hours
from services.aggregator.periods.touched_since import note_touched_since
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.states.counting import columns_counted
from services.aggregator.states.store_states import store_usage
from services.aggregator.tables import UsageTables, usage_tables_in
from services.aggregator.usage.batch_rows import store_batches
from services.aggregator.usage.usage_table import usage_tables
from services.aggregator.usage.usage_types import store_types
from services.aggregator.waiting.counting_progress import CountingProgress, CountingStep
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.eventstore.store import EventStore


class UsageWindows:
    """Counts usage events into hour states that merge, so that neither order nor batching changes a row.

    The states say what the log says up to the end of the fold: usage is merged in as it comes, and what an event says
    about earlier usage (a new or redefined meter, a correction, a backfill) is counted anew from the usage itself, in
    the same transaction.
    """

    name = "usage_windows"
    version = 3
    categories = frozenset({"usage", "meter", "period", "correction", "backfill"})

    def __init__(self, store: EventStore, progress: CountingProgress | None = None) -> None:
        """`progress` is told how far counts of earlier usage are; None: nobody asks."""
        self._store = store
        self._progress = progress or CountingProgress()

    def tables(self, metadata: MetaData, suffix: str) -> UsageTables:
        """Declare the tables of one generation."""
        return usage_tables_in(metadata, suffix)

    def fold(self, connection: Connection, tables: UsageTables, events: Sequence[RecordedEvent]) -> None:
        """First what is said about usage, then what it means for usage of earlier folds and of this one."""
        at_end = UsageSnapshot(connection, tables, self._store, events[-1].position)
        meter_events = _of_category(events, "meter")
        corrections = _of_category(events, "correction", "backfill")
        for recorded in meter_events:
            fold_meter(connection, tables, cast(MeterEvent, decode(recorded)), recorded.position)
        for recorded in corrections:
            fold_change(connection, tables, recorded)
        meters = read_definitions(connection, tables)
        changes = changes_of(meter_events)
        with self._counting(at_end, changes, corrections) as source:
            for since_us, changed in to_recount(changes, meters).items():
                # This fold's usage is not listed yet: it is merged in below.
                _begin(source, CountingStep.COUNTING)
                recount_meters(source, changed, since_us)
            _fold_usage(at_end, meters, _of_category(events, "usage"))
            for change in last_said(changes):
                note_touched_since(connection, tables, change.since_us, change.position)
            if corrections:
                _recount_corrected(source, meters, corrections)
        fold_closings(connection, tables, _of_category(events, "period"))

    @contextmanager
    def _counting(
        self, source: UsageSnapshot, changes: Sequence[MeterChange], corrections: Sequence[RecordedEvent]
    ) -> Iterator[UsageSnapshot]:
        """The same source, whose reading is told to who waits for what these events say about earlier usage."""
        if not changes and not corrections:
            yield source
            return
        streams = [*(meter_stream(change.slug) for change in changes), *(recorded.stream for recorded in corrections)]
        with self._progress.counting(source.position, dict.fromkeys(streams)) as tally:
            yield replace(source, tally=tally)


def _fold_usage(source: UsageSnapshot, meters: Sequence[Definition], events: Sequence[RecordedEvent]) -> None:
    connection, tables = source.connection, source.tables
    columns = columns_counted(meters)
    for usage in usage_tables(events, [*columns, *{"source"}.difference(columns)]):
        store_batches(connection, tables, usage, events)
        store_types(connection, tables, usage)
        store_loads(connection, tables.corrections, usage)
        # Usage that is held back or cancelled touches its hours, too: what it will count for is noted by what frees it.
        note_touched(connection, tables, touched_hours(usage), source.position)
        store_usage(connection, tables, _without_held(source, usage), meters)


def _without_held(source: UsageSnapshot, usage: pa.Table) -> pa.Table:
    if not has_backfilled(usage["source"].combine_chunks()):
        return usage
    times = pc.min_max(usage["at_us"]).as_py()
    force = force_over(source.connection, source.tables.corrections, source.position, times["min"], times["max"] + 1)
    held = is_held(usage, force)
    return usage.filter(pc.invert(held)) if pc.any(held).as_py() else usage


def _recount_corrected(
    source: UsageSnapshot, meters: Sequence[Definition], corrections: Iterable[RecordedEvent]
) -> None:
    _begin(source, CountingStep.SEARCHING)
    area = Area.of(_noted(source, corrections))
    if area is not None:
        _begin(source, CountingStep.COUNTING)
        recount_area(source, area, meters)


def _begin(source: UsageSnapshot, step: CountingStep) -> None:
    if source.tally is not None:
        source.tally.begin(step)


def _noted(source: UsageSnapshot, corrections: Iterable[RecordedEvent]) -> Iterator[pa.Table]:
    """What the corrections touched, noted by the way, because that may restate closed periods."""
    for recorded in corrections:
        for touched in touched_by(source, recorded):
            note_touched(source.connection, source.tables, touched, recorded.position)
            yield touched


def _of_category(events: Sequence[RecordedEvent], *categories: str) -> list[RecordedEvent]:
    return [event for event in events if event.stream.category in categories]
