"""Waits until usage is counted up to a log position, from threads and from an event loop."""

import asyncio
import threading
from collections.abc import Callable

from meterlog.client.asking import Asking, AsyncAsking
from meterlog.client.clock import monotonic_s
from meterlog.client.counting import PAUSE_MAX_S, PAUSE_MIN_S, CountingState, counting_state, still_counting
from meterlog.client.usage_reader import READ_TIMEOUT_S

WAIT_TIMEOUT_S = 3_600.0

OnProgress = Callable[[CountingState], None]
"""Is told, a few times a second at most, how far it is."""


def wait_until_counted(asking: Asking, position: int, timeout_s: float, on_progress: OnProgress | None) -> None:
    """Return when usage is counted up to `position`; raises CallFailed (STILL_COUNTING), and the count goes on."""
    deadline_s, pause_s = monotonic_s() + timeout_s, PAUSE_MIN_S
    while (state := asking.one(counting_state(), READ_TIMEOUT_S)).position < position:
        if on_progress is not None:
            on_progress(state)
        if monotonic_s() + pause_s > deadline_s:
            raise still_counting(position, state, timeout_s)
        threading.Event().wait(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


async def wait_until_counted_async(
    asking: AsyncAsking, position: int, timeout_s: float, on_progress: OnProgress | None
) -> None:
    """As `wait_until_counted`."""
    deadline_s, pause_s = monotonic_s() + timeout_s, PAUSE_MIN_S
    while (state := await asking.one(counting_state(), READ_TIMEOUT_S)).position < position:
        if on_progress is not None:
            on_progress(state)
        if monotonic_s() + pause_s > deadline_s:
            raise still_counting(position, state, timeout_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)
