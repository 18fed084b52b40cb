"""The hashes of a log's tree as files (c2sp.org/tlog-tiles): tiles of up to 256 neighbours of every eighth level.

A tile of level 0 holds leaves, one of a level above holds the roots of full tiles below it. Files are
`tile/<level>/<number>`, for a tile that is not full yet `tile/<level>/<number>.p/<width>`.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from services.eventstore.audit.durable_file import DurableFolder
from services.eventstore.audit.tree import HASH_BYTES, Frontier
from services.kernel.errors import Corrupt

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8
TILE_FOLDER: Final = "tile"
TILES_REMEMBERED_MAX: Final = 64

Tile = tuple[bytes, ...]


def tile_name(level: int, number: int, width: int) -> str:
    """The file of a tile, relative to the sealed folder; number 1234067 reads `x001/x234/067`."""
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    path = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    return f"{TILE_FOLDER}/{level}/{path}" + (f".p/{width}" if width < TILE_WIDTH else "")


def tile_root(tile: Sequence[bytes]) -> bytes:
    """The hash that a full tile has in the level above."""
    assert len(tile) == TILE_WIDTH, "a tile that is not full stands in no level above"
    return Frontier().extended(tile).root()


def level_width(size: int, level: int) -> int:
    """How many hashes the tiles of a level hold together, in a tree of `size` leaves."""
    return size >> TILE_HEIGHT * level


def edge_levels(size: int) -> range:
    """The levels that have a tile, in a tree of `size` leaves."""
    return range(-(-size.bit_length() // TILE_HEIGHT))


def edge_frontier(size: int, edges: Sequence[Sequence[bytes]]) -> Frontier:
    """The edge of a tree, from the hashes of each level that no tile of the level above covers yet."""
    hashes = [subtree for edge in reversed(edges) for subtree in Frontier().extended(edge).hashes]
    return Frontier(size, tuple(hashes))


class TileReader:
    """The tiles of a tree of `size` leaves. They are not trusted: whoever reads proves them by a signed root."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self._folder = folder
        self._remembered = lru_cache(maxsize=TILES_REMEMBERED_MAX)(self._read)

    def tile(self, level: int, number: int) -> Tile:
        """A tile as it is at this size; raises Corrupt, naming the file, when it is missing or cut."""
        return self._remembered(level, number)

    def name(self, level: int, number: int) -> str:
        """The file that holds the tile at this size."""
        return tile_name(level, number, self._width(level, number))

    def edge(self, level: int) -> Tile:
        """The hashes of a level that no tile of the level above covers yet; fewer than 256."""
        number, width = divmod(level_width(self.size, level), TILE_WIDTH)
        return self.tile(level, number) if width else ()

    def node(self, level: int, index: int) -> bytes:
        """As `NodeHash`, for every perfect subtree of this tree."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        number, start = divmod(index << height, TILE_WIDTH)
        hashes = self.tile(tile_level, number)[start : start + (1 << height)]
        assert len(hashes) == 1 << height, "a perfect subtree lies inside the tree"
        return Frontier().extended(hashes).root()

    def leaf(self, index: int) -> bytes:
        """The leaf with that index."""
        return self.node(0, index)

    def leaves(self, start: int, end: int) -> Iterator[Tile]:
        """The leaves from `start` up to but not `end`, a run at a time, each from one tile."""
        while start < end:
            number, first = divmod(start, TILE_WIDTH)
            run = self.tile(0, number)[first : first + end - start]
            yield run
            start += len(run)

    def _width(self, level: int, number: int) -> int:
        return min(TILE_WIDTH, level_width(self.size, level) - number * TILE_WIDTH)

    def _read(self, level: int, number: int) -> Tile:
        """From the file of this width, else, when that was removed since, from that of the full tile."""
        width = self._width(level, number)
        assert width > 0, "a tile lies inside the tree"
        name = tile_name(level, number, width)
        content = content_of(self._folder / name)
        if content is None and width < TILE_WIDTH:
            content = content_of(self._folder / tile_name(level, number, TILE_WIDTH))
            content = content and content[: width * HASH_BYTES]
        if content is None:
            raise Corrupt(f"{name} is missing from {self._folder}", reason="TILE_MISSING", metadata={"file": name})
        if len(content) != width * HASH_BYTES:
            raise Corrupt(
                f"{name} has {len(content)} bytes instead of {width * HASH_BYTES}",
                reason="TILE_DAMAGED",
                metadata={"file": name},
            )
        return tuple(content[start : start + HASH_BYTES] for start in range(0, len(content), HASH_BYTES))


class GrowingTiles:
    """The right edge of the tiles: takes leaves, writes each tile that becomes full. Memory: 256 hashes a level."""

    def __init__(self, folder: DurableFolder, sealed: TileReader) -> None:
        """Goes on from the sealed tree; raises Corrupt when one of its edge tiles cannot be read."""
        self.size = sealed.size
        self._folder = folder
        self._edges = [list(sealed.edge(level)) for level in edge_levels(sealed.size)]

    def add(self, leaves: Sequence[bytes]) -> None:
        """Add leaves on the right."""
        self._grow(0, leaves)
        self.size += len(leaves)

    def write_edges(self) -> None:
        """Write the tiles that are not full, so that everything of this size is there."""
        for level, edge in enumerate(self._edges):
            if edge:
                number = level_width(self.size, level) // TILE_WIDTH
                self._write(level, number, edge)

    def frontier(self) -> Frontier:
        """The edge of the tree, from which its root follows."""
        return edge_frontier(self.size, self._edges)

    def _grow(self, level: int, hashes: Sequence[bytes]) -> None:
        if level == len(self._edges):
            self._edges.append([])
        number = level_width(self.size, level) // TILE_WIDTH
        known = self._edges[level] + list(hashes)
        full = len(known) - len(known) % TILE_WIDTH
        roots = []
        for start in range(0, full, TILE_WIDTH):
            tile = known[start : start + TILE_WIDTH]
            self._write(level, number, tile)
            roots.append(tile_root(tile))
            number += 1
        self._edges[level] = known[full:]
        if roots:
            self._grow(level + 1, roots)

    def _write(self, level: int, number: int, tile: Sequence[bytes]) -> None:
        self._folder.write(tile_name(level, number, len(tile)), b"".join(tile))


def remove_passed(folder: DurableFolder, before: int, now: int) -> None:
    """Remove the tiles that were not full at `before` leaves and are at `now`; the full ones hold all they did.

    Where the folder allows no removal, they stay.
    """
    for level in edge_levels(before):
        number, width = divmod(level_width(before, level), TILE_WIDTH)
        if width and level_width(now, level) >= (number + 1) * TILE_WIDTH:
            folder.remove_folder(f"{tile_name(level, number, TILE_WIDTH)}.p")


def content_of(path: Path) -> bytes | None:
    """The bytes of a tile's file; None when there is none, or none any more."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
