"""How long a call may take: its deadline, or the server's cap where the caller set none."""

from typing import Protocol

CALL_TIMEOUT_S = 30.0


class HasTimeRemaining(Protocol):
    """The context of a call."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None without one."""


def time_left_s(context: HasTimeRemaining, at_most_s: float = CALL_TIMEOUT_S) -> float:
    """Seconds until the call must be answered, at most `at_most_s`; CALL_TIMEOUT_S where the caller set no deadline."""
    remaining = context.time_remaining()
    return CALL_TIMEOUT_S if remaining is None else max(0.0, min(remaining, at_most_s))
