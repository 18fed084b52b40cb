"""A disk that is full or fails, a neighbour that holds the log: a clear error, and nothing acknowledged is lost."""

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from services.eventstore.audit.verify import verify
from services.eventstore.event import NO_STREAM, NewEvent, StreamName
from services.eventstore.sqlite.connection import SqliteLimits
from services.eventstore.sqlite.errors import domain_error
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.sqlite.writer_lock import WriterLock
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Corrupt, Unavailable

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
METER = StreamName("meter", "tokens")
IMPATIENT = SqliteLimits(lock_timeout_s=0.05, busy_timeout_s=0.05)


def event(number: int, payload: bytes = b"") -> NewEvent:
    return NewEvent(UUID(int=number), "Happened", 1, payload)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteEventStore]:
    opened = SqliteEventStore(path, CLOCK, limits=IMPATIENT)
    yield opened
    opened.close()


def test_a_neighbour_that_holds_the_lock_fails_the_append_and_nothing_is_lost(
    store: SqliteEventStore, path: Path
) -> None:
    with WriterLock(path, timeout_s=1).held(), pytest.raises(Unavailable, match="another process") as refused:
        store.append(METER, [event(1)], NO_STREAM)
    assert refused.value.reason == "LOG_BUSY"
    assert store.append(METER, [event(1)], NO_STREAM).position == 1


def test_a_foreign_program_that_locks_the_file_fails_the_append_and_nothing_is_lost(
    store: SqliteEventStore, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked by a program outside"):
            store.append(METER, [event(1)], NO_STREAM)
        foreign.execute("ROLLBACK")
    assert store.append(METER, [event(1)], NO_STREAM).position == 1


def test_a_full_disk_fails_the_append_and_nothing_is_lost(store: SqliteEventStore) -> None:
    store.append(METER, [event(1)], NO_STREAM)
    connection = store._writer._connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 20")
    with pytest.raises(Unavailable, match="full") as refused:
        store.append(METER, [event(2, bytes(500_000))], 0)
    assert refused.value.reason == "DISK_FULL"
    assert [each.id.int for each in store.read_stream(METER)] == [1]
    assert store.append(METER, [event(2, bytes(500_000))], 0).position == 2
    assert verify(store).events == 2


FILE_SIZE_MAX = 400_000
APPEND_UNTIL_THE_DISK_FAILS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID
from services.eventstore.event import NewEvent, StreamName
from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Unavailable

store = SqliteEventStore(Path(sys.argv[1]), SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC)))
version = -1
try:
    while True:
        event = NewEvent(UUID(int=version + 2), "Happened", 1, bytes(10_000))
        version = store.append(StreamName("meter", "tokens"), [event], version).version
except Unavailable as error:
    print(version + 1, error.reason, flush=True)
"""


def test_a_disk_that_refuses_a_write_fails_the_append_and_keeps_what_was_acknowledged(path: Path) -> None:
    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE_MAX, FILE_SIZE_MAX))

    worker = subprocess.run(
        [sys.executable, "-c", APPEND_UNTIL_THE_DISK_FAILS, str(path)],
        preexec_fn=limit_file_size,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    acknowledged, reason = worker.stdout.split()
    reopened = SqliteEventStore(path, CLOCK)
    assert reason in {"DISK_FAILED", "DISK_FULL"}
    assert int(acknowledged) > 5
    assert len(reopened.read_stream(METER)) == int(acknowledged)
    assert verify(reopened).verified
    assert reopened.append(METER, [event(99)], int(acknowledged) - 1)
    reopened.close()


def test_a_file_that_may_not_be_written_is_named(path: Path) -> None:
    SqliteEventStore(path, CLOCK).close()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        with pytest.raises(sqlite3.OperationalError) as refused:
            connection.execute("DELETE FROM segments")
        error = domain_error(refused.value, path)
    assert isinstance(error, Unavailable)
    assert error.reason == "LOG_NOT_WRITABLE"
    assert str(path) in error.message


def test_a_directory_without_room_for_the_lock_is_named(path: Path) -> None:
    path.with_name("log.db.lock").mkdir()
    with pytest.raises(Unavailable, match="lock file"):
        SqliteEventStore(path, CLOCK)


def test_a_log_whose_tables_contradict_each_other_takes_no_appends(store: SqliteEventStore, path: Path) -> None:
    store.append(METER, [event(1), event(2)], NO_STREAM)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM commits")
    with pytest.raises(Corrupt, match="damaged"):
        store.append(METER, [event(3)], 1)
    assert store.stored_positions() == (1, 2)
