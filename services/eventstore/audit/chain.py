"""The audit chain as pure functions: the leaf of an event, the root of a commit, the chain over all commits.

    leaf  = SHA-256(0x00 ‖ header ‖ payload)                        one an event
    root  = RFC 6962 Merkle tree hash of the commit's leaves        one a commit
    chain = SHA-256(previous chain ‖ root ‖ last position)          one a commit, starting from 32 zero bytes

The header is stream, version, event id, type, schema version and recorded_at in epoch microseconds; texts are UTF-8
after their length in 4 bytes, numbers are big-endian. It has no position, so that an event has the same leaf on every
backend: the order of events is committed to by root and chain. Hashed are the stored bytes, never a message encoded
again, because protobuf has no canonical form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from uuid import UUID

from services.eventstore.audit.tree import level_above
from services.eventstore.event import NewEvent, Position, RecordedEvent, StreamName
from services.kernel.clock import epoch_us

CHAIN_START = bytes(32)

_TEXT_LENGTH = Struct(">I")
_VERSION_AND_ID = Struct(">Q16sI")
_SCHEMA_AND_TIME = Struct(">Iq")
_POSITION = Struct(">Q")


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of the log: the positions it covers, both ends included, its Merkle root, and the chain after it."""

    first_position: Position
    last_position: Position
    root: bytes
    chain: bytes


def leaf_hashes(
    stream: StreamName, first_version: int, events: Sequence[NewEvent], recorded_at_us: int
) -> tuple[bytes, ...]:
    """The leaves of events that are written to one stream together, in order."""
    prefix = _leaf_prefix(stream)
    leaves = []
    event_type = schema_version = None
    type_text = schema_and_time = b""
    # The same bytes as `_leaf` hashes: what neighbours share is made once, for this is most of what an append computes.
    for version, event in enumerate(events, first_version):
        if event.type != event_type or event.schema_version != schema_version:
            event_type, schema_version = event.type, event.schema_version
            type_text = event_type.encode()
            schema_and_time = _SCHEMA_AND_TIME.pack(schema_version, recorded_at_us)
        place = _VERSION_AND_ID.pack(version, event.id.bytes, len(type_text))
        leaves.append(sha256(prefix + place + type_text + schema_and_time + event.payload).digest())
    return tuple(leaves)


def recorded_leaf(event: RecordedEvent) -> bytes:
    """The leaf that a recorded event must have, computed from its bytes; `event.leaf` is not looked at."""
    recorded_at_us = epoch_us(event.recorded_at)
    prefix = _leaf_prefix(event.stream)
    return _leaf(prefix, event.version, event.id, event.type, event.schema_version, recorded_at_us, event.payload)


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of leaf hashes (RFC 6962, section 2.1), inner nodes SHA-256(0x01 ‖ left ‖ right).

    Pairing level by level and carrying an odd node up gives the RFC's split at the largest power of two.
    """
    if not leaves:
        return sha256().digest()
    level = list(leaves)
    while len(level) > 1:
        carried = [level.pop()] if len(level) % 2 else []
        level = level_above(level) + carried
    return level[0]


def next_chain(previous: bytes, root: bytes, last_position: int) -> bytes:
    """The chain after a commit; CHAIN_START comes before the first."""
    return sha256(previous + root + _POSITION.pack(last_position)).digest()


def _leaf_prefix(stream: StreamName) -> bytes:
    name = str(stream).encode()
    return b"\x00" + _TEXT_LENGTH.pack(len(name)) + name


def _leaf(
    prefix: bytes,
    version: int,
    event_id: UUID,
    event_type: str,
    schema_version: int,
    recorded_at_us: int,
    payload: bytes,
) -> bytes:
    type_text = event_type.encode()
    return sha256(
        prefix
        + _VERSION_AND_ID.pack(version, event_id.bytes, len(type_text))
        + type_text
        + _SCHEMA_AND_TIME.pack(schema_version, recorded_at_us)
        + payload
    ).digest()
