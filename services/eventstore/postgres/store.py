"""The event store on a PostgreSQL server, shared by all services of a cluster.

Every process connects itself. Appends go through the process's one writer thread and a lock over all processes; reads
use connections of their own and wait for nobody.
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
from services.eventstore.group_commit import Answer, GroupCommit, GroupLimits, appended
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import PostgresLimits
from services.eventstore.postgres.read_only import ReadOnlyPostgresEventStore
from services.eventstore.postgres.schema import ensure_log
from services.eventstore.postgres.writer import PostgresWriter
from services.eventstore.restoration import whole_commits
from services.eventstore.store import READ_LIMIT_MAX
from services.kernel.clock import Clock


class PostgresEventStore:
    """An EventStore, AuditableStore and RestorableStore in one schema of a database. Safe to share between threads."""

    def __init__(
        self,
        address: LogAddress,
        clock: Clock,
        *,
        limits: PostgresLimits | None = None,
        group_limits: GroupLimits | None = None,
    ) -> None:
        """Creates the log's tables when they are missing, and brings those of an earlier release up to date.

        Raises InvalidInput for a schema that holds something else, RuleViolated for a log of a newer release or a
        server that could lose a commit, NotFound for a missing database, and Unavailable when the server does not
        answer or the role may not create what is missing.
        """
        limits = limits or PostgresLimits()
        ensure_log(address, limits)
        self._writer = PostgresWriter(address, clock, limits)
        self._reads = ReadOnlyPostgresEventStore(
            address, limits, writes=True, is_own=lambda pid: pid == self._writer.backend_pid
        )
        self._appends = GroupCommit(self._commit, after_commit=self._writer.announce, limits=group_limits)

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Future[Appended]:
        """As in `EventStore`."""
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
        """As in `EventStore`; a page ends at PAGE_BYTES_MAX, too. Raises Corrupt where an event is missing."""
        return self._reads.read_all(after=after, categories=categories, limit=limit)

    def read_commits(self, *, after: Position, limit: int = READ_LIMIT_MAX) -> tuple[Commit, ...]:
        """As in `AuditableStore`."""
        return self._reads.read_commits(after=after, limit=limit)

    def stored_positions(self) -> tuple[Position, Position] | None:
        """As in `AuditableStore`."""
        return self._reads.stored_positions()

    def leaf_at(self, position: Position) -> bytes:
        """As in `EventStore`."""
        return self._reads.leaf_at(position)

    def subscribe(
        self, *, after: Position, categories: Collection[str] = (), batch_max: int = 1000, stop: Signal
    ) -> Iterator[Batch | CaughtUp]:
        """As in `EventStore`."""
        return self._reads.subscribe(after=after, categories=categories, batch_max=batch_max, stop=stop)

    def head(self) -> Head:
        """As in `EventStore`."""
        return self._reads.head()

    def restore(self, events: Sequence[RecordedEvent], commits: Sequence[Commit]) -> None:
        """As in `RestorableStore`; all of it is one transaction."""
        self._writer.restore(whole_commits(events, commits))
        self._writer.announce()
        self._reads.wake_subscriptions(self.head().position)

    def close(self) -> None:
        """As in `EventStore`."""
        self._appends.close()
        self._reads.close()
        self._writer.close()

    def _commit(self, requests: Sequence[AppendRequest]) -> Sequence[Answer]:
        answers = self._writer.commit(requests)
        newest = max((answer.position for answer in answers if isinstance(answer, Appended)), default=None)
        if newest is not None:
            self._reads.wake_subscriptions(newest)
        return answers
