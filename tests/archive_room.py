"""An archive of usage beside folded tables, without threads of its own: its steps are taken by tests, one by one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from services.aggregator.archive.archiver import UsageArchiver
from services.aggregator.archive.folder import ArchiveFolder
from services.aggregator.archive.growth import Growth
from services.aggregator.archive.housekeeping import Housekeeping
from services.aggregator.archive.usage_archive import UsageArchive
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US
from services.aggregator.usage.usage_reading import Extent, read_usage
from services.aggregator.usage_windows import UsageWindows
from services.eventstore.event import Position
from services.kernel.clock import SimulatedClock
from services.projection.database import Database
from services.projection.runner import ProjectionRunner
from tests.aggregator_room import NOW, Log
from tests.databases import USUAL, tables_url
from tests.plain_usage import Event

WAIT_S = 60.0
COLUMNS = ("source", "type", "subject", "id", "value", "p.region", "p.size")
EVERYTHING = Extent(EARLIEST_US, LATEST_US)


class ArchiveRoom:
    """Tables folded live, and an archive of them in a folder."""

    def __init__(
        self, folder: Path, log: Log | None = None, *, keep_days: int | None = None, url: str | None = None
    ) -> None:
        self.clock = SimulatedClock(NOW)
        self.log = log or Log(self.clock)
        self.path = folder / "archive"
        self.url = url or tables_url(USUAL, folder)
        self.database = Database.open(self.url, "aggregator")
        self.windows: ProjectionRunner[UsageTables] = ProjectionRunner(
            self.log.store, self.database, UsageWindows(self.log.store)
        )
        self.windows.start()
        self.archive = UsageArchive(self.database, self.windows, self.open_folder())
        self.growth = Growth(self.archive, self.log.store, self.windows)
        self.housekeeping = Housekeeping(self.archive, self.log.store, self.windows)
        self.archiver = self.another_archiver(keep_days)

    def open_folder(self) -> ArchiveFolder:
        return ArchiveFolder.open(self.path.as_uri(), "METERLOG_ARCHIVE_URL")

    def another_archiver(self, keep_days: int | None = None) -> UsageArchiver:
        """An archiver such as a restarted process has, with another retention perhaps."""
        return UsageArchiver(self.archive, self.log.store, self.windows, self.clock, keep_days)

    def record(self, batch: Sequence[Event], partition: str = "0") -> Position:
        """Record usage and wait until it is folded."""
        position = self.log.record(batch, partition)
        self.catch_up()
        return position

    def catch_up(self) -> None:
        self.windows.wait_for(self.log.store.head().position, WAIT_S)

    def compact(self) -> int:
        return self.archiver.bring_up_to_date(WAIT_S)

    def read(
        self, extent: Extent = EVERYTHING, until: Position | None = None, columns: Sequence[str] = COLUMNS
    ) -> list[dict[str, Any]]:
        """What `read_usage` says, with the archive, in the order of the log."""
        return self._read(self.archive, extent, until, columns)

    def read_log(
        self, extent: Extent = EVERYTHING, until: Position | None = None, columns: Sequence[str] = COLUMNS
    ) -> list[dict[str, Any]]:
        """What `read_usage` says without the archive."""
        return self._read(None, extent, until, columns)

    def archived_rows(self, until: Position | None = None) -> int:
        """Usage events that the archive alone gives."""
        last = self.windows.position() if until is None else until
        return sum(usage.num_rows for usage in self.archive.view().tables(EVERYTHING, COLUMNS, last))

    def files(self) -> list[Path]:
        """The files on disk."""
        return sorted(path for path in self.path.rglob("*") if path.is_file())

    def listed(self) -> list[str]:
        return sorted(file.name for file in self.archive.listing.files)

    def close(self) -> None:
        self.archiver.stop(WAIT_S)
        self.windows.stop(WAIT_S)
        self.database.close()

    def _read(
        self, archive: UsageArchive | None, extent: Extent, until: Position | None, columns: Sequence[str]
    ) -> list[dict[str, Any]]:
        with snapshot(self.windows, self.log.store, archive) as usage:
            rows = [row for part in read_usage(usage, extent, columns, until) for row in part.to_pylist()]
        return sorted(rows, key=lambda row: (row["position"], row["row"]))


@contextmanager
def open_archive(
    folder: Path, log: Log | None = None, *, keep_days: int | None = None, url: str | None = None
) -> Iterator[ArchiveRoom]:
    """The room; `url` are tables that stand already."""
    room = ArchiveRoom(folder, log, keep_days=keep_days, url=url)
    try:
        yield room
    finally:
        room.close()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)
