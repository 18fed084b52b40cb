"""How far a count of earlier usage has come, for who waits for it: it stands in memory, not in the open transaction."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import structlog

from services.eventstore.event import Position, StreamName
from services.kernel.clock import monotonic_s

SAID_EVERY_S = 5.0
"""How often the log says how far a count is; one that is over before is silent."""

log = structlog.get_logger()


class CountingStep(StrEnum):
    """What is done: first it is found out which usage a correction touches, then usage is counted."""

    WAITING = "waiting"
    SEARCHING = "searching"
    COUNTING = "counting"


@dataclass(frozen=True, slots=True)
class Counting:
    """A count of earlier usage that runs, for what was decided up to `position`; where it is waited for, WAITING.

    `streams` are those of the new and redefined meters, corrections and backfills that it is for. `done` of `total`
    usage events were looked at in this step, which has run for `seconds`; another step may follow.
    """

    position: Position
    streams: tuple[StreamName, ...] = ()
    step: CountingStep = CountingStep.WAITING
    done: int = 0
    total: int = 0
    seconds: float = 0.0

    @property
    def per_second(self) -> int:
        """Usage events a second in this step, so far."""
        return int(self.done / self.seconds) if self.seconds > 0 else 0

    @property
    def seconds_left(self) -> int | None:
        """Seconds until the end of this step, at this pace, rounded up; None while nothing tells."""
        return -(-(self.total - self.done) // self.per_second) if self.per_second else None

    def text(self) -> str:
        """How far it is, in words."""
        if self.step is CountingStep.WAITING:
            return "waiting for its turn"
        verb = "looking for what it touches" if self.step is CountingStep.SEARCHING else "counting"
        left = "" if self.seconds_left is None else f", about {self.seconds_left} s left"
        return f"{verb}: {self.done} of {self.total} usage events{left}"


class CountingView(Protocol):
    """Who can tell how far a count is: the memory of the process that folds, or what it leaves for others to read."""

    def running(self, behind: Position, /) -> Counting | None:
        """The count that runs for what stands behind a log position in the log; None when there is none."""


class _NobodyCounts:
    """The view of who cannot see any count."""

    def running(self, _behind: Position) -> Counting | None:
        """None."""
        return None


NOBODY_COUNTS: CountingView = _NobodyCounts()


class Tally:
    """How far one count is: moved by the thread that folds, looked at by any."""

    def __init__(self, counting: Counting, seconds: Callable[[], float]) -> None:
        self._counting = counting
        self._seconds = seconds
        self._began_s = self._said_s = seconds()
        self._was_said = False

    def begin(self, step: CountingStep) -> None:
        """A step begins; how much there is to do comes in parts."""
        self._began_s = self._seconds()
        self._counting = replace(self._counting, step=step, done=0, total=0)

    def expect(self, usage_events: int) -> None:
        """So many more usage events are to be looked at."""
        self._counting = replace(self._counting, total=self._counting.total + usage_events)

    def looked_at(self, usage_events: int) -> None:
        """So many more were looked at; says so in the log every SAID_EVERY_S."""
        self._counting = replace(self._counting, done=self._counting.done + usage_events)
        if self._seconds() - self._said_s >= SAID_EVERY_S:
            self._said_s, self._was_said = self._seconds(), True
            self._say("counting earlier usage", of=self._counting.total)

    def now(self) -> Counting:
        """As it stands."""
        return replace(self._counting, seconds=max(0.0, self._seconds() - self._began_s))

    def end(self) -> None:
        """It is over."""
        if self._was_said:
            self._say("earlier usage is counted")

    def _say(self, event: str, **fields: int) -> None:
        now = self._counting
        log.info(event, wanted_by=list(map(str, now.streams)), step=now.step, usage_events=now.done, **fields)


class CountingProgress:
    """A `CountingView` of this process: the live fold counts, and a rebuild beside it may count, too."""

    def __init__(self, seconds: Callable[[], float] = monotonic_s) -> None:
        self._seconds = seconds
        self._tallies: tuple[Tally, ...] = ()
        self._changing = threading.Lock()

    @contextmanager
    def counting(self, position: Position, streams: Iterable[StreamName]) -> Iterator[Tally]:
        """A count that runs until the end of the block; when that fails, nothing more is said of it."""
        tally = Tally(Counting(position, tuple(streams)), self._seconds)
        with self._changing:
            self._tallies = (*self._tallies, tally)
        try:
            yield tally
            tally.end()
        finally:
            with self._changing:
                self._tallies = tuple(each for each in self._tallies if each is not tally)

    def running(self, behind: Position) -> Counting | None:
        """As in `CountingView`. What a rebuild counts stands before where the live tables are, and is not meant."""
        found = (tally.now() for tally in self._tallies)
        return next((each for each in found if each.position > behind), None)
