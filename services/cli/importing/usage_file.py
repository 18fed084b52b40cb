"""An open file of usage: plain or gzip, whatever it is called, with its rows and how much of it was read."""

import gzip
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.cli.importing.csv_rows import csv_rows
from services.cli.importing.file_format import HEAD_BYTES, FileFormat, format_of
from services.cli.importing.line import PeekableLines, beginning, read_lines
from services.cli.importing.mapping import UsageMapping
from services.cli.importing.ndjson_rows import ndjson_rows
from services.cli.importing.refusal import FileRefused
from services.cli.importing.row import BrokenRow, Row

_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class UsageFile:
    """A file that is open for reading, from its beginning, once."""

    path: Path
    format: FileFormat
    size_bytes: int
    modified_ns: int
    is_compressed: bool
    raw: io.FileIO
    content: PeekableLines

    def rows(self, mapping: UsageMapping) -> Iterator[Row | BrokenRow]:
        """Every row of a CSV or NDJSON file, readable or not; raises FileRefused when nothing in it can be used."""
        lines = read_lines(self.content)
        if self.format is FileFormat.NDJSON:
            return ndjson_rows(lines)
        return csv_rows(lines, mapping.delimiter, mapping.columns)

    @property
    def read_bytes(self) -> int:
        """Bytes read so far, of `size_bytes`; reading is buffered, so it runs a little ahead of the rows."""
        return self.raw.tell()


@contextmanager
def open_usage_file(path: Path, mapping: UsageMapping | None, wanted: FileFormat | None = None) -> Iterator[UsageFile]:
    """The open file; raises FileRefused when it is no file, cannot be opened, or its format is not known.

    The format is the wanted one, else what the mapping says, else what name and content say.
    """
    status = _status(path)
    with path.open("rb", buffering=0) as raw:
        content, is_gzip = decompressed(raw)
        known = wanted or (mapping.format if mapping else None)
        file_format = known or format_of(path, beginning(content, HEAD_BYTES), is_mapped=mapping is not None)
        yield UsageFile(path, file_format, status.st_size, status.st_mtime_ns, is_gzip, raw, content)


def decompressed(raw: io.FileIO) -> tuple[PeekableLines, bool]:
    """What the file or pipe holds, decompressed if need be, and whether that was needed."""
    buffered = io.BufferedReader(raw, _BUFFER_BYTES)
    if buffered.peek(len(_GZIP_MAGIC))[: len(_GZIP_MAGIC)] != _GZIP_MAGIC:
        return buffered, False
    return io.BufferedReader(gzip.GzipFile(fileobj=buffered), _BUFFER_BYTES), True


def _status(path: Path) -> os.stat_result:
    """Looked at before opening, because opening a pipe would wait for its other end."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise FileRefused(f"no file {path}; check the path", reason="FILE_NOT_FOUND") from error
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused(f"{path} is no file; name a file of usage", reason="NOT_A_FILE")
    if not os.access(path, os.R_OK):
        raise FileRefused(f"{path} may not be read; check its permissions", reason="FILE_NOT_READABLE")
    return status
