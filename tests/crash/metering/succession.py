"""Harms one replica of the aggregator after the other, mostly the one that folds, so that another takes its place."""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import psycopg

from services.kernel.clock import monotonic_s
from services.kernel.failpoint import Action
from tests.crash.metering.fleet import Fleet
from tests.crash.metering.service_process import ServiceProcess

LULL_S_MAX = 2.0
READY_S_MAX = 30.0
"""How long it is waited until all are ready, before the next is harmed; on a busy machine some are not."""
FROZEN_S_MAX = 4.0
CONNECT_TIMEOUT_S = 20
POLL_S = 0.05

LEADER_CHANCE = 0.8
ARMED_CHANCE = 0.5
PASSAGES_MAX = 12
POINTS = (
    "fold.before_commit",
    "fold.after_commit",
    "fold.before_checkpoint",
    "archive.before_commit",
    "archive.after_commit",
    "archive.after_file",
    "archive.after_delete",
    "append.before_commit",
    "append.after_commit",
    "swap.before_commit",
    "swap.after_commit",
)
"""Where one that was killed dies in its next life, as soon as it leads, and gets there."""

_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
_LEADING = """
    SELECT sessions.application_name FROM pg_locks AS locks JOIN pg_stat_activity AS sessions USING (pid)
    WHERE locks.locktype = 'advisory' AND locks.granted AND sessions.application_name LIKE 'meterlog %'
"""


class Succession(threading.Thread):
    """One harm at a time, until told to stop; the others live meanwhile. In the end all run."""

    def __init__(self, fleet: Fleet, seed: int, stop: threading.Event) -> None:
        super().__init__(name="succession", daemon=True)
        self._fleet = fleet
        self._chance = random.Random(f"{seed}/succession")
        self._stopping = stop
        self.faults: Counter[str] = Counter()

    def run(self) -> None:
        """A lull, then the next."""
        harms: tuple[Callable[[ServiceProcess, str], None], ...] = (self._kill, self._freeze, self._cut_off)
        while not self._stopping.wait(self._chance.uniform(0, LULL_S_MAX)):
            if self._all_are_ready():
                leading = self._leading() if self._chance.random() < LEADER_CHANCE else []
                chosen = self._chance.choice(leading or self._fleet.aggregators)
                self._chance.choice(harms)(chosen, "the replica that folds" if leading else "a replica")

    def _all_are_ready(self) -> bool:
        """Once they are; those that have died at a failpoint live again first. False when told to stop."""
        for process in self._fleet.aggregators:
            if process.has_ended():
                self.faults["replica killed at a failpoint"] += 1
                self._live_again(process)
        deadline_s = monotonic_s() + READY_S_MAX
        while not all(process.has_been_ready() for process in self._fleet.aggregators) and monotonic_s() < deadline_s:
            if self._stopping.wait(POLL_S):
                return False
        return not self._stopping.is_set()

    def _kill(self, process: ServiceProcess, which: str) -> None:
        self._live_again(process)
        self.faults[f"{which} killed"] += 1

    def _live_again(self, process: ServiceProcess) -> None:
        process.kill()
        point, passage = self._chance.choice(POINTS), self._chance.randrange(1, PASSAGES_MAX)
        process.start(f"{point}={Action.KILL}@{passage}" if self._chance.random() < ARMED_CHANCE else "")

    def _freeze(self, process: ServiceProcess, which: str) -> None:
        """It stands still, and its sessions end: when it goes on, it believes what is no longer so."""
        pid = process.pid
        if pid is not None:
            os.kill(pid, signal.SIGSTOP)
            try:
                self._cut_off(process, f"{which} frozen,")
                self._stopping.wait(self._chance.uniform(0, FROZEN_S_MAX))
            finally:
                os.kill(pid, signal.SIGCONT)

    def _cut_off(self, process: ServiceProcess, which: str) -> None:
        """Its sessions end."""
        with suppress(psycopg.Error), self._server() as connection:
            if connection.execute(_END, [f"meterlog % {process.pid}"]).fetchall():
                self.faults[f"{which} cut off"] += 1

    def _leading(self) -> list[ServiceProcess]:
        with suppress(psycopg.Error), self._server() as connection:
            pids = {name.rpartition(" ")[2] for (name,) in connection.execute(_LEADING)}
            return [process for process in self._fleet.aggregators if str(process.pid) in pids]
        return []

    def _server(self) -> "psycopg.Connection[tuple[str]]":
        return psycopg.connect(self._fleet.tables, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
