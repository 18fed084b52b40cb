"""The physical lines of a file of usage, each with its number, and with what is wrong with it."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import BadGzipFile
from typing import Protocol

from services.cli.importing.refusal import FileRefused

LINE_BYTES_MAX = 1024 * 1024

_UTF8_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a piece of a file cannot be read; `reason` is UPPER_SNAKE."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its ending, numbered from 1; a line with a fault has no text that could be trusted."""

    number: int
    text: str
    fault: Fault | None = None


class ByteLines(Protocol):
    """What lines are read from: an open file, plain or decompressing."""

    def readline(self, size: int, /) -> bytes:
        """The next line with its ending, at most `size` bytes of it; empty at the end."""


class PeekableLines(ByteLines, Protocol):
    """Lines of which one may see the first without taking them."""

    def peek(self, size: int, /) -> bytes:
        """What comes next, without taking it: about `size` bytes, at least one unless it is the end."""


def beginning(content: PeekableLines, size: int) -> bytes:
    """The first bytes, without taking them; raises FileRefused when the compression is broken already there."""
    try:
        return content.peek(size)[:size]
    except (BadGzipFile, EOFError, zlib.error) as error:
        raise FileRefused(f"the compressed file is broken from its beginning: {error}", reason="GZIP_BROKEN") from error


def read_lines(file: ByteLines) -> Iterator[Line]:
    """Every line, in order; a broken compression ends the file with a line that says so."""
    number = 0
    try:
        while raw := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(raw) > LINE_BYTES_MAX:
                _skip_to_line_end(file, raw)
                yield Line(number, "", _TOO_LONG)
            else:
                yield _line(number, raw.removeprefix(_UTF8_BOM) if number == 1 else raw)
    except (BadGzipFile, EOFError, zlib.error) as error:
        yield Line(number + 1, "", Fault("GZIP_BROKEN", f"the compressed file ends or breaks here: {error}"))


def _line(number: int, raw: bytes) -> Line:
    if b"\0" in raw:
        return Line(number, "", _NUL_BYTE)
    try:
        return Line(number, raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Line(number, "", Fault("NOT_UTF8", f"byte {error.start + 1} of the line is not UTF-8: {error.reason}"))


def _skip_to_line_end(file: ByteLines, raw: bytes) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = file.readline(LINE_BYTES_MAX)


_TOO_LONG = Fault("LINE_TOO_LONG", f"the line is longer than {LINE_BYTES_MAX} bytes")
_NUL_BYTE = Fault("NUL_BYTE", "the line holds a NUL byte; is the file damaged?")
