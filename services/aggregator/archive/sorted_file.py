"""Reads one file of the archive from its first row to its last, a few rows at a time."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq

from services.aggregator.archive.archived_file import ArchivedFile
from services.aggregator.archive.folder import ArchiveFolder
from services.aggregator.archive.reading import Unreadable
from services.aggregator.archive.restraint import Restraint

PIECE_BYTES = 1024 * 1024


def require_sound(folder: ArchiveFolder, file: ArchivedFile, restraint: Restraint) -> None:
    """Compare all bytes of a file with what was listed; raises Unreadable."""
    read = sha256()
    try:
        with folder.open_file(file.name) as source:
            while piece := source.read(PIECE_BYTES):
                read.update(piece)
                restraint.rest()
    except (OSError, pa.ArrowException) as error:
        raise Unreadable(f"{file.name}: {error}") from error
    if read.digest() != file.sha256:
        raise Unreadable(f"{file.name}: its bytes are not those that were written")


class SortedFile:
    """A file whose rows come in the order in which they were written. Whoever opens it closes it."""

    def __init__(self, folder: ArchiveFolder, file: ArchivedFile) -> None:
        """Open it; raises Unreadable. Pages are compared with their checksums as they are read."""
        self._name = file.name
        try:
            self._source = folder.open_file(file.name)
            self._parquet = pq.ParquetFile(self._source, page_checksum_verification=True)
            self.schema: pa.Schema = self._parquet.schema_arrow.remove_metadata()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise Unreadable(f"{file.name}: {error}") from error

    def parts(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows, at most `rows` at a time, with all columns or some; raises Unreadable."""
        try:
            # Row group by row group: else the library reads all bytes of the file before it gives the first rows.
            for number in range(self._parquet.num_row_groups):
                for batch in self._parquet.iter_batches(rows, row_groups=[number], columns=columns, use_threads=False):
                    yield pa.Table.from_batches([batch])
        except (OSError, ValueError, pa.ArrowException) as error:
            raise Unreadable(f"{self._name}: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()
