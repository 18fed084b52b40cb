"""Checks that who reads a category of a log gets exactly the events of it: such reads go by an index of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import takewhile, zip_longest
from struct import Struct
from typing import TYPE_CHECKING, Final

from services.eventstore.audit.comparison import Broken
from services.eventstore.audit.walk import ReadableLog, events_behind
from services.eventstore.event import BEGINNING, Position, RecordedEvent

if TYPE_CHECKING:
    from hashlib import _Hash

CATEGORIES_TALLIED_MAX: Final = 1_000

_POSITION: Final = Struct(">Q")
_REMEDY: Final = "an index is damaged; restore the log, or rebuild its indexes"


class CategoryTallies:
    """Of each category behind `above`, in order of their names, a hash over positions and leaves of its events.

    Only the first CATEGORIES_TALLIED_MAX names are kept, so that memory stays bounded; `last` is the last of them when
    others had no room, else None.
    """

    def __init__(self, above: str = "") -> None:
        self._above = above
        self._no_room: str | None = None
        self._hashes: dict[str, _Hash] = {}

    @property
    def last(self) -> str | None:
        """Where the next tallies have to go on; None when no category was left out."""
        return max(self._hashes) if self._no_room is not None else None

    def add(self, event: RecordedEvent) -> None:
        """The next event of the log; those of one category must come in order, and all of them."""
        category = event.stream.category
        running = self._hashes.get(category)
        if running is None:
            if category <= self._above or (self._no_room is not None and category >= self._no_room):
                return
            running = self._hashes[category] = sha256()
            if len(self._hashes) > CATEGORIES_TALLIED_MAX:
                self._no_room = max(self._hashes)
                del self._hashes[self._no_room]
        running.update(_POSITION.pack(event.position) + event.leaf)

    def digests(self) -> dict[str, bytes]:
        """What the reads of each category must give."""
        return {category: running.digest() for category, running in self._hashes.items()}


def require_category_reads(log: ReadableLog, tallies: CategoryTallies, end: Position) -> None:
    """Read each category up to `end` as its readers do; raises Broken where they would get something else.

    `tallies` were taken of all events up to `end`, in log order. Costs about as much as reading the log once more.
    """
    while True:
        for category, digest in tallies.digests().items():
            if _digest(_events(log, category, end)) != digest:
                raise _first_difference(log, category, end)
        last = tallies.last
        if last is None:
            return
        tallies = CategoryTallies(last)
        for event in _all_events(log, end):
            tallies.add(event)


def _digest(events: Iterable[RecordedEvent]) -> bytes:
    running = sha256()
    for event in events:
        running.update(_POSITION.pack(event.position) + event.leaf)
    return running.digest()


def _events(log: ReadableLog, category: str, end: Position) -> Iterator[RecordedEvent]:
    return takewhile(lambda event: event.position <= end, events_behind(log, BEGINNING, (category,)))


def _all_events(log: ReadableLog, end: Position) -> Iterator[RecordedEvent]:
    return takewhile(lambda event: event.position <= end, events_behind(log, BEGINNING))


def _first_difference(log: ReadableLog, category: str, end: Position) -> Broken:
    """Both reads once more, side by side: it is not known before that this is needed, and hashes tell no position."""
    wanted = (event for event in _all_events(log, end) if event.stream.category == category)
    for event, read in zip_longest(wanted, _events(log, category, end)):
        if event is not None and (read is None or event.position < read.position):
            return Broken(event.position, f"readers of category {category} do not get this event: {_REMEDY}")
        if read is not None and (event is None or (event.position, event.leaf) != (read.position, read.leaf)):
            return Broken(read.position, f"readers of category {category} get another event here: {_REMEDY}")
    return Broken(BEGINNING + 1, f"reads of category {category} give one thing now, another then; check the disk")
