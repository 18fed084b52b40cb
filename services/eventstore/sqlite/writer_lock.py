"""One writer at a time over all processes of a machine, by advisory locks (flock) on files beside the log.

Two files make it fair. Who wants to write first takes the turn, then waits for the lock, then gives the turn back. A
writer that wants to go again at once has to queue for the turn behind those who wait already. The locks vanish with
the process that holds them, however it ends.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.kernel.clock import monotonic_s
from services.kernel.errors import Unavailable

_PAUSE_MIN_S = 0.0002
_PAUSE_MAX_S = 0.005
_PAUSE_GROWTH = 1.5


class WriterLock:
    """The lock of one log. Threads and stores of one process exclude each other with it, too; it is not reentrant."""

    def __init__(self, log: Path, timeout_s: float) -> None:
        self._log = log
        self._lock = log.with_name(log.name + ".lock")
        self._turn = log.with_name(log.name + ".turn")
        self._timeout_s = timeout_s

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; raises Unavailable when it was not free in time."""
        deadline_s = monotonic_s() + self._timeout_s
        turn = self._locked(self._turn, deadline_s)
        try:
            lock = self._locked(self._lock, deadline_s)
        finally:
            os.close(turn)
        try:
            yield
        finally:
            os.close(lock)

    def _locked(self, path: Path, deadline_s: float) -> int:
        """A descriptor that holds the lock until it is closed."""
        descriptor = self._opened(path)
        try:
            self._wait_for(descriptor, deadline_s)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _wait_for(self, descriptor: int, deadline_s: float) -> None:
        pause_s = _PAUSE_MIN_S
        while not _try_lock(descriptor):
            if monotonic_s() >= deadline_s:
                raise Unavailable(
                    f"another process has been writing to {self._log} for {self._timeout_s:g} s; "
                    "nothing was written; see whether it hangs, then repeat",
                    reason="LOG_BUSY",
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * _PAUSE_GROWTH, _PAUSE_MAX_S)

    def _opened(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Unavailable(
                f"the lock file {path} cannot be opened ({error.strerror}); check the directory and its permissions",
                reason="LOG_NOT_WRITABLE",
            ) from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
