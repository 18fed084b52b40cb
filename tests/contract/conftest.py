"""The backends of the event store: every test of this folder that asks for `store` runs once on each."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.eventstore.memory import MemoryEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import Clock, SimulatedClock


def memory_store(directory: Path, clock: Clock) -> EventStore:
    return MemoryEventStore(clock)


def sqlite_store(directory: Path, clock: Clock) -> EventStore:
    return SqliteEventStore(directory / "log.db", clock)


BACKENDS: dict[str, Callable[[Path, Clock], EventStore]] = {"memory": memory_store, "sqlite": sqlite_store}


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2024, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC))


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: SimulatedClock) -> Iterator[EventStore]:
    opened = BACKENDS[request.param](tmp_path, clock)
    yield opened
    opened.close()
