"""The tree over a whole log and its proofs, against RFC 6962's definitions and the vectors that its logs share."""

from hashlib import sha256

import pytest

from services.eventstore.audit.tree import Frontier, frontier_at, node_hash, nodes_of, perfect_subtrees
from services.eventstore.audit.tree_proof import (
    consistency_proof,
    consistent_roots,
    included_root,
    inclusion_proof,
    range_proof,
    range_root,
)
from services.kernel.errors import InvalidInput

LEAVES = [sha256(b"\x00" + number.to_bytes(2, "big")).digest() for number in range(70)]

CT_INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_LEAVES = [sha256(b"\x00" + bytes.fromhex(text)).digest() for text in CT_INPUTS]
CT_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = largest_power_below(len(leaves))
    return node_hash(tree_hash(leaves[:split]), tree_hash(leaves[split:]))


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    split = largest_power_below(len(leaves))
    if index < split:
        return [*path(index, leaves[:split]), tree_hash(leaves[split:])]
    return [*path(index - split, leaves[split:]), tree_hash(leaves[:split])]


def subproof(size: int, leaves: list[bytes], is_known: bool) -> list[bytes]:
    """RFC 6962, section 2.1.2, word for word."""
    if size == len(leaves):
        return [] if is_known else [tree_hash(leaves)]
    split = largest_power_below(len(leaves))
    if size <= split:
        return [*subproof(size, leaves[:split], is_known), tree_hash(leaves[split:])]
    return [*subproof(size - split, leaves[split:], False), tree_hash(leaves[:split])]


def largest_power_below(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


@pytest.mark.parametrize("size", range(len(LEAVES) + 1))
def test_a_tree_that_grew_in_any_two_steps_has_the_root_of_its_leaves(size: int) -> None:
    leaves = LEAVES[:size]
    for cut in range(size + 1):
        grown = Frontier().extended(leaves[:cut]).extended(leaves[cut:])
        assert grown.root() == tree_hash(leaves)
        assert grown == frontier_at(size, nodes_of(leaves))


@pytest.mark.parametrize("size", range(1, len(LEAVES) + 1))
def test_every_leaf_is_proved_by_the_path_of_the_rfc(size: int) -> None:
    leaves, node = LEAVES[:size], nodes_of(LEAVES[:size])
    for index in range(size):
        proof = inclusion_proof(index, size, node)
        assert list(proof) == path(index, leaves)
        assert included_root(leaves[index], index, size, proof) == tree_hash(leaves)


@pytest.mark.parametrize("size", range(1, len(LEAVES) + 1))
def test_every_smaller_tree_is_proved_by_the_proof_of_the_rfc(size: int) -> None:
    leaves, node = LEAVES[:size], nodes_of(LEAVES[:size])
    for old_size in range(1, size + 1):
        proof = consistency_proof(old_size, size, node)
        old_root = tree_hash(leaves[:old_size])
        assert list(proof) == subproof(old_size, leaves, True)
        assert consistent_roots(old_size, old_root, size, proof) == (old_root, tree_hash(leaves))


@pytest.mark.parametrize("size", range(24))
def test_every_run_of_leaves_is_proved(size: int) -> None:
    leaves, node = LEAVES[:size], nodes_of(LEAVES[:size])
    for start in range(size + 1):
        for end in range(start, size + 1):
            proof = range_proof(start, end, size, node)
            assert range_root(start, leaves[start:end], size, proof) == tree_hash(leaves)


def test_the_paths_are_those_that_other_logs_compute() -> None:
    expected = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [each.hex() for each in inclusion_proof(0, 8, nodes_of(CT_LEAVES))] == expected
    assert [each.hex() for each in consistency_proof(1, 8, nodes_of(CT_LEAVES))] == expected
    assert Frontier().extended(CT_LEAVES).root().hex() == CT_ROOT


def test_the_consistency_proofs_are_those_that_other_logs_compute() -> None:
    assert [each.hex() for each in consistency_proof(6, 8, nodes_of(CT_LEAVES))] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    """The second preimage that trees without prefixes have: two leaves' node as the one leaf of a smaller tree."""
    inner = node_hash(LEAVES[0], LEAVES[1])
    assert Frontier().extended([inner]).root() == inner
    as_leaf = sha256(b"\x00" + LEAVES[0] + LEAVES[1]).digest()
    assert as_leaf != inner
    with pytest.raises(InvalidInput):
        included_root(inner, 0, 4, inclusion_proof(0, 4, nodes_of(LEAVES[:4]))[1:])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 13, 32, 33])
