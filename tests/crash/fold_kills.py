"""A projection that is killed again and again while it folds one log, and then has to be a fold of it."""

import random
from collections import Counter
from pathlib import Path

from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SystemClock, monotonic_s
from services.kernel.failpoint import VARIABLE
from tests.crash.inspection import Inspection, inspect
from tests.crash.law import Law, Violation
from tests.crash.trial import Trial
from tests.crash.watch import Watch
from tests.crash.worker import Order
from tests.crash.worker_process import KILLED, WorkerProcess

APPENDS = 60
POINTS = ("fold.before_write", "fold.before_checkpoint", "fold.before_commit", "fold.after_commit")
PASSAGES_MAX = 4
LIFE_TIMEOUT_S = 90.0
LEVEL_TIMEOUT_S = 30.0


def killed_while_folding(folder: Path, seed: int, lives: int, bug: str = "") -> Trial:
    """A log is written; so many lives of a projection end at points of its fold; the last one goes on to the end."""
    chance = random.Random(f"{seed}/folds")
    order = Order(f"sqlite:///{folder / 'log.db'}", "writer", str(folder), seed, appends=APPENDS)
    writer = WorkerProcess("writer", order)
    writer.start()
    writer.wait(LIFE_TIMEOUT_S)
    projector = WorkerProcess(
        "projector", Order(order.url, "projector", str(folder), seed, rebuild_chance=0.0, bug=bug)
    )
    faults: Counter[str] = Counter()
    for number in range(lives):
        point = POINTS[number % len(POINTS)]
        projector.settings = {VARIABLE: f"{point}=kill@{chance.randrange(1, PASSAGES_MAX + 1)}"}
        projector.start()
        faults[f"killed at {point}" if _ended(projector) == KILLED else f"{point}: not reached"] += 1
    projector.settings = {}
    projector.start()
    late = [] if _is_level(projector, folder) else [Violation(Law.CONVERGED, "the projection never was level")]
    projector.stop()
    inspected = _inspected(folder, writer, projector)
    return Trial(
        what=f"killed while folding, {lives} lives" + (f", bug {bug}" if bug else ""),
        backend="sqlite",
        seed=seed,
        kills=projector.ends.count(KILLED),
        faults=faults,
        operations=inspected.history.operations,
        acknowledged=len(inspected.history.attempts),
        events=inspected.events,
        violations=(*late, *inspected.violations),
    )


def _ended(projector: WorkerProcess) -> int:
    """It is told to end when it is level, because then the point is not to be reached any more."""
    watch, deadline_s = Watch(projector), monotonic_s() + LIFE_TIMEOUT_S
    end = _head(Path(projector.order.folder))
    while not projector.has_ended() and watch.look().stands_at() < end and monotonic_s() < deadline_s:
        projector.rest()
    if not projector.has_ended():
        projector.stop()
        return projector.ends[-1]
    return projector.wait(LIFE_TIMEOUT_S)


def _is_level(projector: WorkerProcess, folder: Path) -> bool:
    watch, deadline_s, end = Watch(projector), monotonic_s() + LEVEL_TIMEOUT_S, _head(folder)
    while watch.look().stands_at() < end:
        if monotonic_s() > deadline_s:
            return False
        projector.rest()
    return True


def _head(folder: Path) -> int:
    store = SqliteEventStore(folder / "log.db", SystemClock())
    try:
        return store.head().position
    finally:
        store.close()


def _inspected(folder: Path, *workers: WorkerProcess) -> Inspection:
    store = SqliteEventStore(folder / "log.db", SystemClock())
    try:
        return inspect(store, workers, forgiven=[KILLED])
    finally:
        store.close()
