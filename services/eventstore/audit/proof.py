"""What proves that an event is in a sealed log, or that the log began as an older one, and how it is checked. Pure.

With the public key and nothing else anybody can check it, now, and when the service that made it is gone.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass

from services.eventstore.audit.chain import recorded_leaf
from services.eventstore.audit.checkpoint import SealedCheckpoint, opened_checkpoint
from services.eventstore.audit.note import VerifierKey
from services.eventstore.audit.tree_proof import consistent_roots, included_root
from services.eventstore.event import RecordedEvent
from services.kernel.errors import Corrupt, InvalidInput


@dataclass(frozen=True, slots=True)
class EventProof:
    """An event, its index among all events, the path from its leaf to the root, and the note that signs the root.

    The event's position is that of one backend, so it is no part of the proof.
    """

    event: RecordedEvent
    index: int
    path: tuple[bytes, ...]
    note: str


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """Two signed notes, and the hashes that show the tree of the older one to be the beginning of the newer one's."""

    old_note: str
    note: str
    path: tuple[bytes, ...]


Proof = EventProof | ConsistencyProof


def checked_event_proof(proof: EventProof, keys: Collection[VerifierKey]) -> SealedCheckpoint:
    """The checkpoint whose tree holds the event; raises Corrupt when the proof does not hold."""
    checkpoint = opened_checkpoint(proof.note, keys)
    try:
        root = included_root(recorded_leaf(proof.event), proof.index, checkpoint.size, proof.path)
    except (InvalidInput, struct.error) as error:
        raise broken_proof(str(error)) from error
    if root != checkpoint.root:
        raise broken_proof(
            "event, index and path do not lead to the signed root: this event is not what was sealed there",
        )
    return checkpoint


def checked_consistency_proof(
    proof: ConsistencyProof, keys: Collection[VerifierKey]
) -> tuple[SealedCheckpoint, SealedCheckpoint]:
    """The older and the newer checkpoint, when one log had both; raises Corrupt when that is not shown."""
    old, new = opened_checkpoint(proof.old_note, keys), opened_checkpoint(proof.note, keys)
    require_same_log(old, new)
    try:
        roots = consistent_roots(old.size, old.root, new.size, proof.path)
    except InvalidInput as error:
        raise broken_proof(error.message) from error
    if roots != (old.root, new.root):
        raise broken_proof(
            f"the log of {new.size} events did not begin with the {old.size} that were sealed before: "
            "it was rewritten, or two views of it were shown; keep both checkpoints, they are the evidence"
        )
    return old, new


def require_same_log(old: SealedCheckpoint, new: SealedCheckpoint) -> None:
    """Raises Corrupt for checkpoints of two logs, and for two roots that were signed for one size."""
    if old.origin != new.origin:
        raise broken_proof(f"the checkpoints are of two logs, {old.origin} and {new.origin}")
    if old.size == new.size and old.root != new.root:
        raise Corrupt(
            f"a split view: two roots are signed for the first {old.size} events of {old.origin}; "
            "keep both checkpoints, they are the evidence",
            reason="SPLIT_VIEW",
        )


def broken_proof(what: str) -> Corrupt:
    """The error for a proof that does not hold."""
    return Corrupt(f"the proof does not hold: {what}", reason="PROOF_DOES_NOT_HOLD")
