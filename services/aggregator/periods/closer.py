"""Closes the periods of each subject: by itself once the grace period has passed, oldest first, or when told."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from services.aggregator.deadline import Deadline
from services.aggregator.periods.closings import counted_positions
from services.aggregator.periods.open_periods import OpenPeriod, OpenPeriods
from services.aggregator.periods.period_counts import rounds, subjects_with_usage, usage_of
from services.aggregator.periods.period_kind import PeriodKind
from services.aggregator.periods.period_statements import close_counted, last_of
from services.aggregator.periods.subject_hours import touched_behind
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.kernel.calendar import Span
from services.kernel.clock import Clock, epoch_us
from services.kernel.errors import TimedOut
from services.projection.lasting_thread import LastingThread
from services.projection.runner import ProjectionRunner

LOOK_EVERY_S = 0.2
CATCH_UP_TIMEOUT_S = 10.0
COUNT_TIMEOUT_S = 300.0
"""One round of counting; percentiles and levels are counted from usage events, which may be many."""

DOUBTED = "no period closes while usage differs from the log"

log = structlog.get_logger()


class PeriodClosing:
    """Closes one period for some subjects, counted from one snapshot and appended in one go."""

    def __init__(
        self,
        store: EventStore,
        clock: Clock,
        windows: ProjectionRunner[UsageTables],
        archive: ArchivedUsage | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._windows = windows
        self._archive = archive

    def subjects(self, span: Span) -> list[str]:
        """Who has usage in a span."""
        with snapshot(self._windows, self._store, self._archive) as usage:
            return subjects_with_usage(usage, span)

    def open_for(self, kind: PeriodKind, span: Span, among: Sequence[str]) -> list[str]:
        """For whom of these subjects the period is open."""
        with snapshot(self._windows, self._store) as usage:
            closed = counted_positions(usage.connection, usage.tables, kind.key, epoch_us(span.start), among)
        return [subject for subject in among if subject not in closed]

    def close(self, kind: PeriodKind, span: Span, subjects: Sequence[str], deadline: Deadline) -> list[Position]:
        """Close the period for these subjects; returns where the closings stand, but for those of others.

        Raises TimedOut, and RuleViolated while usage is parked: a closed period says what was used, for ever.
        """
        now = self._clock.now()
        with snapshot(self._windows, self._store, self._archive) as usage:
            counted = usage_of(usage, kind, span, subjects, now, deadline)
            self._windows.require_whole()
        return close_counted(self._store, counted, now)


class PeriodCloser:
    """A worker that appends `UsagePeriodClosed`, once for each subject and period, however many replicas try.

    It looks at the clock every LOOK_EVERY_S, and at the tables only when the fold has moved. A period is counted when
    the fold has passed all that was in the log after the grace period had passed, and not while usage is parked. What
    it remembers is derived from the tables; it begins anew whenever it starts.
    """

    name = "close periods"

    def __init__(
        self,
        store: EventStore,
        clock: Clock,
        windows: ProjectionRunner[UsageTables],
        kinds: Sequence[PeriodKind],
        grace: timedelta,
        archive: ArchivedUsage | None = None,
        doubt: Callable[[], str] = lambda: "",
    ) -> None:
        """`doubt` says why the tables are not to be trusted now; nothing closes meanwhile."""
        self._store = store
        self._clock = clock
        self._windows = windows
        self._closing = PeriodClosing(store, clock, windows, archive)
        self._open = OpenPeriods(kinds, grace)
        self._doubt = doubt
        self._looked_at = BEGINNING
        self._stop = threading.Event()
        self._thread = LastingThread(self.name, self._look)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish the round in hand and stop."""
        self._stop.set()
        self._thread.stop(timeout_s)

    def is_ready(self) -> bool:
        """Always: queries need no closed period."""
        return True

    def problem(self) -> str:
        """Why the last round failed, or why none is begun; empty while all is well."""
        if not self._windows.is_whole():
            return self._thread.problem or "no period closes while usage is parked"
        return self._thread.problem or (DOUBTED if self._doubt() else "")

    def close_due(self) -> int:
        """Close every period that is due now; returns for how many subjects, by this replica or by another."""
        return sum(self._close_for_all(period) for period in self._due())

    def _look(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY_S):
            if self._windows.is_leading():
                self.close_due()
            self._thread.well()

    def _has_caught_up(self) -> bool:
        """Whether the fold has passed all that was in the log; while it counts earlier usage, that may take a while."""
        try:
            self._windows.wait_for(self._store.head().position, CATCH_UP_TIMEOUT_S)
        except TimedOut:
            return False
        return True

    def _may_close(self) -> bool:
        return not self._stop.is_set() and self._windows.is_whole() and not self._doubt()

    def _due(self) -> list[OpenPeriod]:
        now = self._clock.now()
        if self._windows.position() != self._looked_at:
            with snapshot(self._windows, self._store) as usage:
                self._open.note(touched_behind(usage.connection, usage.tables, self._looked_at), now)
                self._looked_at = usage.position
        return self._open.due(now)

    def _close_for_all(self, period: OpenPeriod) -> int:
        """Close a period for everybody for whom it is open, round by round; 0 when it was given up on the way.

        Nothing is counted before the fold has passed what was in the log when the grace period was seen to be over.
        """
        if not self._may_close() or not self._has_caught_up():
            return 0
        subjects = self._closing.open_for(period.kind, period.span, self._closing.subjects(period.news))
        last = BEGINNING
        for some in rounds(subjects, period.span):
            if not self._may_close():
                return 0
            closings = self._closing.close(period.kind, period.span, some, Deadline.after(COUNT_TIMEOUT_S))
            last = last_of([last, *closings])
        if subjects:
            start_at = period.span.start.isoformat()
            log.info("periods closed", period=period.kind.key, start_at=start_at, subjects=len(subjects))
            self._windows.wait_for(last, CATCH_UP_TIMEOUT_S)
        self._open.closed(period)
        return len(subjects)
