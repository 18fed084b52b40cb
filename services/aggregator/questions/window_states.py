"""The states behind a query: whole hours as they are kept, and the rest counted from usage events."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.table import AGGREGATIONS
from services.aggregator.questions.query import UsageQuery
from services.aggregator.questions.slices import Slices
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.states.counting import columns_counted, count_usage
from services.aggregator.states.hour_states import hours_between, read_range, read_rectangle
from services.aggregator.states.raw_states import raw_states
from services.aggregator.usage.usage_reading import Extent, read_usage

LOOK_UPS_MAX = 100_000
"""Pairs of hour and subject that are looked up one by one; more are found by a scan over the hours."""


def window_states(source: UsageSnapshot, query: UsageQuery) -> Iterator[pa.Table]:
    """States by `window` (number, from 0), subject and group_text, in parts that are to be merged."""
    slices = Slices.of(query.windows)
    if _is_from_usage(source, query):
        yield from raw_states(source, query, slices, query.as_of)
        return
    for states in _whole_hours(source, query, slices):
        windows = slices.windows_of(states["hour_us"])
        yield states.drop_columns("hour_us").add_column(0, "window", windows)
    for usage in _usage_of_cut_hours(source, query, slices):
        numbered = usage.append_column("window", slices.windows_of(usage["at_us"]))
        yield count_usage(numbered, query.meter, "window")


def _is_from_usage(source: UsageSnapshot, query: UsageQuery) -> bool:
    """Whether the states that are kept do not say it: hours do not answer it, or they count more than is asked for."""
    is_of_the_past = query.as_of is not None and query.as_of != source.position
    return is_of_the_past or AGGREGATIONS[query.meter.aggregation].is_from_usage


def _whole_hours(source: UsageSnapshot, query: UsageQuery, slices: Slices) -> Iterator[pa.Table]:
    cut = pa.array(slices.cut_hours, pa.int64())
    for states in _hours(source, query, slices):
        whole = states.filter(pc.invert(pc.is_in(states["hour_us"], cut))) if slices.cut_hours else states
        if whole.num_rows:
            yield whole


def _hours(source: UsageSnapshot, query: UsageQuery, slices: Slices) -> Iterator[pa.Table]:
    connection, tables, meter = source.connection, source.tables, query.meter.slug
    aggregation = AGGREGATIONS[query.meter.aggregation]
    hours = hours_between(connection, tables, meter, slices.start_us, slices.end_us)
    if query.subjects and len(hours) * len(query.subjects) <= LOOK_UPS_MAX:
        return read_rectangle(connection, tables, meter, aggregation, hours, query.subjects)
    return read_range(connection, tables, meter, aggregation, slices.start_us, slices.end_us, query.subjects)


def _usage_of_cut_hours(source: UsageSnapshot, query: UsageQuery, slices: Slices) -> Iterator[pa.Table]:
    if not slices.cut_hours:
        return
    extent = Extent(slices.start_us, slices.end_us, query.subjects, query.meter.event_types, slices.cut_hours)
    yield from read_usage(source, extent, columns_counted([query.meter]))
