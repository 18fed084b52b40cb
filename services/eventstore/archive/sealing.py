"""The seal of an archive: that a signed checkpoint covers its events, and holds nothing else in their place. Pure."""

from base64 import b64encode
from collections.abc import Collection

from services.eventstore.archive.lines import Seal
from services.eventstore.audit.checkpoint import opened_checkpoint, origin_of
from services.eventstore.audit.note import VerifierKey
from services.eventstore.audit.tree import TREE_SIZE_MAX, Frontier, NodeHash, perfect_subtrees
from services.kernel.errors import Corrupt, InvalidInput


def checked_seal(seal: Seal, edge: Frontier, first_leaf: bytes, keys: Collection[VerifierKey]) -> None:
    """The checkpoint must be of the tree that `right` leads to from the archive's `edge`; raises Corrupt.

    Without keys the signature is not looked at; without the log's first leaf (when the archive begins later) neither is
    the origin, and the root alone tells the log.
    """
    origin, size, root = _claimed(seal.note)
    if size < edge.size:
        raise Corrupt(f"the checkpoint is of {size} events, the archive goes on to {edge.size}")
    if first_leaf and origin != origin_of(first_leaf):
        raise Corrupt(f"the checkpoint is of another log: {origin}, not {origin_of(first_leaf)}")
    try:
        reached = edge.closed(seal.right, size).root()
    except InvalidInput as error:
        raise Corrupt(error.message) from error
    if b64encode(reached).decode() != root:
        raise Corrupt(f"the checkpoint's root is not that of these events and of what leads to its size, {size}")
    if keys:
        opened_checkpoint(seal.note, keys)


def seal_for(note: str, edge: Frontier, node: NodeHash) -> Seal:
    """The seal that leads from the archive's edge to the checkpoint of a note."""
    _, size, _ = _claimed(note)
    return Seal(note, tuple(node(level, index) for level, index in perfect_subtrees(edge.size, size)))


def _claimed(note: str) -> tuple[str, int, str]:
    """Origin, size and root as the note says them, signed or not."""
    lines = note.split("\n", 3)
    if len(lines) < 4 or not lines[1].isdecimal() or not lines[1].isascii() or len(lines[1]) > 19:
        raise Corrupt("the note is no checkpoint: origin, size and root, each on a line")
    size = int(lines[1])
    if size > TREE_SIZE_MAX:
        raise Corrupt(f"no log has {size} events")
    return lines[0], size, lines[2]
