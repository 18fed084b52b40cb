"""A run of the dedupe index: entries in key order in a file that never changes, read through the memory map.

    filter words | hi | lo | contents | positions | footer

Every section is little-endian and has room for the capacity that the file was begun with; a CRC-32 over each is in the
footer, and one over the footer at its end.
"""

import mmap
import os
import struct
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

from services.ingest.index_entries import I64, U64, Entries, IndexBroken, Mask
from services.ingest.index_filter import may_hold

COLUMNS: Final = ("<u8", "<u8", "<u8", "<i8")
VALUE_BYTES: Final = 8
CHECK_BYTES: Final = 4 * 1024 * 1024

_MAGIC: Final = b"MLRUN\x01\r\n"
_FOOTER: Final = struct.Struct("<8sQQQ5I")
_CHECKSUM: Final = struct.Struct("<I")
FOOTER_BYTES: Final = _FOOTER.size + _CHECKSUM.size


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands in a run: bytes from the start of the file."""

    words: int
    capacity: int

    def column_start(self, column: int) -> int:
        """Where a column of the entries starts."""
        return (self.words + column * self.capacity) * VALUE_BYTES

    def footer_start(self) -> int:
        """Where the footer starts."""
        return self.column_start(len(COLUMNS))


@dataclass(frozen=True, slots=True)
class Footer:
    """What a run holds: its layout, its rows, and the CRC-32 of the filter and of each column."""

    layout: Layout
    rows: int
    checksums: tuple[int, ...]

    def encoded(self) -> bytes:
        """The bytes at the end of the file."""
        content = _FOOTER.pack(_MAGIC, self.rows, self.layout.words, self.layout.capacity, *self.checksums)
        return content + _CHECKSUM.pack(crc32(content))


class Run:
    """Safe in any number of threads. The file may be deleted while it is in use."""

    def __init__(self, path: Path) -> None:
        """Opens the file without reading more than its footer; raises IndexBroken when that is not whole."""
        self.path = path
        try:
            with path.open("rb") as file:
                self._footer = _read_footer(file)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._file = os.dup(file.fileno())
        except (OSError, ValueError) as error:
            raise IndexBroken(f"run {path.name} of the dedupe index cannot be opened ({error})") from error
        weakref.finalize(self, os.close, self._file)
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_RANDOM)
        layout = self._footer.layout
        self._words: U64 = np.frombuffer(self._map, "<u8", layout.words)
        self._columns = Entries(*(self._column(number) for number in range(len(COLUMNS))))

    def __len__(self) -> int:
        return self._footer.rows

    def bytes(self) -> int:
        """Size of the file."""
        return self._footer.layout.footer_start() + FOOTER_BYTES

    def may_hold(self, hi: U64, marks: U64) -> Mask:
        """For each key whether it may be here."""
        return may_hold(self._words, hi, marks)

    def find(self, hi: U64, lo: U64) -> I64:
        """The row of each key; -1 where there is none. Keys in order are found several times as fast."""
        found = np.full(len(hi), -1, np.int64)
        if not len(self):
            return found
        rows = self._columns.hi.searchsorted(hi)
        seeking = np.arange(len(hi))
        while len(seeking):
            # Few keys share their upper half, so this nearly always ends after one turn.
            at = rows[seeking]
            is_there = at < len(self)
            seeking, at = seeking[is_there], at[is_there]
            is_upper = self._columns.hi[at] == hi[seeking]
            seeking, at = seeking[is_upper], at[is_upper]
            is_same = self._columns.lo[at] == lo[seeking]
            found[seeking[is_same]] = at[is_same]
            seeking = seeking[~is_same]
            rows[seeking] += 1
        return found

    def contents(self, rows: I64) -> U64:
        """The contents of these rows."""
        return self._columns.contents[rows]

    def positions(self, rows: I64) -> I64:
        """The log positions of these rows."""
        return self._columns.positions[rows]

    def checked(self) -> "CheckedRun":
        """The same entries, to be read once from first to last, and compared with what was written."""
        return CheckedRun(self)

    def read(self, start: int, count: int) -> Entries:
        """A copy of up to `count` entries from row `start` on, read from the file and not kept in memory."""
        count = min(count, len(self) - start)
        try:
            return Entries(*(self._read_column(number, start, count) for number in range(len(COLUMNS))))
        except OSError as error:
            raise IndexBroken(f"run {self.path.name} of the dedupe index cannot be read ({error})") from error

    def require_whole(self) -> None:
        """Read everything; raises IndexBroken when a byte is not as it was written."""
        try:
            with self.path.open("rb") as file:
                checksums = tuple(_checksum(file, start, size) for start, size in self._sections())
        except OSError as error:
            raise IndexBroken(f"run {self.path.name} of the dedupe index cannot be read ({error})") from error
        if checksums != self._footer.checksums:
            raise IndexBroken(f"run {self.path.name} of the dedupe index is damaged; it is built anew from the log")

    def has_checksums(self, checksums: Sequence[int]) -> bool:
        """Whether these are the CRC-32 of its columns."""
        return tuple(checksums) == self._footer.checksums[1:]

    def _sections(self) -> Iterator[tuple[int, int]]:
        yield 0, self._footer.layout.words * VALUE_BYTES
        for column in range(len(COLUMNS)):
            yield self._footer.layout.column_start(column), len(self) * VALUE_BYTES

    def _column(self, number: int) -> npt.NDArray[Any]:
        return np.frombuffer(self._map, COLUMNS[number], len(self), self._footer.layout.column_start(number))

    def _read_column(self, number: int, start: int, count: int) -> npt.NDArray[Any]:
        """By descriptor: a merge may have deleted the file's name while others still read from it."""
        begin = self._footer.layout.column_start(number) + start * VALUE_BYTES
        content = os.pread(self._file, count * VALUE_BYTES, begin)
        if len(content) != count * VALUE_BYTES:
            raise OSError("it was cut short")
        return np.frombuffer(content, COLUMNS[number])


