"""How long calls to KurrentDB may take, how often they are repeated, and how much is held in memory."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KurrentLimits:
    """Every wait, retry and buffer of the backend.

    `call_timeout_s` gives way to `DefaultDeadline` of the URL. `page_timeout_s` is long because the server may have to
    search the whole log for an event of a rare category; a peer that is gone is found by pings, long before.
    """

    call_timeout_s: float = 10.0
    stream_timeout_s: float = 60.0
    page_timeout_s: float = 300.0
    poll_timeout_s: float = 2.0

    append_total_s: float = 20.0
    append_attempts_max: int = 30
    any_version_attempts_max: int = 100
    read_total_s: float = 20.0
    read_attempts_max: int = 20
    subscribe_attempts_max: int = 12
    pause_first_s: float = 0.05
    pause_longest_s: float = 2.0

    appenders: int = 8
    group_requests_max: int = 256

    poll_s: float = 0.05
    stall_s: float = 5.0
    silence_s: float = 30.0
    fill_s: float = 1.0
    feed_events_max: int = 4_000

    def pauses(self, count: int) -> Iterator[float]:
        """The seconds to wait before each of `count` repeats: doubled from the first to the longest."""
        pause = self.pause_first_s
        for _ in range(count):
            yield pause
            pause = min(2 * pause, self.pause_longest_s)
