"""Laws of the sealed tree: however a log was cut into seals, and whichever part is proved, there is one tree."""

import tempfile
from hashlib import sha256
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from services.eventstore.audit.checkpoint import opened_checkpoint, sealed_checkpoint
from services.eventstore.audit.durable_file import DurableFolder
from services.eventstore.audit.note import opened_note, signed_note
from services.eventstore.audit.tiles import GrowingTiles, TileReader, remove_passed
from services.eventstore.audit.tree import Frontier, frontier_at
from services.eventstore.audit.tree_proof import (
    consistency_proof,
    consistent_roots,
    included_root,
    inclusion_proof,
    range_proof,
    range_root,
)
from services.kernel.errors import InvalidInput
from tests.audit_room import KEY, KEYS

LEAVES = [sha256(number.to_bytes(4, "big")).digest() for number in range(70_000)]
ROOT = Frontier().extended(LEAVES).root()


def written(folder: Path, steps: list[int]) -> TileReader:
    """The tiles of a tree that grew by these steps, each of them sealed."""
    size = 0
    for step in steps:
        files = DurableFolder(folder)
        tiles = GrowingTiles(files, TileReader(folder, size))
        tiles.add(LEAVES[size : size + step])
        tiles.write_edges()
        remove_passed(files, size, size + step)
        size += step
        assert tiles.frontier() == Frontier().extended(LEAVES[:size])
    return TileReader(folder, size)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=6))
def test_tiles_are_the_same_however_the_log_was_sealed(steps: list[int]) -> None:
    with tempfile.TemporaryDirectory() as at_once, tempfile.TemporaryDirectory() as in_steps:
        whole, grown = written(Path(at_once), [sum(steps)]), written(Path(in_steps), steps)
        for path in sorted(path for path in Path(at_once).rglob("*") if path.is_file()):
            assert path.read_bytes() == (Path(in_steps) / path.relative_to(at_once)).read_bytes()
        size = sum(steps)
        assert frontier_at(size, whole.node).root() == frontier_at(size, grown.node).root()
        assert [leaf for run in grown.leaves(0, size) for leaf in run] == LEAVES[:size]


def test_a_tree_of_three_levels_of_tiles_is_that_of_its_leaves(tmp_path: Path) -> None:
    """The example of the standard: 273 full tiles and one of 112, a full one of their roots and one of 17, one of 1."""
    reader = written(tmp_path, [70_000])
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert len([name for name in names if name.startswith("tile/0/") and ".p/" not in name]) == 273
    assert names >= {"tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"}
    assert frontier_at(70_000, reader.node).root() == ROOT
    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        path = inclusion_proof(index, 70_000, reader.node)
        assert included_root(LEAVES[index], index, 70_000, path) == ROOT


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_from_tiles_any_part_of_any_earlier_tree_is_proved(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 900))
    size = data.draw(st.integers(1, total))
    index = data.draw(st.integers(0, size - 1))
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    root = Frontier().extended(LEAVES[:size]).root()
    with tempfile.TemporaryDirectory() as folder:
        node = written(Path(folder), [total]).node
        assert included_root(LEAVES[index], index, size, inclusion_proof(index, size, node)) == root
        assert range_root(start, LEAVES[start:end], size, range_proof(start, end, size, node)) == root
        old_root = Frontier().extended(LEAVES[: index + 1]).root()
        proof = consistency_proof(index + 1, size, node)
        assert consistent_roots(index + 1, old_root, size, proof) == (old_root, root)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_proof_shows_what_is_not_so(data: st.DataObject) -> None:
    """Each proof is one for its own leaves only: with one hash turned, left out or put in, it shows another root."""
    size = data.draw(st.integers(2, 200))
    leaves = LEAVES[:size]
    root = Frontier().extended(leaves).root()
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start + 1, size))
    edge = range_proof(start, end, size, subtree)
    wrong = [*leaves[start:end]]
    wrong[data.draw(st.integers(0, len(wrong) - 1))] = bytes(32)
    assert range_root(start, wrong, size, edge) != root
    for other in (leaves[start : end - 1], [*leaves[start:end], bytes(32)], [bytes(32), *leaves[start:end]]):
        try:
            shown = range_root(start, other, size, edge)
        except InvalidInput:
            continue
        assert shown != root


def subtree(level: int, index: int) -> bytes:
    return Frontier().extended(LEAVES[index << level : (index + 1) << level]).root()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.lists(st.text("abc\n", max_size=20)))
def test_any_plain_text_can_be_signed_and_opened(first: str, further: list[str]) -> None:
    text = "\n".join([first, *further]) + "\n"
    assert opened_note(signed_note(text, KEY), KEYS) == text


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_says_what_was_signed(size: int, root: bytes) -> None:
    opened = opened_checkpoint(sealed_checkpoint("meterlog/log", size, root, KEY).note, KEYS)
    assert (opened.size, opened.root) == (size, root)
