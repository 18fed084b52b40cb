"""Which events were appended lately: all that a server remembers for appends without an exact version."""

import threading
from collections import OrderedDict
from uuid import UUID

DEFAULT_BYTES = 8 * 1024 * 1024
ENTRY_BYTES = 28


class RecentIds:
    """Event ids with their stream and revision, the oldest forgotten first once `bytes_max` are used."""

    def __init__(self, bytes_max: int = DEFAULT_BYTES) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._places: OrderedDict[UUID, tuple[str, int]] = OrderedDict()
        self._lock = threading.Lock()

    def revision(self, stream: str, event_id: UUID) -> int | None:
        """Where in `stream` the event stands; None when forgotten, never known, or of another stream."""
        place = self._places.get(event_id)
        return place[1] if place is not None and place[0] == stream else None

    def remember(self, stream: str, revision: int, event_id: UUID) -> None:
        """The event was written; an id that is remembered already keeps its place."""
        with self._lock:
            if event_id in self._places:
                return
            self._places[event_id] = (stream, revision)
            self._bytes += ENTRY_BYTES + len(stream)
            while self._bytes > self._bytes_max:
                _, (oldest, _) = self._places.popitem(last=False)
                self._bytes -= ENTRY_BYTES + len(oldest)

    def forget(self) -> None:
        """All of it, as when the process restarts or another node takes the lead."""
        with self._lock:
            self._places.clear()
            self._bytes = 0
