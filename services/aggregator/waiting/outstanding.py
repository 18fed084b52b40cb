"""What the log says and usage does not yet: whether there is such, how far its count is, and the wait for its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.aggregator.deadline import Deadline
from services.aggregator.meters.meter import METER_NOT_FOUND, meter_stream
from services.aggregator.meters.meter_rows import find_meter
from services.aggregator.tables import UsageTables
from services.aggregator.waiting.counting_progress import Counting, CountingView
from services.eventstore.decider import read_whole_stream
from services.eventstore.event import Position, RecordedEvent, StreamName
from services.eventstore.store import EventStore
from services.kernel.errors import DomainError, NotFound, TimedOut, Unavailable
from services.projection.projection import ProjectionStatus
from services.projection.runner import ProjectionRunner

LOOK_EVERY_S = 1.0
"""How often who waits looks whether its caller is still there."""

STILL_COUNTING = "STILL_COUNTING"
METER_COUNTING = "METER_COUNTING"


class Outstanding:
    """Compares the log with the tables of usage; `view` knows of the count that runs."""

    def __init__(self, store: EventStore, windows: ProjectionRunner[UsageTables], view: CountingView) -> None:
        self._store = store
        self._windows = windows
        self._view = view

    def status(self) -> ProjectionStatus:
        """Up to where usage is counted, where the log ends, and why it stands still."""
        return self._windows.status()

    def running(self) -> Counting | None:
        """The count of earlier usage that runs."""
        return self._view.running(self._windows.position())

    def of(self, stream: StreamName) -> Counting | None:
        """How far the count is of what a stream said last; None when usage says so already, or there is nothing."""
        counted = self._windows.position()
        running = self._view.running(counted)
        if running is not None and stream in running.streams:
            return running
        if counted >= self._store.head().position:
            return None
        history = read_whole_stream(self._store, stream)
        return Counting(history[-1].position) if history and history[-1].position > counted else None

    def history(self, stream: StreamName) -> list[RecordedEvent]:
        """What a stream says, as far as the log goes."""
        return read_whole_stream(self._store, stream)

    def wait(self, stream: StreamName, deadline: Deadline) -> None:
        """Return when usage says what the stream says last; raises TimedOut (STILL_COUNTING) with its position."""
        history = self.history(stream)
        if history:
            self._wait_for(history[-1].position, deadline, lambda: self._still_counting(stream, history[-1].position))

    def catch_up(self, deadline: Deadline) -> None:
        """Return when all that was recorded before this call is counted; raises TimedOut, and nothing was decided."""
        self._wait_for(self._store.head().position, deadline, self._behind)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """A meter that is not found because it does not count usage yet is said to be so: Unavailable."""
        try:
            yield
        except NotFound as error:
            if error.reason == METER_NOT_FOUND and self._is_new(error.metadata["meter"]):
                raise self._meter_counting(error.metadata["meter"]) from error
            raise

    def _is_new(self, slug: str) -> bool:
        """Whether the log has a meter that the tables did not have a moment ago."""
        history = self.history(meter_stream(slug))
        if not history or history[-1].position > self._windows.position():
            return bool(history)
        with self._windows.read() as (connection, tables):
            return find_meter(connection, tables, slug) is not None

    def _wait_for(self, position: Position, deadline: Deadline, refusal: Callable[[], DomainError]) -> None:
        while self._windows.position() < position:
            try:
                self._windows.wait_for(position, min(deadline.left_s(), LOOK_EVERY_S))
            except TimedOut as late:
                if not deadline.left_s():
                    raise refusal() from late

    def _still_counting(self, stream: StreamName, position: Position) -> DomainError:
        return TimedOut(
            f'{stream.category} "{stream.id}" is in the log, at position {position}, and usage follows: '
            f"{self._how_far(stream)}. Repeat the call, or wait until GetCounting says position {position}",
            reason=STILL_COUNTING,
            metadata={"position": str(position)},
        )

    def _meter_counting(self, slug: str) -> DomainError:
        return Unavailable(
            f'meter "{slug}" is new, and usage of the past is not counted yet: {self._how_far(meter_stream(slug))}; '
            "repeat later, GetCounting tells when",
            reason=METER_COUNTING,
        )

    def _behind(self) -> DomainError:
        running = self.running()
        how_far = self.status().stop_reason or ("it is catching up" if running is None else running.text())
        return TimedOut(f"usage is behind the log ({how_far}), so nothing was decided; repeat later", reason="BEHIND")

    def _how_far(self, stream: StreamName) -> str:
        counting = self.of(stream)
        return self.status().stop_reason or ("done at this moment" if counting is None else counting.text())
