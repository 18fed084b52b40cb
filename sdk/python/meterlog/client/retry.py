"""When a batch is sent again, and when it is given up. The ids stay the same, so a repeat never counts twice."""

from dataclasses import dataclass

RETRIED_STATUSES = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"})
"""The gRPC statuses after which the same batch may succeed; CANCELLED is what a stopping server leaves behind."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter, up to a total time.

    A batch is given up `give_up_after_s` after its first try, or at the first answer that a repeat cannot mend. One
    try takes at most `call_timeout_s`. The delay starts at `first_delay_s` and doubles up to `delay_max_s`; jitter
    takes away up to half of it.
    """

    give_up_after_s: float = 60.0
    call_timeout_s: float = 10.0
    first_delay_s: float = 0.05
    delay_max_s: float = 2.0

    def delay_s(self, status: str, tries: int, elapsed_s: float, fraction: float) -> float | None:
        """Seconds to wait before the next try, or None to give up.

        `status` is that of the last of `tries` tries, `fraction` a random number in [0, 1).
        """
        left_s = self.give_up_after_s - elapsed_s
        if status not in RETRIED_STATUSES or left_s <= 0:
            return None
        longest = min(self.delay_max_s, self.first_delay_s * 2.0 ** min(tries - 1, _DOUBLINGS_MAX))
        return min(longest * (0.5 + fraction / 2), left_s)


_DOUBLINGS_MAX = 30
