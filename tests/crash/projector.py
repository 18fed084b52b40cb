"""A process that folds the log into a projection, tells how far it is, and rebuilds it from time to time."""

import random
import threading
from contextlib import suppress

from services.eventstore.event import BEGINNING
from services.eventstore.store import EventStore
from services.projection.database import Database
from services.projection.projection import RebuildMode
from services.projection.runner import ProjectionRunner
from tests.crash.history_file import HistoryFile
from tests.crash.opening import PAUSE_S, TROUBLE, opened
from tests.crash.tally import TallyProjection, TallyTables
from tests.crash.worker import Order
from tests.crash.worker_paths import database_path

BATCH_MAX = 50
HELD_MAX = 3
"""Rebuilds that a projection holds at most."""

STOP_TIMEOUT_S = 30.0


def project(order: Order, history: HistoryFile, stop: threading.Event) -> None:
    """Fold until told to stop."""
    store = opened(order, stop)
    if store is None:
        return
    database = Database.open(f"sqlite:///{database_path(order)}")
    runner = _started(store, database, stop)
    if runner is not None:
        rebuilding = threading.Thread(target=_rebuild_often, args=(runner, order, history, stop), daemon=True)
        rebuilding.start()
        _watch(runner, order, history, stop)
        runner.stop(STOP_TIMEOUT_S)
        rebuilding.join(STOP_TIMEOUT_S)
    database.close()
    store.close()


def _started(store: EventStore, database: Database, stop: threading.Event) -> ProjectionRunner[TallyTables] | None:
    while not stop.is_set():
        runner = ProjectionRunner(store, database, TallyProjection(), batch_max=BATCH_MAX)
        try:
            runner.start()
        except TROUBLE:
            stop.wait(PAUSE_S)
        else:
            return runner
    return None


def _watch(runner: ProjectionRunner[TallyTables], order: Order, history: HistoryFile, stop: threading.Event) -> None:
    told = -1
    while not stop.wait(PAUSE_S):
        if runner.position() != told:
            told = runner.position()
            history.write("folded", order.name, position=told)


def _rebuild_often(
    runner: ProjectionRunner[TallyTables], order: Order, history: HistoryFile, stop: threading.Event
) -> None:
    """A rebuild takes long when the log is, and folding goes on meanwhile."""
    chance = random.Random(f"{order.seed}/{order.name}/{order.life}")
    while not stop.wait(PAUSE_S):
        if chance.random() < order.rebuild_chance:
            with suppress(*TROUBLE):
                _rebuild(runner, order, history, chance)


def _rebuild(runner: ProjectionRunner[TallyTables], order: Order, history: HistoryFile, chance: random.Random) -> None:
    """From the first event, or on from where one was stopped by a former life; when too many are held, none is."""
    held = runner.status().held
    if len(held) >= HELD_MAX:
        runner.discard(None)
        held = ()
    start = chance.choice([BEGINNING, *(each.position for each in held)])
    compared = runner.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=lambda _progress: None, start=start)
    history.write("rebuilt", order.name, position=compared.position, is_equal=compared.is_equal)
