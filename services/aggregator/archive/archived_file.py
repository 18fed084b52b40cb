"""One file of the archive: which rectangle of usage it holds, and how its bytes are recognised."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.aggregator.usage.archived_usage import EARLIEST_US, Gap
from services.eventstore.event import BEGINNING, Position


@dataclass(frozen=True, slots=True)
class Span:
    """Positions of the log behind `after` and up to `until`, whose leaf is `leaf`."""

    after: Position
    until: Position
    leaf: bytes


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """Holds all usage events recorded behind `after`, up to `until`, of a time from `start_us` until before `end_us`.

    No two files of an archive hold the same usage event. `size` in bytes; `footer_sha256` is of the Parquet footer, its
    length and the closing magic; `leaf` that of the event at the end of its span. `name` is relative to the archive.
    """

    name: str
    after: Position
    until: Position
    start_us: int
    end_us: int
    rows: int
    size: int
    sha256: bytes
    footer_sha256: bytes
    leaf: bytes

    def meets(self, start_us: int, end_us: int) -> bool:
        """Whether it can hold usage from `start_us` until before `end_us`."""
        return self.start_us < end_us and start_us < self.end_us

    def as_gap(self, first_us: int, until: Position) -> Gap:
        """What is missing while it cannot be read, of times from `first_us` and positions up to `until`."""
        return Gap(self.after, min(self.until, until), max(self.start_us, first_us), self.end_us)


@dataclass(frozen=True, slots=True)
class Listing:
    """What an archive holds: all usage up to `position` (whose leaf is `leaf`) of times from `first_us` on.

    `decisions` is how many decisions to skip events it respects. `removed` names files that are listed no more, but may
    still be read.
    """

    position: Position
    leaf: bytes
    first_us: int
    decisions: int
    files: tuple[ArchivedFile, ...]
    removed: tuple[str, ...]

    def with_change(self, added: Sequence[ArchivedFile], replaced: Sequence[ArchivedFile]) -> "Listing":
        """The same with other files."""
        gone = {file.name for file in replaced}
        kept = tuple(file for file in self.files if file.name not in gone)
        return replace(self, files=(*kept, *added), removed=(*self.removed, *sorted(gone)))


def empty_listing(first_us: int = EARLIEST_US, decisions: int = 0, removed: tuple[str, ...] = ()) -> Listing:
    """An archive that begins."""
    return Listing(BEGINNING, b"", first_us, decisions, (), removed)
