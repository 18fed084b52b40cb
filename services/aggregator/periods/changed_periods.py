"""Which closed periods the log has said something new about since they were counted."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.meter_rows import read_definitions
from services.aggregator.periods.closings import (
    ClosedSpan,
    closed_spans_ending_after,
    counted_positions,
    spans_stated_behind,
)
from services.aggregator.periods.subject_hours import last_touches, touched_behind
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage.usage_table import HOUR_US
from services.eventstore.event import Position


@dataclass(slots=True)
class ChangedPeriods:
    """A walk over closed periods, the one that ended first first.

    `since` is a position behind which whatever was said has not been looked at; `until` is where the next walk takes
    over. With `levels_last`, usage touches every period behind it, too: the level that it leaves lasts into them.
    """

    spans: tuple[ClosedSpan, ...]
    since: Position
    until: Position
    levels_last: bool
    _touches: dict[str, int] = field(default_factory=dict)
    _walked_to_us: int = -(2**62)

    def subjects_in(self, source: UsageSnapshot, span: ClosedSpan) -> list[str]:
        """The subjects whose usage in the period was touched behind the position that it is counted to, in order.

        Spans are to be asked for in the order of `spans`.
        """
        touches = self._touches_until(source, span) if self.levels_last else _touches_in(source, span, self.since)
        counted = counted_positions(source.connection, source.tables, span.period, span.start_us, list(touches))
        return sorted(subject for subject, position in counted.items() if touches[subject] > position)

    def _touches_until(self, source: UsageSnapshot, span: ClosedSpan) -> dict[str, int]:
        """Where each subject was last touched in any hour before the period's end."""
        found = last_touches(source.connection, source.tables, self._walked_to_us, span.end_us, self.since)
        for subject, position in found.items():
            self._touches[subject] = max(position, self._touches.get(subject, 0))
        self._walked_to_us = span.end_us
        return self._touches


def changed_periods(source: UsageSnapshot, since: Position) -> ChangedPeriods:
    """What may have changed behind `since`: periods with touched hours, and periods of which something was said.

    The latter because somebody may have counted them to an earlier position than the one that was looked at.
    """
    connection, tables = source.connection, source.tables
    stated = spans_stated_behind(connection, tables, since)
    looked_at = Position(min([since, *stated.values()]))
    hours = touched_behind(connection, tables, looked_at)
    levels_last = any(
        meter.aggregation is AggregationName.WEIGHTED_SUM for meter in read_definitions(connection, tables)
    )
    touched: set[ClosedSpan] = set()
    if hours:
        later = closed_spans_ending_after(connection, tables, hours[0])
        touched = set(later) if levels_last else set(_holding(later, hours))
    return ChangedPeriods(tuple(sorted(touched | stated.keys())), looked_at, source.position, levels_last)


def _touches_in(source: UsageSnapshot, span: ClosedSpan, since: Position) -> dict[str, int]:
    return last_touches(source.connection, source.tables, span.start_us, span.end_us, since)


def _holding(spans: Iterable[ClosedSpan], hours: Sequence[int]) -> Iterator[ClosedSpan]:
    """The spans that share an instant with one of the hours, which are in order."""
    for span in spans:
        if bisect_left(hours, span.end_us) > bisect_right(hours, span.start_us - HOUR_US):
            yield span
