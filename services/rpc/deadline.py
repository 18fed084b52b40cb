"""How long a call may take: its deadline, or the server's cap where the caller set none."""

from typing import Protocol

CALL_TIMEOUT_S = 30.0


class _HasTimeRemaining(Protocol):
    def time_remaining(self) -> float | None: ...


def time_left_s(context: _HasTimeRemaining) -> float:
    """Seconds until the call must be answered, at most CALL_TIMEOUT_S."""
    remaining = context.time_remaining()
    return CALL_TIMEOUT_S if remaining is None else max(0.0, min(remaining, CALL_TIMEOUT_S))
