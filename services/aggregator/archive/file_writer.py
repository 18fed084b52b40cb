"""Writes one file of the archive, row group by row group, as Parquet."""

from contextlib import ExitStack
from hashlib import sha256
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from services.aggregator.archive.archived_file import ArchivedFile, Span
from services.aggregator.archive.folder import SUFFIX, ArchiveFolder
from services.aggregator.archive.new_file import NewFile
from services.aggregator.archive.restraint import Restraint
from services.aggregator.archive.rows import OTHERS
from services.aggregator.archive.time_cut import ALL_TIMES, DAY_US, Stretch
from services.kernel.failpoint import fail_at

ROW_GROUP_ROWS = 32_768
"""Usage events that are pruned or read together. Of 16,384 to 131,072 it reads small customers in half of the time that
65,536 takes, with a footer half as large as 16,384 needs."""

_DELTAS = ("at_us", "position", "row")
_RANGED = ("at_us", "position", "subject")
_TAIL_BYTES = 8


class FileWriter:
    """Takes rows in their order, and holds what is less than a row group. It ends with `finish` or `abandon`."""

    def __init__(
        self,
        folder: ArchiveFolder,
        below: str,
        span: Span,
        stretch: Stretch,
        schema: pa.Schema,
        restraint: Restraint,
    ) -> None:
        """Begin a file in the folder `below`; raises Unavailable."""
        self._folder = folder
        self._span = span
        self._stretch = stretch
        self._restraint = restraint
        self._name = f"{below}/{_label(stretch)}/{span.after:020d}-{span.until:020d}-{uuid4().hex[:12]}{SUFFIX}"
        self._rows = 0
        self._held: list[pa.Table] = []
        fail_at("archive.before_file")
        with folder.writing(), ExitStack() as begun:
            self._file = folder.begin(self._name)
            begun.callback(self._file.abandon)
            self._tally = _Tally(self._file)
            self._parquet = _parquet_writer(self._tally, schema, span)
            begun.pop_all()

    @property
    def held_rows(self) -> int:
        """Rows that are not written yet."""
        return sum(part.num_rows for part in self._held)

    def add(self, rows: pa.Table) -> None:
        """Add rows of the writer's schema that come behind all others in the order of the file; raises Unavailable."""
        if not rows.num_rows:
            return  # held until the end it would become a row group that holds nothing and has no bounds
        self._held.append(rows)
        if self.held_rows >= ROW_GROUP_ROWS:
            held = pa.concat_tables(self._held)
            whole = held.num_rows - held.num_rows % ROW_GROUP_ROWS
            self._held = [held.slice(whole)] if whole < held.num_rows else []
            for start in range(0, whole, ROW_GROUP_ROWS):
                self._write(held.slice(start, ROW_GROUP_ROWS))

    def flush(self) -> None:
        """Write what is held as a smaller row group; raises Unavailable."""
        if self._held:
            held, self._held = pa.concat_tables(self._held), []
            self._write(held)

    def finish(self) -> ArchivedFile:
        """Put the file in place, durably; raises Unavailable."""
        self.flush()
        with self._folder.writing():
            footer = self._tally.footer_of(self._parquet)
            self._file.put_in_place()
        fail_at("archive.after_file")
        return ArchivedFile(
            name=self._name,
            after=self._span.after,
            until=self._span.until,
            start_us=self._stretch.start_us,
            end_us=self._stretch.end_us,
            rows=self._rows,
            size=self._tally.size,
            sha256=self._tally.sha256,
            footer_sha256=sha256(footer).digest(),
            leaf=self._span.leaf,
        )

    def abandon(self) -> None:
        """Leave the file, unless it is finished; it belongs to nobody. Raises Unavailable."""
        with self._folder.writing():
            self._tally.is_idle = True
            self._parquet.close()
            self._file.abandon()

    def _write(self, rows: pa.Table) -> None:
        with self._folder.writing():
            self._parquet.write_table(_narrowed(rows), row_group_size=ROW_GROUP_ROWS)
        self._rows += rows.num_rows
        self._restraint.rest()


def footer_of(content: bytes) -> bytes:
    """The Parquet footer at the end of `content`, with its length and the closing magic; raises ValueError."""
    length = int.from_bytes(content[-_TAIL_BYTES:-4], "little")
    if content[-4:] != b"PAR1" or not 0 < length <= len(content) - _TAIL_BYTES:
        raise ValueError("the bytes do not end as a Parquet file does")
    return content[-_TAIL_BYTES - length :]


class _Tally:
    """What the Parquet library writes to: counts and hashes all bytes, and keeps the last of them."""

    closed = False

    def __init__(self, file: NewFile) -> None:
        self.size = 0
        self.is_idle = False  # the library writes a footer whenever it lets go of a file, wanted or not
        self._file = file
        self._hash = sha256()
        self._tail: list[bytes] | None = None

    @property
    def sha256(self) -> bytes:
        return self._hash.digest()

    def footer_of(self, parquet: pq.ParquetWriter) -> bytes:
        """Close the writer; what it writes then ends with the footer."""
        self._tail = []
        parquet.close()
        return footer_of(b"".join(self._tail))

    def write(self, content: bytes) -> int:
        if self.is_idle:
            return len(content)
        self._file.write(content)
        self._hash.update(content)
        self.size += len(content)
        if self._tail is not None:
            self._tail.append(content)
        return len(content)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """What is written is made durable when the file is put in place."""

    def close(self) -> None:
        self.closed = True


def _parquet_writer(tally: _Tally, schema: pa.Schema, span: Span) -> pq.ParquetWriter:
    notes = {
        "meterlog.after": str(span.after),
        "meterlog.until": str(span.until),
        "meterlog.leaf": span.leaf.hex(),
    }
    coded = [name for name in schema.names if name not in (*_DELTAS, "id", OTHERS)]
    return pq.ParquetWriter(
        tally,
        schema.with_metadata(notes),
        compression="zstd",
        use_dictionary=coded,
        column_encoding=dict.fromkeys(_DELTAS, "DELTA_BINARY_PACKED"),
        write_statistics=list(_RANGED),
        write_page_checksum=True,
    )


def _narrowed(rows: pa.Table) -> pa.Table:
    """The same with dictionaries that hold what is used: Parquet stores the whole of them in every row group."""
    whole = rows.unify_dictionaries().combine_chunks()
    for number, field in enumerate(whole.schema):
        if pa.types.is_dictionary(field.type):
            whole = whole.set_column(number, field, _without_spare_texts(whole.column(number).chunk(0)))
    return whole


def _without_spare_texts(coded: pa.DictionaryArray) -> pa.DictionaryArray:
    used = np.zeros(len(coded.dictionary), bool)
    used[coded.indices.drop_null().to_numpy()] = True
    if used.all():
        return coded
    places = pa.array(np.cumsum(used, dtype=np.int32) - 1)
    return pa.DictionaryArray.from_arrays(places.take(coded.indices), coded.dictionary.filter(pa.array(used)))


def _label(stretch: Stretch) -> str:
    """The folder of a stretch: 2024-02-29, or 2024-02-01--2024-03-01 for more than a day, or any."""
    if stretch == ALL_TIMES:
        return "any"
    first, end = (np.datetime_as_string(np.datetime64(us // DAY_US, "D")) for us in (stretch.start_us, stretch.end_us))
    return str(first) if stretch.end_us - stretch.start_us == DAY_US else f"{first}--{end}"
