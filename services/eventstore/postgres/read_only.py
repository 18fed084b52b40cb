"""A log on PostgreSQL for readers only: a role that may SELECT is enough, and nothing of the log changes."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from threading import Event as Signal

from services.eventstore.audit.chain import Commit
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
from services.eventstore.postgres import read as postgres_read
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import PostgresLimits, connect
from services.eventstore.postgres.news import CommitNews
from services.eventstore.postgres.readers import PostgresReaders
from services.eventstore.postgres.schema import require_log
from services.eventstore.reading import require_categories, require_from_version, require_limit
from services.eventstore.store import READ_LIMIT_MAX
from services.eventstore.subscription import follow
from services.kernel.errors import RuleViolated


class ReadOnlyPostgresEventStore:
    """The reading half of `PostgresEventStore`: an EventStore and AuditableStore that refuses to append."""

    def __init__(
        self,
        address: LogAddress,
        limits: PostgresLimits | None = None,
        *,
        writes: bool = False,
        is_own: Callable[[int], bool] = lambda _pid: False,
    ) -> None:
        """Alone, it reads from any server, a standby included; as half of a store that `writes`, from the primary.

        Raises NotFound when there is no log, InvalidInput or RuleViolated when it cannot be read, Unavailable when the
        server does not answer.
        """
        limits = limits or PostgresLimits()
        with closing(connect(address, limits, writes=writes)) as connection:
            require_log(connection, address)
        self._readers = PostgresReaders(address, limits, writes=writes)
        self._news = CommitNews(address, limits, lambda: self.head().position, is_own, writes=writes)

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
        read = postgres_read.stream_downwards if backwards else postgres_read.stream_upwards
        with self._readers.lent() as connection:
            return read(connection, stream, from_version, limit)

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int = READ_LIMIT_MAX) -> Page:
        """As in `EventStore`; a page ends at PAGE_BYTES_MAX, too. Raises Corrupt where an event is missing."""
        require_limit(limit)
        require_categories(categories)
        with self._readers.lent() as connection:
            return postgres_read.page(connection, after, categories, limit)

    def read_commits(self, *, after: Position, limit: int = READ_LIMIT_MAX) -> tuple[Commit, ...]:
        """As in `AuditableStore`."""
        require_limit(limit)
        with self._readers.lent() as connection:
            return postgres_read.commits(connection, after, limit)

    def stored_positions(self) -> tuple[Position, Position] | None:
        """As in `AuditableStore`."""
        with self._readers.lent() as connection:
            return postgres_read.stored_positions(connection)

    def leaf_at(self, position: Position) -> bytes:
        """As in `EventStore`."""
        with self._readers.lent() as connection:
            return postgres_read.leaf_at(connection, position)

    def subscribe(
        self, *, after: Position, categories: Collection[str] = (), batch_max: int = 1000, stop: Signal
    ) -> Iterator[Batch | CaughtUp]:
        """As in `EventStore`."""
        require_limit(batch_max)
        require_categories(categories)
        self._news.listen()
        return follow(self, self._news.bell, after=after, categories=categories, batch_max=batch_max, stop=stop)

    def head(self) -> Head:
        """As in `EventStore`."""
        with self._readers.lent() as connection:
            return postgres_read.head(connection)

    def wake_subscriptions(self, position: Position) -> None:
        """Tell the subscriptions of this store at once that the log has grown to `position`."""
        self._news.tell(position)

    def close(self) -> None:
        """As in `EventStore`."""
        self._news.close()
        self._readers.close()
