"""What keeps an archive in order: files merged, old days dropped, damaged files written anew, removed files deleted."""

from dataclasses import replace

import structlog

from services.aggregator.archive.archived_file import ArchivedFile
from services.aggregator.archive.compaction import BY_AND_BY, Appetite, next_merge
from services.aggregator.archive.merging import merge_files
from services.aggregator.archive.reading import Unreadable
from services.aggregator.archive.restraint import Restraint, Unrestrained
from services.aggregator.archive.retention import is_outlived, shown_day
from services.aggregator.archive.sorted_file import require_sound
from services.aggregator.archive.taking import take_again
from services.aggregator.archive.time_cut import Stretch
from services.aggregator.archive.usage_archive import UsageArchive
from services.aggregator.archive.writing import write_pool
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.batch_rows import batches_between
from services.eventstore.store import EventStore
from services.kernel.clock import monotonic_s
from services.kernel.errors import Unavailable
from services.kernel.failpoint import fail_at
from services.projection.runner import ProjectionRunner

REMOVED_GRACE_S = 600.0
"""How long a file that is listed no more can still be read; calls and countings take a minute at most. Who takes longer
meets with a file that is gone, and reads the log."""

log = structlog.get_logger()


class Housekeeping:
    """Works on one archive, for the thread that may change it. Every step raises Unavailable, and is safe to repeat."""

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
        self._deleted_at_s: dict[str, float] = {}
        self._all_merged: tuple[Appetite, tuple[ArchivedFile, ...]] | None = None
        self._verified = ""

    def sweep(self) -> None:
        """Delete what was written and never listed: whoever wrote it was killed, or failed.

        What lies there is looked at first, what is listed then, by the one that leads: so a file that another replica
        wrote since is none of those looked at. What was removed may still be read by others, and goes in its time.
        """
        below = self._archive.folder_of_log(self._store)
        found = self._archive.folder.names(below) if below else []
        self._archive.open()
        listing = self._archive.listing
        kept = {file.name for file in listing.files} | set(listing.removed)
        for name in found:
            if name not in kept:
                self._archive.folder.delete(name)

    def merge_some(self, appetite: Appetite = BY_AND_BY) -> int:
        """Merge the next files that are worth it; returns how many were replaced. Not while any file is suspect."""
        archive = self._archive
        if archive.suspects or (appetite, archive.listing.files) == self._all_merged:
            return 0
        merged = next_merge(archive.listing.files, appetite)
        if not merged:
            self._all_merged = (appetite, archive.listing.files)
            return 0
        if not all(self._is_sound(file) for file in merged):
            return 0
        below = archive.folder_of_log(self._store)
        try:
            written = merge_files(archive.folder, below, merged, self._restraint)
        except Unreadable as error:
            raise Unavailable(f"files of the usage archive cannot be merged now: {error}") from error
        archive.change(written, merged)
        return len(merged)

    def retain(self, first_us: int) -> int:
        """Keep no usage from before `first_us`; returns how many files were dropped."""
        listing = self._archive.listing
        if first_us <= listing.first_us:
            return 0
        outlived = [file for file in listing.files if is_outlived(file, first_us)]
        self._archive.move(replace(listing.with_change((), outlived), first_us=first_us))
        log.info("usage archive keeps", first_day=shown_day(first_us), dropped_files=len(outlived))
        return len(outlived)

    def repair(self) -> None:
        """Look at the files that could not be read: they are read again, or written anew from the log."""
        suspects = self._archive.suspects
        for file in self._archive.listing.files:
            if file.name in suspects:
                if self._is_sound(file):
                    self._archive.trust(file.name)
                else:
                    self._write_anew(file)
        listed = {file.name for file in self._archive.listing.files}
        for name in suspects.keys() - listed:
            self._archive.trust(name)

    def verify_one(self) -> None:
        """Compare all bytes of the next file, by name, with what was written."""
        files = sorted(self._archive.listing.files, key=lambda file: file.name)
        behind = [file for file in files if file.name > self._verified]
        for file in (behind or files)[:1]:
            self._verified = file.name
            self._is_sound(file)

    def delete_removed(self) -> None:
        """Delete files that were removed REMOVED_GRACE_S ago."""
        now = monotonic_s()
        removed = self._archive.listing.removed
        for name in removed:
            self._deleted_at_s.setdefault(name, now + REMOVED_GRACE_S)
        due = [name for name in removed if self._deleted_at_s[name] <= now]
        for name in due:
            self._archive.folder.delete(name)
        fail_at("archive.after_delete")
        self._archive.forget(due)
        for name in due:
            del self._deleted_at_s[name]

    def _is_sound(self, file: ArchivedFile) -> bool:
        """Whether its bytes are those that were written; else it is suspect."""
        try:
            require_sound(self._archive.folder, file, self._restraint)
        except Unreadable as error:
            self._archive.suspect(file, str(error))
            return False
        return True

    def _write_anew(self, file: ArchivedFile) -> None:
        first_us = self._archive.listing.first_us
        with snapshot(self._windows, self._store) as usage:
            if usage.position < file.until:
                return  # the tables are folded anew and do not know yet where all of it lies
            start_us = max(file.start_us, first_us)
            places = batches_between(
                usage.connection, usage.tables, start_us, file.end_us, after=file.after, until=file.until
            )
        stretch = Stretch(file.start_us, file.end_us)
        below = self._archive.folder_of_log(self._store)
        added = []
        for pool in take_again(self._store, places, file, first_us, self._restraint):
            added += write_pool(self._archive.folder, below, pool, self._restraint, stretch)
        self._archive.change(added, [file])
        log.warning("a file of the usage archive was written anew from the log", file=file.name)
