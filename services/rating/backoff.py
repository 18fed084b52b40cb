"""How long what failed is left alone: longer after each failure in a row, forgotten after a success."""

from collections.abc import Collection, Hashable
from dataclasses import dataclass

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
DOUBLINGS_MAX = 10


@dataclass(frozen=True, slots=True)
class _Pause:
    failures: int
    until_s: float


class Backoff:
    """Pauses by key, in seconds of a monotonic clock that the caller reads. For one thread."""

    def __init__(self) -> None:
        self._pauses: dict[Hashable, _Pause] = {}

    def is_waiting(self, key: Hashable, now_s: float) -> bool:
        """Whether the key is to be left alone."""
        return key in self._pauses and now_s < self._pauses[key].until_s

    def failed(self, key: Hashable, now_s: float) -> float:
        """Begin the next pause, twice as long as the one before; returns its seconds."""
        failures = self._pauses[key].failures + 1 if key in self._pauses else 1
        pause_s = min(FIRST_PAUSE_S * (1 << min(failures - 1, DOUBLINGS_MAX)), LONGEST_PAUSE_S)
        self._pauses[key] = _Pause(failures, now_s + pause_s)
        return pause_s

    def succeeded(self, key: Hashable) -> None:
        """Forget the key's failures."""
        self._pauses.pop(key, None)

    def keep_only(self, keys: Collection[Hashable]) -> None:
        """Forget the failures of all other keys: what is no longer to be done cannot fail."""
        self._pauses = {key: pause for key, pause in self._pauses.items() if key in keys}

    def is_any_failing(self) -> bool:
        """Whether any key failed the last time."""
        return bool(self._pauses)
