"""How an archive grows: the next of what the tables hold is taken from the log, written, and listed."""

from dataclasses import replace

import structlog
from sqlalchemy import func, select

from services.aggregator.archive.restraint import Restraint, Unrestrained
from services.aggregator.archive.taking import take_next
from services.aggregator.archive.usage_archive import UsageArchive
from services.aggregator.archive.writing import write_pool
from services.aggregator.tables import UsageTables
from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.projection.runner import ProjectionRunner

log = structlog.get_logger()


class Growth:
    """Works on one archive, for the thread that may change it."""

    def __init__(
        self,
        archive: UsageArchive,
        store: EventStore,
        windows: ProjectionRunner[UsageTables],
        restraint: Restraint | None = None,
    ) -> None:
        self._restraint = restraint or Unrestrained()
        self._archive = archive
        self._store = store
        self._windows = windows

    def unarchived(self) -> tuple[int, int]:
        """Batches that the tables hold behind the archive, and usage events in them."""
        with self._windows.read() as (connection, tables):
            behind = tables.batches.c.position > self._archive.listing.position
            counts = select(func.count(), func.sum(tables.batches.c.usage_event_count)).where(behind)
            batches, rows = connection.execute(counts).one()
        return batches, int(rows or 0)

    def archive_some(self) -> bool:
        """Archive the next of what the tables hold, within the bounds of memory; returns whether there was any.

        Raises Unavailable, and then it may be repeated.
        """
        listing = self._archive.listing
        skipped = {decision.leaf for decision in self._windows.skipped()}
        pool = take_next(self._store, listing.position, self._reach(), skipped, self._restraint, listing.first_us)
        if pool is None:
            return False
        below = self._archive.folder_of_log(self._store)
        added = write_pool(self._archive.folder, below, pool, self._restraint)
        grown = listing.with_change(added, ())
        self._archive.move(replace(grown, position=pool.span.until, leaf=pool.span.leaf))
        log.info("usage archived", usage_events=pool.count, files=len(added), position=pool.span.until)
        return True

    def _reach(self) -> Position:
        """Up to where usage may be archived: as far as the tables are folded, and not up to a parked event."""
        reach = self._windows.position()
        parked = self._archive.first_parked()  # asked behind the position, so that none is missed below it
        return reach if parked is None or parked > reach else Position(parked - 1)
