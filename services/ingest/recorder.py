"""Records usage events: divides them among partitions, and puts the answers together."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from services.eventstore.store import EventStore
from services.ingest.group_recorder import GroupRecorder
from services.ingest.joined_usage import Usage
from services.ingest.live_index import LiveIndex
from services.ingest.partition_writer import GATHER_S_MAX, PartitionWriter
from services.ingest.recording import Commitment, Outcome, Recording
from services.kernel.clock import Clock
from services.kernel.errors import InvalidInput

GATHER_S = 0.002
"""Few rows wait so long a partition for company: more partitions share the same traffic."""


class Recorder:
    """Each usage event is recorded once, for ever, by any number of replicas. Belongs to one event loop."""

    def __init__(self, store: EventStore, clock: Clock, live: LiveIndex, partitions: int, replica: UUID) -> None:
        """`replica` names this process; no other may have the same."""
        self._partitions = partitions
        gather_s = min(GATHER_S * partitions, GATHER_S_MAX)
        recorders = [GroupRecorder(store, clock, live, partition, replica) for partition in range(partitions)]
        self._writers = [PartitionWriter(recorder.prepared, recorder.record, gather_s) for recorder in recorders]

    async def record(self, usage: Usage, commitment: Commitment = Commitment.EACH) -> Recording:
        """What became of each usage event, told when all of them are durable; at least one.

        Raises InvalidInput for an atomic batch of several sources, or one that is too large. Raises Unavailable when
        the log or the index cannot be used; some of the usage events may be recorded then. The same may be sent again
        at any time.
        """
        if commitment is not Commitment.EACH:
            _require_one_source(usage)
        parts = usage.divided(self._partitions)
        answers = [self._writers[partition].submit(part, commitment) for partition, (_, part) in parts.items()]
        if len(answers) == 1:
            return await answers[0]
        return _put_together([rows for rows, _ in parts.values()], await _all(answers))


def _require_one_source(usage: Usage) -> None:
    names = usage.source_names()
    if len(names) > 1:
        raise InvalidInput(
            f"an atomic batch has usage events of {len(names)} sources; send one batch a source",
            field="atomic",
            reason="ATOMIC_SOURCES",
        )


async def _all(answers: Sequence["asyncio.Future[Recording]"]) -> list[Recording]:
    """Every answer; when some are errors, the first of them, but only after all partitions are done."""
    ended = await asyncio.gather(*answers, return_exceptions=True)
    recordings = [answer for answer in ended if isinstance(answer, Recording)]
    for answer in ended:
        if isinstance(answer, BaseException):
            raise answer
    return recordings


def _put_together(rows: Sequence[NDArray[np.int64] | None], parts: Sequence[Recording]) -> Recording:
    """The answers of several partitions, in the order of the request; `rows` are those of each part."""
    count = sum(len(part.outcomes) for part in parts)
    outcomes, positions = np.full(count, Outcome.RECORDED, np.uint8), np.zeros(count, np.int64)
    for part_rows, part in zip(rows, parts, strict=True):
        outcomes[part_rows], positions[part_rows] = part.outcomes, part.positions
    return Recording(outcomes, positions, [written for part in parts for written in part.written])
