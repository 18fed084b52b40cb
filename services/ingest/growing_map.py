"""An LMDB file that takes its room on the disk ahead and doubles it when it is full.

The file is written through the memory map, which is three times as fast as LMDB's own writes once it is large. Nothing
is synced on commit: what is written outlives the process, but not a power cut.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from services.kernel.errors import Unavailable

MAP_BYTES_MIN = 16 * 1024 * 1024
MAP_BYTES_MAX = 1 << 40

_DATABASES_MAX = 4


class IndexBroken(Unavailable):
    """The index cannot be used as it is; it will be built anew from the log. The log itself is untouched."""

    default_reason = "DEDUPE_INDEX_BROKEN"


class GrowingMap:
    """Every method raises IndexBroken when the file fails or is damaged. Not safe to use from two threads at once."""

    def __init__(self, folder: Path, map_bytes_min: int = MAP_BYTES_MIN) -> None:
        """Opens the file in `folder`, or creates it."""
        self._file = folder / "data.mdb"
        with _translated():
            folder.mkdir(parents=True, exist_ok=True)
            self._bytes = _map_bytes(self._file, map_bytes_min)
            self._environment = lmdb.open(
                str(folder),
                map_size=self._bytes,
                max_dbs=_DATABASES_MAX,
                sync=False,
                metasync=False,
                writemap=True,
                readahead=False,
            )
        with self._closed_on_error():
            self.is_new = self._environment.stat()["entries"] == 0
            _reserve(self._file, self._bytes)
            self._require_whole()

    def table(self, name: bytes) -> "lmdb._Database":
        """A table of the file, created when it is missing."""
        with _translated():
            return self._environment.open_db(name)

    @contextmanager
    def read(self) -> "Iterator[lmdb.Transaction[bytes]]":
        """One consistent snapshot. Nothing may be written until it ends."""
        with _translated(), self._environment.begin() as transaction:
            yield transaction

    def write(self, change: "Callable[[lmdb.Transaction[bytes]], object]") -> None:
        """Run `change` in one transaction; again with twice the room each time there is too little."""
        with _translated():
            while True:
                try:
                    with self._environment.begin(write=True) as transaction:
                        change(transaction)
                    return
                except lmdb.MapFullError:
                    self._grow()

    def sync(self) -> None:
        """Bring everything written to the disk."""
        with _translated():
            self._environment.sync(True)

    def close(self) -> None:
        """Let go of the file."""
        self._environment.close()

    def _grow(self) -> None:
        if self._bytes * 2 > MAP_BYTES_MAX:
            raise IndexBroken(f"the dedupe index would be larger than {MAP_BYTES_MAX} bytes; shard the log")
        _reserve(self._file, self._bytes * 2)
        self._bytes *= 2
        self._environment.set_mapsize(self._bytes)

    def _require_whole(self) -> None:
        page_bytes = self._environment.stat()["psize"]
        if (self._environment.info()["last_pgno"] + 1) * page_bytes > self._bytes:
            raise IndexBroken("the dedupe index is cut short; it is built anew from the log")

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            with _translated():
                yield
        except BaseException:
            self._environment.close()
            raise


def _map_bytes(file: Path, map_bytes_min: int) -> int:
    """The size of the file, which is always doubled whole: one of any other size is not as it was left."""
    if not file.exists():
        return map_bytes_min
    size = file.stat().st_size
    if size < map_bytes_min or size.bit_count() != 1:
        raise IndexBroken(f"the dedupe index has {size} bytes, which it never should; it is built anew from the log")
    return size


def _reserve(file: Path, size: int) -> None:
    """Take the room on the disk now: a page that finds none when it is first touched would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, size)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise IndexBroken(f"the dedupe index failed ({error}); it is built anew from the log") from error
