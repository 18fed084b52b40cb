"""Skipping: an operator's decision that an event stays out of a projection for ever. Stream: projection-<name>.

The decision is an event of the log, so that the live fold and every rebuild leave the same event out. It names the
event by its leaf, which is the same in every copy of the log.
"""

import threading
from dataclasses import dataclass
from datetime import datetime

from meterlog.events.v1.projection_pb2 import ProjectionEventSkipped
from services.eventstore.catalogue import decode_all
from services.eventstore.decider import Decider, handle
from services.eventstore.event import StreamName
from services.eventstore.store import READ_LIMIT_MAX, EventStore
from services.kernel.errors import Corrupt, InvalidInput
from services.kernel.timestamp import to_timestamp
from services.projection.parked import ParkedEvent

CATEGORY = "projection"
REASON_MAX = 500
SKIPPED_BY_MAX = 100


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decides, and why: `skipped_by` as they call themselves, `key_name` of the API key that they came with."""

    reason: str
    skipped_by: str
    key_name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SkipEvent:
    """Leave `event` out of `projection`."""

    projection: str
    event: ParkedEvent
    decision: Decision


def _decide(command: SkipEvent, skipped: frozenset[bytes]) -> list[ProjectionEventSkipped]:
    decision, event = command.decision, command.event
    if event.leaf in skipped:
        return []
    _require_text(decision.reason, "reason", REASON_MAX)
    if decision.skipped_by:
        _require_text(decision.skipped_by, "decided_by", SKIPPED_BY_MAX)
    skip = ProjectionEventSkipped(
        projection=command.projection,
        position=event.position,
        reason=decision.reason,
        leaf=event.leaf,
        event_stream=str(event.stream),
        event_version=event.version,
        event_type=event.type,
        event_schema_version=event.schema_version,
        skipped_by=decision.skipped_by,
        key_name=decision.key_name,
        skipped_at=to_timestamp(decision.at),
    )
    return [skip]


def _evolve(skipped: frozenset[bytes], event: ProjectionEventSkipped) -> frozenset[bytes]:
    return skipped | {event.leaf}


SKIPPING: Decider[SkipEvent, frozenset[bytes], ProjectionEventSkipped] = Decider(frozenset(), _decide, _evolve)
"""State: the leaves of the events that are left out."""


def decision_stream(projection: str) -> StreamName:
    """Where the decisions about a projection stand."""
    return StreamName(CATEGORY, projection)


class Skips:
    """The decisions about one projection, as far as they were read; any thread may ask."""

    def __init__(self, store: EventStore, projection: str) -> None:
        self._store = store
        self._projection = projection
        self._stream = decision_stream(projection)
        self._reading = threading.Lock()
        self._events_read = 0
        self._decisions: tuple[ProjectionEventSkipped, ...] = ()
        self._leaves: frozenset[bytes] = frozenset()

    @property
    def leaves(self) -> frozenset[bytes]:
        """The leaves of the events that are left out."""
        return self._leaves

    @property
    def decisions(self) -> tuple[ProjectionEventSkipped, ...]:
        """Every decision, oldest first."""
        return self._decisions

    def refresh(self) -> None:
        """Read what was decided since the last time; raises UnknownEventType for what a newer release decided."""
        with self._reading:
            while True:
                page = self._store.read_stream(self._stream, from_version=self._events_read, limit=READ_LIMIT_MAX)
                found = [message for recorded in page for message in decode_all(recorded)]
                self._events_read += len(page)
                self._decisions += tuple(_skip_of(message, self._stream) for message in found)
                self._leaves = frozenset(decision.leaf for decision in self._decisions)
                if len(page) < READ_LIMIT_MAX:
                    return

    def decide(self, event: ParkedEvent, decision: Decision) -> ProjectionEventSkipped:
        """Leave `event` out from now on; returns the decision that holds, which may be an earlier one."""
        handle(self._store, SKIPPING, self._stream, SkipEvent(self._projection, event, decision), decision.at)
        self.refresh()
        return self.of(event.leaf)

    def of(self, leaf: bytes) -> ProjectionEventSkipped:
        """The decision about an event that is left out."""
        return next(decision for decision in self._decisions if decision.leaf == leaf)


def read_skipped(store: EventStore, projection: str) -> frozenset[bytes]:
    """The leaves of the events that are left out of a projection, as decided until now."""
    skips = Skips(store, projection)
    skips.refresh()
    return skips.leaves


def _skip_of(message: object, stream: StreamName) -> ProjectionEventSkipped:
    if not isinstance(message, ProjectionEventSkipped):
        raise Corrupt(f"stream {stream} holds {type(message).__name__}, which does not belong there")
    return message


def _require_text(text: str, field: str, longest: int) -> None:
    if not text.strip() or len(text) > longest or not text.isprintable():
        raise InvalidInput(f"{field} takes 1 to {longest} printable characters; say why, and who", field=field)
