"""Counts states anew from the usage events of the log, after something said about earlier usage."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from services.aggregator.corrections.area import Area
from services.aggregator.meters.definition import Definition
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.states.counting import columns_counted
from services.aggregator.states.hour_states import delete_rectangle, delete_since, forget_empty_hours
from services.aggregator.states.store_states import store_usage
from services.aggregator.usage.archived_usage import LATEST_US
from services.aggregator.usage.usage_reading import Extent, read_usage

GATHERED_ROWS_MAX = 500_000
"""Usage events that are gathered before they are counted, give or take what is read at once."""


def recount_area(source: UsageSnapshot, area: Area, meters: Sequence[Definition]) -> None:
    """Give every state of the area what the usage events say that the log holds up to the snapshot's position.

    `source` stands inside the transaction of a fold. Usage is streamed, so that memory is bounded whatever the area.
    """
    for hours, subjects in area.rectangles():
        delete_rectangle(source.connection, source.tables, [meter.slug for meter in meters], hours, subjects)
    types = tuple(sorted({name for meter in meters for name in meter.event_types}))
    if types:
        usage = read_usage(source, area.extent(types), columns_counted(meters))
        for part in gathered(each.filter(area.holds(each)) for each in usage):
            store_usage(source.connection, source.tables, part, meters)
    forget_empty_hours(source.connection, source.tables, area.hours())


def recount_meters(source: UsageSnapshot, meters: Sequence[Definition], since_us: int) -> None:
    """Count new or redefined meters from the hour `since_us` on, all of them in one pass over the listed usage."""
    for meter in meters:
        delete_since(source.connection, source.tables, meter.slug, since_us)
    types = tuple(sorted({name for meter in meters for name in meter.event_types}))
    usage = read_usage(source, Extent(since_us, LATEST_US, types=types), columns_counted(meters))
    for part in gathered(usage):
        store_usage(source.connection, source.tables, part, meters)


def gathered(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same usage in fewer tables, each with one dictionary a column; empty parts are left out."""
    waiting: list[pa.Table] = []
    for part in parts:
        if part.num_rows:
            waiting.append(part)
        if sum(each.num_rows for each in waiting) >= GATHERED_ROWS_MAX:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts, promote_options="default").unify_dictionaries().combine_chunks()
