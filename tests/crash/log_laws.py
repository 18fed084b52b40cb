"""The laws that a log keeps by itself: order, no doubles, payloads as they were appended, leaves of its own bytes."""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

from meterlog.events.v1.meter_pb2 import MeterArchived
from services.eventstore.audit.chain import recorded_leaf
from services.eventstore.event import NewEvent, RecordedEvent
from tests.crash.law import Law, Violation, broken

USAGE = "usage"
"""The category that ingest writes; its events have other laws."""

EVENT_TYPE = "MeterArchived"
"""A type that projections know; what it means is of no concern here."""

_FILLER_REPEATS = 12


def payload_of(event_id: bytes) -> bytes:
    """What an event of this id holds: a message of up to 770 bytes that nobody would guess."""
    text = sha256(event_id).hexdigest() * _FILLER_REPEATS
    return MeterArchived(slug=text[: int(text[:4], 16) % len(text)]).SerializeToString(deterministic=True)


def is_as_appended(event: RecordedEvent | NewEvent) -> bool:
    """Whether an event holds what its id says."""
    return (event.type, event.schema_version, event.payload) == (EVENT_TYPE, 1, payload_of(event.id.bytes))


def log_violations(log: Sequence[RecordedEvent], *, counts_positions: bool) -> list[Violation]:
    """Check the final log; `counts_positions` where the backend promises positions 1, 2, 3."""
    counts = Counter(event.id for event in log)
    return [
        *broken(
            Law.ONCE, [f"{event_id.hex} is there {count} times" for event_id, count in counts.items() if count > 1]
        ),
        *broken(Law.STREAM_ORDER, _stream_disorder(log)),
        *broken(Law.POSITIONS, _position_disorder(log, counts_positions=counts_positions)),
        *broken(Law.NO_PHANTOM, _changed(log)),
        *broken(Law.CHAIN, [f"the leaf at {each.position}" for each in log if recorded_leaf(each) != each.leaf]),
    ]


def _changed(log: Sequence[RecordedEvent]) -> list[str]:
    return [f"{each.id.hex} was changed" for each in log if each.stream.category != USAGE and not is_as_appended(each)]


def _stream_disorder(log: Sequence[RecordedEvent]) -> list[str]:
    versions: dict[str, int] = {}
    found = []
    for event in log:
        stream = str(event.stream)
        expected = versions.get(stream, -1) + 1
        if event.version != expected:
            found.append(f"{stream} goes on with version {event.version} at {event.position}, not {expected}")
        versions[stream] = event.version
    return found


def _position_disorder(log: Sequence[RecordedEvent], *, counts_positions: bool) -> list[str]:
    positions = [event.position for event in log]
    if counts_positions:
        return [f"{position} is the {nth}th" for nth, position in enumerate(positions, 1) if position != nth]
    return [f"{later} follows {earlier}" for earlier, later in pairwise([0, *positions]) if later <= earlier]
