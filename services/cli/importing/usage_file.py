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
from services.cli.importing.line import ByteLines, read_lines
from services.cli.importing.mapping import FileFormat, UsageMapping
from services.cli.importing.ndjson_rows import ndjson_rows
from services.cli.importing.refusal import FileRefused
from services.cli.importing.row import BrokenRow, Row

_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER_BYTES = 32 * 1024
_SUFFIXES = {".csv": FileFormat.CSV, ".ndjson": FileFormat.NDJSON, ".jsonl": FileFormat.NDJSON}


@dataclass(frozen=True, slots=True)
class UsageFile:
    """A file that is open for reading, from its beginning, once."""

    path: Path
    format: FileFormat
    size_bytes: int
    modified_ns: int
    raw: io.FileIO
    content: ByteLines

    def rows(self, mapping: UsageMapping) -> Iterator[Row | BrokenRow]:
        """Every row, readable or not, in order; raises FileRefused when nothing in it can be used."""
        lines = read_lines(self.content)
        if self.format is FileFormat.NDJSON:
            return ndjson_rows(lines)
        return csv_rows(lines, mapping.delimiter, mapping.columns)

    @property
    def read_bytes(self) -> int:
        """Bytes read so far, of `size_bytes`; reading is buffered, so it runs a little ahead of the rows."""
        return self.raw.tell()


@contextmanager
def open_usage_file(path: Path, mapping: UsageMapping) -> Iterator[UsageFile]:
    """The open file; raises FileRefused when it is no file, cannot be opened, or its format is not known."""
    file_format = mapping.format or _format_of(path)
    status = _status(path)
    with path.open("rb", buffering=0) as raw:
        buffered = io.BufferedReader(raw, _BUFFER_BYTES)
        is_gzip = buffered.peek(len(_GZIP_MAGIC))[: len(_GZIP_MAGIC)] == _GZIP_MAGIC
        content = io.BufferedReader(gzip.GzipFile(fileobj=buffered), _BUFFER_BYTES) if is_gzip else buffered
        yield UsageFile(path, file_format, status.st_size, status.st_mtime_ns, raw, content)


def _status(path: Path) -> os.stat_result:
    """Looked at before opening, because opening a pipe would wait for its other end."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise FileRefused(f"no file {path}; check the path", reason="FILE_NOT_FOUND") from error
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused(f"{path} is no file; name a CSV or NDJSON file", reason="NOT_A_FILE")
    if not os.access(path, os.R_OK):
        raise FileRefused(f"{path} may not be read; check its permissions", reason="FILE_NOT_READABLE")
    return status


def _format_of(path: Path) -> FileFormat:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in _SUFFIXES:
        raise FileRefused(
            f"{path} does not end in {', '.join(_SUFFIXES)} or one of them with .gz; set `format` in the mapping",
            reason="FORMAT_UNKNOWN",
        )
    return _SUFFIXES[suffix]
