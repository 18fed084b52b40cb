"""The moment until which an answer is worth working for."""

from dataclasses import dataclass

from services.kernel.clock import monotonic_s
from services.kernel.errors import TimedOut


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant of the monotonic clock, in seconds."""

    at_s: float

    @staticmethod
    def after(seconds: float) -> "Deadline":
        """The moment so many seconds from now."""
        return Deadline(monotonic_s() + seconds)

    def left_s(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at_s - monotonic_s())

    def require(self) -> None:
        """Raises TimedOut when the moment has passed."""
        if monotonic_s() >= self.at_s:
            raise TimedOut("the answer took longer than the call's deadline; ask for less, or allow more time")
