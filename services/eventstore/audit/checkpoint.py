"""Checkpoints (c2sp.org/tlog-checkpoint): a signed note that says how long a log is, and the root of all its leaves.

    meterlog/<the log's first leaf in hex>      the origin: which log
    20852163                                    the number of its events
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

The origin follows from the first event, so a checkpoint of one log can never pass for one of another. Lines behind the
third are allowed, never written, and mean nothing.
"""

import re
from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from services.eventstore.audit.note import SignerKey, VerifierKey, exact_base64, opened_note, signed_note
from services.eventstore.audit.tree import HASH_BYTES, TREE_SIZE_MAX
from services.kernel.errors import Corrupt

ORIGIN_PREFIX: Final = "meterlog/"

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class SealedCheckpoint:
    """A log's first `size` events have the Merkle root `root`; `note` is the signed text that says so."""

    origin: str
    size: int
    root: bytes
    note: str


def origin_of(first_leaf: bytes) -> str:
    """What a log is called: its first leaf holds an event id and an instant that no other log has."""
    return ORIGIN_PREFIX + first_leaf.hex()


def sealed_checkpoint(origin: str, size: int, root: bytes, key: SignerKey) -> SealedCheckpoint:
    """Sign a tree. The caller answers for its being consistent with everything signed before."""
    text = f"{origin}\n{size}\n{b64encode(root).decode()}\n"
    return SealedCheckpoint(origin, size, root, signed_note(text, key))


def opened_checkpoint(note: str, keys: Collection[VerifierKey]) -> SealedCheckpoint:
    """The checkpoint that a note holds; raises Corrupt unless one of the keys signed it and it has the right form."""
    lines = opened_note(note, keys).split("\n")[:-1]
    root = exact_base64(lines[2]) if len(lines) >= 3 else None
    if root is None or len(root) != HASH_BYTES or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise Corrupt("the note is signed, but it is no checkpoint: origin, size and root", reason="NO_CHECKPOINT")
    if "" in lines[3:] or int(lines[1]) > TREE_SIZE_MAX:
        raise Corrupt("the note is signed, but it is no checkpoint that can be", reason="NO_CHECKPOINT")
    return SealedCheckpoint(lines[0], int(lines[1]), root, note)
