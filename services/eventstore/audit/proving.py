"""Makes proofs from a log and the folder that it was sealed into."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from services.eventstore.audit.chain import recorded_leaf
from services.eventstore.audit.checkpoint import SealedCheckpoint
from services.eventstore.audit.note import VerifierKey
from services.eventstore.audit.proof import (
    ConsistencyProof,
    EventProof,
    checked_consistency_proof,
    checked_event_proof,
    require_same_log,
)
from services.eventstore.audit.sealed_check import damaged
from services.eventstore.audit.sealed_log import SealedLog
from services.eventstore.audit.tiles import TileReader
from services.eventstore.audit.tree_proof import consistency_proof, inclusion_proof
from services.eventstore.event import BEGINNING, VERSION_MAX, Position, RecordedEvent, StreamName
from services.eventstore.store import EventStore
from services.kernel.errors import Corrupt, InvalidInput, NotFound, RuleViolated

SEARCH_PAGE_MAX: Final = 1_000

_DIGITS_MAX: Final = len(str(VERSION_MAX))


def prove_event(sealed: SealedLog, event: RecordedEvent, keys: Collection[VerifierKey]) -> EventProof:
    """The proof that the event is in the sealed log; it was checked before it is returned.

    Raises RuleViolated (NOT_SEALED_YET) for an event behind the newest checkpoint, and Corrupt when another event was
    sealed in its place, or when the tiles are not those that were sealed.
    """
    index, size = sealed.index_of(event.position), sealed.newest.size
    if index is None:
        raise RuleViolated(
            f"position {event.position} is not sealed yet: the newest checkpoint is of {size} events; "
            "run `meterlog audit seal`, then repeat",
            reason="NOT_SEALED_YET",
        )
    if sealed.tiles.leaf(index) != recorded_leaf(event):
        raise Corrupt(
            f"position {event.position} holds another event than was sealed there; verify the log",
            reason="LOG_NOT_AS_SEALED",
            metadata={"first_bad_position": str(event.position)},
        )
    proof = EventProof(event, index, inclusion_proof(index, size, sealed.tiles.node), sealed.newest.note)
    try:
        checked_event_proof(proof, keys)
    except Corrupt as error:
        raise damaged("tile", "the tiles do not lead from the event to the signed root; verify the log") from error
    return proof


def prove_consistency(
    tiles: TileReader, old: SealedCheckpoint, new: SealedCheckpoint, keys: Collection[VerifierKey]
) -> ConsistencyProof:
    """The proof that the log of `new` began as that of `old`; it was checked before it is returned.

    Raises Corrupt when it did not: the log was rewritten between them, or two views of it were signed. Raises
    RuleViolated when the tiles do not reach as far as the checkpoints.
    """
    older, newer = sorted((old, new), key=lambda checkpoint: checkpoint.size)
    require_same_log(older, newer)
    if newer.size > tiles.size:
        raise RuleViolated(
            f"the sealed folder reaches to {tiles.size} events, the checkpoint to {newer.size}: the folder is older, "
            "or the log was cut short since; compare with the folder that is sealed now",
            reason="SEALED_LESS",
        )
    path = consistency_proof(older.size, newer.size, tiles.node)
    proof = ConsistencyProof(older.note, newer.note, path)
    checked_consistency_proof(proof, keys)
    return proof


def find_event(store: EventStore, sealed: SealedLog, name: str) -> RecordedEvent:
    """The event that is meant by a position, by an event id, by `<stream>/<version>`, or by a stream: its newest.

    An event id is searched through the whole log. Raises NotFound.
    """
    position = parsed_number(name)
    if position is not None:
        return _at_position(store, sealed, Position(position))
    try:
        event_id = UUID(name)
    except ValueError:
        return _in_stream(store, name)
    return _with_id(store, event_id)


def parsed_number(text: str) -> int | None:
    """The position, version or size that digits mean; None for any other text, and for more than there can be."""
    is_number = text.isascii() and text.isdecimal() and len(text.lstrip("0")) <= _DIGITS_MAX
    number = int(text.lstrip("0") or "0") if is_number else None
    return number if number is None or number <= VERSION_MAX else None


def _at_position(store: EventStore, sealed: SealedLog, position: Position) -> RecordedEvent:
    found = store.read_all(after=sealed.end_before(position), limit=1).events
    if not found or found[0].position != position:
        raise NotFound(f"no sealed event at position {position}; the newest checkpoint covers {sealed.newest.size}")
    return found[0]


def _in_stream(store: EventStore, name: str) -> RecordedEvent:
    """An id may hold slashes and digits itself, so the name as a whole is tried as well."""
    stream_text, _, version_text = name.rpartition("/")
    version = parsed_number(version_text)
    if version is not None:
        found = _at_version(store, stream_text, version)
        if found:
            return found
    newest = store.read_stream(_stream(name), from_version=-1, limit=1, backwards=True)
    if not newest:
        raise NotFound(f'no event "{name[:100]}"; give a position, an event id, or <stream>/<version>')
    return newest[0]


def _at_version(store: EventStore, stream_text: str, version: int) -> RecordedEvent | None:
    try:
        found = store.read_stream(StreamName.parse(stream_text), from_version=version, limit=1)
    except InvalidInput:
        return None
    return found[0] if found and found[0].version == version else None


def _stream(name: str) -> StreamName:
    try:
        return StreamName.parse(name)
    except InvalidInput as error:
        raise InvalidInput(
            f'"{name[:100]}" names no event; give a position, an event id, or <stream>/<version>', field="event"
        ) from error


def _with_id(store: EventStore, event_id: UUID) -> RecordedEvent:
    after = BEGINNING
    while True:
        page = store.read_all(after=after, limit=SEARCH_PAGE_MAX)
        found = next((event for event in page.events if event.id == event_id), None)
        if found:
            return found
        if page.is_last:
            raise NotFound(f"no event with the id {event_id} in the log")
        after = page.position
