"""Many events share a row of the log's file; whoever reads gets each of them as if it stood alone."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count, product
from pathlib import Path
from uuid import UUID

import pytest

from services.eventstore.audit.verify import verify
from services.eventstore.event import ANY_VERSION, BEGINNING, NewEvent, Position, RecordedEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock, epoch_us
from services.kernel.errors import Corrupt, RuleViolated

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
METER, USAGE = StreamName("meter", "tokens"), StreamName("usage", "0")

# stream, and the types of the events of each append
APPENDS = ((METER, "AAAB"), (USAGE, "A"), (METER, "BBBBB"), (USAGE, "AAABBA"), (USAGE, "C"), (METER, "AA"))
SIZE = sum(len(types) for _, types in APPENDS)

# The tables of the first release, with a row for each event.
FIRST_RELEASE = """
    CREATE TABLE categories (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE streams (id INTEGER PRIMARY KEY, category_id INTEGER NOT NULL, identifier TEXT NOT NULL,
        version INTEGER NOT NULL, UNIQUE (category_id, identifier)) STRICT;
    CREATE TABLE events (position INTEGER PRIMARY KEY, category_id INTEGER NOT NULL, stream_id INTEGER NOT NULL,
        version INTEGER NOT NULL, event_id BLOB NOT NULL, type TEXT NOT NULL, schema_version INTEGER NOT NULL,
        recorded_at_us INTEGER NOT NULL, payload BLOB NOT NULL, leaf BLOB NOT NULL, UNIQUE (stream_id, version)) STRICT;
    CREATE INDEX events_by_category ON events (category_id);
    CREATE TABLE commits (last_position INTEGER PRIMARY KEY, first_position INTEGER NOT NULL, root BLOB NOT NULL,
        chain BLOB NOT NULL) STRICT;
    PRAGMA journal_mode = WAL;
    PRAGMA application_id = 0x4D4C4F47;
    PRAGMA user_version = 1;
"""


def fill(store: EventStore) -> None:
    numbers = count(1)
    for stream, types in APPENDS:
        numbered = zip(types, numbers, strict=False)
        store.append(stream, [NewEvent(UUID(int=n), type_, 1, b"p" * n) for type_, n in numbered], ANY_VERSION)


def filled_memory() -> MemoryEventStore:
    store = MemoryEventStore(CLOCK)
    fill(store)
    return store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteEventStore]:
    store = SqliteEventStore(path, CLOCK)
    fill(store)
    yield store
    store.close()


def test_the_log_is_read_from_anywhere_in_pages_of_any_size(log: SqliteEventStore) -> None:
    plain = filled_memory()
    for after, limit, categories in product(range(SIZE + 1), range(1, SIZE + 2), ((), ("meter",), ("usage", "other"))):
        asked = {"after": Position(after), "limit": limit, "categories": categories}
        assert log.read_all(**asked) == plain.read_all(**asked), asked


def test_a_stream_is_read_from_any_version_in_both_directions(log: SqliteEventStore) -> None:
    plain = filled_memory()
    for stream, version, limit in product((METER, USAGE), range(SIZE), range(1, SIZE)):
        for backwards in (False, True):
            asked = {"from_version": version, "limit": limit, "backwards": backwards}
            assert log.read_stream(stream, **asked) == plain.read_stream(stream, **asked), (stream, asked)


def test_every_leaf_is_found_at_its_position_and_at_no_other(log: SqliteEventStore) -> None:
    events = log.read_all(after=BEGINNING).events
    assert [log.leaf_at(event.position) for event in events] == [event.leaf for event in events]
    assert [log.leaf_at(Position(position)) for position in (-1, 0, SIZE + 1, 2**63)] == [b""] * 4
    assert log.stored_positions() == (1, SIZE)


def test_few_rows_hold_many_events(log: SqliteEventStore, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM segments").fetchone()
    assert rows == 2 + 1 + 1 + 3 + 1 + 1


@pytest.mark.parametrize("column", ["leaves", "event_ids", "payload_ends", "payloads"])
def test_a_row_that_was_cut_is_no_event(log: SqliteEventStore, path: Path, column: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        shorter = f"UPDATE segments SET {column} = substr({column}, 1, length({column}) - 1) WHERE first_position = 6"
        connection.execute(shorter)
    with pytest.raises(Corrupt, match="holds no event"):
        log.read_all(after=BEGINNING)
    found = verify(log)
    assert not found.verified
    assert found.first_bad_position in range(6, 11)


def write_as_the_first_release(path: Path, store: MemoryEventStore) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(FIRST_RELEASE)
        for id_, stream in enumerate((METER, USAGE), 1):
            connection.execute("INSERT INTO categories VALUES (?, ?)", (id_, stream.category))
            version = store.read_stream(stream, from_version=-1, limit=1, backwards=True)[0].version
            connection.execute("INSERT INTO streams VALUES (?, ?, ?, ?)", (10 + id_, id_, stream.id, version))
        for event in store.read_all(after=BEGINNING).events:
            connection.execute(f"INSERT INTO events VALUES ({', '.join('?' * 10)})", row_of(event))
        for commit in store.read_commits(after=BEGINNING):
            values = (commit.last_position, commit.first_position, commit.root, commit.chain)
            connection.execute("INSERT INTO commits VALUES (?, ?, ?, ?)", values)


def row_of(event: RecordedEvent) -> tuple[object, ...]:
    category_id = 1 if event.stream == METER else 2
    at_us = epoch_us(event.recorded_at)
    place = (event.position, category_id, 10 + category_id, event.version)
    return (*place, event.id.bytes, event.type, event.schema_version, at_us, event.payload, event.leaf)


def test_a_log_of_the_first_release_is_upgraded_when_it_is_opened(path: Path) -> None:
    plain = filled_memory()
    write_as_the_first_release(path, plain)
    upgraded = SqliteEventStore(path, CLOCK)
    assert upgraded.read_all(after=BEGINNING) == plain.read_all(after=BEGINNING)
    assert upgraded.head() == plain.head()
    assert verify(upgraded).verified
    more = [NewEvent(UUID(int=99), "A", 1, b"more")]
    assert upgraded.append(METER, more, ANY_VERSION) == plain.append(METER, more, ANY_VERSION)
    upgraded.close()
    again = SqliteEventStore(path, CLOCK)
    assert again.read_stream(METER) == plain.read_stream(METER)
    again.close()


def test_who_only_reads_upgrades_nothing(path: Path) -> None:
    write_as_the_first_release(path, filled_memory())
    with pytest.raises(RuleViolated, match="start a service"):
        ReadOnlySqliteEventStore(path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET event_id = x'00' WHERE position = 5",
        "UPDATE events SET stream_id = 99 WHERE position = 5",
        "UPDATE events SET recorded_at_us = 9223372036854775807 WHERE position = 5",
    ],
)
def test_a_damaged_log_of_the_first_release_is_left_as_it_is(path: Path, damage: str) -> None:
    write_as_the_first_release(path, filled_memory())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(damage)
    with pytest.raises(Corrupt, match="nothing was changed"):
        SqliteEventStore(path, CLOCK)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (SIZE,)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
