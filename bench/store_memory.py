"""Append and read many events in a process of its own, and tell how its memory grew.

    python bench/store_memory.py URL EVENTS

Prints the resident memory in bytes after a tenth of the events was appended, after all were, and after all were read.
"""

import os
import sys
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from uuid import UUID

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto" / "gen")]

from store_load import BATCH_EVENTS, EVENT_TYPE, PAYLOAD  # noqa: E402 (the path is set above)

from services.eventstore.event import BEGINNING, Appended, NewEvent, StreamName  # noqa: E402 (as above)
from services.eventstore.open import open_store  # noqa: E402 (as above)
from services.kernel.clock import SystemClock  # noqa: E402 (as above)

IN_FLIGHT = 4


def main(url: str, events: int) -> None:
    """Append in batches with a few in flight, then read in pages."""
    store = open_store(url, SystemClock())
    stream, pending, resident = StreamName("bench", "0"), deque[Future[Appended]](), []
    for first in range(0, events, BATCH_EVENTS):
        batch = [NewEvent(UUID(int=first + index), EVENT_TYPE, 1, PAYLOAD) for index in range(BATCH_EVENTS)]
        pending.append(store.submit(stream, batch, first - 1))
        if len(pending) > IN_FLIGHT:
            pending.popleft().result()
        if not resident and first >= events // 10:
            resident.append(resident_bytes())
    for appended in pending:
        appended.result()
    resident.append(resident_bytes())
    position = BEGINNING
    while not (page := store.read_all(after=position, limit=BATCH_EVENTS)).is_last:
        position = page.position
    resident.append(resident_bytes())
    store.close()
    print(*resident)


def resident_bytes() -> int:
    """Memory of this process that is in the machine's memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
