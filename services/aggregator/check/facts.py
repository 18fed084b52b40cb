"""What the log says of meters, corrections and backfills: read once, and then only what is new."""

import threading
from dataclasses import dataclass

from google.protobuf.message import Message

from services.aggregator.check.plain_corrections import PlainCorrections, read_corrections
from services.aggregator.check.plain_meter import PlainMeter, read_meters
from services.eventstore.catalogue import decode
from services.eventstore.event import BEGINNING, Position
from services.eventstore.store import EventStore
from services.projection.intake import take_in
from services.projection.skipping import read_skipped

CATEGORIES = frozenset({"meter", "correction", "backfill"})
EVENTS_READ = 1_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds at one position of the log. `skipped` are the leaves of events that the projection leaves out."""

    meters: dict[str, PlainMeter]
    corrections: PlainCorrections
    skipped: frozenset[bytes]

    @property
    def types(self) -> frozenset[str]:
        """The types of usage events that some meter counts."""
        return frozenset(kind for meter in self.meters.values() for kind in meter.types)


class FactReader:
    """Keeps the events that it has read, because the log only grows behind them."""

    def __init__(self, store: EventStore, projection: str) -> None:
        self._store = store
        self._projection = projection
        self._events: list[tuple[int, Message]] = []
        self._leaves: list[bytes] = []
        self._read_until = BEGINNING
        self._reading = threading.Lock()

    def at(self, position: Position) -> Facts:
        """What the log says up to `position`."""
        skipped = frozenset(read_skipped(self._store, self._projection))
        with self._reading:
            self._read(position)
            known = [
                (at, event)
                for (at, event), leaf in zip(self._events, self._leaves, strict=True)
                if at <= position and leaf not in skipped
            ]
        return Facts(read_meters(event for _, event in known), read_corrections(known), skipped)

    def _read(self, until: Position) -> None:
        while self._read_until < until:
            page = self._store.read_all(after=self._read_until, categories=CATEGORIES, limit=EVENTS_READ)
            for event in take_in(page.events, ()).foldable:
                self._events.append((event.position, decode(event)))
                self._leaves.append(event.leaf)
            self._read_until = page.position
            if page.is_last:
                return
