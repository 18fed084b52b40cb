"""What only the store in a file has to prove: which files it takes, how processes share one, what it leaves behind."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from services.eventstore.audit.verify import verify
from services.eventstore.event import ANY_VERSION, BEGINNING, NO_STREAM, Batch, CaughtUp, NewEvent, StreamName
from services.eventstore.sqlite import read as sqlite_read
from services.eventstore.sqlite.connection import SqliteLimits
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.readers import SqliteReaders
from services.eventstore.sqlite.store import SqliteEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import InvalidInput, NotFound, RuleViolated, Unavailable

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
METER = StreamName("meter", "tokens")


def event(number: int, payload: bytes = b"") -> NewEvent:
    return NewEvent(UUID(int=number), "Happened", 1, payload)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteEventStore]:
    opened = SqliteEventStore(path, CLOCK)
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
        connection.execute("PRAGMA user_version = 3")
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
        assert reader.execute("SELECT count(*) FROM segments").fetchone() == (1,)
        for number in range(1, 30):
            opened.append(METER, [event(number, bytes(20_000))], number - 1)
        assert reader.execute("SELECT count(*) FROM segments").fetchone() == (1,)
    assert verify(opened).events == 30
    opened.close()


def test_when_many_have_read_at_once_few_connections_stay_open(path: Path) -> None:
    SqliteEventStore(path, CLOCK).close()
    readers = SqliteReaders(path, SqliteLimits(idle_readers_max=3))
    with ExitStack() as reading:
        lent = [reading.enter_context(readers.lent()) for _ in range(20)]
    assert sum(is_open(connection) for connection in lent) == 3
    readers.close()
    assert not any(is_open(connection) for connection in lent)


def test_a_connection_that_is_lent_while_the_store_closes_is_closed_afterwards(path: Path) -> None:
    SqliteEventStore(path, CLOCK).close()
    readers = SqliteReaders(path, SqliteLimits())
    with readers.lent() as connection:
        readers.close()
        assert is_open(connection)
    assert not is_open(connection)


def is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


def test_a_category_is_read_by_its_index(store: SqliteEventStore, path: Path) -> None:
    store.append(METER, [event(1)], ANY_VERSION)
    statements: list[str] = []
    with closing(sqlite3.connect(path)) as connection:
        connection.set_trace_callback(statements.append)
        sqlite_read.page(connection, BEGINNING, ["meter", "usage"], 10)
        connection.set_trace_callback(None)
        plans = [
            " ".join(row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement))
            for statement in statements
            if "UNION" in statement
        ]
    assert plans
    assert all("segments_by_category (category_id=? AND rowid>?" in plan for plan in plans), plans
