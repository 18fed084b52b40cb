"""Counts periods: who has usage in one, and what every meter says of it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pyarrow.compute as pc

from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import SUBJECT_KEY
from services.aggregator.meters.meter_rows import read_definitions
from services.aggregator.periods.closings import VALUES_MAX
from services.aggregator.periods.period import PeriodUsage
from services.aggregator.periods.period_kind import PeriodKind
from services.aggregator.periods.subject_hours import cut_hours, subjects_between, subjects_in_hours, whole_hours
from services.aggregator.questions.answer import GATHERED_BYTES_MAX, answer
from services.aggregator.questions.query import UsageQuery, UsageRow
from services.aggregator.questions.window_states import LOOK_UPS_MAX
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage.usage_reading import Extent, read_usage
from services.kernel.calendar import Span
from services.kernel.clock import epoch_us
from services.kernel.errors import RuleViolated

SUBJECTS_PER_ROUND = 100
"""Subjects that are counted at once where each of their hours is looked up; ten times as many otherwise."""

COUNTED_BYTES_MAX = 24 * 1024 * 1024
"""States that are gathered for several subjects at once; where there are more, fewer subjects are counted at a time."""

TOO_MUCH_AT_ONCE = ("ANSWER_TOO_LARGE", "TOO_MANY_NUMBERS")


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
    """The usage of each subject in the period: the totals of all meters that counted any.

    Raises TimedOut, and RuleViolated when the states of one subject are more than memory can hold.
    """
    totals: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for meter in read_definitions(source.connection, source.tables) if subjects else ():
        query = UsageQuery(meter, tuple(subjects), (span,), (SUBJECT_KEY,), now=now)
        for row in _rows(source, query, deadline):
            if row.value is not None:
                totals[row.group[0]][meter.slug] = row.value
    return [PeriodUsage(subject, kind, span, totals[subject], source.position) for subject in subjects]


def _rows(source: UsageSnapshot, query: UsageQuery, deadline: Deadline) -> Iterator[UsageRow]:
    """The answer for all subjects at once, or for some after the others where that would be too much."""
    first, size = 0, len(query.subjects)
    while first < len(query.subjects):
        some = query.subjects[first : first + size]
        bytes_max = COUNTED_BYTES_MAX if len(some) > 1 else GATHERED_BYTES_MAX
        try:
            rows = answer(source, replace(query, subjects=some), deadline, bytes_max)
        except RuleViolated as refusal:
            if len(some) == 1 or refusal.reason not in TOO_MUCH_AT_ONCE:
                raise
            size = len(some) // 2
        else:
            yield from rows
            first, size = first + len(some), 2 * size


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
