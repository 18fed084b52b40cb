"""One reader's look at the archive: the files as they were listed, and what they turn out not to give."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from services.aggregator.archive.archived_file import ArchivedFile, Listing
from services.aggregator.archive.reading import FileReader, Unreadable
from services.aggregator.archive.time_cut import DAY_US
from services.aggregator.usage.archived_usage import EARLIEST_US, Gap
from services.aggregator.usage.usage_reading import Extent
from services.eventstore.event import BEGINNING, Position


class FilesView:
    """An `ArchiveView`. A file is given whole, as far as it is asked for, or it is a gap."""

    def __init__(
        self,
        listing: Listing,
        suspects: Collection[str],
        reader: FileReader,
        suspect: Callable[[ArchivedFile, str], None],
    ) -> None:
        self._listing = listing
        self._suspects = suspects
        self._reader = reader
        self._suspect = suspect
        self._lost: list[ArchivedFile] = []

    @property
    def position(self) -> Position:
        """Log position up to which usage is archived."""
        return self._listing.position

    def tables(self, extent: Extent, columns: Sequence[str], until: Position) -> Iterator[pa.Table]:
        """As in `ArchiveView`."""
        self._lost.clear()
        asked = replace(extent, start_us=max(extent.start_us, self._listing.first_us))
        for file in self._listing.files:
            if file.after < until and _is_asked_for(file, asked):
                usage = self._read(file, asked, columns, until)
                if usage is not None:
                    yield usage

    def gaps(self, until: Position) -> Sequence[Gap]:
        """As in `ArchiveView`."""
        listing = self._listing
        found = [file.as_gap(listing.first_us, until) for file in self._lost]
        if listing.first_us > EARLIEST_US:
            found.append(Gap(BEGINNING, min(listing.position, until), end_us=listing.first_us))
        if until > listing.position:
            found.append(Gap(listing.position, until))
        return found

    def _read(self, file: ArchivedFile, asked: Extent, columns: Sequence[str], until: Position) -> pa.Table | None:
        if file.name not in self._suspects:
            try:
                return self._reader.read(file, asked, columns, until)
            except Unreadable as error:
                self._suspect(file, str(error))
        self._lost.append(file)
        return None


def _is_asked_for(file: ArchivedFile, extent: Extent) -> bool:
    if not file.meets(extent.start_us, extent.end_us):
        return False
    # Only a day is short beside a list of hours; the row groups of other files know better.
    if extent.hours is None or file.end_us - file.start_us > DAY_US:
        return True
    return any(file.start_us <= hour < file.end_us for hour in extent.hours)
