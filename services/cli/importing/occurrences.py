"""The id of a line: its content, and which of the equal lines of its file it is.

A web server writes no id with a request. What tells requests apart is the line: time, client, request, answer. Where
two lines of a file are equal to the last byte, the second is a second request, so it is counted: the first has the
digest as its id, the second the digest and "-1". The file's name is no part of it. So importing a file again, under any
name, compressed or not, makes the same ids, and a file that has grown only adds.

Two equal lines that lie in two files (the second in which a log was rotated) are taken for one. To tell those apart,
let the server log a request id or microseconds.

Equal lines carry the same second, so they lie close together. Of older lines, by REMEMBERED_LINES at least, the number
is forgotten; a line that equals one of them counts as that one.
"""

import hashlib
from typing import Final

REMEMBERED_LINES: Final = 200_000
DIGEST_CHARACTERS: Final = 32


class LineIds:
    """Makes ids for the lines of one file, from its beginning, in order; its memory does not grow with the file."""

    def __init__(self) -> None:
        self._recent: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._lines = 0

    def next_id(self, line: str) -> str:
        """The id of the next line, which is without its ending."""
        self._forget()
        digest = hashlib.sha256(line.encode()).hexdigest()[:DIGEST_CHARACTERS]
        count = self._recent.get(digest)
        if count is None:
            count = self._older.get(digest, 0)
        self._recent[digest] = count + 1
        return f"{digest}-{count}" if count else digest

    def _forget(self) -> None:
        if self._lines and self._lines % REMEMBERED_LINES == 0:
            self._older, self._recent = self._recent, {}
        self._lines += 1
