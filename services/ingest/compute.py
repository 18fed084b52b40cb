"""Where work on many rows is done, so that the event loop stays free for everybody else."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

ROW_BYTES = 256
"""Bytes of a usage event of ordinary size; a larger one is the work of several."""
LOOP_ROWS_MAX = 2_000
"""Rows worked on between two turns of the event loop: about five milliseconds."""


async def computed(rows: int, work: Callable[[], T]) -> T:
    """What `work` on so many rows of ordinary size returns: few are worked on here and now, many in a thread."""
    return work() if rows <= LOOP_ROWS_MAX else await asyncio.to_thread(work)
