"""Appends to a log from several threads until it is killed, or until its count is reached; run as a program.

    append_worker.py LOG NAME APPENDS WAL_BYTES_MAX

Each thread has a stream of its own and takes part in one that all workers share. An append of 1 to 5 events carries
the ids of worker, thread and append; once it is acknowledged, one line with the position of its last event and these
ids goes to standard output, in one write.
"""

import os
import sys
import threading
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from services.eventstore.event import NO_STREAM, NewEvent, StreamName, WrongExpectedVersion
from services.eventstore.sqlite.connection import SqliteLimits
from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SimulatedClock

THREADS = 4
SHARED = StreamName("shared", "0")


def main(log: str, name: str, appends: str, wal_bytes_max: str) -> None:
    clock = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
    store = SqliteEventStore(Path(log), clock, limits=SqliteLimits(wal_bytes_max=int(wal_bytes_max)))
    threads = [
        threading.Thread(daemon=True, target=append_all, args=(store, f"{name}/{number}", int(appends)))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()


def append_all(store: SqliteEventStore, name: str, appends: int) -> None:
    for number in range(appends):
        stream = SHARED if number % 4 == 3 else StreamName("own", name)
        append(store, stream, [event(f"{name}/{number}", index) for index in range(1 + number % 5)])


def append(store: SqliteEventStore, stream: StreamName, events: list[NewEvent]) -> None:
    """Append at the version that is read, again and again until nobody came first; then acknowledge."""
    while True:
        newest = store.read_stream(stream, from_version=-1, limit=1, backwards=True)
        try:
            appended = store.append(stream, events, newest[0].version if newest else NO_STREAM)
        except WrongExpectedVersion:
            continue
        ids = " ".join(each.id.hex for each in events)
        os.write(1, f"{appended.position} {ids}\n".encode())
        return


def event(append_name: str, index: int) -> NewEvent:
    digest = sha256(f"{append_name}/{index}".encode()).digest()
    return NewEvent(UUID(bytes=digest[:16]), "Happened", 1, append_name.encode() + bytes(300))


if __name__ == "__main__":
    main(*sys.argv[1:])
