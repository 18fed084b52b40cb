"""What became of usage events: the answer of the recorder, before it is put into words for a producer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from services.eventstore.event import Position, StreamName


class Outcome(IntEnum):
    """What became of one usage event."""

    RECORDED = 1
    DUPLICATE = 2
    CONFLICT = 3


@dataclass(frozen=True, slots=True)
class Written:
    """An event of the log that usage was written to, and its leaf in the audit chain."""

    stream: StreamName
    version: int
    position: Position
    leaf: bytes
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Recording:
    """Parallel columns, one entry a usage event: its outcome, and the log position of the event that holds it.

    `written` are the events of the log that hold those with the outcome RECORDED.
    """

    outcomes: Sequence[Outcome]
    positions: Sequence[Position]
    written: Sequence[Written]

    def is_all_recorded(self) -> bool:
        """Whether every usage event is recorded, all in one event of the log."""
        return len(self.written) == 1 and self.outcomes.count(Outcome.RECORDED) == len(self.outcomes)

    def part(self, start: int, end: int) -> "Recording":
        """The usage events from `start` up to and without `end`."""
        if start == 0 and end == len(self.outcomes):
            return self
        outcomes, positions = self.outcomes[start:end], self.positions[start:end]
        recorded = {positions[row] for row, outcome in enumerate(outcomes) if outcome is Outcome.RECORDED}
        return Recording(outcomes, positions, [event for event in self.written if event.position in recorded])
