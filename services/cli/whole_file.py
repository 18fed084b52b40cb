"""A file that appears under its name when it is complete and durable, and else not at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from services.cli.failure import CommandFailed, misused

_OWNER_ONLY: Final = 0o600


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A new file to write into; it gets its name when the block ends, after fsync. Only its owner may read it.

    Raises CommandFailed when the name is taken, when somebody else is writing it, or when it cannot be written; then
    nothing stands under the name. What a killed process left is overwritten by the next.
    """
    _require_free(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with _locked(partial, path) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                _require_free(path)
                partial.rename(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        _sync_directory(path.parent)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(
            f"{path} cannot be written ({error.strerror or error}); nothing was left under that name", reason="SYSTEM"
        ) from error


@contextmanager
def _locked(partial: Path, path: Path) -> Iterator[BinaryIO]:
    """The partial file, empty; the lock goes with the process."""
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = partial.exists() and partial.stat().st_ino == os.fstat(file.fileno()).st_ino
        except BlockingIOError:
            is_ours = False
        if not is_ours:
            raise CommandFailed(
                f"another process is writing {path}; wait for it, or choose another name", reason="BUSY"
            )
        os.fchmod(file.fileno(), _OWNER_ONLY)
        file.truncate(0)
        yield file


def _require_free(path: Path) -> None:
    if path.exists():
        raise misused(f"{path} is there already and is not overwritten; choose another name", "FILE_EXISTS")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
