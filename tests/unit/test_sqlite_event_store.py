"""What only the store in a file has to prove: which files it takes, what it does when the disk or a neighbour fails."""

import os
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from services.eventstore.event import ANY_VERSION, BEGINNING, NO_STREAM, Batch, CaughtUp, NewEvent, StreamName
from services.eventstore.sqlite import SqliteEventStore
from services.eventstore.sqlite_connection import SqliteLimits
from services.eventstore.sqlite_errors import domain_error
from services.eventstore.sqlite_read_only import ReadOnlySqliteEventStore
from services.eventstore.verify import verify
from services.eventstore.writer_lock import WriterLock
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Corrupt, InvalidInput, NotFound, RuleViolated, Unavailable

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
METER = StreamName("meter", "tokens")
IMPATIENT = SqliteLimits(lock_timeout_s=0.05, busy_timeout_s=0.05)
WAIT_S = 20.0


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


def test_a_log_is_there_again_after_it_was_closed(path: Path) -> None:
    first = SqliteEventStore(path, CLOCK)
    answer = first.append(METER, [event(1)], NO_STREAM)
    first.close()
    second = SqliteEventStore(path, CLOCK)
    assert second.append(METER, [event(1)], NO_STREAM) == answer
    assert second.append(METER, [event(2)], 0).position == 2
    second.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["log.db", "log.db.lock", "log.db.turn"]


def test_missing_directories_are_created(tmp_path: Path) -> None:
    SqliteEventStore(tmp_path / "a" / "b c" / "log?.db", CLOCK).close()
    assert (tmp_path / "a" / "b c" / "log?.db").is_file()


def test_a_directory_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be created"):
        SqliteEventStore(tmp_path / "file" / "log.db", CLOCK)


def test_a_path_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        SqliteEventStore(tmp_path, CLOCK)


def test_every_commit_is_synced_and_no_checkpoint_runs_unasked(store: SqliteEventStore) -> None:
    connection = store._writer._connection
    assert connection is not None
    settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 2]
    assert connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == 0


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("not a database, but long enough to be looked at as one " * 100)
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="no event log"):
        SqliteEventStore(path, CLOCK)
    assert path.read_bytes() == before


def test_a_database_of_somebody_else_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (id)")
    with pytest.raises(InvalidInput, match="no event log"):
        SqliteEventStore(path, CLOCK)
    with pytest.raises(InvalidInput, match="no event log"):
        ReadOnlySqliteEventStore(path)


def test_a_log_of_a_newer_release_is_refused(path: Path) -> None:
    SqliteEventStore(path, CLOCK).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(RuleViolated, match="upgrade"):
        SqliteEventStore(path, CLOCK)
    with pytest.raises(RuleViolated, match="upgrade"):
        ReadOnlySqliteEventStore(path)


def test_an_empty_file_becomes_a_log(path: Path) -> None:
    path.touch()
    SqliteEventStore(path, CLOCK).close()
    assert verify(ReadOnlySqliteEventStore(path)).verified


def test_many_that_create_the_log_at_once_get_one_log(path: Path) -> None:
    def create_and_append(number: int) -> int:
        opened = SqliteEventStore(path, CLOCK)
        position = opened.append(StreamName("meter", str(number)), [event(number)], NO_STREAM).position
        opened.close()
        return position

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(create_and_append, range(8))) == list(range(1, 9))


def test_reading_only_needs_a_log_and_refuses_appends(path: Path) -> None:
    with pytest.raises(NotFound):
        ReadOnlySqliteEventStore(path)
    assert not path.exists()
    SqliteEventStore(path, CLOCK).close()
    reading = ReadOnlySqliteEventStore(path)
    with pytest.raises(RuleViolated, match="reading only"):
        reading.append(METER, [event(1)], NO_STREAM)
    reading.close()


def test_a_second_store_on_the_file_sees_and_continues_what_the_first_wrote(
    store: SqliteEventStore, path: Path
) -> None:
    other = SqliteEventStore(path, CLOCK)
    store.append(METER, [event(1)], NO_STREAM)
    assert other.append(METER, [event(2)], 0).position == 2
    assert store.append(METER, [event(3)], 1).position == 3
    assert verify(other).events == 3
    other.close()


def test_a_subscription_sees_the_commits_of_another_store(store: SqliteEventStore, path: Path) -> None:
    other, stop = SqliteEventStore(path, CLOCK), threading.Event()
    following = store.subscribe(after=BEGINNING, stop=stop)
    assert next(following) == CaughtUp(BEGINNING)
    for number in range(3):
        other.append(METER, [event(number)], number - 1)
        news = next(following)
        while not isinstance(news, Batch):
            news = next(following)
        assert [each.id.int for each in news.events] == [number]
    other.close()


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
from services.eventstore.sqlite import SqliteEventStore
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
            connection.execute("DELETE FROM events")
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
        connection.execute("UPDATE streams SET version = 0")
    with pytest.raises(Corrupt, match="damaged"):
        store.append(METER, [event(3)], 0)
    assert store.head().position == 2


def test_the_write_ahead_log_stays_small(path: Path) -> None:
    limits = SqliteLimits(wal_bytes_max=200_000)
    opened = SqliteEventStore(path, CLOCK, limits=limits)
    sizes = []
    for number in range(100):
        opened.append(METER, [event(number, bytes(20_000))], number - 1)
        sizes.append(path.with_name("log.db-wal").stat().st_size)
    assert max(sizes) < 2 * limits.wal_bytes_max
    assert verify(opened).events == 100
    opened.close()


def test_a_reader_in_the_midst_of_the_log_blocks_no_append(path: Path) -> None:
    opened = SqliteEventStore(path, CLOCK, limits=SqliteLimits(wal_bytes_max=50_000))
    opened.append(METER, [event(0)], NO_STREAM)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
        for number in range(1, 30):
            opened.append(METER, [event(number, bytes(20_000))], number - 1)
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
    assert verify(opened).events == 30
    opened.close()


def test_threads_that_come_and_go_leave_few_connections_open(store: SqliteEventStore) -> None:
    store.append(METER, [event(1)], NO_STREAM)
    for _ in range(5):
        threads = [threading.Thread(target=store.read_stream, args=(METER,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    assert len(store._reads._readers._idle) <= SqliteLimits().idle_readers_max


def test_a_category_is_read_by_its_index(store: SqliteEventStore, path: Path) -> None:
    store.append(METER, [event(1)], ANY_VERSION)
    statements: list[str] = []
    with closing(sqlite3.connect(path)) as connection:
        connection.set_trace_callback(statements.append)
        from services.eventstore.sqlite_read import page

        page(connection, BEGINNING, ["meter", "usage"], 10)
        connection.set_trace_callback(None)
        plans = [
            " ".join(row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement))
            for statement in statements
            if "UNION" in statement
        ]
    assert plans
    assert all("events_by_category (category_id=? AND rowid>?" in plan for plan in plans), plans
