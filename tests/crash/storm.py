"""The storm: clients of one log, killed, paused and cut off at random; then calm, and all must come together."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns

from services.eventstore.open import open_store
from services.kernel.clock import SystemClock, monotonic_s
from tests.crash.arena import Arena, opened_arena
from tests.crash.history import Outcome
from tests.crash.inspection import inspect
from tests.crash.law import Law, Violation
from tests.crash.trial import Trial
from tests.crash.watch import Watch
from tests.crash.worker import Order
from tests.crash.worker_process import WorkerProcess

CREW = (("writer", 2), ("reader", 2), ("projector", 1))
START_TIMEOUT_S = 90.0
MEDDLER_TIMEOUT_S = 150.0

FAULTS_MIN = 6
ACKNOWLEDGED_MIN = 11
"""So much there is in every storm, which goes on for as long as it takes, up to a bound."""

ENOUGH_TIMEOUT_S = 60.0
PAUSE_S_MAX = 1.0
LULL_S_MAX = 1.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Storm:
    """What is to be tried. With a bug, it is planted in every client."""

    backend: str
    seed: int
    seconds: float
    bug: str = ""
    calm_timeout_s: float = 90.0
    """How long everybody may take to come together once the trouble is over."""


def weathered(storm: Storm, folder: Path) -> Trial:
    """Let a storm pass over a new log in `folder`, and check everything."""
    arena = opened_arena(storm.backend, folder)
    try:
        return _Weathering(storm, folder, arena).run()
    finally:
        arena.close()


class _Weathering:
    def __init__(self, storm: Storm, folder: Path, arena: Arena) -> None:
        self._storm = storm
        self._arena = arena
        self._chance = random.Random(f"{storm.seed}/clients")
        self._faults: Counter[str] = Counter()
        self._over = threading.Event()
        self._has_meddled = False
        self._workers = [
            WorkerProcess(role, Order(arena.url, f"{role}-{number}", str(folder), storm.seed, bug=storm.bug))
            for role, count in CREW
            for number in range(count)
        ]
        self._watches = {worker.order.name: Watch(worker) for worker in self._workers}

    def run(self) -> Trial:
        try:
            for worker in self._workers:
                worker.start()
            found = self._rage()
            self._arena.heal()
            found += self._come_together()
        finally:
            for worker in self._workers:
                worker.kill()
        return self._checked(found)

    def _rage(self) -> list[Violation]:
        """Trouble for the clients in this thread, and for what is between and below them in another."""
        silent = self._awaited("a first acknowledgement", START_TIMEOUT_S, self._has_begun)
        meddler = threading.Thread(target=self._meddle, daemon=True)
        meddler.start()
        end_s = monotonic_s() + self._storm.seconds
        while monotonic_s() < end_s or (not self._is_enough() and monotonic_s() < end_s + ENOUGH_TIMEOUT_S):
            self._over.wait(self._chance.uniform(0.05, LULL_S_MAX))
            self._strike_client()
            self._revive()
        self._over.set()
        meddler.join(MEDDLER_TIMEOUT_S)
        assert self._has_meddled, "the trouble itself failed, or did not end; its traceback is above"
        return silent

    def _is_enough(self) -> bool:
        acknowledged = sum(self._watched(worker).acknowledged for worker in self._named("writer"))
        return acknowledged >= ACKNOWLEDGED_MIN and sum(list(self._faults.values())) >= FAULTS_MIN

    def _strike_client(self) -> None:
        victim = self._chance.choice(self._workers)
        if self._chance.random() < 0.7:
            self._faults[f"{victim.role} killed"] += 1
            victim.kill()
            victim.start()
        else:
            self._faults[f"{victim.role} paused"] += 1
            victim.pause()
            self._over.wait(self._chance.uniform(0.05, PAUSE_S_MAX))
            victim.resume()

    def _revive(self) -> None:
        """A client that ended by itself is a violation later; the storm goes on with it."""
        for worker in self._workers:
            if worker.has_ended():
                worker.kill()
                worker.start()

    def _meddle(self) -> None:
        chance = random.Random(f"{self._storm.seed}/arena")
        while not self._over.wait(chance.uniform(0.05, LULL_S_MAX)):
            name = chance.choice(sorted(self._arena.troubles))
            self._faults.update(self._arena.troubles[name](chance, self._over))
        self._has_meddled = True

    def _has_begun(self) -> bool:
        return all(self._watched(worker).acknowledged_ns for worker in self._named("writer"))

    def _come_together(self) -> list[Violation]:
        """In calm weather every writer gets an answer; then writing ends, and every reader reaches the end."""
        self._revive()
        began_ns = monotonic_ns()
        found = self._awaited(
            "an acknowledgement for every writer",
            self._storm.calm_timeout_s,
            lambda: all(self._watched(worker).acknowledged_ns > began_ns for worker in self._named("writer")),
        )
        for worker in self._named("writer"):
            worker.stop()
        store = open_store(self._arena.direct_url, SystemClock())
        try:
            end = store.head().position
        finally:
            store.close()
        behind = [*self._named("reader"), *self._named("projector")]
        found += self._awaited(
            f"the log's end {end} for every reader",
            self._storm.calm_timeout_s,
            lambda: all(self._watched(worker).stands_at() >= end for worker in behind),
        )
        for worker in behind:
            worker.stop()
        return found

    def _awaited(self, what: str, timeout_s: float, is_so: Callable[[], bool]) -> list[Violation]:
        deadline_s = monotonic_s() + timeout_s
        waiting = threading.Event()
        while not is_so():
            if monotonic_s() > deadline_s:
                states = ", ".join(
                    f"{worker.order.name} at {self._watched(worker).stands_at()}" for worker in self._workers
                )
                return [Violation(Law.CONVERGED, f"{what} did not come within {timeout_s:g} s ({states})")]
            waiting.wait(POLL_S)
        return []

    def _watched(self, worker: WorkerProcess) -> Watch:
        return self._watches[worker.order.name].look()

    def _named(self, role: str) -> Sequence[WorkerProcess]:
        return [worker for worker in self._workers if worker.role == role]

    def _checked(self, found: list[Violation]) -> Trial:
        store = open_store(self._arena.direct_url, SystemClock())
        try:
            inspected = inspect(store, self._workers)
        finally:
            store.close()
        return Trial(
            what=f"storm of {self._storm.seconds:g} s" + (f" with bug {self._storm.bug}" if self._storm.bug else ""),
            backend=self._storm.backend,
            seed=self._storm.seed,
            kills=sum(worker.kills for worker in self._workers),
            faults=self._faults,
            operations=inspected.history.operations,
            acknowledged=sum(attempt.outcome is Outcome.ACKNOWLEDGED for attempt in inspected.history.attempts),
            events=inspected.events,
            violations=(*found, *inspected.violations),
        )