class CheckedRun:
    """A run that is read from first to last; `require_as_written` then tells whether all bytes are as they were."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._read_to = 0
        self._checksums = [0] * len(COLUMNS)

    def __len__(self) -> int:
        return len(self._run)

    def read(self, start: int, count: int) -> Entries:
        """Up to `count` entries from `start` on; parts may overlap, none may be left out."""
        entries = self._run.read(start, count)
        new = entries.part(self._read_to - start, len(entries))
        if len(new):
            self._checksums = [
                crc32(np.ascontiguousarray(column).data.cast("B"), checksum)
                for column, checksum in zip(new.columns(), self._checksums, strict=True)
            ]
            self._read_to = start + len(entries)
        return entries

    def require_as_written(self) -> None:
        """Raises IndexBroken when what was read is not what was written."""
        if not self._run.has_checksums(self._checksums):
            raise IndexBroken(
                f"run {self._run.path.name} of the dedupe index is damaged; it is built anew from the log"
            )


def _read_footer(file: BinaryIO) -> Footer:
    size = file.seek(0, 2)
    file.seek(max(0, size - FOOTER_BYTES))
    content = file.read(FOOTER_BYTES)
    if len(content) != FOOTER_BYTES or _CHECKSUM.pack(crc32(content[: _FOOTER.size])) != content[_FOOTER.size :]:
        raise ValueError("its footer is damaged")
    magic, rows, words, capacity, *checksums = _FOOTER.unpack(content[: _FOOTER.size])
    footer = Footer(Layout(words, capacity), rows, tuple(checksums))
    if magic != _MAGIC or rows > capacity or footer.layout.footer_start() + FOOTER_BYTES != size:
        raise ValueError("its size is not what its footer says")
    return footer


def _checksum(file: BinaryIO, start: int, size: int) -> int:
    file.seek(start)
    checksum = 0
    while size:
        content = file.read(min(size, CHECK_BYTES))
        if not content:
            raise OSError("it was cut short")
        checksum = crc32(content, checksum)
        size -= len(content)
    return checksum
