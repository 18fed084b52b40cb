"""How fast a rebuild goes, and how long it will take at that speed."""

from dataclasses import dataclass

from services.eventstore.event import Position

LOOK_S_MIN = 0.5
"""Before that nothing is said: the first page tells little."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Events folded a second, rounded, and seconds left; both say nothing (0 and None) before LOOK_S_MIN."""

    events_per_s: int
    seconds_left: int | None


@dataclass(frozen=True, slots=True)
class Start:
    """Where and when a rebuild began or was gone on with; instants are of a monotonic clock, in seconds."""

    position: Position
    events: int
    at_s: float

    def pace(self, position: Position, target: Position, events: int, now_s: float) -> Pace:
        """The pace of a rebuild that stands at `position` and goes to `target`.

        The time left goes by the share of the positions that was passed. On some backends positions are places in
        bytes and have gaps: for a share that is good enough, and only for that may they be subtracted.
        """
        passed_s = now_s - self.at_s
        passed, left = position - self.position, max(0, target - position)
        if passed_s < LOOK_S_MIN:
            return Pace(0, None)
        return Pace(
            events_per_s=round((events - self.events) / passed_s),
            seconds_left=round(left * passed_s / passed) if passed > 0 else None,
        )
