"""Brings a dedupe index up to its usage streams: what each event of the log adds to it."""

import threading
from collections.abc import Callable, Mapping, Sequence

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent
from services.eventstore.store import EventStore
from services.eventstore.usage_batch import decode_usage
from services.ingest.dedupe_index import DedupeIndex, Fold
from services.ingest.digests import Digests, no_contents, no_keys
from services.ingest.index_manifest import Checkpoint
from services.ingest.partition import usage_stream
from services.kernel.errors import Corrupt, RuleViolated, Unavailable

READ_EVENTS_MAX = 16
"""Events in one read of a stream; each may hold 900 KiB."""


def fold_of(recorded: RecordedEvent, digests: Digests) -> Fold:
    """What an event of a usage stream adds; one that records no usage only moves the checkpoint."""
    checkpoint = Checkpoint(recorded.version, recorded.position, recorded.id.bytes)
    message = decode(recorded)
    if not isinstance(message, UsageRecorded):
        return Fold(checkpoint, no_keys(), no_contents())
    batch = decode_usage(message)
    return Fold(checkpoint, digests.keys(batch), digests.contents(batch))


def read_folds(
    store: EventStore, partition: int, after_version: int, digests: Digests, limit: int = READ_EVENTS_MAX
) -> Sequence[Fold]:
    """What up to `limit` events behind `after_version` add; fewer when the stream ends."""
    events = store.read_stream(usage_stream(partition), from_version=after_version + 1, limit=limit)
    return [fold_of(event, digests) for event in events]


def fold_stream(
    store: EventStore,
    partition: int,
    index: DedupeIndex,
    until_version: int,
    progress: Callable[[Fold], None],
    stop: threading.Event,
) -> None:
    """Fold a partition's stream up to and including `until_version`; raises Unavailable when `stop` is set.

    Raises Corrupt when the stream ends before that.
    """
    while (version := index.version(partition)) < until_version:
        if stop.is_set():
            raise Unavailable("the service is stopping; start again later")
        folds = read_folds(store, partition, version, index.digests, min(READ_EVENTS_MAX, until_version - version))
        if not folds:
            raise Corrupt(f"{usage_stream(partition)} ends before version {until_version}; verify the audit chain")
        for fold in folds:
            index.fold(partition, fold)
            progress(fold)


def require_same_log(store: EventStore, checkpoints: Mapping[int, Checkpoint], partitions: int) -> None:
    """Raises RuleViolated (LOG_REWOUND) when a checkpoint of the index is no event of this log.

    Then the log was cut short, restored or replaced: usage that was acknowledged is gone, or stands elsewhere.
    """
    for partition, checkpoint in checkpoints.items():
        stream = usage_stream(partition)
        standing = store.read_stream(stream, from_version=checkpoint.version, limit=1)
        if partition >= partitions or not standing or standing[0].id.bytes != checkpoint.event_id:
            raise RuleViolated(
                f'the dedupe index knows version {checkpoint.version} of stream "{stream}" (position '
                f"{checkpoint.position}) from another log: this one was cut short, restored or replaced. Restore the "
                "right one, or stop ingest and delete its folder usage_dedupe to build the index anew from this one",
                reason="LOG_REWOUND",
            )
