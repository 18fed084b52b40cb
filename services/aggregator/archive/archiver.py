"""The worker that keeps the archive of usage: takes what the fold has passed, writes it, and keeps it in order."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from meterlog.events.v1.projection_pb2 import ProjectionEventSkipped
from services.aggregator.archive.archived_file import Listing
from services.aggregator.archive.compaction import AT_ONCE
from services.aggregator.archive.growth import Growth
from services.aggregator.archive.housekeeping import Housekeeping
from services.aggregator.archive.restraint import ShareOfProcessor
from services.aggregator.archive.retention import first_kept_us
from services.aggregator.archive.usage_archive import UsageArchive
from services.aggregator.deadline import Deadline
from services.aggregator.tables import UsageTables
from services.eventstore.event import BEGINNING, StreamName
from services.eventstore.store import EventStore
from services.kernel.clock import Clock, monotonic_s
from services.kernel.errors import TimedOut
from services.projection.lasting_thread import LastingThread
from services.projection.runner import ProjectionRunner

LOOK_EVERY_S = 1.0
ARCHIVE_ROWS = 200_000
ARCHIVE_BATCHES = 2_000
ARCHIVE_AGE_S = 60.0
"""Usage is archived when so many usage events, or so many batches, are behind the archive, or any for so long."""

VERIFY_EVERY_S = 60.0
SHARE_OF_PROCESSOR = 0.25
"""How much of one processor archiving takes at most while nobody waits for it. It archives some 500,000 usage events a
second of processor time."""


class UsageArchiver:
    """Archives what the live tables hold, never more, and only while they are level with the log: the fold goes first.

    `keep_days` is how many days of usage the archive keeps, by event time; None keeps all. What is killed or fails goes
    on from what is listed.
    """

    name = "archive usage"

    def __init__(
        self,
        archive: UsageArchive,
        store: EventStore,
        windows: ProjectionRunner[UsageTables],
        clock: Clock,
        keep_days: int | None = None,
    ) -> None:
        self.archive = archive
        self._store = store
        self._windows = windows
        self._clock = clock
        self._keep_days = keep_days
        self._restraint = ShareOfProcessor(SHARE_OF_PROCESSOR)
        self._growth = Growth(archive, store, windows, self._restraint)
        self._housekeeping = Housekeeping(archive, store, windows, self._restraint)
        self._working = threading.Lock()
        self._is_level = False
        self._waiting_since_s: float | None = None
        self._verified_at_s = monotonic_s()
        self._thread = LastingThread(self.name, self._work)

    def start(self) -> None:
        """Begin; the windows have begun already."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish the step in hand and stop."""
        self._restraint.end()
        self._thread.stop(timeout_s)

    def is_ready(self) -> bool:
        """Always: without the archive, usage is read from the log."""
        return True

    def problem(self) -> str:
        """Why archiving stopped, or that files cannot be read; empty while all is well."""
        suspects = self.archive.suspects
        if self._thread.problem or not suspects:
            return self._thread.problem
        return f"{len(suspects)} files of the usage archive cannot be read, such as {next(iter(suspects.values()))}"

    def bring_up_to_date(self, left_s: float) -> int:
        """Archive all that was recorded so far, apply retention, repair, and merge what is small.

        Returns how many files were merged or dropped. Raises TimedOut; what was done by then stays done.
        """
        self._windows.require_leading()
        deadline = Deadline.after(left_s)
        self._windows.wait_for(self._store.head().position, left_s)
        with self._restraint.lifted():
            if not self._working.acquire(timeout=deadline.left_s()):
                raise TimedOut("the usage archive is being worked on; repeat later")
            try:
                with self._level():
                    return self._bring_up_to_date(deadline)
            finally:
                self._working.release()

    def _bring_up_to_date(self, deadline: Deadline) -> int:
        self._admit()
        removed = self._keep()
        while self._growth.archive_some():
            deadline.require()
        self._housekeeping.repair()
        while merged := self._housekeeping.merge_some(AT_ONCE):
            removed += merged
            deadline.require()
        self._housekeeping.repair()
        self._housekeeping.delete_removed()
        return removed

    def _work(self, stop: threading.Event) -> None:
        is_more = False
        while not stop.wait(0 if is_more else LOOK_EVERY_S):
            is_leading = self._windows.is_leading()
            is_more = is_leading and self._patient_round()
            if not is_leading and self._windows.is_ready():
                self._look_on()
            self._thread.well()

    def _patient_round(self) -> bool:
        """As `_round`; while a long count of earlier usage keeps the tables busy, the archive waits."""
        try:
            return self._round()
        except TimedOut:
            return False

    def _look_on(self) -> None:
        """In a replica that follows, the archive is that of the one that folds; not while a call is still at work."""
        if self._working.acquire(blocking=False):
            try:
                self._is_level = False
                self.archive.look_on()
            finally:
                self._working.release()

    def _round(self) -> bool:
        """One step of each kind; returns whether there is more to do at once. While a call is at work, nothing."""
        if not self._working.acquire(timeout=LOOK_EVERY_S):
            return False
        try:
            with self._level():
                return self._steps()
        finally:
            self._working.release()

    def _steps(self) -> bool:
        self._admit()
        self._keep()
        is_more = self._is_due() and self._archived_some() and self._is_due()
        if self.archive.suspects:
            self._housekeeping.repair()
        is_more = bool(self._housekeeping.merge_some()) or is_more
        if monotonic_s() > self._verified_at_s + VERIFY_EVERY_S:
            self._housekeeping.verify_one()
            self._verified_at_s = monotonic_s()
        self._housekeeping.delete_removed()
        return is_more

    @contextmanager
    def _level(self) -> Iterator[None]:
        """Work on what is listed; when that goes wrong, the next to work reads anew what is listed."""
        if not self._is_level:
            self.archive.open()
            self._housekeeping.sweep()
        self._is_level = False
        yield
        self._is_level = True

    def _admit(self) -> None:
        """Begin anew when what is archived is of another log, or holds what was decided to be left out."""
        listing, decided = self.archive.listing, self._windows.skipped()
        if listing.position != BEGINNING and self._store.leaf_at(listing.position) != listing.leaf:
            self.archive.begin_anew("the log was cut short, restored or replaced")
        elif first_kept_us(self._clock.now(), self._keep_days) < listing.first_us:
            self.archive.begin_anew("more days are kept than before")
        elif any(_is_archived(decision, listing) for decision in decided[listing.decisions :]):
            self.archive.begin_anew("usage that was archived is to be left out")
        elif len(decided) < listing.decisions:
            self.archive.begin_anew("decisions to leave events out are gone")
        elif len(decided) > listing.decisions:
            self.archive.move(replace(listing, decisions=len(decided)))

    def _keep(self) -> int:
        return self._housekeeping.retain(first_kept_us(self._clock.now(), self._keep_days))

    def _is_due(self) -> bool:
        batches, rows = self._growth.unarchived()
        if not batches:
            self._waiting_since_s = None
            return False
        now = monotonic_s()
        if self._waiting_since_s is None:
            self._waiting_since_s = now
        is_old = now - self._waiting_since_s >= ARCHIVE_AGE_S
        return is_old or rows >= ARCHIVE_ROWS or batches >= ARCHIVE_BATCHES

    def _archived_some(self) -> bool:
        self._waiting_since_s = None
        return self._growth.archive_some()


def _is_archived(decision: ProjectionEventSkipped, listing: Listing) -> bool:
    """Whether an event that is to be left out was archived."""
    is_usage = StreamName.parse(decision.event_stream).category == "usage"
    return is_usage and decision.position <= listing.position
