"""Writes a run of the dedupe index: entries in key order, part by part, and the filter over them."""

import os
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
import numpy.typing as npt

from services.ingest.index_entries import Entries, IndexUnwritten
from services.ingest.index_filter import GrowingFilter, words_for
from services.ingest.index_run import COLUMNS, Footer, Layout


class RunWriter:
    """Every method raises IndexUnwritten when the file cannot be written. Nothing is synced."""

    def __init__(self, path: Path, capacity: int) -> None:
        """Begins the file, for at most `capacity` entries; a former one of this name is lost."""
        self._path = path
        self._layout = Layout(words_for(capacity), capacity)
        self._filter = GrowingFilter(self._layout.words)
        self._sections = [_Section(0), *(_Section(self._layout.column_start(n)) for n in range(len(COLUMNS)))]
        self._rows = 0
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise _unwritten(path, error) from error

    def add(self, entries: Entries) -> None:
        """Write entries behind those written before; no key may come twice."""
        words = self._filter.add(entries.hi, entries.lo)
        try:
            for section, values in zip(self._sections, (words, *entries.columns()), strict=True):
                section.write(self._file, values)
        except OSError as error:
            raise _unwritten(self._path, error) from error
        self._rows += len(entries)

    def finish(self) -> Path:
        """Complete the file, and say where it is."""
        try:
            self._sections[0].write(self._file, self._filter.rest())
            checksums = tuple(section.checksum for section in self._sections)
            footer = Footer(self._layout, self._rows, checksums).encoded()
            _write_all(self._file, self._layout.footer_start(), memoryview(footer))
            self._file.close()
        except OSError as error:
            raise _unwritten(self._path, error) from error
        return self._path

    def drop_unfinished(self) -> None:
        """Delete a file that was not finished."""
        if not self._file.closed:
            self._file.close()
            self._path.unlink(missing_ok=True)


class _Section:
    def __init__(self, start: int) -> None:
        self._at = start
        self.checksum = 0

    def write(self, file: BinaryIO, values: npt.NDArray[Any]) -> None:
        content = np.ascontiguousarray(values).data.cast("B")
        self.checksum = crc32(content, self.checksum)
        _write_all(file, self._at, content)
        self._at += len(content)


def _write_all(file: BinaryIO, at: int, content: memoryview) -> None:
    while len(content):
        written = os.pwrite(file.fileno(), content, at)
        at, content = at + written, content[written:]


def _unwritten(path: Path, error: OSError) -> IndexUnwritten:
    return IndexUnwritten(f"run {path.name} of the dedupe index cannot be written ({error.strerror}); check the disk")
