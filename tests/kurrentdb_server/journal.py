"""A file that keeps what was acknowledged, so that the process may be killed at any instant."""

import fcntl
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct

from tests.kurrentdb_server.record import Record, stored_record

_FRAME = Struct(">II")
_LENGTH = Struct(">I")


class Journal:
    """Frames of length, CRC-32 and the records of one commit; a torn last frame is cut off at opening.

    Written before the answer, so a killed process loses nothing that it acknowledged. Only `is_synced` also asks the
    disk. Raises BlockingIOError when another process has the file open.
    """

    def __init__(self, path: Path, *, is_synced: bool = False) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._path = path
        self._is_synced = is_synced
        self._whole = 0

    def replay(self) -> Iterator[list[Record]]:
        """Every whole commit, oldest first; call once, before the first write."""
        content = self._path.read_bytes()
        whole = 0
        for end, body in _frames(content):
            whole = end
            yield [stored_record(response) for response in _responses(body)]
        self._whole = whole
        self._cut(whole)

    def write(self, records: Sequence[Record]) -> None:
        """One commit, whole or not at all; raises OSError when the disk refuses it."""
        body = b"".join(_LENGTH.pack(len(written.response)) + written.response for written in records)
        frame = memoryview(_FRAME.pack(len(body), zlib.crc32(body)) + body)
        try:
            while frame:
                frame = frame[os.write(self._file, frame) :]
            if self._is_synced:
                os.fdatasync(self._file)
        except OSError:
            self._cut(self._whole)
            raise
        self._whole += _FRAME.size + len(body)

    def _cut(self, size: int) -> None:
        os.ftruncate(self._file, size)
        os.lseek(self._file, size, os.SEEK_SET)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def _frames(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Where each whole frame ends, and what it holds."""
    start = 0
    while start + _FRAME.size <= len(content):
        length, checksum = _FRAME.unpack_from(content, start)
        end = start + _FRAME.size + length
        body = content[start + _FRAME.size : end]
        if len(body) < length or zlib.crc32(body) != checksum:
            return
        yield end, body
        start = end


def _responses(body: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(body):
        (length,) = _LENGTH.unpack_from(body, start)
        start += _LENGTH.size + length
        yield body[start - length : start]
