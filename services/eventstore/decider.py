"""The decider: the rules of one kind of stream as pure functions, and how a command runs against the store."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Generic, TypeVar, cast

from google.protobuf.message import Message

from services.eventstore.catalogue import decode_all, encode
from services.eventstore.event import NO_STREAM, Appended, RecordedEvent, StreamName, WrongExpectedVersion
from services.eventstore.store import READ_LIMIT_MAX, EventStore

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E", bound=Message)

DECIDE_ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True)
class Decider(Generic[C, S, E]):
    """The rules of one kind of stream: `decide` turns a command into events, `evolve` folds events into state.

    Commands and states are frozen dataclasses, events are messages of `meterlog.events.v1`. `decide` raises a
    DomainError to refuse, and returns no events when the command is already done.
    """

    initial: S
    decide: Callable[[C, S], list[E]]
    evolve: Callable[[S, E], S]

    def fold(self, events: Iterable[E]) -> S:
        """The state after `events`."""
        return reduce(self.evolve, events, self.initial)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[S, E]):
    """What a command did: the new state, the events it caused, and where the last of them stands (None: none)."""

    state: S
    events: tuple[E, ...]
    appended: Appended | None


def handle(
    store: EventStore, decider: Decider[C, S, E], stream: StreamName, command: C, now: datetime
) -> Outcome[S, E]:
    """Read the stream, decide, append at the version read; decide again when somebody wrote first.

    Raises what `decide` raises, and WrongExpectedVersion after DECIDE_ATTEMPTS_MAX lost races.
    """
    attempt = 1
    while True:
        history = read_whole_stream(store, stream)
        state = _folded(decider, history)
        decided = decider.decide(command, state)
        if not decided:
            return Outcome(state, (), None)
        expected = history[-1].version if history else NO_STREAM
        events = [encode(event, stream, expected + 1 + index, now) for index, event in enumerate(decided)]
        try:
            appended = store.append(stream, events, expected)
        except WrongExpectedVersion:
            if attempt == DECIDE_ATTEMPTS_MAX:
                raise
            attempt += 1
        else:
            return Outcome(reduce(decider.evolve, decided, state), tuple(decided), appended)


def load(store: EventStore, decider: Decider[C, S, E], stream: StreamName) -> S:
    """The state of a stream as it stands."""
    return _folded(decider, read_whole_stream(store, stream))


def read_whole_stream(store: EventStore, stream: StreamName) -> list[RecordedEvent]:
    """Every event of one stream, oldest first."""
    events: list[RecordedEvent] = []
    while True:
        page = store.read_stream(stream, from_version=len(events), limit=READ_LIMIT_MAX)
        events.extend(page)
        if len(page) < READ_LIMIT_MAX:
            return events


def _folded(decider: Decider[C, S, E], history: Iterable[RecordedEvent]) -> S:
    return decider.fold(cast(E, message) for recorded in history for message in decode_all(recorded))
