"""One log in SQLite, written by processes that die or fail at a chosen point, and checked after every death."""

import random
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SystemClock
from services.kernel.failpoint import VARIABLE, Action, announcement
from tests.crash.history import History, Outcome
from tests.crash.inspection import Inspection, inspect
from tests.crash.strace import INJECTED, SyscallFault, failing, killed_at
from tests.crash.trial import Trial
from tests.crash.worker import Order
from tests.crash.worker_paths import complaints_path
from tests.crash.worker_process import WorkerProcess

APPENDS = 40
"""Appends of each thread of a life."""

LIFE_TIMEOUT_S = 90.0
WAL_BYTES_MAX = 60_000
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)

KILLS = "killed"
RAISES = "error"

_PASSAGES = {"pwrite64": 300, "fdatasync": 60, "ftruncate": 4, "write": 80}
"""About as many as one life makes in a thread, so that a random one of them mostly comes."""


@dataclass(frozen=True, slots=True)
class Case:
    """A system call or a failpoint, and what happens there."""

    point: str
    effect: str

    def __str__(self) -> str:
        return f"{self.effect} at {self.point}"

    @property
    def is_failpoint(self) -> bool:
        """Whether it needs no strace."""
        return self.effect == RAISES

    def arm(self, worker: WorkerProcess, chance: random.Random, log: Path) -> None:
        """Let it happen in the worker's next life: once, or again and again where one can go on."""
        if self.is_failpoint:
            worker.settings[VARIABLE] = f"{self.point}={RAISES}@{chance.randrange(1, 5)}+{chance.randrange(2, 6)}"
        else:
            worker.prefix = self._fault(chance).prefix(self._paths(log), str(_record(worker)))

    def struck(self, worker: WorkerProcess, end: int) -> int:
        """How often it happened in the life that just ended."""
        if self.effect == KILLS:
            return int(end in KILLED)
        if self.is_failpoint:
            line = announcement(self.point, Action.ERROR)
            return complaints_path(worker.order).read_text(errors="replace").count(line)
        return _record(worker).read_text(errors="replace").count(INJECTED)

    def _fault(self, chance: random.Random) -> SyscallFault:
        if self.effect == KILLS:
            return killed_at(self.point, chance, _PASSAGES[self.point])
        return failing(self.point, self.effect, chance, _PASSAGES[self.point])

    def _paths(self, log: Path) -> list[str]:
        """The history is written too, by `write`, which is where a client dies between an answer and hearing it."""
        return [] if self.point == "write" else [str(log), f"{log}-wal"]


CASES = (
    *(Case(call, KILLS) for call in ("pwrite64", "fdatasync", "ftruncate", "write")),
    *(Case("pwrite64", error) for error in ("EIO", "ENOSPC", "EINTR")),
    *(Case("fdatasync", error) for error in ("EIO", "ENOSPC")),
    Case("ftruncate", "EIO"),
    *(Case(f"append.{point}", RAISES) for point in ("before_write", "before_commit", "after_commit", "after_answer")),
)
"""SQLite writes with pwrite64, syncs with fdatasync, and empties its write-ahead log with ftruncate."""


def tried(case: Case, folder: Path, seed: int, lives: int, bug: str = "") -> Trial:
    """So many lives, each with the fault at another passage; checked after each, and after one without any."""
    chance = random.Random(f"{seed}/{case}")
    log = folder / "log.db"
    order = Order(f"sqlite:///{log}", "writer", str(folder), seed, 0, APPENDS, WAL_BYTES_MAX, bug=bug)
    worker = WorkerProcess("writer", order)
    struck: Counter[str] = Counter()
    last = Inspection(History(), 0, ())
    for number in range(lives + 1):
        worker.prefix, worker.settings = [], {}
        if number < lives:
            case.arm(worker, chance, log)
        worker.start()
        end = worker.wait(LIFE_TIMEOUT_S)
        if number < lives:
            _count(case, case.struck(worker, end), struck)
        last = _checked(log, worker)
        if last.violations:
            break
    return Trial(
        what=f"{case}, {lives} lives" + (f", bug {bug}" if bug else ""),
        backend="sqlite",
        seed=seed,
        histories=number + 1,
        kills=struck[str(case)] if case.effect == KILLS else 0,
        faults=struck,
        operations=last.history.operations,
        acknowledged=sum(attempt.outcome is Outcome.ACKNOWLEDGED for attempt in last.history.attempts),
        events=last.events,
        violations=last.violations,
    )


def _count(case: Case, times: int, struck: Counter[str]) -> None:
    """Of a failpoint all lives together are told in one file; elsewhere each life is told by itself."""
    if case.is_failpoint:
        struck[str(case)] = times
    elif times:
        struck[str(case)] += times
    else:
        struck[f"{case}: not reached"] += 1


def _record(worker: WorkerProcess) -> Path:
    return Path(worker.order.folder) / "strace.record"


def _checked(log: Path, worker: WorkerProcess) -> Inspection:
    if not log.exists():
        return Inspection(History(), 0, ())
    store = SqliteEventStore(log, SystemClock())
    try:
        return inspect(store, [worker], forgiven=KILLED)
    finally:
        store.close()
