"""Where the files of the archive lie: a folder of this machine, or a place in an object store."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

import pyarrow as pa
from pyarrow import fs

from services.aggregator.archive.new_file import DRAFT_SUFFIX, NewFile, NewLocalFile, NewObject
from services.kernel.errors import InvalidInput, Unavailable

SUFFIX: Final = ".parquet"

_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@]*@")


class ArchiveFolder:
    """Files with names of their own, each written once and whole. Its text holds no credentials."""

    def __init__(self, file_system: fs.FileSystem, root: str, shown: str) -> None:
        self._file_system = file_system
        self._root = root
        self._shown = shown

    @staticmethod
    def open(url: str, field: str) -> "ArchiveFolder":
        """The folder that a URL names, such as file:///…, s3://bucket/… or gs://bucket/…; raises InvalidInput."""
        shown = shown_url(url)
        try:
            file_system, root = fs.FileSystem.from_uri(url)
        except (pa.ArrowException, OSError, ValueError):
            file_system = None  # the library quotes what it could not read, and that may hold a secret
        if file_system is None:
            raise InvalidInput(
                f'no archive can be kept at "{shown[:100]}"; write file:///<folder>, s3://<bucket>/<path>, '
                "gs://<bucket>/<path>, or none",
                field=field,
                reason="BAD_SETTING",
            )
        return ArchiveFolder(file_system, root, shown)

    def __str__(self) -> str:
        return self._shown

    def begin(self, name: str) -> NewFile:
        """A new file to write to; raises OSError."""
        if isinstance(self._file_system, fs.LocalFileSystem):
            return NewLocalFile(Path(self._root), name)
        try:
            return NewObject(self._file_system.open_output_stream(self._path(name)))
        except FileNotFoundError:  # few stores have folders that must be there first
            self._file_system.create_dir(str(PurePosixPath(self._path(name)).parent), recursive=True)
            return NewObject(self._file_system.open_output_stream(self._path(name)))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raise what goes wrong while files are written as Unavailable."""
        try:
            yield
        except OSError as error:
            raise Unavailable(
                f"a file of the usage archive cannot be written to {self}: {error}; check space and permissions",
                reason="ARCHIVE_NOT_WRITABLE",
            ) from error

    def open_file(self, name: str) -> pa.NativeFile:
        """A file to read; raises OSError."""
        return self._file_system.open_input_file(self._path(name))

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens when it is gone. Raises Unavailable."""
        try:
            self._file_system.delete_file(self._path(name))
        except FileNotFoundError:
            return
        except (OSError, pa.ArrowException) as error:
            raise Unavailable(f"a file of the usage archive at {self} cannot be removed: {error}") from error

    def names(self, below: str) -> list[str]:
        """The files in the folder `below`, drafts included; raises Unavailable."""
        chosen = fs.FileSelector(self._path(below), allow_not_found=True, recursive=True)
        try:
            found = self._file_system.get_file_info(chosen)
        except (OSError, pa.ArrowException) as error:
            raise Unavailable(f"the usage archive at {self} cannot be listed: {error}") from error
        root = PurePosixPath(self._root)
        paths = [PurePosixPath(each.path) for each in found if each.type is fs.FileType.File]
        return sorted(
            str(path.relative_to(root)) for path in paths if path.name.endswith((SUFFIX, SUFFIX + DRAFT_SUFFIX))
        )

    def _path(self, name: str) -> str:
        return str(PurePosixPath(self._root) / name)


def shown_url(url: str) -> str:
    """A URL without user, password and options, which may be secret."""
    return _CREDENTIALS.sub("", url.partition("?")[0])
