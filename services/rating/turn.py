"""A turn: what is decided from several streams is decided by one caller of this process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from services.kernel.errors import TimedOut


class Turn:
    """Held from the look at what stands until the books show what was decided."""

    def __init__(self) -> None:
        self._lock = Lock()

    @contextmanager
    def taken(self, timeout_s: float) -> Iterator[None]:
        """Wait for the turn and hold it; raises TimedOut."""
        if not self._lock.acquire(timeout=max(timeout_s, 0.0)):
            raise TimedOut("others were before this call for longer than its deadline; repeat later")
        try:
            yield
        finally:
            self._lock.release()
