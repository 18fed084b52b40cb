"""Restates closed periods whose usage changed: late usage, corrections, backfills, meters created and redefined."""

import threading
from collections.abc import Callable, Sequence

import structlog

from services.aggregator.deadline import Deadline
from services.aggregator.periods.changed_periods import changed_periods
from services.aggregator.periods.closer import COUNT_TIMEOUT_S, LOOK_EVERY_S
from services.aggregator.periods.closings import ClosedSpan, subjects_closed
from services.aggregator.periods.period_counts import rounds, usage_of
from services.aggregator.periods.period_review import PeriodReview
from services.aggregator.periods.period_statements import restate_counted
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.kernel.clock import Clock, monotonic_s
from services.projection.lasting_thread import LastingThread
from services.projection.runner import ProjectionRunner

DOUBTED = "no period is restated while usage differs from the log"

log = structlog.get_logger()


class PeriodRestater:
    """A worker that appends `UsagePeriodRestated` where a closed period's totals differ from what was said last.

    A period is due while the tables know of a touch behind the position that it is counted to. A touch that changes no
    total is remembered only here: after a restart such periods are counted once more. Usage that keeps coming late is
    gathered: rounds begin at most every `every_s`. Once tables were replaced, every closed period is due, some a round.
    """

    name = "restate periods"

    def __init__(
        self,
        store: EventStore,
        clock: Clock,
        windows: ProjectionRunner[UsageTables],
        every_s: float,
        archive: ArchivedUsage | None = None,
        doubt: Callable[[], str] = lambda: "",
        review: PeriodReview | None = None,
    ) -> None:
        """`doubt` says why the tables are not to be trusted now; nothing is stated meanwhile.

        `review` knows which periods are due because tables were replaced; None: nobody remembers that.
        """
        self._store = store
        self._clock = clock
        self._windows = windows
        self._every_s = every_s
        self._archive = archive
        self._doubt = doubt
        self._review = review
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
        """Always: queries need no restated period."""
        return True

    def problem(self) -> str:
        """Why the last round failed, or why none is begun; empty while all is well."""
        return self._thread.problem or (DOUBTED if self._doubt() else "")

    def restate_changed(self) -> int:
        """Look at all that was said since the last time; returns how many periods this replica restated."""
        if self._windows.position() == self._looked_at:
            return 0
        with snapshot(self._windows, self._store) as usage:
            changed = changed_periods(usage, self._looked_at)
        restated = 0
        for span in changed.spans:
            with snapshot(self._windows, self._store) as usage:
                subjects = changed.subjects_in(usage, span)
            restated += self._restate(span, subjects)
            if not self._may_restate():
                return restated
        self._looked_at = changed.until
        return restated

    def review_some(self) -> int:
        """Look at some of the periods that were stated from other tables; returns how many were restated."""
        if self._review is None:
            return 0
        with snapshot(self._windows, self._store) as usage:
            generation, due = usage.generation, self._review.due(usage)
            closed = [(span, subjects_closed(usage.connection, usage.tables, span)) for span in due]
        restated = 0
        for span, subjects in closed:
            restated += self._restate(span, subjects)
            if not self._may_restate():
                return restated
        self._review.note(generation, due)
        return restated

    def _look(self, stop: threading.Event) -> None:
        next_s = monotonic_s()
        while not stop.wait(LOOK_EVERY_S):
            if monotonic_s() >= next_s and self._windows.is_leading() and self._may_restate():
                self.restate_changed()
                if self._may_restate():
                    self.review_some()
                next_s = monotonic_s() + self._every_s
            self._thread.well()

    def _may_restate(self) -> bool:
        return not self._stop.is_set() and self._windows.is_whole() and not self._doubt()

    def _restate(self, span: ClosedSpan, subjects: Sequence[str]) -> int:
        """Count one period again for these; round by round, each from one snapshot."""
        restated: list[Position] = []
        for some in rounds(subjects, span.span):
            if not self._may_restate():
                break
            now = self._clock.now()
            with snapshot(self._windows, self._store, self._archive) as usage:
                counted = usage_of(usage, span.kind, span.span, some, now, Deadline.after(COUNT_TIMEOUT_S))
                self._windows.require_whole()
            restated += restate_counted(self._store, counted, now)
        if restated:
            log.info(
                "periods restated",
                period=span.period,
                start_at=span.span.start.isoformat(),
                subjects=len(restated),
                until_position=max(restated),
            )
        return len(restated)
