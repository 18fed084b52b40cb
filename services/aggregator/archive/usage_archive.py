"""The archive of usage: what is listed, changed in one transaction at a time, and the views that readers get."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import structlog
from sqlalchemy import Connection

from services.aggregator.archive.archived_file import ArchivedFile, Listing, empty_listing
from services.aggregator.archive.folder import ArchiveFolder
from services.aggregator.archive.listing_rows import (
    MOVED,
    are_tables_there,
    begin_listing,
    create_tables,
    forget_removed,
    former_place,
    move_listing,
    read_listing,
)
from services.aggregator.archive.reading import FileReader
from services.aggregator.archive.view import FilesView
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import NOTHING_ARCHIVED, ArchiveView
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.kernel.errors import Conflict
from services.kernel.failpoint import fail_at
from services.projection.database import Database
from services.projection.runner import ProjectionRunner

LOG_NAME_DIGITS = 16
PARKED_MAX = 1_000
"""Parked events that are looked at for usage; when there are more, the last of them is taken for usage."""

log = structlog.get_logger()


class UsageArchive:
    """An `ArchivedUsage`. One thread at a time may change it; any thread may ask for a view.

    A view is given only while what was archived is what the tables hold: as many decisions to skip events are known,
    and no usage is parked that was archived. `suspects` are files that could not be read, with the reason.
    """

    def __init__(self, database: Database, windows: ProjectionRunner[UsageTables], folder: ArchiveFolder) -> None:
        self.folder = folder
        self.reader = FileReader(folder)
        self._database = database
        self._windows = windows
        self._listing: Listing | None = None
        self._term = 0
        self._suspects: dict[str, str] = {}
        self._suspecting = threading.Lock()

    def open(self) -> None:
        """Read what is listed, or list an empty archive. Raises as `Database.write` does."""
        with self._database.write() as connection:
            create_tables(connection)
            listing = read_listing(connection, str(self.folder))
            if listing is None:
                former = former_place(connection)
                if former is not None:
                    log.warning("usage archive begun anew", reason="its place or its form changed", former=former)
                listing = empty_listing(decisions=len(self._windows.skipped()))
                begin_listing(connection, str(self.folder), listing, keeps_removed=False)
            self._term = self._database.term
        self._listing = listing

    def look_on(self) -> None:
        """Take what another replica has listed by now, if it lists the same place."""
        with self._database.read() as connection:
            listing = read_listing(connection, str(self.folder)) if are_tables_there(connection) else None
        self._listing = listing
        listed = {file.name for file in listing.files} if listing else set()
        for name in self.suspects.keys() - listed:
            self.trust(name)

    @property
    def listing(self) -> Listing:
        """What is listed now."""
        assert self._listing is not None, "open() comes first"
        return self._listing

    @property
    def suspects(self) -> Mapping[str, str]:
        """Files that could not be read, by name, and why."""
        with self._suspecting:
            return dict(self._suspects)

    @property
    def is_open(self) -> bool:
        """Whether `open` was called."""
        return self._listing is not None

    def view(self) -> ArchiveView:
        """As in `ArchivedUsage`."""
        listing = self._listing
        if listing is None or listing.position == BEGINNING or not self._is_of_these_tables(listing):
            return NOTHING_ARCHIVED
        return FilesView(listing, self.suspects, self.reader, self.suspect)

    def is_of_these_tables(self) -> bool:
        """Whether the archive leaves out what the tables leave out, and nothing else."""
        return self._is_of_these_tables(self.listing)

    def _is_of_these_tables(self, listing: Listing) -> bool:
        if listing.decisions != len(self._windows.skipped()):
            return False
        parked = self.first_parked()
        return parked is None or parked > listing.position

    def first_parked(self) -> Position | None:
        """Where the first event is parked that may be usage; the tables leave it out for now."""
        if self._windows.is_whole():
            return None
        parked = self._windows.parked(BEGINNING, PARKED_MAX)
        usage = [event.position for event in parked if event.stream.category == "usage"]
        if usage:
            return usage[0]
        return parked[-1].position if len(parked) == PARKED_MAX else None

    def folder_of_log(self, store: EventStore) -> str:
        """Where the files of this log lie, so that several logs can share a place; empty for an empty log."""
        page = store.read_all(after=BEGINNING, limit=1)
        return f"log-{page.events[0].leaf.hex()[:LOG_NAME_DIGITS]}" if page.events else ""

    def suspect(self, file: ArchivedFile, reason: str) -> None:
        """Read a file no more until it was looked at."""
        with self._suspecting:
            is_new = file.name not in self._suspects
            self._suspects[file.name] = reason
        if is_new:
            log.warning("a file of the usage archive cannot be read; the log is read instead", reason=reason)

    def trust(self, name: str) -> None:
        """Read a file again."""
        with self._suspecting:
            self._suspects.pop(name, None)

    def move(self, after: Listing) -> None:
        """Bring what is listed to `after`, in one transaction. Raises Conflict, and as `Database.write` does."""
        with self._changing() as connection:
            move_listing(connection, self.listing, after)
            fail_at("archive.before_commit")
        self._listing = after
        fail_at("archive.after_commit")

    def change(self, added: Sequence[ArchivedFile], replaced: Sequence[ArchivedFile]) -> None:
        """List other files for the same usage; those that are replaced can still be read for a while."""
        self.move(self.listing.with_change(added, replaced))
        for file in replaced:
            self.trust(file.name)

    def begin_anew(self, reason: str) -> None:
        """Drop all that is listed; readers go on with what they have."""
        dropped = self.listing
        removed = (*dropped.removed, *(file.name for file in dropped.files))
        fresh = empty_listing(decisions=len(self._windows.skipped()), removed=removed)
        with self._changing() as connection:
            begin_listing(connection, str(self.folder), fresh, keeps_removed=True)
        self._listing = fresh
        with self._suspecting:
            self._suspects.clear()
        log.warning("usage archive begun anew", reason=reason, files=len(dropped.files), position=dropped.position)

    def forget(self, names: Sequence[str]) -> None:
        """Strike removed files that are gone."""
        if names:
            with self._changing() as connection:
                forget_removed(connection, names)
            gone = set(names)
            listing = self.listing
            self._listing = replace(listing, removed=tuple(name for name in listing.removed if name not in gone))

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """A transaction on what was listed when it was opened.

        Raises Conflict when another replica may have changed it since, or swept away files that were not listed yet.
        """
        with self._database.write() as connection:
            if self._database.term != self._term:
                raise Conflict(MOVED)
            yield connection
