"""The simulated clock: its instant is an event of the log, so every service shares it and a replay sees it again."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from meterlog.events.v1.log_pb2 import ClockAdvanced
from services.eventstore.catalogue import decode
from services.eventstore.decider import Decider, handle
from services.eventstore.event import BEGINNING, Batch, Position, RecordedEvent, StreamName
from services.eventstore.store import EventStore
from services.kernel.clock import Clock, SimulatedClock, SystemClock
from services.kernel.errors import InvalidInput, RuleViolated
from services.kernel.timestamp import from_timestamp, to_timestamp
from services.projection.lasting_thread import LastingThread
from services.projection.row import unexpected_event

CLOCK_STREAM = StreamName("clock", "simulated")


@dataclass(frozen=True, slots=True)
class AdvanceClock:
    """Move the simulated clock to `to`; with `only_as_start`, only when it has never been moved."""

    to: datetime
    only_as_start: bool = False


def _decide(command: AdvanceClock, now: datetime | None) -> list[ClockAdvanced]:
    if now is not None and command.only_as_start:
        return []
    if now is not None and command.to < now:
        raise RuleViolated(
            f"the simulated clock stands at {now.isoformat()} and only runs forward; choose a later instant",
            reason="CLOCK_RUNS_FORWARD",
        )
    return [] if command.to == now else [ClockAdvanced(now=to_timestamp(command.to))]


def _evolve(_now: datetime | None, event: ClockAdvanced) -> datetime | None:
    return from_timestamp(event.now)


CLOCK: Decider[AdvanceClock, datetime | None, ClockAdvanced] = Decider(None, _decide, _evolve)


def advance(store: EventStore, to: datetime, *, only_as_start: bool = False) -> tuple[datetime, Position]:
    """Append the new instant; returns where the clock then stands and the log position of the last advance."""
    outcome = handle(store, CLOCK, CLOCK_STREAM, AdvanceClock(to, only_as_start), to)
    assert outcome.state is not None
    if outcome.appended is not None:
        return outcome.state, outcome.appended.position
    (newest,) = store.read_stream(CLOCK_STREAM, from_version=-1, limit=1, backwards=True)
    return outcome.state, newest.position


class ClockFollower:
    """A worker that moves a SimulatedClock as the log says."""

    name = "clock"

    def __init__(self, store: EventStore, clock: SimulatedClock) -> None:
        self._store = store
        self._clock = clock
        self._thread = LastingThread("follow clock", self._follow)
        self._position = BEGINNING

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop following."""
        self._thread.stop(timeout_s)

    def is_ready(self) -> bool:
        """Whether the log's instants so far are known."""
        return self._position > BEGINNING and not self._thread.problem

    def problem(self) -> str:
        """Why following stopped; empty while it runs."""
        return self._thread.problem

    def _follow(self, stop: threading.Event) -> None:
        for item in self._store.subscribe(after=self._position, categories={CLOCK_STREAM.category}, stop=stop):
            if isinstance(item, Batch):
                self._move(item.events)
            self._position = item.position
            self._thread.well()

    def _move(self, events: Sequence[RecordedEvent]) -> None:
        for recorded in events:
            message = decode(recorded)
            if not isinstance(message, ClockAdvanced):
                raise unexpected_event(recorded, message)
            self._clock.advance(from_timestamp(message.now))


def parse_start(text: str) -> datetime:
    """The instant of METERLOG_CLOCK_START, the machine's time for an empty text; raises InvalidInput."""
    if not text:
        return SystemClock().now()
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f'METERLOG_CLOCK_START is "{text[:60]}"; write ISO 8601 such as 2024-01-31T00:00:00Z',
            field="METERLOG_CLOCK_START",
        ) from error
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def is_simulated(clock: Clock) -> bool:
    """Whether the clock stands still between advances."""
    return isinstance(clock, SimulatedClock)
