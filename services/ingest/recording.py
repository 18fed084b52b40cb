"""What became of usage events: the answer of the recorder, before it is put into words for a producer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from services.eventstore.event import Position, StreamName

Outcomes = NDArray[np.uint8]
Positions = NDArray[np.int64]


class Outcome(IntEnum):
    """What became of one well-formed usage event."""

    RECORDED = 1
    DUPLICATE = 2
    CONFLICT = 3
    NOT_RECORDED = 4


class Commitment(IntEnum):
    """What a request wants of its usage events that are not recorded yet."""

    EACH = 1
    """Each is recorded by itself."""
    ALL = 2
    """All in one commit, or none: a conflict stops all."""
    NONE = 3
    """None, because another of their atomic batch is malformed; only what stands in the log is told."""


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
    """Parallel columns, one entry a usage event: its `Outcome`, and the log position of the event that holds it (0 for
    none).

    `written` are the events of the log that hold those with the outcome RECORDED. `is_plain` tells that all are
    recorded in one event of the log, as is nearly always so.
    """

    outcomes: Outcomes
    positions: Positions
    written: Sequence[Written]
    is_plain: bool = False

    def part(self, start: int, end: int) -> "Recording":
        """The usage events from `start` up to and without `end`."""
        if start == 0 and end == len(self.outcomes):
            return self
        outcomes, positions = self.outcomes[start:end], self.positions[start:end]
        if self.is_plain:
            return Recording(outcomes, positions, self.written, is_plain=True)
        recorded = set(np.unique(positions[outcomes == Outcome.RECORDED]).tolist())
        return Recording(outcomes, positions, [event for event in self.written if event.position in recorded])


def nothing_recorded(count: int) -> Recording:
    """So many usage events of which none was asked for, and none is recorded."""
    return Recording(np.full(count, Outcome.NOT_RECORDED, np.uint8), np.zeros(count, np.int64), ())
