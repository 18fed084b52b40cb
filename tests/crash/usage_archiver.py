"""A process that records, folds and archives usage until it is killed.

    python -m tests.crash.usage_archiver <folder>

It stands on an embedded log. Everything is small, so that every kind of step is soon taken.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from services.aggregator.archive import compaction, housekeeping, taking, time_cut
from services.eventstore.catalogue import encode
from services.eventstore.event import NO_STREAM, Position, StreamName
from services.eventstore.open import open_store
from services.eventstore.usage_batch import encode_usage, usage_batch_of
from services.kernel.clock import SystemClock, epoch_us
from tests.aggregator_room import DAY, NOW, Log, call
from tests.archive_room import ArchiveRoom
from tests.databases import SQLITE, tables_url
from tests.plain_usage import Event

ROUNDS = 12
SUBJECTS = ("ann", "bob", "cat")
SEED = 20_240_131


class DurableLog(Log):
    """A log on disk."""

    def __init__(self, folder: Path) -> None:
        self.store = open_store(f"sqlite:///{folder / 'events.db'}", SystemClock())  # type: ignore[assignment]  # any store will do
        self._stream = StreamName("usage", "0")
        newest = self.store.read_stream(self._stream, from_version=-1, limit=1, backwards=True)
        self._version = newest[0].version if newest else NO_STREAM

    def record(self, batch: Sequence[Event], partition: str = "0") -> Position:
        assert partition == "0", "one stream is enough here"
        columns = usage_batch_of(
            ["test"] * len(batch),
            [event.type for event in batch],
            [event.subject for event in batch],
            [f"{self._version + 1}-{row}" for row in range(len(batch))],
            [epoch_us(event.at) for event in batch],
            [event.value for event in batch],
            [event.properties for event in batch],
        )
        event = encode(encode_usage(columns), self._stream, self._version + 1, NOW)
        appended = self.store.append(self._stream, [event], self._version)
        self._version = appended.version
        return appended.position


@contextmanager
def small_steps() -> Iterator[None]:
    """Bounds under which files are merged and removed after a handful of batches."""
    with (
        patch.object(taking, "POOL_ROWS_MAX", 40),
        patch.object(time_cut, "FILES_MAX", 4),
        patch.object(compaction, "TIERS", (100, 400)),
        patch.object(housekeeping, "REMOVED_GRACE_S", 0.0),
    ):
        yield


def work(folder: Path) -> None:
    """Record, archive, merge and delete, round by round, like one who has all the time there is."""
    chance = random.Random(SEED)
    log = DurableLog(folder)
    room = ArchiveRoom(folder, log, url=tables_url(SQLITE, folder))
    appetite = compaction.Appetite(2, (100, 400))
    room.archive.open()
    room.housekeeping.sweep()
    for _ in range(ROUNDS):
        for _ in range(4):
            batch = [call(chance.randrange(72), subject=chance.choice(SUBJECTS)) for _ in range(12)]
            batch[0] = Event(
                "call", "ann", DAY - timedelta(days=chance.randrange(400)), batch[0].value, {"region": "eu"}
            )
            log.record(batch)
        room.catch_up()
        while room.growth.archive_some():
            pass
        while room.housekeeping.merge_some(appetite):
            pass
        room.housekeeping.delete_removed()
    room.close()
    log.store.close()


if __name__ == "__main__":
    with small_steps():
        work(Path(sys.argv[1]))
