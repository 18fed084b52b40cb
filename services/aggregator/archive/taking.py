"""Takes usage from the log for the archive: the next of it in log order, or what one file should hold."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.archive.archived_file import ArchivedFile, Span
from services.aggregator.archive.restraint import Restraint
from services.aggregator.archive.rows import event_rows, pooled
from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US
from services.aggregator.usage.batch_rows import BatchPlace
from services.aggregator.usage.usage_log import read_batches
from services.eventstore.event import Position, RecordedEvent
from services.eventstore.store import EventStore
from services.projection.intake import take_in

POOL_ROWS_MAX = 250_000
POOL_BYTES_MAX = 64 * 1024 * 1024
"""Usage events, and their bytes in memory, that are taken at once, give or take one batch. While they are sorted and
written, memory holds them about four times."""

READ_EVENTS = 16


@dataclass(frozen=True, slots=True)
class Pool:
    """Usage of a span of the log, in log order; of a span that holds none, no rows at all."""

    rows: pa.Table | None
    span: Span
    count: int


def take_next(
    store: EventStore,
    after: Position,
    until: Position,
    skipped: Collection[bytes],
    restraint: Restraint,
    first_us: int = EARLIEST_US,
) -> Pool | None:
    """What was recorded behind `after`, up to `until` and to the bounds, of times from `first_us` on.

    Events whose leaf is in `skipped` count for nothing. None when nothing was recorded there.
    """
    parts: list[pa.Table] = []
    count = size = 0
    last: RecordedEvent | None = None
    for event in _usage_behind(store, after, until):
        last = event
        for rows in _rows_of((event,), skipped):
            count, kept = count + rows.num_rows, _between(rows, first_us, LATEST_US)
            if kept.num_rows:
                parts.append(kept)
                size += kept.nbytes
        restraint.rest()
        if count >= POOL_ROWS_MAX or size >= POOL_BYTES_MAX:
            break
    if last is None:
        return None
    return Pool(pooled(parts) if parts else None, Span(after, last.position, last.leaf), count)


def take_again(
    store: EventStore, places: Sequence[BatchPlace], file: ArchivedFile, first_us: int, restraint: Restraint
) -> Iterator[Pool]:
    """What a file should hold, of times from `first_us` on, as the log says at the `places` of its usage, in log order.

    The spans of the pools follow each other, and fill the file's.
    """
    start_us = max(file.start_us, first_us)
    after = file.after
    for some, is_last in _bounded(places):
        last = some[-1].position
        span = Span(after, file.until, file.leaf) if is_last else Span(after, last, store.leaf_at(last))
        parts: list[pa.Table] = []
        for events in read_batches(store, some):
            kept = (_between(rows, start_us, file.end_us) for rows in _rows_of(events, ()))
            parts += [rows for rows in kept if rows.num_rows]
            restraint.rest()
        yield Pool(pooled(parts) if parts else None, span, sum(part.num_rows for part in parts))
        after = span.until


def _bounded(places: Sequence[BatchPlace]) -> Iterator[tuple[Sequence[BatchPlace], bool]]:
    """The places in parts of POOL_ROWS_MAX usage events, give or take one batch; and whether a part is the last."""
    begin = rows = 0
    for end, place in enumerate(places, 1):
        rows += place.usage_event_count
        if rows >= POOL_ROWS_MAX or end == len(places):
            yield places[begin:end], end == len(places)
            begin, rows = end, 0


def _usage_behind(store: EventStore, after: Position, until: Position) -> Iterator[RecordedEvent]:
    position, is_last = after, False
    while position < until and not is_last:
        page = store.read_all(after=position, categories={"usage"}, limit=READ_EVENTS)
        for event in page.events:
            if event.position > until:
                return
            yield event
        position, is_last = page.position, page.is_last


def _rows_of(events: Sequence[RecordedEvent], skipped: Collection[bytes]) -> Iterator[pa.Table]:
    for current in take_in(events, skipped).foldable:
        yield event_rows(current)


def _between(rows: pa.Table, start_us: int, end_us: int) -> pa.Table:
    bounds = pc.min_max(rows["at_us"])
    if bounds["min"].as_py() >= start_us and bounds["max"].as_py() < end_us:
        return rows
    return rows.filter(pc.and_(pc.greater_equal(rows["at_us"], start_us), pc.less(rows["at_us"], end_us)))
