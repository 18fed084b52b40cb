"""A log on KurrentDB for readers only: it may be read from any node that the URL prefers, and nothing is appended."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from threading import Event as Signal

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
from services.eventstore.kurrentdb.address import address
from services.eventstore.kurrentdb.connection import KurrentConnection
from services.eventstore.kurrentdb.limits import KurrentLimits
from services.eventstore.kurrentdb.reads import KurrentReads
from services.eventstore.kurrentdb.subscription import follow
from services.eventstore.reading import require_categories, require_from_version, require_limit
from services.eventstore.store import READ_LIMIT_MAX
from services.kernel.errors import RuleViolated


def read_only_log(url: str, limits: KurrentLimits | None = None) -> "ReadOnlyKurrentEventStore":
    """The log at a URL, for reading. Raises InvalidInput for a URL that cannot lead to a KurrentDB."""
    return ReadOnlyKurrentEventStore(KurrentConnection(address(url, read_only=True), limits or KurrentLimits()))


class ReadOnlyKurrentEventStore:
    """The reading half of `KurrentEventStore`: an EventStore that refuses to append."""

    def __init__(self, connection: KurrentConnection) -> None:
        """Connects at the first call."""
        self._connection = connection
        self._reads = KurrentReads(connection)

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
        return self._reads.stream(stream, from_version, limit, backwards=backwards)

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int = READ_LIMIT_MAX) -> Page:
        """As in `EventStore`; a page ends at PAGE_BYTES_MAX, too."""
        require_limit(limit)
        require_categories(categories)
        return self._reads.page(after, categories, limit)

    def subscribe(
        self, *, after: Position, categories: Collection[str] = (), batch_max: int = 1000, stop: Signal
    ) -> Iterator[Batch | CaughtUp]:
        """As in `EventStore`; across cuts and elections, and only failures that last come out, as Unavailable."""
        require_limit(batch_max)
        require_categories(categories)
        return follow(self._connection, self._reads, after=after, categories=categories, batch_max=batch_max, stop=stop)

    def leaf_at(self, position: Position) -> bytes:
        """As in `EventStore`."""
        return self._reads.leaf_at(position)

    def head(self) -> Head:
        """As in `EventStore`; the server keeps no audit chain, so there is none here."""
        return Head(self._reads.head(), b"")

    def close(self) -> None:
        """As in `EventStore`."""
        self._connection.close()
