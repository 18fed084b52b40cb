"""What a process did to files, call by call, from the record that strace wrote."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TRACED = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate", "unlink")

_CALL = re.compile(r"(\d+) +(\w+)\((.*?)(?:\) += (-?\d+).*| <unfinished \.\.\.>)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>.*\) += (-?\d+)")
_FILE = re.compile(r"\d+<((?:\\x[0-9a-f]{2})*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class DiskCall:
    """One call that succeeded, placed where it returned. `offset` is where a write begins, or the length kept."""

    name: str
    path: str
    content: bytes = b""
    offset: int = 0

    @property
    def is_sync(self) -> bool:
        """Whether it returns only when the file is on the disk."""
        return self.name in ("fdatasync", "fsync")


def trace_prefix(record: Path, paths: list[str]) -> list[str]:
    """What to put before a command, so that its calls on `paths` are recorded with all that they write."""
    only = [word for path in paths for word in ("-P", path)]
    return ["strace", "-f", "-qq", "-y", "-xx", "-s", "4000000", "-o", str(record), *only, "-e", _traced()]


def _traced() -> str:
    return f"trace={','.join(TRACED)}"


def disk_calls(record: Path) -> Iterator[DiskCall]:
    """The calls in the order in which they returned; one that never returned is left out."""
    begun: dict[str, tuple[str, str]] = {}
    with record.open() as lines:
        for line in lines:
            resumed, call = _RESUMED.match(line), _CALL.match(line)
            if resumed:
                thread, _, result = resumed.groups()
                name, arguments = begun.pop(thread, ("", ""))
            elif call:
                thread, name, arguments, result = call.groups()
                if result is None:
                    begun[thread] = (name, arguments)
                    continue
            else:
                continue
            if name and int(result) >= 0:
                yield _call(name, arguments)


def _call(name: str, arguments: str) -> DiskCall:
    file, text = _FILE.match(arguments), _TEXT.search(arguments)
    content = _bytes(text.group(1)) if text else b""
    if name == "unlink":
        return DiskCall(name, content.decode())
    assert file is not None, f"{name} is not on a file: {arguments[:80]}"
    path = _bytes(file.group(1)).decode()
    offset = int(arguments.rpartition(",")[2]) if name in ("pwrite64", "ftruncate") else 0
    return DiskCall(name, path, content, offset)


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
