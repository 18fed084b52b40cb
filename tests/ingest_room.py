"""The whole of ingest without a port: replicas on a store, producers that send, and what the log then holds."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from meterlog.events.v1.usage_pb2 import UsageRecorded
from meterlog.ingest.v1.ingest_pb2 import (
    RecordUsageRequest,
    RecordUsageResponse,
    UsageEvent,
    UsageOutcome,
    UsageResult,
)
from services.eventstore.catalogue import decode
from services.eventstore.event import Appended, NewEvent, RecordedEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import EventStore
from services.eventstore.usage_batch import decode_usage, property_column, property_keys
from services.ingest.backfill import Backfills
from services.ingest.client_limits import ClientLimits
from services.ingest.digests import Digests
from services.ingest.index_folder import IndexFolder
from services.ingest.index_follower import IndexFollower
from services.ingest.index_limits import IndexLimits
from services.ingest.intake import Intake
from services.ingest.live_index import LiveIndex
from services.ingest.recorder import Recorder
from services.ingest.server import IngestFace
from services.ingest.usage_report import UsageReport
from services.kernel.clock import SimulatedClock, monotonic_s
from services.kernel.ids import new_uuid
from services.kernel.quantity import decimal_text
from services.kernel.timestamp import to_timestamp

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
WAIT_S = 60.0
POLL_S = 0.002
LIMITS = IndexLimits(spill_keys=64, spill_folds=8, merge_runs=4)
"""So small that a handful of usage events goes through all that an index does."""

SECRET = b"the log of the tests"
CALLS_MAX = 256
BOOT_ID = "first run of the machine"


def usage(id: str, value: str = "1", **properties: str) -> UsageEvent:  # noqa: A002 (the field's name)
    """A well-formed usage event of the source "gateway"."""
    return UsageEvent(
        id=id,
        source="gateway",
        type="llm.completion",
        subject="tenant-1",
        time=to_timestamp(NOON - timedelta(minutes=1)),
        value=value,
        properties=properties,
    )


class Replica:
    """An ingest process in all but name, with an index folder of its own. Its index is closed when the block ends."""

    def __init__(
        self,
        store: EventStore,
        folder: Path,
        clock: SimulatedClock,
        *,
        partitions: int = 1,
        boot_id: str = BOOT_ID,
        limits: ClientLimits | None = None,
    ) -> None:
        self.live = LiveIndex(Digests(SECRET))
        index_folder = IndexFolder(folder, self.live.digests, boot_id=boot_id, limits=LIMITS)
        self.follower = IndexFollower(store, index_folder, self.live, partitions)
        recorder = Recorder(store, clock, self.live, partitions, new_uuid(NOON))
        self.report = UsageReport(clock)
        self.intake = Intake(recorder, clock, Backfills(store), limits or ClientLimits(0, CALLS_MAX), self.report)
        self.face = IngestFace(self.intake)

    async def send(self, *events: UsageEvent) -> RecordUsageResponse:
        """One request."""
        return await self.face.RecordUsage(RecordUsageRequest(events=events), cast(Any, None))

    def start(self) -> None:
        """Returns when the index is level with the log."""
        self.follower.start()
        until(self.follower.is_ready)

    def stop(self) -> None:
        """Ends in order."""
        self.follower.stop(WAIT_S)


class Room:
    """A clock, a store in memory unless given, and replicas; producers send through the event loop of the room."""

    def __init__(self, folder: Path, store: EventStore | None = None) -> None:
        self.folder = folder
        self.clock = SimulatedClock(NOON)
        self.store = store or MemoryEventStore(self.clock)
        self.runner = asyncio.Runner()

    @contextmanager
    def replica(
        self, name: str = "a", partitions: int = 1, boot_id: str = BOOT_ID, store: EventStore | None = None
    ) -> Iterator[Replica]:
        """A replica that has caught up; `name` names its index folder."""
        replica = Replica(store or self.store, self.folder / name, self.clock, partitions=partitions, boot_id=boot_id)
        replica.start()
        try:
            yield replica
        finally:
            replica.stop()

    def send(self, replica: Replica, *events: UsageEvent) -> RecordUsageResponse:
        """What the replica answers to one request."""
        return self.runner.run(replica.send(*events))

    def outcomes(self, replica: Replica, *events: UsageEvent) -> list[str]:
        """The outcomes of one request, in words."""
        return words(self.send(replica, *events).results)

    def recorded(self, partitions: int = 1) -> list[tuple[str, str, str]]:
        """Source, id and value of every usage event of the log, in log order."""
        rows: list[tuple[str, str, str]] = []
        for partition in range(partitions):
            for event in self.log(partition):
                batch = usage_batch(event)
                values = [decimal_text(value) for value in batch.column("value").to_pylist()]
                rows += zip(batch.column("source").to_pylist(), batch.column("id").to_pylist(), values, strict=True)
        return rows

    def recorded_ids(self) -> list[str]:
        """The ids of the usage events of the log's first partition, in log order."""
        return [row[1] for row in self.recorded()]

    def log(self, partition: int = 0) -> tuple[RecordedEvent, ...]:
        """The events of a usage stream."""
        return self.store.read_stream(StreamName("usage", str(partition)))


@contextmanager
def open_room(folder: Path, store: EventStore | None = None) -> Iterator[Room]:
    """A room whose event loop is closed at the end."""
    room = Room(folder, store)
    with room.runner:
        yield room


def usage_batch(event: RecordedEvent) -> Any:
    """The columns of a stored event."""
    message = decode(event)
    assert isinstance(message, UsageRecorded)
    return decode_usage(message)


def properties_of(event: RecordedEvent) -> list[dict[str, str]]:
    """The properties of each usage event of a stored event."""
    batch = usage_batch(event)
    columns = {key: batch.column(property_column(key)).to_pylist() for key in property_keys(batch)}
    return [
        {key: texts[row] for key, texts in columns.items() if texts[row] is not None} for row in range(batch.num_rows)
    ]


def words(results: Sequence[UsageResult]) -> list[str]:
    """Outcomes as lower-case words."""
    return [UsageOutcome.Name(result.outcome).removeprefix("USAGE_OUTCOME_").lower() for result in results]


def until(condition: Any) -> None:
    """Wait for a condition, bounded."""
    deadline = monotonic_s() + WAIT_S
    waiter = asyncio.Runner()
    with waiter:
        while not condition():
            assert monotonic_s() < deadline, "waited too long"
            waiter.run(asyncio.sleep(POLL_S))


@dataclass
class Trouble:
    """What goes wrong with one append: is it written all the same, and how does the future end (None: never)?"""

    is_written: bool
    error: Exception | None


class TroubledStore:
    """A store whose next appends meet the troubles given, one each, and then none."""

    def __init__(self, store: EventStore, *troubles: Trouble) -> None:
        self._store = store
        self.troubles = list(troubles)
        self.submitted = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Future[Appended]:
        """As the store does, unless there is trouble."""
        self.submitted += 1
        if not self.troubles:
            return self._store.submit(stream, events, expected_version)
        trouble = self.troubles.pop(0)
        if trouble.is_written:
            self._store.append(stream, events, expected_version)
        future: Future[Appended] = Future()
        if trouble.error is not None:
            future.set_exception(trouble.error)
        return future
