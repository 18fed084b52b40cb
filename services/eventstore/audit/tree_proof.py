"""Proofs about a Merkle tree and how each is checked: that it holds a leaf, a run of leaves, or a smaller tree. Pure.

Inclusion and consistency proofs are those of RFC 6962, sections 2.1.1 and 2.1.2, checked as RFC 9162, sections 2.1.3.2
and 2.1.4.2, say. A proof of a run of leaves is the subtrees left of it and right of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.eventstore.audit.tree import Frontier, NodeHash, frontier_at, node_hash, perfect_subtrees, root_over
from services.kernel.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class RangeProof:
    """What stands left and right of a run of leaves, as the hashes of `perfect_subtrees`, from left to right."""

    left: tuple[bytes, ...]
    right: tuple[bytes, ...]


def inclusion_proof(index: int, size: int, node: NodeHash) -> tuple[bytes, ...]:
    """The path from the leaf with that index to the root of a tree of `size` leaves: siblings, the nearest first."""
    if not 0 <= index < size:
        raise InvalidInput(f"a tree of {size} leaves has none with the index {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        inside, beside = ((start, middle), (middle, end)) if index < middle else ((middle, end), (start, middle))
        path.append(_hash_of(*beside, node))
        start, end = inside
    return tuple(reversed(path))


def included_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root of the tree in which `path` leads up from the leaf; raises InvalidInput for a path of wrong length."""
    if not 0 <= index < size:
        raise InvalidInput(f"a tree of {size} leaves has none with the index {index}")
    root, place, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            raise InvalidInput(f"the path is longer than that of leaf {index} in a tree of {size}")
        if place % 2 or place == last:
            root = node_hash(sibling, root)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise InvalidInput(f"the path is shorter than that of leaf {index} in a tree of {size}")
    return root


def consistency_proof(old_size: int, size: int, node: NodeHash) -> tuple[bytes, ...]:
    """What proves that the tree of `old_size` leaves is how that of `size` leaves began; none when they are equal."""
    if not 1 <= old_size <= size:
        raise InvalidInput(f"a tree of {size} leaves cannot have begun with {old_size}; compare 1 to {size}")
    proof: list[bytes] = []
    start, end, is_old_known = 0, size, True
    while old_size < end:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(_hash_of(middle, end, node))
            end = middle
        else:
            proof.append(_hash_of(start, middle, node))
            start, is_old_known = middle, False
    if not is_old_known:
        proof.append(_hash_of(start, end, node))
    return tuple(reversed(proof))


def consistent_roots(old_size: int, old_root: bytes, size: int, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of the old and the new tree that the proof leads to; raises InvalidInput for one of wrong length.

    The proof holds when they are the roots that were signed.
    """
    if not 1 <= old_size <= size:
        raise InvalidInput(f"a tree of {size} leaves cannot have begun with {old_size}")
    if old_size == size:
        _require_nothing_left(iter(proof), old_size, size)
        return old_root, old_root
    hashes = iter(proof if old_size & (old_size - 1) else (old_root, *proof))
    place, last = old_size - 1, size - 1
    while place % 2:
        place, last = place >> 1, last >> 1
    old = new = _next_hash(hashes, old_size, size)
    while last:
        if place % 2 or place == last:
            sibling = _next_hash(hashes, old_size, size)
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, _next_hash(hashes, old_size, size))
        place, last = place >> 1, last >> 1
    _require_nothing_left(hashes, old_size, size)
    return old, new


def range_proof(start: int, end: int, size: int, node: NodeHash) -> RangeProof:
    """What proves the leaves from `start` up to but not `end`, in a tree of `size` leaves."""
    if not 0 <= start <= end <= size:
        raise InvalidInput(f"a tree of {size} leaves has no leaves from {start} to {end}")
    right = tuple(node(level, index) for level, index in perfect_subtrees(end, size))
    return RangeProof(frontier_at(start, node).hashes, right)


def range_root(start: int, leaves: Sequence[bytes], size: int, proof: RangeProof) -> bytes:
    """The root of the tree that has these leaves from `start` on; raises InvalidInput for a proof of wrong length.

    For more leaves than memory holds, do it in steps: `Frontier(start, left)`, `extended` …, `closed(right, size)`.
    """
    return Frontier(start, proof.left).extended(leaves).closed(proof.right, size).root()


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _hash_of(start: int, end: int, node: NodeHash) -> bytes:
    """The Merkle tree hash of some leaves whose `start` is a whole multiple of the largest subtree in them."""
    return root_over([node(level, index) for level, index in perfect_subtrees(start, end)])


def _next_hash(hashes: Iterator[bytes], old_size: int, size: int) -> bytes:
    found = next(hashes, None)
    if found is None:
        raise InvalidInput(f"the proof is shorter than that from {old_size} leaves to {size}")
    return found


def _require_nothing_left(hashes: Iterator[bytes], old_size: int, size: int) -> None:
    if next(hashes, None) is not None:
        raise InvalidInput(f"the proof is longer than that from {old_size} leaves to {size}")
