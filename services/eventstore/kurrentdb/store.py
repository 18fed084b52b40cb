"""The event store on KurrentDB (or EventStoreDB), for a log that several machines share.

Every process has its own connection. The server decides the order; each append is one write of its own, atomic and
durable on a majority of the nodes when it is answered. What is whose business is told in
docs/decisions/0012-kurrentdb-log.md.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from threading import Event as Signal

from services.eventstore.audit.chain import Commit
from services.eventstore.draft import AppendRequest
from services.eventstore.event import (
    Appended,
    Batch,
    CaughtUp,
    Head,
    NewEvent,
    Page,
    Position,
    RecordedEvent,
    StreamName,
    require_appendable,
)
from services.eventstore.group_commit import GroupCommit, GroupLimits, appended
from services.eventstore.kurrentdb.address import address
from services.eventstore.kurrentdb.connection import KurrentConnection
from services.eventstore.kurrentdb.limits import KurrentLimits
from services.eventstore.kurrentdb.read_only import ReadOnlyKurrentEventStore
from services.eventstore.kurrentdb.restore import restore
from services.eventstore.kurrentdb.writer import KurrentWriter
from services.eventstore.store import READ_LIMIT_MAX
from services.kernel.clock import Clock


class KurrentEventStore:
    """An EventStore and RestorableStore. Safe to share between threads; no AuditableStore: the server has no chain."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        limits: KurrentLimits | None = None,
        group_limits: GroupLimits | None = None,
    ) -> None:
        """Connects at the first call. Raises InvalidInput for a URL that cannot lead to a KurrentDB."""
        limits = limits or KurrentLimits()
        self._connection = KurrentConnection(address(url, read_only=False), limits)
        self._reads = ReadOnlyKurrentEventStore(self._connection)
        self._writer = KurrentWriter(self._connection, clock)
        self._appends = GroupCommit(
            self._writer.commit, limits=group_limits or GroupLimits(group_requests_max=limits.group_requests_max)
        )

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Future[Appended]:
        """As in `EventStore`. The future fails with InvalidInput (TOO_LARGE) for more than the server takes."""
        require_appendable(stream, events, expected_version)
        return self._appends.submit(AppendRequest(stream, tuple(events), expected_version))

    def append(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Appended:
        """As in `EventStore`."""
        return appended(self.submit(stream, events, expected_version))

    def read_stream(
        self, stream: StreamName, *, from_version: int = 0, limit: int = READ_LIMIT_MAX, backwards: bool = False
    ) -> tuple[RecordedEvent, ...]:
        """As in `EventStore`."""
        return self._reads.read_stream(stream, from_version=from_version, limit=limit, backwards=backwards)

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int = READ_LIMIT_MAX) -> Page:
        """As in `EventStore`; a page ends at PAGE_BYTES_MAX, too."""
        return self._reads.read_all(after=after, categories=categories, limit=limit)

    def subscribe(
        self, *, after: Position, categories: Collection[str] = (), batch_max: int = 1000, stop: Signal
    ) -> Iterator[Batch | CaughtUp]:
        """As in `EventStore`; across cuts and elections, and only failures that last come out, as Unavailable."""
        return self._reads.subscribe(after=after, categories=categories, batch_max=batch_max, stop=stop)

    def leaf_at(self, position: Position) -> bytes:
        """As in `EventStore`."""
        return self._reads.leaf_at(position)

    def head(self) -> Head:
        """As in `EventStore`; the server keeps no audit chain, so there is none here."""
        return self._reads.head()

    def restore(self, events: Sequence[RecordedEvent], commits: Sequence[Commit]) -> None:
        """As in `RestorableStore`; a commit over several streams is written stream by stream, a repeat completes it."""
        restore(self._connection, self._reads, events, commits)

    def close(self) -> None:
        """As in `EventStore`."""
        self._appends.close()
        self._writer.close()
        self._connection.close()
