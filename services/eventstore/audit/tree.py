"""The Merkle tree over the leaves of a whole log (RFC 6962, section 2.1), grown by its right edge alone. Pure.

The leaves are those of `chain.py`, in the order of the log: the leaf with index 0 is that of the first event. A leaf is
hashed with 0x00 in front and an inner node with 0x01, so that neither can be taken for the other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from services.kernel.errors import InvalidInput

HASH_BYTES: Final = 32
TREE_SIZE_MAX: Final = 2**63 - 1

NodeHash = Callable[[int, int], bytes]
"""The hash of a perfect subtree, from its level and index: it covers 2**level leaves from index * 2**level on."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree of `size` leaves: the hashes of its perfect subtrees, the largest and leftmost first.

    There is one for each bit that is set in `size`. That is all a tree needs to grow, and to give its root.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= TREE_SIZE_MAX or len(self.hashes) != self.size.bit_count():
            raise InvalidInput(f"{len(self.hashes)} hashes are not the edge of a tree of {self.size} leaves")

    def extended(self, leaves: Sequence[bytes]) -> "Frontier":
        """The edge after `leaves` were added on the right. Costs one hash a leaf."""
        return self._joined(leaves, 0)

    def closed(self, right: Sequence[bytes], size: int) -> "Frontier":
        """The edge at `size`, when `right` are the hashes of `perfect_subtrees(self.size, size)`.

        Raises InvalidInput when they are fewer or more.
        """
        levels = [level for level, _ in perfect_subtrees(self.size, size)]
        if len(levels) != len(right):
            raise InvalidInput(f"{len(right)} hashes do not lead from {self.size} leaves to {size}; {len(levels)} do")
        edge = self
        for level, subtree in zip(levels, right, strict=True):
            edge = edge._joined([subtree], level)
        return edge

    def root(self) -> bytes:
        """The Merkle tree hash of all leaves; of none, it is the hash of nothing."""
        return root_over(self.hashes) if self.hashes else sha256().digest()

    def _joined(self, nodes: Sequence[bytes], level: int) -> "Frontier":
        """The edge after perfect subtrees of one level; the leaves so far fill that level exactly."""
        below = self.size & ((1 << level) - 1)
        assert below == 0, f"a subtree of level {level} cannot stand behind {self.size} leaves"
        standing, smallest_first, joined = list(self.hashes), list[bytes](), list(nodes)
        size = self.size + (len(nodes) << level)
        while joined or standing:
            if self.size >> level & 1:
                joined.insert(0, standing.pop())
            if len(joined) % 2:
                smallest_first.append(joined.pop())
            joined = level_above(joined)
            level += 1
        return Frontier(size, tuple(reversed(smallest_first)))


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def level_above(nodes: Sequence[bytes]) -> list[bytes]:
    """The parents of an even number of neighbours."""
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(nodes[::2], nodes[1::2], strict=True)]


def root_over(subtrees: Sequence[bytes]) -> bytes:
    """The Merkle tree hash over one or more perfect subtrees that stand side by side, each larger than the next."""
    root = subtrees[-1]
    for left in subtrees[-2::-1]:
        root = node_hash(left, root)
    return root


def perfect_subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The fewest perfect subtrees that cover the leaves from `start` up to but not `end`, from left to right.

    Each is given as level and index. From 0 on they are the frontier of a tree of `end` leaves.
    """
    while start < end:
        fits = (end - start).bit_length() - 1
        aligned = (start & -start).bit_length() - 1 if start else fits
        level = min(fits, aligned)
        yield level, start >> level
        start += 1 << level


def frontier_at(size: int, node: NodeHash) -> Frontier:
    """The right edge that a larger or equal tree had at `size`."""
    return Frontier(size, tuple(node(level, index) for level, index in perfect_subtrees(0, size)))


def nodes_of(leaves: Sequence[bytes]) -> NodeHash:
    """The subtrees of a tree that is held whole, for trees of a few thousand leaves. Each call hashes anew."""

    def node(level: int, index: int) -> bytes:
        below = leaves[index << level : (index + 1) << level]
        assert len(below) == 1 << level, "a perfect subtree lies inside the tree"
        return Frontier().extended(below).root()

    return node
