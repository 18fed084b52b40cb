"""Counts periods: who has usage in one, and what every meter says of it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pyarrow.compute as pc

from services.aggregator.answer import answer
from services.aggregator.closings import VALUES_MAX
from services.aggregator.deadline import Deadline
from services.aggregator.definition import SUBJECT_KEY
from services.aggregator.meter_rows import read_definitions
from services.aggregator.period import PeriodUsage
from services.aggregator.period_kind import PeriodKind
from services.aggregator.query import UsageQuery
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.subject_hours import cut_hours, subjects_between, subjects_in_hours, whole_hours
from services.aggregator.usage_reading import Extent, read_usage
from services.aggregator.window_states import LOOK_UPS_MAX
from services.kernel.calendar import Span
from services.kernel.clock import epoch_us

SUBJECTS_PER_ROUND = 100
"""Subjects that are counted at once where each of their hours is looked up; ten times as many otherwise."""


def rounds(subjects: Sequence[str], span: Span) -> Iterator[Sequence[str]]:
    """The subjects in parts that are counted at once: few where a period has many hours that are looked up one by one.

    A period of more hours than that is scanned, for many subjects as fast as for few.
    """
    hours = max(1, (span.end - span.start) // timedelta(hours=1))
    is_looked_up = hours * SUBJECTS_PER_ROUND <= LOOK_UPS_MAX
    size = min(SUBJECTS_PER_ROUND * 10, LOOK_UPS_MAX // hours) if is_looked_up else SUBJECTS_PER_ROUND * 10
    return (subjects[first : first + size] for first in range(0, len(subjects), size))


def usage_of(
    source: UsageSnapshot, kind: PeriodKind, span: Span, subjects: Sequence[str], now: datetime, deadline: Deadline
) -> list[PeriodUsage]:
    """The usage of each subject in the period: the totals of all meters that counted any. One query a meter.

    Raises TimedOut.
    """
    totals: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for meter in read_definitions(source.connection, source.tables) if subjects else ():
        query = UsageQuery(meter, tuple(subjects), (span,), (SUBJECT_KEY,), now=now)
        for row in answer(source, query, deadline):
            if row.value is not None:
                totals[row.group[0]][meter.slug] = row.value
    return [PeriodUsage(subject, kind, span, totals[subject], source.position) for subject in subjects]


def subjects_with_usage(source: UsageSnapshot, span: Span) -> list[str]:
    """The subjects with usage in the span, of any type, in order.

    Where an edge falls inside a UTC hour, the usage events of that hour tell on which side of it they are.
    """
    connection, tables = source.connection, source.tables
    subjects = set(subjects_between(connection, tables, *whole_hours(span)))
    if hours := cut_hours(span):
        unsure = sorted(set(subjects_in_hours(connection, tables, hours)) - subjects)
        for first in range(0, len(unsure), VALUES_MAX):
            subjects |= _seen(source, span, hours, unsure[first : first + VALUES_MAX])
    return sorted(subjects)


def _seen(source: UsageSnapshot, span: Span, hours: tuple[int, ...], subjects: Sequence[str]) -> set[str]:
    extent = Extent(epoch_us(span.start), epoch_us(span.end), tuple(subjects), (), hours)
    seen: set[str] = set()
    for usage in read_usage(source, extent, ["subject"]):
        column = usage["subject"].combine_chunks()
        seen |= set(pc.unique(column.dictionary.take(column.indices)).to_pylist())
    return seen
