"""What a log holds, counted: events by category and type, bytes, the first and the last instant of recording."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from services.eventstore.event import BEGINNING, Position, RecordedEvent
from services.eventstore.store import READ_LIMIT_MAX, EventStore


@dataclass(frozen=True, slots=True)
class LogSummary:
    """The log up to `position`; `counts` are events by (category, type, schema version), in order of name."""

    position: Position
    chain: str
    events: int
    payload_bytes: int
    first_recorded_at: datetime | None
    last_recorded_at: datetime | None
    counts: tuple[tuple[str, str, int, int], ...]


def summarise(store: EventStore) -> LogSummary:
    """Read the log up to the head of this moment."""
    head = store.head()
    counts: Counter[tuple[str, str, int]] = Counter()
    payload_bytes = 0
    instants: list[datetime] = []
    after = BEGINNING
    while after < head.position:
        page = store.read_all(after=after, limit=READ_LIMIT_MAX)
        events = [event for event in page.events if event.position <= head.position]
        counts.update((event.stream.category, event.type, event.schema_version) for event in events)
        payload_bytes += sum(len(event.payload) for event in events)
        instants = _outer(instants, events)
        if page.is_last:
            break
        after = page.position
    rows = tuple((*name, count) for name, count in sorted(counts.items()))
    first, last = instants or (None, None)
    return LogSummary(head.position, head.chain.hex(), counts.total(), payload_bytes, first, last, rows)


def _outer(instants: list[datetime], events: Collection[RecordedEvent]) -> list[datetime]:
    """The earliest and the latest; the clock of a log may have been set back."""
    known = [*instants, *(event.recorded_at for event in events)]
    return [min(known), max(known)] if known else []
