"""The event store in one SQLite file, shared by all services of a machine: the embedded default.

Every process opens the file itself. Appends go through the process's one writer thread and a lock over all
processes; reads use connections of their own and wait for nobody.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
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
from services.eventstore.restoration import whole_commits
from services.eventstore.sqlite.connection import SqliteLimits
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.writer import SqliteWriter
from services.eventstore.store import READ_LIMIT_MAX
from services.kernel.clock import Clock
from services.kernel.errors import Unavailable


class SqliteEventStore:
    """An EventStore and AuditableStore in a file. Safe to share between threads; each process opens its own."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        limits: SqliteLimits | None = None,
        group_limits: GroupLimits | None = None,
    ) -> None:
        """Creates file and directory when they are missing.

        Raises InvalidInput for a file that is no log, RuleViolated for a log of a newer release, and Unavailable
        when it cannot be written.
        """
        limits = limits or SqliteLimits()
        _create_directory(path.parent)
        self._writer = SqliteWriter(path, clock, limits)
        self._reads = ReadOnlySqliteEventStore(path, limits)
        self._appends = GroupCommit(self._commit, after_commit=self._writer.checkpoint_when_large, limits=group_limits)

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
        """As in `EventStore`; a page ends at PAGE_BYTES_MAX, too."""
        return self._reads.read_all(after=after, categories=categories, limit=limit)

    def read_commits(self, *, after: Position, limit: int = READ_LIMIT_MAX) -> tuple[Commit, ...]:
        """As in `AuditableStore`."""
        return self._reads.read_commits(after=after, limit=limit)

    def stored_positions(self) -> tuple[Position, Position] | None:
        """As in `AuditableStore`."""
        return self._reads.stored_positions()

    def storage_damage(self) -> str:
        """As in `StoreOnDatabase`."""
        return self._reads.storage_damage()

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
        self._writer.checkpoint_when_large()
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


def _create_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            f"the directory {directory} cannot be created ({error.strerror}); check the path and its permissions"
        ) from error
