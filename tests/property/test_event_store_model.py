"""Whatever is appended and read in whatever order, a store answers as a plain list of events would."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from services.eventstore.audit.auditable import AuditableStore
from services.eventstore.audit.chain import recorded_leaf
from services.eventstore.audit.verify import verify
from services.eventstore.event import (
    ANY_VERSION,
    BEGINNING,
    NO_STREAM,
    Appended,
    CaughtUp,
    NewEvent,
    Position,
    RecordedEvent,
    StreamName,
    WrongExpectedVersion,
)
from services.eventstore.memory import MemoryEventStore
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.store import PostgresEventStore
from services.eventstore.sqlite.connection import SqliteLimits
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import Clock, SimulatedClock
from tests.numbered_positions import numbered_kurrentdb_store
from tests.postgres_log import fresh_log

STREAMS = st.builds(StreamName, st.sampled_from(["usage", "meter"]), st.sampled_from(["0", "a-b", "é"]))
EVENTS = st.lists(
    st.builds(
        NewEvent,
        id=st.integers(0, 5).map(lambda number: UUID(int=number)),
        type=st.sampled_from(["Created", "Updated"]),
        schema_version=st.integers(1, 3),
        payload=st.binary(max_size=20),
    ),
    min_size=1,
    max_size=4,
)
CATEGORIES = st.sets(st.sampled_from(["usage", "meter", "other"]))
OFFSETS = st.integers(-3, 2)
LIMITS = st.integers(1, 6)


@dataclass(frozen=True, slots=True)
class Stored:
    """An event as the model keeps it."""

    stream: StreamName
    event: NewEvent
    recorded_at: datetime


def as_stored(recorded: RecordedEvent) -> Stored:
    event = NewEvent(recorded.id, recorded.type, recorded.schema_version, recorded.payload)
    return Stored(recorded.stream, event, recorded.recorded_at)


class EventStoreMachine(RuleBasedStateMachine):
    """Does the same to a store and to a list, and compares what they say."""

    opener: Callable[[Path, Clock], EventStore]

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.clock = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
        self.store = type(self).opener(Path(self.directory.name), self.clock)
        self.model: list[Stored] = []

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()

    def of_stream(self, stream: StreamName) -> list[Stored]:
        return [stored for stored in self.model if stored.stream == stream]

    @rule(stream=STREAMS, events=EVENTS, offset=OFFSETS)
    def append_near_the_current_version(self, stream: StreamName, events: list[NewEvent], offset: int) -> None:
        self.clock.advance(self.clock.now() + timedelta(microseconds=1))
        expected = max(NO_STREAM, len(self.of_stream(stream)) - 1 + offset)
        self.append(stream, events, expected)

    @rule(stream=STREAMS, events=EVENTS)
    def append_at_any_version(self, stream: StreamName, events: list[NewEvent]) -> None:
        self.append(stream, events, ANY_VERSION)

    @rule(stream=STREAMS, first=st.integers(0, 8), count=st.integers(1, 4))
    def append_again_what_stands_there(self, stream: StreamName, first: int, count: int) -> None:
        standing = self.of_stream(stream)[first : first + count]
        if standing:
            self.append(stream, [stored.event for stored in standing], first - 1)

    def append(self, stream: StreamName, events: list[NewEvent], expected: int) -> None:
        before = self.of_stream(stream)
        standing = before[expected + 1 : expected + 1 + len(events)]
        if expected in (ANY_VERSION, len(before) - 1):
            answer = self.store.append(stream, events, expected)
            self.model += [Stored(stream, event, self.clock.now()) for event in events]
            self.check_answer(answer, stream, len(before) + len(events) - 1)
        elif [stored.event.id for stored in standing] == [event.id for event in events]:
            self.check_answer(self.store.append(stream, events, expected), stream, expected + len(events))
        else:
            with pytest.raises(WrongExpectedVersion) as refused:
                self.store.append(stream, events, expected)
            assert refused.value.actual == len(before) - 1

    def check_answer(self, answer: Appended, stream: StreamName, version: int) -> None:
        assert answer.version == version
        stored = self.model[answer.position - 1]
        assert stored is self.of_stream(stream)[version]
        assert answer.recorded_at == stored.recorded_at

    @rule(stream=STREAMS, from_version=st.integers(0, 9), limit=LIMITS)
    def read_a_stream_upwards(self, stream: StreamName, from_version: int, limit: int) -> None:
        read = self.store.read_stream(stream, from_version=from_version, limit=limit)
        assert [as_stored(each) for each in read] == self.of_stream(stream)[from_version : from_version + limit]

    @rule(stream=STREAMS, from_version=st.integers(-1, 9), limit=LIMITS)
    def read_a_stream_downwards(self, stream: StreamName, from_version: int, limit: int) -> None:
        read = self.store.read_stream(stream, from_version=from_version, limit=limit, backwards=True)
        events = self.of_stream(stream)
        below = events if from_version == -1 else events[: from_version + 1]
        assert [as_stored(each) for each in read] == below[::-1][:limit]

    @rule(after=st.integers(0, 30), categories=CATEGORIES, limit=LIMITS)
    def read_a_page(self, after: int, categories: set[str], limit: int) -> None:
        page = self.store.read_all(after=Position(after), categories=categories, limit=limit)
        matching = self.matching(after, categories)
        assert [event.position for event in page.events] == matching[:limit]
        assert [as_stored(event) for event in page.events] == [self.model[place - 1] for place in matching[:limit]]
        assert page.is_last == (len(matching) <= limit)
        assert page.position == (max(after, len(self.model)) if page.is_last else matching[limit - 1])

    @rule(after=st.integers(0, 30), categories=CATEGORIES, batch_max=LIMITS)
    def catch_up(self, after: int, categories: set[str], batch_max: int) -> None:
        stop, seen = threading.Event(), []
        for news in self.store.subscribe(after=Position(after), categories=categories, batch_max=batch_max, stop=stop):
            if isinstance(news, CaughtUp):
                assert news.position == max(after, len(self.model))
                break
            assert 1 <= len(news.events) <= batch_max
            seen += [event.position for event in news.events]
        assert seen == self.matching(after, categories)

    def matching(self, after: int, categories: set[str]) -> list[int]:
        """The positions behind `after` whose category is asked for."""
        return [
            place
            for place, stored in enumerate(self.model, 1)
            if place > after and (not categories or stored.stream.category in categories)
        ]

    @invariant()
    def the_head_is_the_newest_event(self) -> None:
        assert self.store.head().position == len(self.model)

    @rule()
    def the_log_verifies(self) -> None:
        if not isinstance(self.store, AuditableStore):
            return
        found = verify(self.store)
        assert (found.verified, found.events) == (True, len(self.model)), found.problem


class MemoryMachine(EventStoreMachine):
    """The machine over lists."""

    opener = staticmethod(lambda _directory, clock: MemoryEventStore(clock))


class SqliteMachine(EventStoreMachine):
    """The machine over a file, which is also closed and opened again, and checkpointed all the time."""

    opener = staticmethod(
        lambda directory, clock: SqliteEventStore(directory / "log.db", clock, limits=SqliteLimits(wal_bytes_max=1))
    )

    @rule()
    def close_and_open_again(self) -> None:
        self.store.close()
        self.store = type(self).opener(Path(self.directory.name), self.clock)


class PostgresMachine(EventStoreMachine):
    """The machine over a schema of a database, which is also closed and opened again."""

    opener = staticmethod(lambda directory, clock: PostgresEventStore(log_of(directory), clock))

    @rule()
    def close_and_open_again(self) -> None:
        self.store.close()
        self.store = type(self).opener(Path(self.directory.name), self.clock)


@cache
def log_of(_directory: Path) -> LogAddress:
    """A schema for each example, as others have a folder."""
    return fresh_log()


class KurrentDbMachine(EventStoreMachine):
    """The machine over a server of the KurrentDB protocol; each event must have the leaf that its bytes give."""

    opener = staticmethod(lambda _directory, clock: numbered_kurrentdb_store(clock))

    @rule()
    def every_leaf_is_that_of_its_event(self) -> None:
        events = self.store.read_all(after=BEGINNING).events
        assert [event.leaf for event in events] == [recorded_leaf(event) for event in events]


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine, PostgresMachine, KurrentDbMachine])
def test_a_store_answers_as_a_list_would(machine: type[EventStoreMachine]) -> None:
    bounded = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(machine, settings=bounded)
