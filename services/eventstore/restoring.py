"""What a backend offers so that a log can be imported into it: writing events as another log recorded them."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from services.eventstore.audit.chain import Commit
from services.eventstore.event import RecordedEvent


@runtime_checkable
class RestorableStore(Protocol):
    """An event store that takes over the events of another log, leaf for leaf."""

    def restore(self, events: Sequence[RecordedEvent], commits: Sequence[Commit]) -> None:
        """Write events behind the head as they were recorded: stream, version, id, type, time, payload, and order.

        `commits` cover exactly these events, in order; a backend with an audit chain keeps their boundaries, so that
        its chain comes out as that of the origin. Positions are the backend's own: on SQL backends those of the
        commits, elsewhere whatever the server gives. Each commit is written whole or not at all. A repeat is safe:
        what stands there already, leaf for leaf, is passed over.

        Nobody else may write meanwhile. Raises Conflict (LOG_DIFFERS) when the log holds something else there, or when
        somebody else wrote; Corrupt when root or chain of a commit is not that of its events.
        """
