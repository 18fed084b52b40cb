"""Usage events as they count: read raw, corrections applied, up to a position of the log."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.corrections.acting import force_over
from services.aggregator.corrections.effect import corrected
from services.aggregator.corrections.force import Force
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage.archived_usage import NOTHING_ARCHIVED, Gap
from services.aggregator.usage.batch_rows import BatchPlace, batches_between
from services.aggregator.usage.usage_log import read_batches
from services.aggregator.usage.usage_table import HOUR_US, usage_tables
from services.eventstore.event import Position, RecordedEvent

READ_ROWS_MAX = 250_000
"""Usage events of the log that are decoded at once; most of them are not asked for."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Which usage events: from `start_us` until before `end_us`, of these subjects and types (none given: all).

    `hours` narrows it to these UTC hours, by their first microsecond, in order; None: all of the range.
    """

    start_us: int
    end_us: int
    subjects: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    hours: tuple[int, ...] | None = None

    def with_subjects(self, subjects: Sequence[str]) -> "Extent":
        """The same, of these subjects."""
        return replace(self, subjects=tuple(subjects))


def read_usage(
    source: UsageSnapshot, extent: Extent, columns: Sequence[str], until: Position | None = None
) -> Iterator[pa.Table]:
    """The usage events of `extent` that count, as `usage_tables` gives them, in parts that are in no order.

    They say what the log says up to `until` (None: the snapshot's position): what was recorded or corrected later is
    left out. Archived usage is read from the archive, the rest from the log.
    """
    last = source.position if until is None else min(until, source.position)
    force = force_on(source, extent, last)
    needed = sorted(force.columns.difference(columns))
    for usage in read_recorded(source, extent, [*columns, *needed], last):
        counted = corrected(usage, force)
        if counted.num_rows:
            yield counted.drop_columns(needed)


def force_on(source: UsageSnapshot, extent: Extent, until: Position) -> Force:
    """The corrections and backfills in force at `until` that can touch usage of `extent`."""
    return force_over(
        source.connection,
        source.tables.corrections,
        until,
        extent.start_us,
        extent.end_us,
        extent.subjects,
        extent.types,
    )


def read_recorded(source: UsageSnapshot, extent: Extent, columns: Sequence[str], last: Position) -> Iterator[pa.Table]:
    """The usage events of `extent` recorded up to `last`, as they were recorded, in parts that are in no order."""
    archived = NOTHING_ARCHIVED if source.archive is None else source.archive.view()
    yield from archived.tables(extent, columns, last)
    for gap in archived.gaps(last):
        yield from _read_log(source, extent, columns, gap)


def _read_log(source: UsageSnapshot, extent: Extent, columns: Sequence[str], gap: Gap) -> Iterator[pa.Table]:
    """The usage events of `extent` that lie in `gap`."""
    asked = replace(extent, start_us=max(extent.start_us, gap.start_us), end_us=min(extent.end_us, gap.end_us))
    if asked.start_us >= asked.end_us:
        return
    places = batches_between(
        source.connection, source.tables, asked.start_us, asked.end_us, after=gap.after, until=gap.until
    )
    for events in _told(source, [place for place in places if _may_hold(place, asked)]):
        for usage in usage_tables(events, columns, READ_ROWS_MAX):
            chosen = usage.filter(is_within(usage, asked))
            if chosen.num_rows:
                yield chosen


def _told(source: UsageSnapshot, places: Sequence[BatchPlace]) -> Iterator[Sequence[RecordedEvent]]:
    """The events at these places; the snapshot's tally hears how many usage events they are, and when they are done."""
    if source.tally is None:
        yield from read_batches(source.store, places)
        return
    counts = {place.position: place.usage_event_count for place in places}
    source.tally.expect(sum(counts.values()))
    for events in read_batches(source.store, places):
        yield events
        source.tally.looked_at(sum(counts[event.position] for event in events))


def is_within(usage: pa.Table, extent: Extent) -> pa.ChunkedArray:
    """Which rows of a usage table belong to `extent`."""
    chosen = pc.and_(pc.greater_equal(usage["at_us"], extent.start_us), pc.less(usage["at_us"], extent.end_us))
    if extent.hours is not None:
        chosen = pc.and_(chosen, pc.is_in(usage["hour_us"], pa.array(extent.hours, pa.int64())))
    for name, texts in (("subject", extent.subjects), ("type", extent.types)):
        if texts:
            chosen = pc.and_(chosen, _is_one_of(usage[name].combine_chunks(), texts))
    return chosen


def _is_one_of(column: pa.DictionaryArray, texts: Sequence[str]) -> pa.Array:
    is_asked = pc.is_in(column.dictionary, pa.array(texts, pa.utf8()))
    codes = pc.indices_nonzero(is_asked)
    # To compare with the one that is asked for is much faster than to look up each, and is the common case.
    return pc.equal(column.indices, codes[0].cast(pa.int32())) if len(codes) == 1 else is_asked.take(column.indices)


def _may_hold(place: BatchPlace, extent: Extent) -> bool:
    """Whether a batch has usage from before the end to after the start of one of the hours that are asked for."""
    if extent.hours is None:
        return True
    first = place.first_at_us - place.first_at_us % HOUR_US
    return bisect_right(extent.hours, place.last_at_us) > bisect_left(extent.hours, first)
