"""What a cancellation would hit: how many usage events that count, when and whose, and what it would do to totals."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from meterlog.events.v1.correction_pb2 import RecordedUsage
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.aggregations.table import aggregation_of
from services.aggregator.corrections.amending import place_numbers
from services.aggregator.corrections.recounting import gathered
from services.aggregator.corrections.touching import hours_of
from services.aggregator.corrections.usage_filter import UsageFilter, is_chosen
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.states.counting import columns_counted, usage_states
from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US
from services.aggregator.usage.usage_reading import Extent, read_usage
from services.aggregator.usage.usage_table import HOUR_US
from services.eventstore.event import Position
from services.kernel.clock import epoch_us
from services.kernel.timestamp import from_timestamp

TOTALS_MAX = 1_000
SUBJECTS_MAX = 1_000
"""Subjects that usage is read for by name; usage of more is read whole."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a cancellation is aimed at: where to look, which columns to look at, and which usage events are meant."""

    extent: Extent
    columns: frozenset[str]
    is_meant: Callable[[pa.Table], pa.Array]

    def recorded_until(self, until: Position) -> "Target":
        """The same, but for what was recorded later."""
        return replace(
            self, is_meant=lambda usage: pc.and_(self.is_meant(usage), pc.less_equal(usage["position"], until))
        )


@dataclass(frozen=True, slots=True)
class Hits:
    """Usage events that count and would not: how many, their earliest and latest time, their hours and subjects."""

    count: int
    first_us: int
    last_us: int
    touched: pa.Table

    @property
    def subjects(self) -> tuple[str, ...]:
        """The different subjects, in order."""
        return tuple(pc.unique(self.touched["subject"]).sort().to_pylist())


@dataclass(frozen=True, slots=True)
class Change:
    """A total before and after; None when there is none."""

    meter: str
    subject: str
    old: str | None
    new: str | None


def target_of_filter(chooser: UsageFilter) -> Target:
    """Everything that the filter chooses."""
    start_us = EARLIEST_US if chooser.start_us is None else chooser.start_us
    end_us = LATEST_US if chooser.end_us is None else chooser.end_us
    extent = Extent(start_us, end_us, chooser.subjects, chooser.types)
    return Target(extent, frozenset(chooser.columns), lambda usage: is_chosen(usage, chooser))


def target_of_names(named: Sequence[RecordedUsage]) -> Target:
    """These usage events, at least one."""
    times = sorted(epoch_us(from_timestamp(each.time)) for each in named)
    hours = tuple(sorted({time - time % HOUR_US for time in times}))
    subjects = tuple(sorted({each.subject for each in named}))
    places = [(each.position, each.row) for each in named]
    extent = Extent(times[0], times[-1] + 1, subjects, hours=hours)
    return Target(extent, frozenset(), lambda usage: pc.is_valid(place_numbers(usage, places)))


def find_hits(source: UsageSnapshot, target: Target, until: Position, deadline: Deadline) -> Hits:
    """What counts at `until` and is meant; raises TimedOut."""
    count, times, pairs = 0, [], [_NOTHING]
    for usage in read_usage(source, target.extent, sorted(target.columns | {"subject"}), until):
        deadline.require()
        hit = usage.filter(target.is_meant(usage))
        if hit.num_rows:
            count += hit.num_rows
            bounds = pc.min_max(hit["at_us"]).as_py()
            times += [bounds["min"], bounds["max"]]
            pairs = [hours_of(pa.concat_tables([*pairs, hours_of(hit)]))]
    return Hits(count, min(times, default=0), max(times, default=0), pairs[0])


def total_changes(
    source: UsageSnapshot,
    target: Target,
    hits: Hits,
    meters: Sequence[Definition],
    until: Position,
    deadline: Deadline,
) -> list[Change]:
    """How totals over the hours of the hits would change, by meter and subject, at most TOTALS_MAX; raises TimedOut.

    Meters of levels over time are left out: their total follows from earlier levels, too.
    """
    asked = [meter for meter in meters if meter.aggregation is not AggregationName.WEIGHTED_SUM]
    if not hits.count or not asked:
        return []
    states: dict[str, tuple[list[pa.Table], list[pa.Table]]] = {meter.slug: ([], []) for meter in asked}
    for usage in _usage_of(source, target, hits, asked, until, deadline):
        spared = usage.filter(pc.invert(target.is_meant(usage)))
        for meter in asked:
            before, after = states[meter.slug]
            before[:] = [_by_subject(meter, usage, before)]
            after[:] = [_by_subject(meter, spared, after)]
    changes = [change for meter in asked for change in _changes(meter, *states[meter.slug])]
    return changes[:TOTALS_MAX]


_NOTHING = pa.table({"hour_us": pa.array([], pa.int64()), "subject": pa.array([], pa.utf8())})


def _usage_of(
    source: UsageSnapshot,
    target: Target,
    hits: Hits,
    meters: Sequence[Definition],
    until: Position,
    deadline: Deadline,
) -> Iterator[pa.Table]:
    """The usage that counts in the hours of the hits, of their subjects, in large parts."""
    hours = tuple(pc.unique(hits.touched["hour_us"]).sort().to_pylist())
    subjects = hits.subjects
    types = tuple(sorted({name for meter in meters for name in meter.event_types}))
    named = subjects if len(subjects) <= SUBJECTS_MAX else ()
    extent = Extent(hours[0], hours[-1] + HOUR_US, named, types, hours)
    columns = columns_counted(meters)
    wanted = pa.array(subjects, pa.utf8())
    for usage in gathered(read_usage(source, extent, [*columns, *sorted(target.columns.difference(columns))], until)):
        deadline.require()
        column = usage["subject"].combine_chunks()
        yield usage.filter(pc.is_in(column.dictionary, wanted).take(column.indices))


def _by_subject(meter: Definition, usage: pa.Table, merged: Sequence[pa.Table]) -> pa.Table:
    aggregation = aggregation_of(meter)
    slots = pa.repeat(pa.scalar(0, pa.int64()), usage.num_rows)
    states = usage_states(usage.append_column("slot", slots), meter, "slot", aggregation)
    states = states.select(["subject", *aggregation.columns])
    both = pa.concat_tables([*merged, aggregation.merge(states, ["subject"])])
    return aggregation.merge(both, ["subject"])


def _changes(meter: Definition, before: Sequence[pa.Table], after: Sequence[pa.Table]) -> Iterator[Change]:
    aggregation = aggregation_of(meter)
    old, new = (
        {
            row["subject"]: row["value"]
            for table in tables
            for row in aggregation.quantities(table, ["subject"]).to_pylist()
        }
        for tables in (before, after)
    )
    for subject in sorted(old):
        left = new.get(subject, aggregation.empty)
        if left != old[subject]:
            yield Change(meter.slug, subject, old[subject], left)
