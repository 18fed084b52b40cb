"""The log of one service as a file: the lines as they came, the newest two files kept."""

from pathlib import Path
from typing import Final, TextIO

LOG_BYTES_MAX: Final = 16 * 1024 * 1024


class LogFile:
    """Appends lines; a full file becomes `<name>.1`, in place of the one before."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file: TextIO = self._open()

    def write(self, line: str) -> None:
        """Append one line, readable at once."""
        if self._file.tell() > LOG_BYTES_MAX:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._open()
        self._file.write(line + "\n")

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def _open(self) -> TextIO:
        return self._path.open("a", encoding="utf-8", buffering=1)
