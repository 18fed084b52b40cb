"""Whatever is changed in a log's file behind its back, verification names the first position that no longer holds."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from services.eventstore.audit import versions, walk
from services.eventstore.audit.chain import CHAIN_START, merkle_root, next_chain, recorded_leaf
from services.eventstore.audit.verify import WHOLE, Span, Verification, verify
from services.eventstore.event import ANY_VERSION, BEGINNING, NewEvent, Position, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))


TYPES = ("Happened", "Occurred")


def fill(store: EventStore) -> None:
    """Six commits: positions 1-2, 3-5, 6, 7-8, 9, 10, over the streams meter-0 and usage-0 by turns.

    Types change from event to event, so that each has a row of its own in SQLite.
    """
    written = iter(range(1, 11))
    for turn, count in enumerate((2, 3, 1, 2, 1, 1)):
        stream = StreamName("meter" if turn % 2 else "usage", "0")
        events = [NewEvent(UUID(int=next(written)), TYPES[turn % 2], 1, b"payload") for turn in range(count)]
        store.append(stream, events, ANY_VERSION)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    store = SqliteEventStore(path, CLOCK)
    fill(store)
    store.close()
    return path


def tamper(log: Path, *statements: str) -> None:
    with closing(sqlite3.connect(log)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement


def verified(log: Path, span: Span = WHOLE) -> Verification:
    store = ReadOnlySqliteEventStore(log)
    try:
        return verify(store, span)
    finally:
        store.close()


def test_an_untouched_log_verifies(log: Path) -> None:
    store = ReadOnlySqliteEventStore(log)
    assert verify(store) == Verification(True, 10, store.head().chain.hex())
    store.close()


def test_an_empty_log_verifies() -> None:
    assert verify(MemoryEventStore(CLOCK)) == Verification(True, 0, "00" * 32)


def test_the_same_events_give_the_same_chain_on_every_backend(log: Path) -> None:
    store = MemoryEventStore(CLOCK)
    fill(store)
    assert verify(store) == verified(log)


FLIP = "UPDATE segments SET {column} = {value} WHERE first_position = {position}"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("payloads", "CAST('paylobd' AS BLOB)"),
        ("payloads", "x''"),
        ("leaves", "zeroblob(32)"),
        ("leaves", "x''"),
        ("type", "'Happenec'"),
        ("type", "CAST(x'fffe' AS TEXT)"),
        ("schema_version", "0"),
        ("schema_version", "-1"),
        ("recorded_at_us", "recorded_at_us + 1"),
        ("recorded_at_us", "9223372036854775807"),
        ("event_ids", "zeroblob(16)"),
        ("event_ids", "zeroblob(15)"),
        ("first_version", "first_version + 100"),
        ("first_version", "-1"),
        ("category_id", "3 - category_id"),
        ("stream_id", "99"),
        ("first_position", "-5"),
        ("first_position", "77"),
    ],
)
@pytest.mark.parametrize("position", [1, 4, 10])
def test_an_event_that_was_changed_is_found(log: Path, column: str, value: str, position: int) -> None:
    tamper(log, FLIP.format(column=column, value=value, position=position))
    found = verified(log)
    assert (found.verified, found.first_bad_position) == (False, position), found.problem
    assert found.problem


@pytest.mark.parametrize(
    ("statements", "first_bad", "problem"),
    [
        (("DELETE FROM segments WHERE first_position = 4",), 4, "missing"),
        (("DELETE FROM segments WHERE first_position >= 9",), 9, "missing"),
        (("DELETE FROM commits WHERE last_position = 5",), 3, "commit"),
        (("DELETE FROM commits WHERE last_position = 10",), 10, "no commit covers"),
        (("DELETE FROM commits",), 1, "no commit covers"),
        (("DELETE FROM commits WHERE last_position >= 8",), 7, "no commit covers"),
        (("UPDATE commits SET root = zeroblob(32) WHERE last_position = 8",), 7, "root"),
        (("UPDATE commits SET chain = zeroblob(32) WHERE last_position = 8",), 7, "chain"),
        (("UPDATE commits SET chain = zeroblob(32) WHERE last_position = 10",), 10, "chain"),
        (("UPDATE commits SET first_position = 4 WHERE last_position = 5",), 3, "commit covers"),
        (("UPDATE commits SET last_position = 4 WHERE last_position = 5",), 3, "root"),
        (("UPDATE streams SET identifier = 'x' WHERE identifier = '0' AND category_id = 1",), 1, "leaf"),
        (("UPDATE streams SET category_id = 5 WHERE id = 2",), 3, "missing"),
        (("UPDATE categories SET name = 'price' WHERE name = 'meter'",), 3, "leaf"),
    ],
)
def test_a_log_that_was_changed_is_found(log: Path, statements: tuple[str, ...], first_bad: int, problem: str) -> None:
    tamper(log, *statements)
    found = verified(log)
    assert (found.verified, found.first_bad_position) == (False, first_bad), found.problem
    assert problem in found.problem


def test_events_that_were_swapped_are_found(log: Path) -> None:
    tamper(
        log,
        "UPDATE segments SET first_position = 100 WHERE first_position = 2",
        "UPDATE segments SET first_position = 2 WHERE first_position = 3",
        "UPDATE segments SET first_position = 3 WHERE first_position = 100",
    )
    found = verified(log)
    assert (found.first_bad_position, found.problem) == (
        1,
        "the root of the commit of 1 to 2 is not that of its leaves",
    )


@pytest.mark.parametrize("position", [11, 0, -3])
def test_an_event_that_was_slipped_in_outside_of_all_commits_is_found(log: Path, position: int) -> None:
    columns = "category_id, stream_id, recorded_at_us, type, schema_version, leaves, event_ids, payload_ends, payloads"
    tamper(
        log,
        f"INSERT INTO segments (first_position, first_version, {columns}) "
        f"SELECT {position}, 99, {columns} FROM segments WHERE first_position = 10",
    )
    assert verified(log).first_bad_position == position


def test_what_is_proved_before_the_damage_is_told(log: Path) -> None:
    whole = verified(log)
    tamper(log, FLIP.format(column="payloads", value="x''", position=8))
    found = verified(log)
    assert found.events == 6
    assert found.head != whole.head


@pytest.mark.parametrize("first", [1, 3, 7, 9, 10])
@pytest.mark.parametrize("last", [None, 10])
def test_a_part_is_verified_in_whole_commits(log: Path, first: int, last: int | None) -> None:
    found = verified(log, Span(Position(first), None if last is None else Position(last)))
    begins = {1: 1, 3: 3, 7: 7, 9: 9, 10: 10}[first]
    assert (found.verified, found.events) == (True, 11 - begins), found.problem
    assert found.head == verified(log).head


def test_a_part_says_nothing_about_what_is_beside_it(log: Path) -> None:
    tamper(log, FLIP.format(column="payloads", value="x''", position=4))
    assert verified(log, Span(Position(1), Position(2))).verified
    assert verified(log, Span(Position(6))).verified
    assert verified(log, Span(Position(5), Position(5))).first_bad_position == 4


@pytest.mark.parametrize("position", [3, 7, 9])
def test_streams_that_were_forgotten_are_looked_up(log: Path, position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that says to be of a version that its stream has not come to yet, with every hash made right."""
    monkeypatch.setattr(versions, "STREAMS_REMEMBERED_MAX", 1)
    assert verified(log).verified
    with closing(sqlite3.connect(log)) as connection, connection:
        connection.execute(
            "UPDATE segments SET first_version = first_version + 9 WHERE first_position = ?", (position,)
        )
    rewrite_hashes(log)
    found = verified(log)
    assert (found.verified, found.first_bad_position) == (False, position)
    assert "goes on with version" in found.problem


