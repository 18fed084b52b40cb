"""Levels over time: what a weighted sum adds up, counted from usage events in order of time.

A usage event sets the level of its subject and group from its time on, until the next one; ties go by log position,
then row. Before the first the level is 0.
"""

from collections.abc import Generator, Iterator
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.aggregation import STATE_TYPES
from services.aggregator.aggregations.grouping import key_codes
from services.aggregator.aggregations.time_order import COLUMNS, latest
from services.aggregator.questions.query import UsageQuery
from services.aggregator.questions.slices import Slices
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.states.counting import WHOLE_KEYS, columns_counted, counted_events
from services.aggregator.states.decimal_column import NUMBER
from services.aggregator.states.integrals import NO_INTEGRALS, integrals
from services.aggregator.states.kept_levels import levels_before
from services.aggregator.usage.archived_usage import EARLIEST_US
from services.aggregator.usage.batch_rows import batches_between
from services.aggregator.usage.usage_reading import Extent, read_usage
from services.aggregator.usage.usage_table import HOUR_US
from services.eventstore.event import Position
from services.kernel.clock import epoch_us

USAGE_EVENTS_AT_ONCE = 1_000_000
"""Usage events that are put in order at once; a longer range is worked off in parts, down to one hour."""

_MOMENT = ("at_us", "position", "row")
_ZERO = pa.scalar(Decimal(0), NUMBER)
_NO_LEVELS = pa.table(
    {
        **{name: pa.array([], pa.utf8()) for name in WHOLE_KEYS},
        **{name: pa.array([], STATE_TYPES[name]) for name in COLUMNS},
    }
)


def level_states(
    source: UsageSnapshot, query: UsageQuery, slices: Slices, levels: pa.Table, until: Position | None
) -> Iterator[pa.Table]:
    """Integrals by `window`, subject and group_text in units times microseconds, in parts that are to be added up.

    `levels` are those just before the first window. There is a row where a usage event lies in a window, or a level
    other than 0 lasts there. No level lasts beyond `query.now`.
    """
    reach_us = slices.end_us if query.now is None else min(slices.end_us, epoch_us(query.now))
    for start_us, end_us in _parts(source, slices.start_us, slices.end_us):
        events = _in_order(levels, _events(source, query, start_us, end_us, until), start_us)
        yield from integrals(events, slices, min(end_us, reach_us))
        levels = _last_of_each(events)


def kept_levels(source: UsageSnapshot, query: UsageQuery, at_us: int) -> pa.Table:
    """The level of every subject and group just before `at_us`, its number and moment, from the hours that are kept."""
    hour_us = at_us - at_us % HOUR_US
    kept = levels_before(source.connection, source.tables, query.meter.slug, hour_us, query.subjects)
    return _latest([*kept, _events(source, query, hour_us, at_us, None)])


def recounted_levels(
    source: UsageSnapshot, query: UsageQuery, at_us: int, until: Position | None
) -> Generator[pa.Table, None, pa.Table]:
    """The same from all usage events before, as the log said it up to `until`; integrals without rows come between."""
    levels = _NO_LEVELS
    for start_us, end_us in _parts(source, EARLIEST_US, at_us):
        levels = _latest([levels, _events(source, query, start_us, end_us, until)])
        yield NO_INTEGRALS
    return levels


def _events(source: UsageSnapshot, query: UsageQuery, start_us: int, end_us: int, until: Position | None) -> pa.Table:
    """The usage events that the meter counts, one by one, in no order."""
    extent = Extent(start_us, end_us, query.subjects, query.meter.event_types)
    parts = [
        counted_events(usage, query.meter, _MOMENT).select([*WHOLE_KEYS, *COLUMNS])
        for usage in (read_usage(source, extent, columns_counted([query.meter]), until) if start_us < end_us else ())
    ]
    return pa.concat_tables([_NO_LEVELS, *parts])


def _parts(source: UsageSnapshot, start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """The range in parts of about USAGE_EVENTS_AT_ONCE at most, in order of time."""
    pieces = -(-_held(source, start_us, end_us) // USAGE_EVENTS_AT_ONCE)
    yield from _halved(source, start_us, end_us, pieces)


def _halved(source: UsageSnapshot, start_us: int, end_us: int, pieces: int) -> Iterator[tuple[int, int]]:
    """The range cut in halves, each of which gets its share of `pieces`, down to one piece or one hour.

    Batches that cover all of a range count in both halves, so they are never read more often than there are pieces.
    """
    middle_us = (start_us + end_us) // 2
    middle_us -= middle_us % HOUR_US
    if pieces <= 1 or not start_us < middle_us < end_us:
        yield start_us, end_us
        return
    earlier, later = _held(source, start_us, middle_us), _held(source, middle_us, end_us)
    yield from _halved(source, start_us, middle_us, -(-pieces * earlier // (earlier + later or 1)))
    yield from _halved(source, middle_us, end_us, -(-pieces * later // (earlier + later or 1)))


def _held(source: UsageSnapshot, start_us: int, end_us: int) -> int:
    """Usage events of all batches that can hold some of the range."""
    batches = batches_between(source.connection, source.tables, start_us, end_us)
    return sum(batch.usage_event_count for batch in batches)


def _in_order(levels: pa.Table, events: pa.Table, start_us: int) -> pa.Table:
    """Levels that last, then events, by subject and group (`code`), each in order; `is_event` tells them apart."""
    lasting = levels.filter(pc.not_equal(levels["number"], _ZERO))
    lasting = lasting.set_column(lasting.schema.get_field_index("at_us"), "at_us", _all(start_us, lasting))
    # Below every position of a log, so that what lasts from before comes first.
    lasting = lasting.set_column(lasting.schema.get_field_index("position"), "position", _all(-1, lasting))
    both = pa.concat_tables([lasting, events])
    both = both.append_column("is_event", pc.greater_equal(both["position"], 0))
    both = both.append_column("code", key_codes(both, WHOLE_KEYS))
    # By the last key first, as numpy has it.
    return both.take(pa.array(np.lexsort([both[name].to_numpy() for name in ("row", "position", "at_us", "code")])))


def _last_of_each(ordered: pa.Table) -> pa.Table:
    codes = ordered["code"].combine_chunks()
    if len(codes) < 2:
        return ordered.select([*WHOLE_KEYS, *COLUMNS])
    is_last = pa.concat_arrays([pc.not_equal(codes[:-1], codes[1:]), pa.array([True])])
    return ordered.filter(is_last).select([*WHOLE_KEYS, *COLUMNS])


def _latest(parts: list[pa.Table]) -> pa.Table:
    return latest(pa.concat_tables([_NO_LEVELS, *parts]), WHOLE_KEYS)


def _all(number: int, rows: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(number, pa.int64()), rows.num_rows)
