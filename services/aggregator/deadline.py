"""The moment until which an answer is worth working for: its caller waits no longer, or is gone before."""

import threading
from contextvars import ContextVar
from dataclasses import dataclass

from services.kernel.clock import monotonic_s
from services.kernel.errors import TimedOut

caller_gone: ContextVar[threading.Event | None] = ContextVar("caller_gone", default=None)
"""Set when the caller of the call that runs now does not wait any more; None where nobody would tell."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant of the monotonic clock, in seconds; it is over as soon as `gone` is set, too."""

    at_s: float
    gone: threading.Event | None = None

    @staticmethod
    def after(seconds: float) -> "Deadline":
        """The moment so many seconds from now, of the call that runs now."""
        return Deadline(monotonic_s() + seconds, caller_gone.get())

    def left_s(self) -> float:
        """Seconds left, never below zero."""
        is_gone = self.gone is not None and self.gone.is_set()
        return 0.0 if is_gone else max(0.0, self.at_s - monotonic_s())

    def require(self) -> None:
        """Raises TimedOut when the moment has passed."""
        if not self.left_s():
            raise TimedOut("the answer took longer than the call's deadline; ask for less, or allow more time")
