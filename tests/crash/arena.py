"""Where a log is tried: a store of one backend, what can go wrong with it, and how it is set right again."""

import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

Trouble = Callable[[random.Random, threading.Event], list[str]]
"""Makes trouble for a while, or until the event is set; returns what it did. It sets right what must not last."""


class Arena(Protocol):
    """One log for one trial. Closing it ends all that it started."""

    @property
    def url(self) -> str:
        """Of the log, as clients reach it: through whatever can go wrong."""

    @property
    def direct_url(self) -> str:
        """Of the log, past all that can go wrong."""

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """What can go wrong here, beside clients that are killed or paused."""

    def heal(self) -> None:
        """Set everything right."""

    def close(self) -> None:
        """End it. Safe to repeat."""


def opened_arena(backend: str, folder: Path) -> Arena:
    """The arena of a backend: "sqlite", "postgres" or "kurrentdb"."""
    return _ARENAS[backend](folder)


def _sqlite(folder: Path) -> Arena:
    from tests.crash.arena_sqlite import SqliteArena

    return SqliteArena(folder)


def _postgres(_folder: Path) -> Arena:
    from tests.crash.arena_postgres import PostgresArena

    return PostgresArena()


def _kurrentdb(folder: Path) -> Arena:
    from tests.crash.arena_kurrentdb import KurrentArena

    return KurrentArena(folder)


_ARENAS: dict[str, Callable[[Path], Arena]] = {"sqlite": _sqlite, "postgres": _postgres, "kurrentdb": _kurrentdb}

BACKENDS = tuple(_ARENAS)
