"""Records one group of usage events in its stream, each once, however many replicas write the same stream."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

import structlog

from services.eventstore.catalogue import encode
from services.eventstore.event import Appended, NewEvent, WrongExpectedVersion
from services.eventstore.store import EventStore
from services.ingest.compute import LOOP_ROWS_MAX, computed
from services.ingest.dedupe_index import DedupeIndex, Fold
from services.ingest.durable_append import append_durably
from services.ingest.group import Group, Piece
from services.ingest.index_fold import READ_EVENTS_MAX, read_folds
from services.ingest.index_manifest import Checkpoint
from services.ingest.joined_usage import Usage, joined
from services.ingest.live_index import LiveIndex
from services.ingest.partition import usage_stream
from services.ingest.recording import Commitment, Recording, Written
from services.kernel.clock import Clock
from services.kernel.errors import Corrupt, Unavailable
from services.kernel.ids import derived_uuid

RACES_MAX = 50
"""Races against other replicas that one group may lose; the loser knows of it at once and is likely to win the next."""

T = TypeVar("T")

log = structlog.get_logger()


class GroupRecorder:
    """The log decides: an append at the version that the index stands at, or none. The index only says what to try."""

    def __init__(self, store: EventStore, clock: Clock, live: LiveIndex, partition: int, replica: UUID) -> None:
        """`replica` tells this process from the others that write the same partition."""
        self._store = store
        self._clock = clock
        self._live = live
        self._partition = partition
        self._stream = usage_stream(partition)
        self._replica = replica
        self._events_made = 0

    async def record(self, group: Group) -> Recording:
        """Write what is not in the log yet; returns when all of the group is durable.

        Raises Unavailable when that is not known, for some of it may be in the log; also while the log cannot be read,
        for nobody can tell then what is a repeat. Producers send the same again, and nothing of it is given up.
        """
        try:
            return await self._record(group)
        except Corrupt as error:
            self._live.withdraw()
            raise Unavailable(
                f"nothing is recorded until ingest can read its log; send the same again later: {error.message}",
                reason=error.reason,
            ) from error

    async def _record(self, group: Group) -> Recording:
        races_lost = 0
        while True:
            version = await self._learn(group)
            try:
                await self._write_missing(group, version)
            except WrongExpectedVersion as lost:
                races_lost += 1
                await self._require_another_try(lost, races_lost)
                await self._catch_up()
            else:
                return group.recording()

    def prepared(self, parts: Sequence[Usage], commitment: Commitment) -> Group:
        """The group of these parts, at least one; any thread may make it."""
        batch = joined(parts)
        digests = self._live.digests
        group = Group(batch, digests.keys(batch), digests.contents(batch), commitment)
        group.encode_ahead()
        return group

    async def _learn(self, group: Group) -> int:
        """Ask the index for the group's keys; returns the version of the stream that its answer stands for."""

        def ask(index: DedupeIndex) -> int:
            group.learn(index.lookup(group.keys))
            return index.version(self._partition)

        return await self._with_index(len(group), ask)

    async def _write_missing(self, group: Group, version: int) -> None:
        for piece in await computed(group.weight, lambda: group.pieces(group.missing())):
            event = self._event(piece, version + 1)
            appended = await append_durably(self._store, self._stream, event, version)
            version = appended.version
            group.mark_written(piece.rows, self._written(appended))
            await self._fold(group, piece, appended, event)

    def _event(self, piece: Piece, version: int) -> NewEvent:
        """An id of its own for every append: none is taken for another, whoever made it, also when the clock stands."""
        now = self._clock.now()
        event = encode(piece.message, self._stream, version, now)
        self._events_made += 1
        return replace(event, id=derived_uuid(now, event.id.bytes, self._replica.bytes, self._events_made.to_bytes(8)))

    async def _fold(self, group: Group, piece: Piece, appended: Appended, event: NewEvent) -> None:
        """A failure leaves the index behind the log, which the next append finds out."""
        keys, contents = group.keys[piece.rows], group.contents[piece.rows]
        checkpoint = Checkpoint(appended.version, appended.position, event.id.bytes)
        try:
            fold = Fold(checkpoint, keys, contents)
            await self._with_index(len(keys), lambda index: index.fold(self._partition, fold))
        except Unavailable as error:
            log.warning("usage recorded, dedupe index behind", stream=str(self._stream), reason=error.message)

    async def _with_index(self, rows: int, work: Callable[[DedupeIndex], T]) -> T:
        """What work with the caught-up index returns: on few rows it is done here and now, on many in a thread.

        So is what meets a spill that is due, which waits for the disk.
        """
        if rows <= LOOP_ROWS_MAX and not self._live.is_spill_due():
            async with self._live.at_hand() as index:
                return work(index)
        return await asyncio.to_thread(self._with_lent_index, work)

    def _with_lent_index(self, work: Callable[[DedupeIndex], T]) -> T:
        with self._live.lent_caught_up() as index:
            return work(index)

    async def _require_another_try(self, lost: WrongExpectedVersion, races_lost: int) -> None:
        if lost.actual < lost.expected:
            self._live.withdraw()
            raise Unavailable(
                f"the dedupe index is ahead of the log, which was cut short or replaced ({lost.message}); nothing is "
                "recorded until an operator has restored the log or deleted the index; send the same again later",
                reason="LOG_REWOUND",
            )
        if races_lost >= RACES_MAX:
            raise Unavailable(
                f'other replicas wrote stream "{self._stream}" first {races_lost} times; send the same again later'
            )

    async def _catch_up(self) -> None:
        """Fold what others wrote."""
        while True:
            async with self._live.at_hand() as index:
                version = index.version(self._partition)
            folds = await asyncio.to_thread(read_folds, self._store, self._partition, version, self._live.digests)
            await asyncio.to_thread(self._fold_all, folds)
            if len(folds) < READ_EVENTS_MAX:
                return

    def _fold_all(self, folds: Sequence[Fold]) -> None:
        with self._live.lent_caught_up() as index:
            for fold in folds:
                index.fold(self._partition, fold)

    def _written(self, appended: Appended) -> Written:
        return Written(self._stream, appended.version, appended.position, appended.leaves[-1], appended.recorded_at)
