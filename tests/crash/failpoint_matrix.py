"""Every failpoint × what can happen there, over a process that does everything: reached, survived, and checked."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns

from services.eventstore.open import open_store
from services.kernel.clock import SystemClock, monotonic_s
from services.kernel.failpoint import NAMES, VARIABLE, Action, announcement
from tests.crash.arena import Arena, opened_arena
from tests.crash.history import Outcome
from tests.crash.inspection import inspect
from tests.crash.law import Law, Violation
from tests.crash.trial import Trial
from tests.crash.watch import Watch
from tests.crash.worker import Order
from tests.crash.worker_paths import complaints_path
from tests.crash.worker_process import KILLED, WorkerProcess

REACH_TIMEOUT_S = 40.0
GO_ON_TIMEOUT_S = 60.0
PASSAGES_MAX = {"swap": 2, "append": 30}
"""At which passage at most it happens, by the point's first word; elsewhere PASSAGES_ELSEWHERE."""
PASSAGES_ELSEWHERE = 5
POLL_S = 0.05
PACE_S = 0.1
REBUILD_CHANCE = 0.3

UNREACHABLE: dict[str, frozenset[str]] = {
    "sqlite": frozenset(),
    "postgres": frozenset(),
    "kurrentdb": frozenset({"append.before_commit"}),
}
"""Points that a backend does not have: KurrentDB commits in the server, there is nothing of ours in between."""


ELSEWHERE = frozenset(name for name in NAMES if name.startswith("archive."))
"""Points of a part that has kills of its own: test_usage_archive_survives_kill.py."""


def points(backend: str) -> list[str]:
    """The points that must be reached on a backend; those of a rebuild first, while the log is short."""
    return sorted(NAMES - ELSEWHERE - UNREACHABLE[backend], reverse=True)


def killed_everywhere(backend: str, folder: Path, seed: int) -> Trial:
    """One life after the other over the same log, each killed at another point, and a last one that is not."""
    return _Matrix(backend, folder, seed).killed_everywhere()


def failed_everywhere(backend: str, folder: Path, seed: int) -> Trial:
    """One life in which an error is raised at every point, once each, and which has to get over it."""
    return _Matrix(backend, folder, seed).failed_everywhere()


class _Matrix:
    def __init__(self, backend: str, folder: Path, seed: int) -> None:
        self._backend = backend
        self._folder = folder
        self._seed = seed
        self._chance = random.Random(f"{seed}/failpoints")
        self._faults: Counter[str] = Counter()
        self._found: list[Violation] = []

    def killed_everywhere(self) -> Trial:
        return self._tried("killed at every failpoint", self._kill_at_each)

    def failed_everywhere(self) -> Trial:
        return self._tried("an error at every failpoint", self._fail_at_all)

    def _tried(self, what: str, trouble: Callable[[WorkerProcess], None]) -> Trial:
        arena = opened_arena(self._backend, self._folder)
        worker = self._worker(arena)
        try:
            trouble(worker)
            worker.stop()
            return self._checked(what, arena, worker)
        finally:
            worker.kill()
            arena.close()

    def _worker(self, arena: Arena) -> WorkerProcess:
        order = Order(
            arena.direct_url,
            "platform",
            str(self._folder),
            self._seed,
            pace_s=PACE_S,
            rebuild_chance=REBUILD_CHANCE,
        )
        return WorkerProcess("platform", order)

    def _kill_at_each(self, worker: WorkerProcess) -> None:
        for name in points(self._backend):
            worker.settings = {VARIABLE: self._armed(name, Action.KILL)}
            worker.start()
            if self._awaited(f"{name} was not reached", REACH_TIMEOUT_S, worker.has_ended):
                self._faults[f"killed at {name}"] += 1
            worker.kill()
        worker.settings = {}
        worker.start()
        self._require_progress(worker)

    def _fail_at_all(self, worker: WorkerProcess) -> None:
        names = points(self._backend)
        worker.settings = {VARIABLE: ",".join(self._armed(name, Action.ERROR) for name in names)}
        worker.start()
        for name in names:
            line = announcement(name, Action.ERROR)
            if self._awaited(f"{name} was not reached", REACH_TIMEOUT_S, lambda line=line: line in _said(worker)):
                self._faults[f"an error at {name}"] += 1
        self._require_progress(worker)

    def _armed(self, name: str, action: Action) -> str:
        passages = PASSAGES_MAX.get(name.partition(".")[0], PASSAGES_ELSEWHERE)
        return f"{name}={action}@{self._chance.randrange(1, passages + 1)}"

    def _require_progress(self, worker: WorkerProcess) -> None:
        """Appends are acknowledged and usage is recorded after everything, and all who read reach what was written."""
        since_ns = monotonic_ns()
        watch = Watch(worker)
        self._awaited(
            "no append or no usage was acknowledged any more",
            GO_ON_TIMEOUT_S,
            lambda: watch.look().acknowledged_ns > since_ns and watch.recorded_ns > since_ns,
        )
        end = watch.acknowledged_position
        self._awaited(f"not all who read reached {end}", GO_ON_TIMEOUT_S, lambda: watch.look().stands_at() >= end)

    def _awaited(self, complaint: str, timeout_s: float, is_so: Callable[[], bool]) -> bool:
        deadline_s = monotonic_s() + timeout_s
        waiting = threading.Event()
        while not is_so():
            if monotonic_s() > deadline_s:
                self._found.append(Violation(Law.CONVERGED, f"{complaint} within {timeout_s:g} s"))
                return False
            waiting.wait(POLL_S)
        return True

    def _checked(self, what: str, arena: Arena, worker: WorkerProcess) -> Trial:
        store = open_store(arena.direct_url, SystemClock())
        try:
            inspected = inspect(store, [worker], forgiven=[KILLED])
        finally:
            store.close()
        history = inspected.history
        return Trial(
            what=what,
            backend=self._backend,
            seed=self._seed,
            kills=worker.ends.count(KILLED),
            faults=self._faults,
            operations=history.operations,
            acknowledged=sum(attempt.outcome is Outcome.ACKNOWLEDGED for attempt in history.attempts),
            events=inspected.events,
            violations=(*self._found, *inspected.violations),
        )


def _said(worker: WorkerProcess) -> str:
    return complaints_path(worker.order).read_text(errors="replace")
