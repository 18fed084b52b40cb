"""The folder that a log is sealed into: signed checkpoints, tiles of hashes, and one sealer at a time.

    checkpoint            the newest signed checkpoint
    checkpoints/<size>    every checkpoint that was ever signed
    tile/…                the hashes (`tiles.py`)
    positions             where the log has gaps between positions: those of the sealed events (`positions.py`)
    lock                  held while the folder grows

`checkpoint` is written before its copy in `checkpoints/`, so it is never older than one of them, whatever crashes: a
`checkpoint` that is older was put back by somebody.
"""

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Final

from services.eventstore.audit.checkpoint import SealedCheckpoint, opened_checkpoint
from services.eventstore.audit.durable_file import DurableFolder
from services.eventstore.audit.note import NOTE_BYTES_MAX, VerifierKey
from services.kernel.clock import monotonic_s
from services.kernel.errors import Corrupt, NotFound, Unavailable

CHECKPOINT_FILE: Final = "checkpoint"
CHECKPOINTS_FOLDER: Final = "checkpoints"
LOCK_FILE: Final = "lock"
LOCK_TIMEOUT_S: Final = 60.0
LOCK_POLL_S: Final = 0.02


class SealedFolder:
    """What was sealed of one log, on disk. Reading needs no lock and no permission to write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def is_begun(self) -> bool:
        """Whether anything was ever sealed here."""
        return (self.path / CHECKPOINT_FILE).exists() or bool(self.sizes())

    def newest(self, keys: Collection[VerifierKey]) -> SealedCheckpoint | None:
        """The newest checkpoint; None when nothing was sealed yet.

        Raises Corrupt, naming the file, when none of the keys signed it, or when it is older than one of its copies.
        """
        sizes = self.sizes()
        note = self._read(CHECKPOINT_FILE)
        if note is None:
            if sizes:
                raise _damaged(CHECKPOINT_FILE, f"it is missing, though {sizes[-1]} events were sealed")
            return None
        newest = _opened(CHECKPOINT_FILE, note, keys)
        if sizes and sizes[-1] > newest.size:
            raise _damaged(
                CHECKPOINT_FILE,
                f"it seals {newest.size} events, though {sizes[-1]} were sealed: an older one was put in its place",
            )
        return newest

    def required(self, keys: Collection[VerifierKey]) -> SealedCheckpoint:
        """The newest checkpoint; raises NotFound when nothing was sealed, and as `newest` does."""
        newest = self.newest(keys)
        if newest is None:
            raise NotFound(f"nothing was sealed in {self.path}; check the folder, or run `meterlog audit seal`")
        return newest

    def sizes(self) -> list[int]:
        """The sizes that there is a copy of the checkpoint for, in order."""
        try:
            names = [path.name for path in (self.path / CHECKPOINTS_FOLDER).iterdir()]
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())

    def checkpoint_at(self, size: int, keys: Collection[VerifierKey]) -> SealedCheckpoint:
        """A checkpoint by its size; raises NotFound when there is none, Corrupt when it is not what was signed."""
        name = f"{CHECKPOINTS_FOLDER}/{size}"
        note = self._read(name)
        if note is None:
            newest = self.newest(keys)
            if newest is not None and newest.size == size:
                return newest
            raise NotFound(f"no checkpoint of {size} events in {self.path}; see the names in {CHECKPOINTS_FOLDER}/")
        found = _opened(name, note, keys)
        if found.size != size:
            raise _damaged(name, f"it seals {found.size} events: it stands under another's name")
        return found

    def publish(self, checkpoint: SealedCheckpoint, tiles: DurableFolder) -> None:
        """Make the tiles durable, then the checkpoint that vouches for them, then its copy."""
        tiles.sync()
        note = checkpoint.note.encode()
        for name in (CHECKPOINT_FILE, f"{CHECKPOINTS_FOLDER}/{checkpoint.size}"):
            tiles.write(name, note)
            tiles.sync()

    def complete(self, newest: SealedCheckpoint, files: DurableFolder) -> None:
        """Write the copy of the newest checkpoint that a sealer left out when it was killed; never over another."""
        if newest.size not in self.sizes():
            files.write(f"{CHECKPOINTS_FOLDER}/{newest.size}", newest.note.encode())
            files.sync()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one that seals here; raises Unavailable when another does for LOCK_TIMEOUT_S."""
        descriptor = self._opened_lock()
        try:
            _wait_for(descriptor, self.path)
            yield
        finally:
            os.close(descriptor)

    def _opened_lock(self) -> int:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Unavailable(
                f"{self.path} cannot be written ({error.strerror}); check the folder and its permissions",
                reason="SEALED_FOLDER_NOT_WRITABLE",
            ) from error

    def _read(self, name: str) -> str | None:
        try:
            with (self.path / name).open("rb") as file:
                content = file.read(NOTE_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"{self.path / name} cannot be read ({error.strerror}); check its permissions") from error
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise _damaged(name, "it is no UTF-8 text") from error


def _opened(name: str, note: str, keys: Collection[VerifierKey]) -> SealedCheckpoint:
    try:
        return opened_checkpoint(note, keys)
    except Corrupt as error:
        raise Corrupt(f"{name}: {error.message}", reason=error.reason, metadata={"file": name}) from error


def _damaged(name: str, problem: str) -> Corrupt:
    return Corrupt(f"{name}: {problem}", reason="CHECKPOINT_DAMAGED", metadata={"file": name})


def _wait_for(descriptor: int, folder: Path) -> None:
    deadline_s = monotonic_s() + LOCK_TIMEOUT_S
    while not _try_lock(descriptor):
        if monotonic_s() >= deadline_s:
            raise Unavailable(
                f"another sealer has been at work in {folder} for {LOCK_TIMEOUT_S:g} s; nothing was sealed; "
                "see whether it hangs, then repeat",
                reason="SEALER_BUSY",
            )
        Event().wait(LOCK_POLL_S)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
