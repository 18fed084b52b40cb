"""A file of the archive while it is written: its name is not seen before it is whole."""

import os
from pathlib import Path
from typing import Protocol

import pyarrow as pa

DRAFT_SUFFIX = ".new"


class NewFile(Protocol):
    """Bytes on their way into the archive. Everything raises OSError."""

    def write(self, content: bytes) -> None:
        """Add bytes at the end."""

    def put_in_place(self) -> None:
        """Make it durable, and give it its name."""

    def abandon(self) -> None:
        """Leave it, unless it is in place; what is left of it belongs to nobody. Safe to repeat."""


class NewLocalFile:
    """Written under another name, and renamed when its bytes are on disk."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._path = root / name
        self._draft = self._path.with_name(self._path.name + DRAFT_SUFFIX)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._draft.open("wb")

    def write(self, content: bytes) -> None:
        """As in `NewFile`."""
        self._file.write(content)

    def put_in_place(self) -> None:
        """As in `NewFile`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._draft.replace(self._path)
        for folder in (self._path.parent, self._path.parent.parent, self._root):
            _sync(folder)

    def abandon(self) -> None:
        """As in `NewFile`."""
        self._file.close()
        self._draft.unlink(missing_ok=True)


class NewObject:
    """An object appears whole when its stream is closed; nobody looks for it before it is listed."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream

    def write(self, content: bytes) -> None:
        """As in `NewFile`."""
        self._stream.write(content)

    def put_in_place(self) -> None:
        """As in `NewFile`."""
        self._stream.close()

    def abandon(self) -> None:
        """As in `NewFile`; some of it may stand there, under a name that nobody lists."""
        self._stream.close()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