def test_a_leaf_is_proved_at_no_other_index_and_for_no_other_size(size: int) -> None:
    node, root = nodes_of(LEAVES[:size]), tree_hash(LEAVES[:size])
    for index in range(size):
        proof = inclusion_proof(index, size, node)
        for other in set(range(size)) - {index}:
            assert outcome(LEAVES[index], other, size, proof) != root
        for other_size in set(range(1, 70)) - {size}:
            assert outcome(LEAVES[index], index, other_size, proof) != root or is_same_shape(index, size, other_size)


def is_same_shape(index: int, size: int, other_size: int) -> bool:
    """Trees of two sizes may have the same path over one leaf; then the signed size and root tell them apart."""
    node, other_node = nodes_of(LEAVES[:size]), nodes_of(LEAVES[:other_size])
    same = index < other_size
    return same and len(inclusion_proof(index, size, node)) == len(inclusion_proof(index, other_size, other_node))


def outcome(leaf: bytes, index: int, size: int, proof: tuple[bytes, ...]) -> bytes:
    try:
        return included_root(leaf, index, size, proof)
    except InvalidInput:
        return b""


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9])
def test_a_path_that_is_longer_or_shorter_is_refused(size: int) -> None:
    for index in range(size):
        proof = inclusion_proof(index, size, nodes_of(LEAVES[:size]))
        for wrong in (proof[:-1], (*proof, LEAVES[0])):
            if wrong != proof:
                with pytest.raises(InvalidInput):
                    included_root(LEAVES[index], index, size, wrong)


@pytest.mark.parametrize(("old_size", "size"), [(1, 2), (3, 7), (4, 7), (4, 8), (6, 8), (7, 7)])
def test_a_consistency_proof_that_is_longer_or_shorter_is_refused(old_size: int, size: int) -> None:
    proof = consistency_proof(old_size, size, nodes_of(LEAVES[:size]))
    for wrong in (proof[:-1], (*proof, LEAVES[0])):
        if wrong != proof:
            with pytest.raises(InvalidInput):
                consistent_roots(old_size, tree_hash(LEAVES[:old_size]), size, wrong)


def test_a_frontier_of_the_wrong_width_is_refused() -> None:
    for size, hashes in ((0, LEAVES[:1]), (1, []), (3, LEAVES[:1]), (4, LEAVES[:2]), (-1, [])):
        with pytest.raises(InvalidInput):
            Frontier(size, tuple(hashes))
    with pytest.raises(InvalidInput):
        Frontier().extended(LEAVES[:3]).closed(LEAVES[:2], 4)


@pytest.mark.parametrize("ask", [(0, 0), (5, 4), (-1, 4)])
def test_what_no_tree_has_is_refused(ask: tuple[int, int]) -> None:
    index, size = ask
    with pytest.raises(InvalidInput):
        inclusion_proof(index if size else 0, size, nodes_of([]))
    with pytest.raises(InvalidInput):
        consistency_proof(index, size, nodes_of([]))


def test_the_subtrees_of_a_run_cover_it_without_gap() -> None:
    for start in range(40):
        for end in range(start, 70):
            covered = [leaf for level, index in perfect_subtrees(start, end) for leaf in cover(level, index)]
            assert covered == list(range(start, end))


def cover(level: int, index: int) -> range:
    return range(index << level, (index + 1) << level)
