"""A turn: what is decided about usage by looking at all of it is decided by one caller at a time, of all replicas."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock

from services.aggregator.deadline import Deadline
from services.kernel.errors import TimedOut
from services.projection.database import Database

DECIDING = "deciding about usage"

LOOK_EVERY_S = 1.0
"""How often who waits looks whether its caller is still there."""


class Turn:
    """Held from before the look at what counts until what was decided stands in the log."""

    def __init__(self, database: Database | None = None) -> None:
        """Replicas meet in `database`; without one there is this process only."""
        self._lock = Lock()
        self._database = database

    @contextmanager
    def taken(self, deadline: Deadline) -> Iterator[Callable[[], None]]:
        """Wait for the turn and hold it; raises TimedOut, and then nothing was decided.

        It gives what is to be called before the decision is appended: it raises Unavailable when the turn was lost.
        """
        while not self._lock.acquire(timeout=min(deadline.left_s(), LOOK_EVERY_S)):
            if not deadline.left_s():
                raise TimedOut("other corrections were before this one for longer than the call's deadline; repeat it")
        try:
            with self._alone(deadline) as require_turn:
                yield require_turn
        finally:
            self._lock.release()

    def _alone(self, deadline: Deadline) -> AbstractContextManager[Callable[[], None]]:
        if self._database is None:
            return nullcontext(lambda: None)
        return self._database.alone(DECIDING, deadline.left_s())