def rewrite_hashes(log: Path) -> None:
    """Give every event its leaf, every commit its root and its chain: what who owns the database can do."""
    reading = ReadOnlySqliteEventStore(log)
    events, commits = reading.read_all(after=BEGINNING).events, reading.read_commits(after=BEGINNING)
    reading.close()
    leaves = {event.position: recorded_leaf(event) for event in events}
    chain = CHAIN_START
    with closing(sqlite3.connect(log)) as connection, connection:
        for position, leaf in leaves.items():
            connection.execute("UPDATE segments SET leaves = ? WHERE first_position = ?", (leaf, position))
        for commit in commits:
            covered = range(commit.first_position, commit.last_position + 1)
            root = merkle_root([leaves[Position(each)] for each in covered])
            chain = next_chain(chain, root, commit.last_position)
            values = (root, chain, commit.last_position)
            connection.execute("UPDATE commits SET root = ?, chain = ? WHERE last_position = ?", values)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "VERIFY_PAGE_MAX", 2)


def test_a_log_longer_than_a_page_verifies(small_pages: None, log: Path) -> None:
    assert verified(log).events == 10
    tamper(log, FLIP.format(column="event_ids", value="x''", position=9))
    assert verified(log).first_bad_position == 9


def test_a_log_is_verified_while_others_write(tmp_path: Path) -> None:
    writing = SqliteEventStore(tmp_path / "log.db", CLOCK)
    fill(writing)
    reading = ReadOnlySqliteEventStore(tmp_path / "log.db")
    in_flight = [
        writing.submit(StreamName("usage", "0"), [NewEvent(UUID(int=n), "Happened", 1, b"")], ANY_VERSION)
        for n in range(500)
    ]
    results = [verify(reading) for _ in range(5)]
    assert all(result.verified for result in results), results
    assert all(future.result(60) for future in in_flight)
    writing.close()
    assert verify(reading).events == 510
    reading.close()
