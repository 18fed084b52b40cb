"""Takes usage from the log for the archive: the next of it in log order, or what one file should hold."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.archive.archived_file import ArchivedFile
from services.aggregator.archive.rows import event_rows, pooled
from services.aggregator.archive.writing import Span
from services.aggregator.archived_usage import EARLIEST_US, LATEST_US
from services.aggregator.batch_rows import batches_between
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage_log import read_batches
from services.eventstore.event import Position, RecordedEvent
from services.eventstore.store import EventStore
from services.projection.intake import take_in

POOL_ROWS_MAX = 1_000_000
POOL_BYTES_MAX = 256 * 1024 * 1024
"""Usage events, and their bytes in memory, that are taken at once, give or take one batch."""

READ_EVENTS = 64


@dataclass(frozen=True, slots=True)
class Pool:
    """Usage of a span of the log, in log order; of a span that holds none, no rows at all."""

    rows: pa.Table | None
    span: Span
    count: int


def take_next(
    store: EventStore, after: Position, until: Position, skipped: Collection[bytes], first_us: int = EARLIEST_US
) -> Pool | None:
    """What was recorded behind `after`, up to `until` and to the bounds, of times from `first_us` on.

    Events whose leaf is in `skipped` count for nothing. None when nothing was recorded there.
    """
    parts: list[pa.Table] = []
    count = size = 0
    last: RecordedEvent | None = None
    for event in _usage_behind(store, after, until):
        last = event
        for current in take_in((event,), skipped).foldable:
            rows = event_rows(current)
            count, kept = count + rows.num_rows, _between(rows, first_us, LATEST_US)
            if kept.num_rows:
                parts.append(kept)
                size += kept.nbytes
        if count >= POOL_ROWS_MAX or size >= POOL_BYTES_MAX:
            break
    if last is None:
        return None
    return Pool(pooled(parts) if parts else None, Span(after, last.position, last.leaf), count)


def take_again(source: UsageSnapshot, file: ArchivedFile, first_us: int) -> pa.Table | None:
    """What a file should hold, of times from `first_us` on, as the log says; None when that is nothing."""
    start_us = max(file.start_us, first_us)
    places = batches_between(
        source.connection, source.tables, start_us, file.end_us, after=file.after, until=file.until
    )
    parts = [_between(rows, start_us, file.end_us) for rows in _rows_of(read_batches(source.store, places))]
    parts = [rows for rows in parts if rows.num_rows]
    return pooled(parts) if parts else None


def _usage_behind(store: EventStore, after: Position, until: Position) -> Iterator[RecordedEvent]:
    position, is_last = after, False
    while position < until and not is_last:
        page = store.read_all(after=position, categories={"usage"}, limit=READ_EVENTS)
        for event in page.events:
            if event.position > until:
                return
            yield event
        position, is_last = page.position, page.is_last


def _rows_of(runs: Iterable[tuple[RecordedEvent, ...]]) -> Iterator[pa.Table]:
    for events in runs:
        for current in take_in(events, ()).foldable:
            yield event_rows(current)


def _between(rows: pa.Table, start_us: int, end_us: int) -> pa.Table:
    bounds = pc.min_max(rows["at_us"])
    if bounds["min"].as_py() >= start_us and bounds["max"].as_py() < end_us:
        return rows
    return rows.filter(pc.and_(pc.greater_equal(rows["at_us"], start_us), pc.less(rows["at_us"], end_us)))
