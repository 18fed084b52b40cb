"""One `meterlog up` a folder: an exclusive lock that its services share, and that the kernel lets go of."""

import fcntl
import os
from pathlib import Path
from threading import Event
from typing import Final

from services.cli.addresses import is_alive
from services.cli.failure import CommandFailed, misused
from services.kernel.clock import monotonic_s

LOCK_FILE: Final = "meterlog.lock"
ORPHANS_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.1


class VarLock:
    """A held lock. Services inherit `descriptor`, so the folder stays locked until the last of them is gone."""

    def __init__(self, var: Path, descriptor: int) -> None:
        self.var = var
        self.descriptor = descriptor
        self._is_released = False

    @staticmethod
    def take(var: Path) -> "VarLock":
        """Lock the folder, which is created when missing; raises CommandFailed that names the process holding it.

        Services of a platform that was killed need a moment to stop; that long it waits.
        """
        descriptor = _open(var)
        deadline = monotonic_s() + ORPHANS_TIMEOUT_S
        while not _try_lock(descriptor):
            holder = _holder(descriptor)
            if is_alive(holder) or monotonic_s() > deadline:
                os.close(descriptor)
                raise _held(var, holder)
            Event().wait(POLL_S)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return VarLock(var, descriptor)

    def release(self) -> None:
        """Let go. Safe to repeat."""
        if not self._is_released:
            self._is_released = True
            os.close(self.descriptor)


def _open(var: Path) -> int:
    try:
        var.mkdir(parents=True, exist_ok=True)
        return os.open(var / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise misused(f"{var} cannot be used: {error.strerror}; choose another folder with --var") from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> int:
    """The process that wrote its id; this one when the holder has not written it yet."""
    content = os.pread(descriptor, 32, 0).strip()
    return int(content) if content.isdigit() else os.getpid()


def _held(var: Path, holder: int) -> CommandFailed:
    if is_alive(holder):
        what = f"meterlog runs on {var} already (process {holder}); stop it, or choose another folder with --var"
    else:
        what = f"services that process {holder} started on {var} are still stopping; try again in a moment"
    return misused(what, "ALREADY_RUNNING")
