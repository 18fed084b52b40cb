"""A process that does everything, killed or failing at every failpoint there is, on every backend."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from services.eventstore.open import open_store
from services.kernel.clock import SystemClock, monotonic_s
from services.kernel.failpoint import VARIABLE
from tests.crash.arena import BACKENDS
from tests.crash.failpoint_matrix import failed_everywhere, killed_everywhere, points
from tests.crash.fold_kills import killed_while_folding
from tests.crash.history import Outcome
from tests.crash.inspection import inspect
from tests.crash.worker import Order
from tests.crash.worker_process import WorkerProcess

SEED = 20240131
LIVES = 4
LOCK_TIMEOUT_S = 0.5
WAIT_S = 60.0
POLL_S = 0.05


@pytest.mark.timeout(600)
def test_killed_at_every_failpoint_it_goes_on_and_loses_nothing(tmp_path: Path) -> None:
    trial = killed_everywhere("sqlite", tmp_path, SEED)
    assert trial.violations == ()
    assert set(trial.faults) == {f"killed at {name}" for name in points("sqlite")}
    assert trial.kills == len(points("sqlite"))


def test_a_projection_killed_while_it_folds_is_still_a_fold_of_the_log(tmp_path: Path) -> None:
    trial = killed_while_folding(tmp_path, SEED, LIVES)
    assert trial.violations == ()
    assert trial.kills > 0


def test_a_process_that_hangs_in_its_commit_holds_up_its_neighbours_until_it_is_killed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    hanging, neighbour = (
        WorkerProcess("writer", Order(url, name, str(tmp_path), SEED, lock_timeout_s=LOCK_TIMEOUT_S))
        for name in ("hanging", "neighbour")
    )
    try:
        neighbour.start()
        until(lambda: outcomes(neighbour)[Outcome.ACKNOWLEDGED] > 0)
        hanging.settings = {VARIABLE: "append.before_commit=hang@3"}
        hanging.start()
        until(lambda: outcomes(neighbour)[Outcome.UNKNOWN] > 0)
        assert any("another process has been writing" in line.get("detail", "") for line in neighbour.lines())
        hanging.kill()
        before = outcomes(neighbour)[Outcome.ACKNOWLEDGED]
        until(lambda: outcomes(neighbour)[Outcome.ACKNOWLEDGED] > before)
        neighbour.stop()
    finally:
        hanging.kill()
        neighbour.kill()
    store = open_store(url, SystemClock())
    assert inspect(store, [hanging, neighbour]).violations == ()
    store.close()


def outcomes(worker: WorkerProcess) -> Counter[str]:
    return Counter(line["outcome"] for line in worker.lines() if line["what"] == "ended")


def until(is_so: Callable[[], bool]) -> None:
    deadline_s, waiting = monotonic_s() + WAIT_S, threading.Event()
    while not is_so():
        assert monotonic_s() < deadline_s, "waited too long"
        waiting.wait(POLL_S)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_at_every_failpoint_is_got_over_and_loses_nothing(backend: str, tmp_path: Path) -> None:
    trial = failed_everywhere(backend, tmp_path, SEED)
    assert trial.violations == ()
    assert set(trial.faults) == {f"an error at {name}" for name in points(backend)}
