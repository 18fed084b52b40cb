"""Files that appear whole under their name or not at all, and that a power cut cannot take back."""

import os
import shutil
from pathlib import Path
from typing import Final

from services.kernel.errors import Unavailable

DRAFT_SUFFIX: Final = ".new"


class DurableFolder:
    """A folder whose files are written once, in one piece. `sync` makes the names durable, too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unsynced: set[Path] = set()

    def write(self, name: str, content: bytes) -> None:
        """Put a file in place; nothing happens when it holds that already. Raises Unavailable."""
        path = self.path / name
        self._unsynced.add(path.parent)
        try:
            if path.is_file() and path.read_bytes() == content:
                return
            self._create_folders(path.parent)
            draft = path.with_name(path.name + DRAFT_SUFFIX)
            _write_synced(draft, content)
            draft.replace(path)
        except OSError as error:
            raise _unavailable(path, error) from error

    def sync(self) -> None:
        """Make durable what was written; until then a power cut may take it back. Raises Unavailable."""
        try:
            for folder in sorted(self._unsynced):
                _sync(folder)
        except OSError as error:
            raise _unavailable(self.path, error) from error
        self._unsynced.clear()

    def remove_folder(self, name: str) -> None:
        """Remove a folder with what it holds, as far as that is allowed."""
        shutil.rmtree(self.path / name, ignore_errors=True)

    def _create_folders(self, folder: Path) -> None:
        """Like mkdir -p; the folder that each new one stands in is synced later."""
        if folder.is_dir():
            return
        self._create_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        self._unsynced.add(folder.parent)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"{path} cannot be written ({error.strerror}); check permissions and free space, then repeat",
        reason="SEALED_FOLDER_NOT_WRITABLE",
    )
