"""Which position each sealed event stands at: computed where positions have no gaps, else kept in a file.

The file is no proof, and is not signed: what stands at a position is always compared with the sealed leaf. One that is
missing or wrong is written anew from the log.
"""

import os
from bisect import bisect_left
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final, Protocol

from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.comparison import Broken
from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.kernel.errors import Unavailable

POSITIONS_FILE: Final = "positions"

_POSITION: Final = Struct(">Q")


class Positions(Protocol):
    """From the index of an event among all events to its position, and back."""

    def position_of(self, index: int) -> Position | None:
        """Where the event with that index stands; None when that was not kept."""

    def index_from(self, position: Position, size: int) -> int:
        """The index of the first of the first `size` events that stands at `position` or behind it; else `size`."""

    def kept_from(self, index: int, count: int) -> Sequence[Position]:
        """The positions of up to `count` events from an index on; fewer when fewer were kept."""

    def keep(self, first_index: int, positions: Sequence[Position]) -> None:
        """Remember the positions of events from an index on, durably, in place of what was kept for them."""

    def require_next(self, index: int, position: Position) -> None:
        """The event with that index may stand there; raises Broken when a position before it has no event."""


class ContiguousPositions:
    """Positions 1, 2, 3 … as SQL backends give them."""

    def position_of(self, index: int) -> Position | None:
        """As in `Positions`."""
        return Position(index + 1)

    def index_from(self, position: Position, size: int) -> int:
        """As in `Positions`."""
        return max(0, min(position - 1, size))

    def kept_from(self, index: int, count: int) -> Sequence[Position]:
        """As in `Positions`."""
        return [Position(each + 1) for each in range(index, index + count)]

    def keep(self, first_index: int, positions: Sequence[Position]) -> None:
        """Nothing needs to be kept."""

    def require_next(self, index: int, position: Position) -> None:
        """As in `Positions`."""
        if position != index + 1:
            raise Broken(index + 1, "the event of this position is missing")


class PositionFile:
    """Positions of a log that has gaps between them, eight bytes each, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def position_of(self, index: int) -> Position | None:
        """As in `Positions`."""
        with self._opened() as file:
            return _read(file, index) if index < _count(file) else None

    def index_from(self, position: Position, size: int) -> int:
        """As in `Positions`."""
        with self._opened() as file:
            kept = range(min(size, _count(file)))
            return bisect_left(kept, position, key=lambda index: _read(file, index))

    def kept_from(self, index: int, count: int) -> Sequence[Position]:
        """As in `Positions`."""
        with self._opened() as file:
            return [_read(file, each) for each in range(index, min(index + count, _count(file)))]

    def keep(self, first_index: int, positions: Sequence[Position]) -> None:
        """As in `Positions`; raises Unavailable."""
        try:
            with self._path.open("r+b" if self._path.exists() else "x+b") as file:
                file.seek(first_index * _POSITION.size)
                file.write(b"".join(_POSITION.pack(position) for position in positions))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unavailable(
                f"{self._path} cannot be written ({error.strerror}); check space and permissions"
            ) from error

    def require_next(self, index: int, position: Position) -> None:
        """Any position will do: there are gaps."""

    def _opened(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            return BytesIO()
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be read ({error.strerror}); check its permissions") from error


def positions_of(store: AuditableStore | EventStore, folder: Path) -> Positions:
    """The positions of a log that is sealed into a folder."""
    return ContiguousPositions() if isinstance(store, AuditableStore) else PositionFile(folder / POSITIONS_FILE)


def _count(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END) // _POSITION.size


def _read(file: BinaryIO, index: int) -> Position:
    file.seek(index * _POSITION.size)
    (position,) = _POSITION.unpack(file.read(_POSITION.size))
    return Position(position)
