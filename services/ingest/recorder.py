"""Records usage events: divides them among partitions, and puts the answers together."""

import asyncio
from collections.abc import Mapping, Sequence
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

    async def record(self, columns: UsageColumns) -> Recording:
        """What became of each usage event, told when all of them are durable; at least one.

        Raises Unavailable when the log or the index cannot be used; some of the usage events may be recorded then. The
        same may be sent again at any time.
        """
        rows = rows_by_partition(columns.sources, self._partitions)
        if len(rows) == 1:
            (partition,) = rows
            return await self._writers[partition].submit(columns)
        answers = [self._writers[partition].submit(columns.take(rows[partition])) for partition in rows]
        return _put_together(rows, await _all(answers))


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
