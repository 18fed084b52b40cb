"""The port to archived usage: a copy of the log's usage events in columns, up to a position of the log."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from services.eventstore.event import BEGINNING, Position

if TYPE_CHECKING:
    from services.aggregator.usage_reading import Extent


class ArchiveView(Protocol):
    """The archive as it stood at one moment: it holds every usage event that was recorded up to `position`."""

    @property
    def position(self) -> Position:
        """Log position up to which usage is archived."""

    def tables(self, extent: "Extent", columns: Sequence[str], until: Position) -> Iterator[pa.Table]:
        """The archived usage events of `extent`, recorded up to `until`, with the columns of `usage_tables`.

        As they were recorded: corrections are not applied.
        """


class ArchivedUsage(Protocol):
    """An archive that grows. Without one, or with one that is damaged, usage is read from the log."""

    def view(self) -> ArchiveView:
        """The archive as it stands now; what it lists can be read until the reader is done."""


class _NothingArchived:
    """The view of no archive."""

    position = BEGINNING

    def tables(self, _extent: "Extent", _columns: Sequence[str], _until: Position) -> Iterator[pa.Table]:
        """Nothing."""
        return iter(())


NOTHING_ARCHIVED: ArchiveView = _NothingArchived()
