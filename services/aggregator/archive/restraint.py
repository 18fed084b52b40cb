"""How a worker holds back, so that those who fold and answer in the same process do not feel it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import thread_time
from typing import Protocol

BUSY_S = 0.02
"""Processor time that is taken in one go."""

REST_S_MAX = 1.0


class Restraint(Protocol):
    """Called between the small steps of long work, by the thread that works."""

    def rest(self) -> None:
        """Return when the next step may be taken."""


class Unrestrained:
    """Takes all the time that there is."""

    def rest(self) -> None:
        """At once."""


class ShareOfProcessor:
    """One thread works for at most `share` of the time of one processor, and rests in between.

    Nobody rests while the restraint is lifted, or once it was ended.
    """

    def __init__(self, share: float) -> None:
        self._rest_per_s = 1 / share - 1
        self._worked_until_s = 0.0
        self._haste = threading.Event()
        self._changing = threading.Lock()
        self._lifted = 0

    def rest(self) -> None:
        """As in `Restraint`; processor time is that of the calling thread."""
        worked_s = thread_time() - self._worked_until_s
        if 0 <= worked_s < BUSY_S:
            return
        if worked_s >= BUSY_S:  # less than nothing: a new thread took over
            self._haste.wait(min(worked_s * self._rest_per_s, REST_S_MAX))
        self._worked_until_s = thread_time()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Somebody waits for the work: whoever rests goes on, until the end of the block."""
        self._lift(1)
        try:
            yield
        finally:
            self._lift(-1)

    def end(self) -> None:
        """For ever, because the work is to stop soon."""
        self._lift(1)

    def _lift(self, change: int) -> None:
        with self._changing:
            self._lifted += change
            if self._lifted:
                self._haste.set()
            else:
                self._haste.clear()
