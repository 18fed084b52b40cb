"""The backends of the event store: every test of this folder that asks for `store` runs once on each."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.eventstore.memory import MemoryEventStore
from services.eventstore.postgres.store import PostgresEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import Clock, SimulatedClock
from tests.numbered_positions import numbered_kurrentdb_store
from tests.postgres_log import fresh_log


def memory_store(directory: Path, clock: Clock) -> EventStore:
    return MemoryEventStore(clock)


def sqlite_store(directory: Path, clock: Clock) -> EventStore:
    return SqliteEventStore(directory / "log.db", clock)


def postgres_store(directory: Path, clock: Clock) -> EventStore:
    return PostgresEventStore(fresh_log(), clock)


def kurrentdb_store(directory: Path, clock: Clock) -> EventStore:
    return numbered_kurrentdb_store(clock)


CHAINED: dict[str, Callable[[Path, Clock], EventStore]] = {
    "memory": memory_store,
    "sqlite": sqlite_store,
    "postgres": postgres_store,
}
"""Those that keep an audit chain."""

BACKENDS = CHAINED | {"kurrentdb": kurrentdb_store}


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2024, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC))


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: SimulatedClock) -> Iterator[EventStore]:
    opened = BACKENDS[request.param](tmp_path, clock)
    yield opened
    opened.close()


@pytest.fixture(params=CHAINED)
def chained_store(request: pytest.FixtureRequest, tmp_path: Path, clock: SimulatedClock) -> Iterator[EventStore]:
    opened = CHAINED[request.param](tmp_path, clock)
    yield opened
    opened.close()
