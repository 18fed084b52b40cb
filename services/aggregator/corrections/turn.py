"""A turn: what is decided about usage by looking at all of it is decided by one caller of this process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from services.aggregator.deadline import Deadline
from services.kernel.errors import TimedOut


class Turn:
    """Held from before the look at what counts until what was decided stands in the log."""

    def __init__(self) -> None:
        self._lock = Lock()

    @contextmanager
    def taken(self, deadline: Deadline) -> Iterator[None]:
        """Wait for the turn and hold it; raises TimedOut, and then nothing was decided."""
        if not self._lock.acquire(timeout=deadline.left_s()):
            raise TimedOut("other corrections were before this one for longer than the call's deadline; repeat it")
        try:
            yield
        finally:
            self._lock.release()
