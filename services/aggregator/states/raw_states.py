"""States counted from usage events themselves: for what hours do not answer, and for what the log once said."""

from collections.abc import Iterator

import pyarrow as pa

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.aggregations.table import aggregation_of
from services.aggregator.questions.query import UsageQuery
from services.aggregator.questions.slices import Slices
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.states.counting import columns_counted, usage_states
from services.aggregator.states.level_states import kept_levels, level_states, recounted_levels
from services.aggregator.usage.usage_reading import Extent, read_usage
from services.eventstore.event import Position


def raw_states(source: UsageSnapshot, query: UsageQuery, slices: Slices, until: Position | None) -> Iterator[pa.Table]:
    """States by `window` (number, from 0), subject and group_text, in parts that `aggregation_of(query.meter)` merges.

    They say what the log says up to `until` (None: the snapshot's position), counted as `query.meter` counts. Levels of
    a weighted sum reach to `query.now` (None: to the end of the range).
    """
    if query.meter.aggregation is AggregationName.WEIGHTED_SUM and until in (None, source.position):
        yield from level_states(source, query, slices, kept_levels(source, query, slices.start_us), until)
    else:
        yield from unkept_states(source, query, slices, until)


def unkept_states(
    source: UsageSnapshot, query: UsageQuery, slices: Slices, until: Position | None
) -> Iterator[pa.Table]:
    """The same, whatever the tables keep of the meter: of one that is not there, or was another at `until`.

    Parts without rows come between, while usage of long ago is read: the caller may look at the clock.
    """
    if query.meter.aggregation is AggregationName.WEIGHTED_SUM:
        levels = yield from recounted_levels(source, query, slices.start_us, until)
        yield from level_states(source, query, slices, levels, until)
        return
    aggregation = aggregation_of(query.meter)
    extent = Extent(slices.start_us, slices.end_us, query.subjects, query.meter.event_types)
    for usage in read_usage(source, extent, columns_counted([query.meter]), until):
        numbered = usage.append_column("window", slices.windows_of(usage["at_us"]))
        yield usage_states(numbered, query.meter, "window", aggregation)
