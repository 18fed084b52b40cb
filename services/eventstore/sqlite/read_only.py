"""A log in SQLite for readers only: the file may be in use by the services, and nothing of it changes."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Event as Signal

from services.eventstore.audit.chain import Commit
from services.eventstore.commit_bell import CommitBell
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
)
from services.eventstore.reading import require_categories, require_from_version, require_limit
from services.eventstore.sqlite import read as sqlite_read
from services.eventstore.sqlite.connection import SqliteLimits
from services.eventstore.sqlite.readers import SqliteReaders
from services.eventstore.sqlite.schema import require_log
from services.eventstore.store import READ_LIMIT_MAX
from services.eventstore.subscription import follow
from services.kernel.errors import Corrupt, NotFound, RuleViolated, Unavailable


class ReadOnlySqliteEventStore:
    """The reading half of `SqliteEventStore`: an EventStore and AuditableStore that refuses to append."""

    def __init__(self, path: Path, limits: SqliteLimits | None = None) -> None:
        """Raises NotFound when there is no file, InvalidInput or RuleViolated when it is no log that can be read."""
        _require_file(path)
        self._readers = SqliteReaders(path, limits or SqliteLimits())
        self._bell = CommitBell(lambda: self.head().position)
        with self._readers.lent() as connection:
            require_log(connection, path)

    def submit(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Future[Appended]:
        """Raises RuleViolated, always."""
        raise RuleViolated(
            f"cannot append {len(events)} events to {stream} at {expected_version}: the log is open for reading only",
            reason="READ_ONLY",
        )

    def append(self, stream: StreamName, events: Sequence[NewEvent], expected_version: int) -> Appended:
        """Raises RuleViolated, always."""
        return self.submit(stream, events, expected_version).result(0)

    def read_stream(
        self, stream: StreamName, *, from_version: int = 0, limit: int = READ_LIMIT_MAX, backwards: bool = False
    ) -> tuple[RecordedEvent, ...]:
        """As in `EventStore`."""
        require_limit(limit)
        require_from_version(from_version, backwards=backwards)
        read = sqlite_read.stream_downwards if backwards else sqlite_read.stream_upwards
        with self._readers.lent() as connection:
            return read(connection, stream, from_version, limit)

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int = READ_LIMIT_MAX) -> Page:
        """As in `EventStore`; a page ends at PAGE_BYTES_MAX, too."""
        require_limit(limit)
        require_categories(categories)
        with self._readers.lent() as connection:
            return sqlite_read.page(connection, after, categories, limit)

    def read_commits(self, *, after: Position, limit: int = READ_LIMIT_MAX) -> tuple[Commit, ...]:
        """As in `AuditableStore`."""
        require_limit(limit)
        with self._readers.lent() as connection:
            return sqlite_read.commits(connection, after, limit)

    def stored_positions(self) -> tuple[Position, Position] | None:
        """As in `AuditableStore`."""
        with self._readers.lent() as connection:
            return sqlite_read.stored_positions(connection)

    def storage_damage(self) -> str:
        """As in `StoreOnDatabase`."""
        try:
            with self._readers.lent() as connection:
                return sqlite_read.storage_damage(connection)
        except Corrupt as error:
            return str(error.__cause__ or error.message)

    def leaf_at(self, position: Position) -> bytes:
        """As in `EventStore`."""
        with self._readers.lent() as connection:
            return sqlite_read.leaf_at(connection, position)

    def subscribe(
        self, *, after: Position, categories: Collection[str] = (), batch_max: int = 1000, stop: Signal
    ) -> Iterator[Batch | CaughtUp]:
        """As in `EventStore`."""
        require_limit(batch_max)
        require_categories(categories)
        return follow(self, self._bell, after=after, categories=categories, batch_max=batch_max, stop=stop)

    def head(self) -> Head:
        """As in `EventStore`."""
        with self._readers.lent() as connection:
            return sqlite_read.head(connection)

    def wake_subscriptions(self, position: Position) -> None:
        """Tell the subscriptions of this store at once that the log has grown to `position`."""
        self._bell.ring(position)

    def close(self) -> None:
        """As in `EventStore`."""
        self._readers.close()


def _require_file(path: Path) -> None:
    try:
        is_there = path.is_file()
    except OSError as error:
        raise Unavailable(
            f"the log {path} cannot be opened ({error.strerror}); check the path and its permissions",
            reason="LOG_NOT_OPENED",
        ) from error
    if not is_there:
        raise NotFound(f"no log at {path}; check the path, or start a service to create it")
