"""A replica that follows: it looks on while another one folds the tables, until it is its own turn to fold them."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.kernel.clock import monotonic_s
from services.projection.database import Database
from services.projection.live import LiveTables

T = TypeVar("T")

LOOK_EVERY_S = 0.05
"""How often it is looked how far the tables are folded: what a follower is behind the replica that folds, at most."""

TAKE_OVER_EVERY_S = 1.0
"""How often it is looked whether anybody folds."""


class LookingOn(Generic[T]):
    """Keeps `live` at the position that the tables have; `moved` is called after each look."""

    def __init__(self, store: EventStore, database: Database, live: LiveTables[T], moved: Callable[[], None]) -> None:
        self._store = store
        self._database = database
        self._live = live
        self._moved = moved
        self._goal: Position | None = None
        self.is_caught_up = False
        self.remark = ""

    def until_leading(self, stop: threading.Event) -> None:
        """Look on; returns when this replica is the one that folds, or when it stops."""
        try_at_s = monotonic_s()
        while not stop.is_set():
            self._look()
            if monotonic_s() >= try_at_s:
                if self._database.leads():
                    break
                try_at_s = monotonic_s() + TAKE_OVER_EVERY_S
            stop.wait(LOOK_EVERY_S)
        self.remark = ""

    def _look(self) -> None:
        """Caught up is who has once seen the tables where the log ended when the look began."""
        if self._goal is None:
            self._goal = self._store.head().position
        if self._live.look_on():
            self.remark = ""
            self.is_caught_up = self.is_caught_up or self._live.position >= self._goal
        else:
            self.remark = (
                "the replica that folds has no tables of this release yet; when it is one of another release, end it"
            )
        self._moved()
