"""What a meter, new or redefined, would say of past usage, beside what it says now; counted from usage events alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from heapq import nsmallest

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.aggregations.table import AGGREGATIONS, aggregation_of
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.many_groups import GROUPS_MAX, too_many_groups
from services.aggregator.questions.query import UsageQuery
from services.aggregator.questions.slices import Slices
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.states.counting import Tally, columns_counted, tally, usage_states, without_added_keys
from services.aggregator.states.raw_states import unkept_states
from services.aggregator.usage.usage_reading import Extent, read_usage
from services.eventstore.event import Position
from services.kernel.errors import RuleViolated
from services.kernel.quantity import EXACT

CHANGES_MAX = 1_000
"""Subjects whose totals are told; the others are only counted."""

STATES_MAX = 200_000
"""States that are gathered before they are merged."""

GATHERED_BYTES_MAX = 256 * 1024 * 1024
"""Bytes of merged states that are held for one definition."""

_SUBJECT = ["subject"]


@dataclass(frozen=True, slots=True)
class Change:
    """The total of one subject now and then; None when there is none."""

    subject: str
    current: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """The greatest changes, how many there are in all, and what was looked at, up to a position of the log."""

    changes: tuple[Change, ...]
    changed_subject_count: int
    tally: Tally
    group_count: int
    position: Position


class _Totals:
    """The totals of subjects, gathered from states of one meter."""

    def __init__(self, meter: Definition) -> None:
        self._aggregation = aggregation_of(meter)
        self._gathered: list[pa.Table] = []
        self._merged_rows = 0

    def add(self, states: pa.Table) -> None:
        """Take in some states."""
        self._gathered.append(self._aggregation.merge(states, _SUBJECT))
        if sum(part.num_rows for part in self._gathered) > STATES_MAX + 2 * self._merged_rows:
            self._gathered = [self._aggregation.merge(pa.concat_tables(self._gathered), _SUBJECT)]
            self._merged_rows = self._gathered[0].num_rows
            _require_small(self._gathered[0])

    def by_subject(self) -> dict[str, str]:
        """The quantity of each subject that has one."""
        if not self._gathered:
            return {}
        said = self._aggregation.quantities(pa.concat_tables(self._gathered), _SUBJECT)
        return dict(zip(said["subject"].to_pylist(), said["value"].to_pylist(), strict=True))


def preview(source: UsageSnapshot, current: Definition | None, query: UsageQuery, deadline: Deadline) -> Preview:
    """Compare `query.meter` with `current` (None: there is no such meter yet) over the one window of `query`.

    Raises TimedOut, and RuleViolated for more than GROUPS_MAX groups, or more states than memory should hold.
    """
    new = query.meter
    totals = {meter: _Totals(meter) for meter in (new, current) if meter is not None}
    total, groups = _count(source, query, totals, deadline)
    for meter, gathering in totals.items():
        if meter.aggregation is AggregationName.WEIGHTED_SUM:
            _gather(source, UsageQuery(meter, query.subjects, query.windows, (), now=query.now), gathering, deadline)
    now = None if current is None else totals[current].by_subject()
    empty_now = None if current is None else aggregation_of(current).empty
    changes = list(_changes(now or {}, empty_now, totals[new].by_subject(), aggregation_of(new).empty))
    greatest = nsmallest(CHANGES_MAX, changes, key=lambda change: (-_size(change), change.subject))
    return Preview(tuple(greatest), len(changes), total, groups, source.position)


def _count(
    source: UsageSnapshot, query: UsageQuery, totals: Mapping[Definition, _Totals], deadline: Deadline
) -> tuple[Tally, int]:
    """One pass over the usage events of the range for all that they say by themselves."""
    slices, total, groups = Slices.of(query.windows), Tally(0, 0, 0), set[str]()
    types = tuple(sorted({name for meter in totals for name in meter.event_types}))
    extent = Extent(slices.start_us, slices.end_us, query.subjects, types)
    for usage in read_usage(source, extent, columns_counted(totals)):
        deadline.require()
        numbered = usage.append_column("window", pa.repeat(pa.scalar(0, pa.int64()), usage.num_rows))
        for meter, gathering in totals.items():
            states = usage_states(numbered, meter, "window", AGGREGATIONS[meter.aggregation])
            if meter.aggregation is not AggregationName.WEIGHTED_SUM:
                gathering.add(states)
            if meter is query.meter:
                groups.update(pc.unique(without_added_keys(states["group_text"])).to_pylist())
        if len(groups) > GROUPS_MAX:
            raise too_many_groups(query.meter, GROUPS_MAX)
        total += tally(usage, query.meter)
    return total, len(groups)


def _gather(source: UsageSnapshot, query: UsageQuery, gathering: _Totals, deadline: Deadline) -> None:
    for states in unkept_states(source, query, Slices.of(query.windows), source.position):
        deadline.require()
        gathering.add(states)


def _require_small(states: pa.Table) -> None:
    if states.nbytes > GATHERED_BYTES_MAX:
        raise RuleViolated(
            f"the preview needs more than {GATHERED_BYTES_MAX >> 20} MiB of memory; narrow the range, or name subjects",
            reason="PREVIEW_TOO_LARGE",
        )


def _changes(
    now: Mapping[str, str], empty_now: str | None, then: Mapping[str, str], empty_then: str | None
) -> Iterable[Change]:
    for subject in now.keys() | then.keys():
        change = Change(subject, now.get(subject, empty_now), then.get(subject, empty_then))
        if change.current != change.new:
            yield change


def _size(change: Change) -> Decimal:
    return abs(EXACT.subtract(Decimal(change.new or "0"), Decimal(change.current or "0")))
