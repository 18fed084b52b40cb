"""Faults at chosen system calls, injected by strace: the process is killed there, or the call fails."""

import random
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

PROBE_TIMEOUT_S = 20.0

INJECTED = "(INJECTED)"
"""How a record marks a call that was made to fail."""


@dataclass(frozen=True, slots=True)
class SyscallFault:
    """What happens at a system call: from the `first` passage of a thread on, once, or at each `every`-th (0: once)."""

    call: str
    effect: str
    first: int
    every: int = 0

    def prefix(self, paths: Sequence[str] = (), record: str = "/dev/null") -> list[str]:
        """What to put before a command; only calls on `paths` count, when there are any. `record` lists the calls."""
        when = f"{self.first}+{self.every}" if self.every else f"{self.first}"
        only = [word for path in paths for word in ("-P", path)]
        inject = f"inject={self.call}:{self.effect}:when={when}"
        return ["strace", "-f", "-qq", "-s", "0", "-o", record, *only, "-e", f"trace={self.call}", "-e", inject]


def killed_at(call: str, chance: random.Random, passages: int) -> SyscallFault:
    """SIGKILL at a random one of the first passages."""
    return SyscallFault(call, "signal=SIGKILL", chance.randrange(1, passages + 1))


def failing(call: str, error: str, chance: random.Random, passages: int) -> SyscallFault:
    """The call fails again and again, each time after enough that do not for some work to be done in between."""
    every = chance.randrange(1 + passages // 4, passages + 2)
    return SyscallFault(call, f"error={error}", chance.randrange(1, passages + 1), every)


@cache
def can_inject() -> bool:
    """Whether strace is there, and may do this here."""
    if shutil.which("strace") is None:
        return False
    probe = [*SyscallFault("getppid", "signal=SIGKILL", 1).prefix(), "sh", "-c", "true"]
    return subprocess.run(probe, timeout=PROBE_TIMEOUT_S, check=False).returncode in (0, -signal.SIGKILL)


NO_STRACE = (
    "faults at system calls are injected by strace, which is not there or may not trace here; install it "
    "(Debian: apt-get install strace), and in a container allow ptrace (--cap-add=SYS_PTRACE)"
)
