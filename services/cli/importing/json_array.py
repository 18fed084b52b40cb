"""The values of one JSON array, however long it is and wherever its lines end, read piece by piece."""

import codecs
import re
import zlib
from collections.abc import Iterator
from gzip import BadGzipFile
from typing import Final

from services.cli.importing.json_value import CHARACTERS_MAX, DECODER, JsonValue
from services.cli.importing.line import ByteLines
from services.cli.importing.row import Problem

PIECE_BYTES: Final = 64 * 1024

_BLANKS: Final = re.compile(r"[ \t\r\n]*")


def array_values(content: ByteLines) -> Iterator[JsonValue | Problem]:
    """Every value of the array that the file is; a problem, after which nothing can be read, where it breaks off."""
    window = _Window(content)
    try:
        window.skip(1 if window.next_character() == "[" else 0)
        yield from _values(window)
    except _Broken as broken:
        yield Problem(window.line, "", broken.reason, broken.message)


def _values(window: "_Window") -> Iterator[JsonValue]:
    is_first = True
    while (character := window.next_character()) != "]":
        if not character:
            raise _Broken("JSON_UNFINISHED", "the file ends inside its array; is it cut off?")
        if not is_first:
            if character != ",":
                raise _Broken("BAD_JSON", 'the line is not JSON: between two values of an array stands ","')
            window.skip(1)
            window.next_character()
        yield window.value()
        is_first = False
    window.skip(1)
    if window.next_character():
        raise _Broken("JSON_GOES_ON", "the array ends, but the file does not; write one array, or one value a line")


class _Broken(Exception):
    """Nothing after this place can be read."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class _Window:
    """The text that was read and not taken yet: from `_at` on; `line` is that of this place."""

    def __init__(self, content: ByteLines) -> None:
        self._content = content
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self.line = 1

    def next_character(self) -> str:
        """The next character that is not blank, which is where the window begins then; empty at the end of the file."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self.skip(blanks.end() - self._at if blanks else 0)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self, characters: int) -> None:
        """Take so many characters."""
        end = self._at + characters
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def value(self) -> JsonValue:
        """Take the value that stands here."""
        while True:
            try:
                document, end = DECODER.raw_decode(self._text, self._at)
            except ValueError as error:
                if len(self._text) - self._at > CHARACTERS_MAX or not self._more():
                    raise _Broken("BAD_JSON", f"here begins no JSON of {CHARACTERS_MAX} characters: {error}") from error
                continue
            except RecursionError as error:
                raise _Broken("BAD_JSON", "here begins JSON that is nested too deep") from error
            # A number may go on in the next piece.
            if end < len(self._text) or not self._more():
                break
        value = JsonValue(self.line, self._text[self._at : end], document)
        self.skip(end - self._at)
        return value

    def _more(self) -> bool:
        """Read another piece; whether there was one."""
        piece = bytearray()
        try:
            while len(piece) < PIECE_BYTES and (read := self._content.readline(PIECE_BYTES)):
                piece += read
            text = self._decoder.decode(bytes(piece), final=not piece)
        except (BadGzipFile, EOFError, zlib.error) as error:
            raise _Broken("GZIP_BROKEN", f"the compressed file ends or breaks here: {error}") from error
        except UnicodeDecodeError as error:
            raise _Broken("NOT_UTF8", f"soon after this place a byte is not UTF-8: {error.reason}") from error
        self._text, self._at = self._text[self._at :] + text, 0
        return bool(piece)
