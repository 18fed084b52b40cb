"""Checks a sealed folder by itself: every checkpoint is signed, and all of them and all tiles are of one tree.

What is found wrong is named by its file. The signed root proves the tiles at the right edge, these prove the roots of
the full tiles below them, and so down to the leaves. When an edge tile is wrong, the tiles below it tell which.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from services.eventstore.audit.checkpoint import SealedCheckpoint, origin_of
from services.eventstore.audit.note import VerifierKey
from services.eventstore.audit.sealed_folder import CHECKPOINTS_FOLDER, SealedFolder
from services.eventstore.audit.tiles import (
    TILE_FOLDER,
    TILE_HEIGHT,
    TILE_WIDTH,
    TileReader,
    content_of,
    edge_frontier,
    edge_levels,
    level_width,
    tile_name,
    tile_root,
)
from services.eventstore.audit.tree import Frontier
from services.kernel.errors import Corrupt


def checked_folder(folder: SealedFolder, keys: Collection[VerifierKey]) -> SealedCheckpoint:
    """The newest checkpoint, when everything in the folder agrees with it.

    Raises Corrupt, with the file in its metadata, and NotFound when nothing was sealed.
    """
    newest = folder.required(keys)
    sealed = TileReader(folder.path, newest.size)
    _check_edges(sealed, newest)
    for level in reversed(edge_levels(newest.size)):
        _check_full_tiles(sealed, level)
    if origin_of(sealed.leaf(0)) != newest.origin:
        raise damaged("checkpoint", "its origin is not the first leaf of its tree")
    _check_passed_tiles(folder.path, sealed)
    _check_copies(folder, sealed, newest, keys)
    return newest


def damaged(name: str, problem: str) -> Corrupt:
    """The error that names a file of the sealed folder."""
    return Corrupt(f"{name}: {problem}", reason="SEAL_DAMAGED", metadata={"file": name})


def _check_edges(sealed: TileReader, newest: SealedCheckpoint) -> None:
    """The tiles that no other tile vouches for give the signed root."""
    edges = [list(sealed.edge(level)) for level in edge_levels(sealed.size)]
    if edge_frontier(sealed.size, edges).root() == newest.root:
        return
    for level in edge_levels(sealed.size)[1:]:
        recomputed = [tile_root(tile) for tile in _tiles_below_edge(sealed, level)]
        replaced = [*edges[:level], recomputed, *edges[level + 1 :]]
        if edge_frontier(sealed.size, replaced).root() == newest.root:
            raise damaged(_edge_name(sealed, level), "it does not hold the roots of the tiles below it")
    lowest = next(level for level, edge in enumerate(edges) if edge)
    raise damaged(
        _edge_name(sealed, lowest), f"with it, the tiles do not give the root of the checkpoint of {newest.size} events"
    )


def _tiles_below_edge(sealed: TileReader, level: int) -> Iterator[tuple[bytes, ...]]:
    width = level_width(sealed.size, level)
    return (sealed.tile(level - 1, number) for number in range(width - width % TILE_WIDTH, width))


def _edge_name(sealed: TileReader, level: int) -> str:
    return sealed.name(level, level_width(sealed.size, level) // TILE_WIDTH)


def _check_full_tiles(sealed: TileReader, level: int) -> None:
    """Each full tile has the root that the tile above, checked before, holds for it."""
    for number in range(level_width(sealed.size, level) // TILE_WIDTH):
        if tile_root(sealed.tile(level, number)) != sealed.node(TILE_HEIGHT * (level + 1), number):
            raise damaged(sealed.name(level, number), "it does not give the root that was sealed for it")


def _check_passed_tiles(folder: Path, sealed: TileReader) -> None:
    """Tiles that were not full at an earlier size hold the beginning of what they hold now."""
    for path in sorted(_passed_tiles(folder)):
        level, number, width = _parsed(path.relative_to(folder).as_posix())
        if width and number * TILE_WIDTH + width <= level_width(sealed.size, level):
            expected = b"".join(sealed.tile(level, number)[:width])
            if content_of(path) not in (expected, None):
                raise damaged(tile_name(level, number, width), "it does not hold the beginning of its tile")


def _passed_tiles(folder: Path) -> Iterator[Path]:
    """Files of tiles that are not full. A folder that a sealer removes meanwhile, as its tile is full now, has none."""
    for parent, _, names in os.walk(folder / TILE_FOLDER):
        if parent.endswith(".p"):
            yield from (Path(parent) / name for name in names)


def _parsed(name: str) -> tuple[int, int, int]:
    """Level, number and width of a tile that is not full, from its file; width 0 for any other file."""
    _, level, *groups, width = name.removesuffix(".p").replace(".p/", "/").split("/")
    number = "".join(groups).replace("x", "")
    if not (level.isdecimal() and number.isdecimal() and width.isdecimal()):
        return 0, 0, 0
    return int(level), int(number), int(width)


def _check_copies(
    folder: SealedFolder, sealed: TileReader, newest: SealedCheckpoint, keys: Collection[VerifierKey]
) -> None:
    """Every checkpoint that was ever signed is of this tree, as it was at that size."""
    edge = Frontier()
    for size in [size for size in folder.sizes() if size <= newest.size]:
        for run in sealed.leaves(edge.size, size):
            edge = edge.extended(run)
        copy = folder.checkpoint_at(size, keys)
        name = f"{CHECKPOINTS_FOLDER}/{size}"
        if copy.origin != newest.origin:
            raise damaged(name, f"it is a checkpoint of another log, {copy.origin}")
        if copy.root != edge.root():
            raise damaged(name, f"it is signed with another root than the log had at {size} events: a split view")
