"""The port to archived usage: a copy of the log's usage events in columns, up to a position of the log."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from services.eventstore.event import BEGINNING, Position

if TYPE_CHECKING:
    from services.aggregator.usage.usage_reading import Extent

EARLIEST_US = -(2**62)
LATEST_US = 2**62
"""Instants before and behind all usage, in microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Usage that an archive does not give: recorded behind `after` and up to `until`, and of a time from `start_us`
    until before `end_us`. It is read from the log.
    """

    after: Position
    until: Position
    start_us: int = EARLIEST_US
    end_us: int = LATEST_US


class ArchiveView(Protocol):
    """The archive as it stood at one moment, for one reader.

    What `tables` gives and what `gaps` names are together every usage event that was recorded up to `until`, each once.
    """

    @property
    def position(self) -> Position:
        """Log position up to which usage is archived."""

    def tables(self, extent: "Extent", columns: Sequence[str], until: Position) -> Iterator[pa.Table]:
        """The archived usage events of `extent`, recorded up to `until`, with the columns of `usage_tables`.

        As they were recorded: corrections are not applied.
        """

    def gaps(self, until: Position) -> Sequence[Gap]:
        """What the log must be read for. Ask when `tables` was read to its end: it may have met with damage."""


class ArchivedUsage(Protocol):
    """An archive that grows. What it has lost, or does not keep, is a gap of its views."""

    def view(self) -> ArchiveView:
        """The archive as it stands now; what it lists can be read until the reader is done."""


class _NothingArchived:
    """The view of no archive."""

    position = BEGINNING

    def tables(self, _extent: "Extent", _columns: Sequence[str], _until: Position) -> Iterator[pa.Table]:
        """Nothing."""
        return iter(())

    def gaps(self, until: Position) -> Sequence[Gap]:
        """Everything."""
        return (Gap(BEGINNING, until),)


NOTHING_ARCHIVED: ArchiveView = _NothingArchived()
