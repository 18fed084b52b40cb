"""Closes each subject's calendar month (UTC) once its grace period has passed, oldest first."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from services.aggregator.answer import answer
from services.aggregator.deadline import Deadline
from services.aggregator.definition import SUBJECT_KEY
from services.aggregator.meter_rows import read_definitions
from services.aggregator.period import PeriodUsage, closing, is_due, period_stream
from services.aggregator.query import UsageQuery
from services.aggregator.snapshot import UsageSnapshot, snapshot
from services.aggregator.subject_months import UTC_ZONE, earliest_open_month, open_subjects
from services.aggregator.tables import UsageTables
from services.eventstore.catalogue import encode
from services.eventstore.event import NO_STREAM, Position, WrongExpectedVersion
from services.eventstore.store import APPEND_TIMEOUT_S, EventStore
from services.kernel.calendar import Span, month_of
from services.kernel.clock import Clock, from_epoch_us
from services.projection.lasting_thread import LastingThread
from services.projection.runner import ProjectionRunner

LOOK_EVERY_S = 0.2
SUBJECTS_PER_ROUND = 100
CATCH_UP_TIMEOUT_S = 10.0
COUNT_TIMEOUT_S = 60.0

log = structlog.get_logger()


class PeriodCloser:
    """A worker that appends `UsagePeriodClosed`, once for each subject and month, however many replicas try.

    It looks at the clock every LOOK_EVERY_S, and at the tables only when the clock or the fold may have made a month
    due. A month is counted when the fold has passed all that was in the log after the grace period had passed, and not
    while usage is parked: a closed period says what was used, for ever.
    """

    name = "close periods"

    def __init__(
        self, store: EventStore, clock: Clock, windows: ProjectionRunner[UsageTables], grace: timedelta
    ) -> None:
        self._store = store
        self._clock = clock
        self._windows = windows
        self._grace = grace
        self._looked_at = Position(-1)
        self._earliest_open: Span | None = None
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
        return self._thread.problem or ("" if self._windows.is_whole() else "no period closes while usage is parked")

    def close_due(self) -> int:
        """Close every period that is due now; returns how many were, closed by this replica or by another."""
        closed = 0
        while not self._stop.is_set() and self._windows.is_whole() and (month := self._due_month()):
            closed += self._close_some(month)
        return closed

    def _look(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY_S):
            if self._windows.is_ready():
                self.close_due()
            self._thread.well()

    def _due_month(self) -> Span | None:
        """The earliest month that is open for any subject, when it is due."""
        now, position = self._clock.now(), self._windows.position()
        if position != self._looked_at:
            self._earliest_open, self._looked_at = self._read_earliest_open(), position
        month = self._earliest_open
        return month if month is not None and is_due(month, self._grace, now) else None

    def _read_earliest_open(self) -> Span | None:
        with snapshot(self._windows, self._store) as usage:
            start_us = earliest_open_month(usage.connection, usage.tables)
        return None if start_us is None else month_of(from_epoch_us(start_us), UTC_ZONE)

    def _close_some(self, month: Span) -> int:
        """Close the month for the next SUBJECTS_PER_ROUND subjects, and wait until the fold knows it."""
        self._windows.wait_for(self._store.head().position, CATCH_UP_TIMEOUT_S)
        with snapshot(self._windows, self._store) as usage:
            subjects = open_subjects(usage.connection, usage.tables, month.start, SUBJECTS_PER_ROUND)
            counted = _usage_of(usage, subjects, month)
            self._windows.require_whole()
        self._append(counted, self._clock.now())
        self._windows.wait_for(self._store.head().position, CATCH_UP_TIMEOUT_S)
        log.info("periods closed", start_at=month.start.isoformat(), subjects=len(subjects))
        return len(subjects)

    def _append(self, counted: Sequence[PeriodUsage], now: datetime) -> None:
        """Append one closing each, in one commit where the store can; another replica's closing stands."""
        pending = []
        for usage in counted:
            stream = period_stream(usage.subject, usage.span)
            pending.append(self._store.submit(stream, [encode(closing(usage, now), stream, 0, now)], NO_STREAM))
        for outcome in pending:
            with suppress(WrongExpectedVersion):
                outcome.result(APPEND_TIMEOUT_S)


def _usage_of(usage: UsageSnapshot, subjects: Sequence[str], month: Span) -> list[PeriodUsage]:
    """The usage of each subject in the month: the totals of all meters that counted any."""
    totals: defaultdict[str, dict[str, str]] = defaultdict(dict)
    deadline = Deadline.after(COUNT_TIMEOUT_S)
    for meter in read_definitions(usage.connection, usage.tables) if subjects else ():
        query = UsageQuery(meter, tuple(subjects), (month,), (SUBJECT_KEY,))
        for row in answer(usage, query, deadline):
            if row.value is not None:
                totals[row.group[0]][meter.slug] = row.value
    return [PeriodUsage(subject, month, totals[subject], usage.position) for subject in subjects]
