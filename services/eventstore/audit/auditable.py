"""What a backend offers so that its log can be verified: its events, its commits, its head."""

from collections.abc import Collection
from typing import Protocol, runtime_checkable

from services.eventstore.audit.chain import Commit
from services.eventstore.event import Head, Page, Position, RecordedEvent, StreamName
from services.eventstore.store import READ_LIMIT_MAX


@runtime_checkable
class AuditableStore(Protocol):
    """An event store with an audit chain of its own and contiguous positions 1, 2, 3 …"""

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int = READ_LIMIT_MAX) -> Page:
        """As in `EventStore`; raises Corrupt for stored bytes that are no event."""

    def read_stream(
        self, stream: StreamName, *, from_version: int = 0, limit: int = READ_LIMIT_MAX, backwards: bool = False
    ) -> tuple[RecordedEvent, ...]:
        """As in `EventStore`; raises Corrupt for stored bytes that are no event."""

    def read_commits(self, *, after: Position, limit: int = READ_LIMIT_MAX) -> tuple[Commit, ...]:
        """Up to `limit` commits whose last position is behind `after`, in log order."""

    def stored_positions(self) -> tuple[Position, Position] | None:
        """The lowest and the highest position that an event is stored at, in a commit or not; None: no event."""

    def head(self) -> Head:
        """As in `EventStore`."""


@runtime_checkable
class StoreOnDatabase(Protocol):
    """A store whose database can say by itself whether its pages and indexes are whole."""

    def storage_damage(self) -> str:
        """What the database finds wrong with its own storage first; empty when it finds nothing."""
