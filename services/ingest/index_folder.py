"""The folder of the dedupe index: which generation is live, and that only one process uses it."""

import fcntl
import os
import shutil
from pathlib import Path

import structlog

from services.ingest.dedupe_index import DedupeIndex
from services.ingest.digests import Digests
from services.ingest.index_entries import IndexBroken
from services.ingest.index_limits import IndexLimits
from services.kernel.errors import RuleViolated, Unavailable

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = structlog.get_logger()


class IndexFolder:
    """Each generation of the index stands in a folder named by its number; the file `live` names the one in use."""

    def __init__(
        self, path: Path, digests: Digests, *, boot_id: str | None = None, limits: IndexLimits | None = None
    ) -> None:
        """`digests` are those of the log; `boot_id` names this run of the machine, by default as the system says."""
        self._path = path
        self._boot_id = _boot_id() if boot_id is None else boot_id
        self._digests = digests
        self._limits = limits
        self._lock: int | None = None

    def lock(self) -> None:
        """Keep every other process out until `unlock` or the end of this process; raises RuleViolated.

        Raises Unavailable when the folder cannot be written.
        """
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written ({error.strerror}); check METERLOG_VAR") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise RuleViolated(
                f"another ingest process uses {self._path}; stop it, or give each its own METERLOG_VAR",
                reason="INDEX_IN_USE",
            ) from error
        self._lock = descriptor

    def unlock(self) -> None:
        """Let other processes in; safe to repeat."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def open_live(self) -> tuple[int, DedupeIndex]:
        """The live generation; an empty one where there is none that can be trusted."""
        number = self._live_number()
        if number in self._numbers():
            try:
                return number, self._open(number)
            except IndexBroken as error:
                log.warning("dedupe index discarded", generation=number, reason=error.message)
        return self.create_live()

    def create_live(self) -> tuple[int, DedupeIndex]:
        """An empty generation in place of all others, none of which may be open."""
        number = self._next_number()
        self.make_live(number)
        return number, self._open(number)

    def create(self) -> tuple[int, DedupeIndex]:
        """An empty generation beside the live one."""
        number = self._next_number()
        try:
            return number, self._open(number)
        except IndexBroken:
            self.drop(number)
            raise

    def make_live(self, number: int) -> None:
        """Make a generation the live one and drop all others; after a crash in between one of both is live."""
        draft = self._path / "live.new"
        try:
            draft.write_text(str(number))
            draft.replace(self._path / "live")
        except OSError as error:
            raise Unavailable(f"{draft} cannot be written: {error.strerror}") from error
        for other in self._numbers():
            if other != number:
                self.drop(other)

    def drop(self, number: int) -> None:
        """Delete a generation."""
        shutil.rmtree(self._path / str(number), ignore_errors=True)

    def _open(self, number: int) -> DedupeIndex:
        return DedupeIndex(self._path / str(number), self._boot_id, self._digests, self._limits)

    def _next_number(self) -> int:
        return max([self._live_number(), *self._numbers()]) + 1

    def _live_number(self) -> int:
        """0 when none is named."""
        try:
            text = (self._path / "live").read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            return 0
        return int(text) if text.isascii() and text.isdigit() else 0

    def _numbers(self) -> list[int]:
        return [int(entry.name) for entry in self._path.iterdir() if entry.name.isdigit()]


def _boot_id() -> str:
    """What the machine calls the time since it was last started; empty where it does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
