"""Compares the events of a log, in order, with the leaves that were sealed, and finds the first that is another."""

import struct
from itertools import chain
from typing import Final

from services.eventstore.audit.chain import recorded_leaf
from services.eventstore.audit.tiles import TileReader
from services.eventstore.audit.tree import Frontier
from services.eventstore.audit.tree_proof import range_proof
from services.eventstore.event import Position, RecordedEvent

LEAVES_JOINED_MAX: Final = 4_096


class Broken(Exception):
    """The log does not hold from `position` on; `problem` says what is wrong there."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = Position(position)
        self.problem = problem


class SealedRun:
    """The sealed leaves from index `start` up to but not `end`, waiting for the events of the log that gave them.

    Their root is computed anew from the leaves that are shown, with the tiles to the left and right of the run.
    """

    def __init__(self, sealed: TileReader, start: int, end: int) -> None:
        self.next_index = start
        self._end = end
        self._size = sealed.size
        self._proof = range_proof(start, end, sealed.size, sealed.node)
        self._edge = Frontier(start, self._proof.left)
        self._sealed = chain.from_iterable(sealed.leaves(start, end))
        self._shown: list[bytes] = []

    @property
    def is_whole(self) -> bool:
        """Whether every leaf of the run was shown; what comes now was not sealed."""
        return self.next_index == self._end

    def show(self, position: Position, leaf: bytes) -> None:
        """The next event of the log stands at `position` and gives this leaf; raises Broken when another was sealed."""
        if leaf != next(self._sealed):
            raise Broken(position, f"this is not the event that was sealed as number {self.next_index + 1}")
        self._shown.append(leaf)
        self.next_index += 1
        if len(self._shown) == LEAVES_JOINED_MAX:
            self._join()

    def require_whole(self, behind: Position) -> None:
        """Raises Broken when the log ended at `behind`, before the run did."""
        if not self.is_whole:
            missing = self._end - self.next_index
            raise Broken(behind + 1, f"the log ends here, though {missing} more events were sealed: it was cut short")

    def root(self) -> bytes:
        """The root of the whole tree, computed from the leaves that were shown, which must be all of the run."""
        self._join()
        return self._edge.closed(self._proof.right, self._size).root()

    def _join(self) -> None:
        self._edge = self._edge.extended(self._shown)
        self._shown = []


def checked_leaf(event: RecordedEvent) -> bytes:
    """The leaf of an event, computed from its bytes; raises Broken when the stored leaf is another."""
    try:
        leaf = recorded_leaf(event)
    except (struct.error, ValueError) as error:
        raise Broken(event.position, f"the event's header was changed: {error}") from error
    if leaf != event.leaf:
        raise Broken(
            event.position, "the event does not give its leaf: its payload, its header or the leaf was changed"
        )
    return leaf


def is_event_of(leaf: bytes, event: RecordedEvent) -> bool:
    """Whether an event's bytes and its stored leaf give that leaf."""
    try:
        return checked_leaf(event) == leaf
    except Broken:
        return False
