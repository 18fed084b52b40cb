"""Meterlog's stores as contenders: with event ids, expected versions, leaves, roots and chain, as always."""

from functools import partial
from uuid import UUID

from store_load import EVENT_TYPE, PAYLOAD, Append

from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.verify import verify
from services.eventstore.event import BEGINNING, NewEvent, StreamName
from services.eventstore.open import open_store
from services.kernel.clock import SystemClock


class Ours:
    """The store that a URL names."""

    def __init__(self, url: str) -> None:
        self._store = open_store(url, SystemClock())

    def prepared(self, stream: int, appends: int, events: int) -> list[Append]:
        name = StreamName("bench", str(stream))
        firsts = range(0, appends * events, events)
        return [partial(self._store.append, name, _new(first, events), first - 1) for first in firsts]

    def read_all(self, page: int) -> int:
        position, count = BEGINNING, 0
        while True:
            found = self._store.read_all(after=position, limit=page)
            position, count = found.position, count + len(found.events)
            if found.is_last:
                return count

    def verified(self) -> int:
        """Number of events whose leaves, roots and chain were recomputed."""
        assert isinstance(self._store, AuditableStore)
        found = verify(self._store)
        assert found.verified, found.problem
        return found.events

    def close(self) -> None:
        self._store.close()


def _new(first: int, count: int) -> list[NewEvent]:
    return [NewEvent(UUID(int=first + index), EVENT_TYPE, 1, PAYLOAD) for index in range(count)]
