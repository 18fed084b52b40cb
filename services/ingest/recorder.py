"""Records usage events: divides them among partitions, bounds what waits, and puts the answers together."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.ingest.group_recorder import GroupRecorder
from services.ingest.live_index import LiveIndex
from services.ingest.partition import rows_by_partition
from services.ingest.partition_writer import PartitionWriter
from services.ingest.recording import Outcome, Recording
from services.ingest.usage_columns import UsageColumns
from services.kernel.clock import Clock
from services.kernel.errors import Overloaded

WAITING_ROWS_MAX = 100_000
WAITING_BYTES_MAX = 64 * 1024 * 1024
GATHER_S = 0.002
GATHER_S_MAX = 0.010
"""Few rows wait GATHER_S a partition for company, and no longer than this: more partitions share the same traffic."""


class Recorder:
    """Each usage event is recorded once, for ever, by any number of replicas. Belongs to one event loop."""

    def __init__(self, store: EventStore, clock: Clock, live: LiveIndex, partitions: int, replica: UUID) -> None:
        """`replica` names this process; no other may have the same."""
        self._partitions = partitions
        self._writers = [
            PartitionWriter(
                GroupRecorder(store, clock, live, partition, replica).record, min(GATHER_S * partitions, GATHER_S_MAX)
            )
            for partition in range(partitions)
        ]
        self._waiting_rows = 0
        self._waiting_bytes = 0

    async def record(self, columns: UsageColumns, size_bytes: int) -> Recording:
        """What became of each usage event, told when all of them are durable; at least one.

        Raises Overloaded when too much waits already, and Unavailable when the log or the index cannot be used; some
        of the usage events may be recorded then. The same may be sent again at any time.
        """
        rows = rows_by_partition(columns.sources, self._partitions)
        with self._waiting(len(columns), size_bytes):
            if len(rows) == 1:
                (partition,) = rows
                return await self._writers[partition].submit(columns)
            answers = [self._writers[partition].submit(columns.take(rows[partition])) for partition in rows]
            return _put_together(rows, await _all(answers))

    @contextmanager
    def _waiting(self, rows: int, size_bytes: int) -> Iterator[None]:
        is_full = self._waiting_rows + rows > WAITING_ROWS_MAX or self._waiting_bytes + size_bytes > WAITING_BYTES_MAX
        if is_full:
            raise Overloaded(
                f"{self._waiting_rows} usage events are waiting to be recorded; wait, then send the same again"
            )
        self._waiting_rows += rows
        self._waiting_bytes += size_bytes
        try:
            yield
        finally:
            self._waiting_rows -= rows
            self._waiting_bytes -= size_bytes


async def _all(answers: Sequence["asyncio.Future[Recording]"]) -> list[Recording]:
    """Every answer; when some are errors, the first of them, but only after all partitions are done."""
    ended = await asyncio.gather(*answers, return_exceptions=True)
    recordings = [answer for answer in ended if isinstance(answer, Recording)]
    for answer in ended:
        if isinstance(answer, BaseException):
            raise answer
    return recordings


def _put_together(rows: Mapping[int, Sequence[int]], parts: Sequence[Recording]) -> Recording:
    """The answers of the partitions, in the order of the request."""
    count = sum(map(len, rows.values()))
    outcomes, positions = [Outcome.RECORDED] * count, [Position(0)] * count
    for part_rows, part in zip(rows.values(), parts, strict=True):
        for row, outcome, position in zip(part_rows, part.outcomes, part.positions, strict=True):
            outcomes[row], positions[row] = outcome, position
    return Recording(outcomes, positions, [written for part in parts for written in part.written])
