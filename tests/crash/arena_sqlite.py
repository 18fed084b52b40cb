"""A log in a file, whose lock is held by a neighbour, or by a foreign program."""

import random
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from services.eventstore.sqlite.writer_lock import WriterLock
from services.kernel.errors import Unavailable
from tests.crash.arena import Trouble

HELD_S_MAX = 1.0
LOCK_TIMEOUT_S = 10.0


class SqliteArena:
    """A log in a file of the folder."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log.db"

    @property
    def url(self) -> str:
        """As in `Arena`."""
        return f"sqlite:///{self._log}"

    @property
    def direct_url(self) -> str:
        """As in `Arena`."""
        return self.url

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """As in `Arena`."""
        return {"lock held": self._hold_lock, "file locked by a foreign program": self._lock_file}

    def heal(self) -> None:
        """Nothing lasts here."""

    def close(self) -> None:
        """Nothing was started."""

    def _hold_lock(self, chance: random.Random, stop: threading.Event) -> list[str]:
        try:
            with WriterLock(self._log, LOCK_TIMEOUT_S).held():
                stop.wait(chance.uniform(0.05, HELD_S_MAX))
        except Unavailable:
            return ["the lock was not to be had"]
        return ["the lock held for a while"]

    def _lock_file(self, chance: random.Random, stop: threading.Event) -> list[str]:
        if not self._log.exists():
            return ["no file to lock yet"]
        try:
            with closing(sqlite3.connect(self._log, isolation_level=None, timeout=1.0)) as foreign:
                foreign.execute("PRAGMA wal_autocheckpoint = 0")
                foreign.execute("BEGIN IMMEDIATE")
                stop.wait(chance.uniform(0.05, HELD_S_MAX))
                foreign.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return ["the file was not to be locked"]
        return ["the file locked by a foreign program for a while"]
