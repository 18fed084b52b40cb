"""Damage of the file itself, in an index or in the type of a stored value, is found by verification and named."""

import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from services.eventstore.audit import category_reads
from services.eventstore.audit.verify import Verification, verify
from services.eventstore.event import ANY_VERSION, NewEvent, Page, Position, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore
from services.eventstore.sqlite.store import SqliteEventStore
from services.eventstore.store import READ_LIMIT_MAX, EventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Corrupt

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
CATEGORIES = ("invoice", "meter", "usage")


def fill(store: EventStore) -> None:
    """Thirty events, a commit each, of three categories by turns: usage at 1, 4, 7 …"""
    for number in range(1, 31):
        stream = StreamName(CATEGORIES[number % 3 - 2], str(number % 4))
        store.append(stream, [NewEvent(UUID(int=number), "Happened", 1, b"payload")], ANY_VERSION)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    store = SqliteEventStore(path, CLOCK)
    fill(store)
    store.close()
    return path


def verified(log: Path) -> Verification:
    store = ReadOnlySqliteEventStore(log)
    try:
        return verify(store)
    finally:
        store.close()


class ForgetfulStore(MemoryEventStore):
    """A memory store whose readers by category do not get one event, or get it with another leaf."""

    def __init__(self, category: str, position: int, leaf: bytes = b"") -> None:
        super().__init__(CLOCK)
        self._damaged, self._leaf = (category, position), leaf
        fill(self)

    def read_all(self, *, after: Position, categories: Collection[str] = (), limit: int = READ_LIMIT_MAX) -> Page:
        page = super().read_all(after=after, categories=categories, limit=limit)
        category, position = self._damaged
        if category not in categories:
            return page
        changed = (replace(each, leaf=self._leaf) if each.position == position else each for each in page.events)
        return replace(page, events=tuple(each for each in changed if each.leaf))


def test_a_whole_log_is_read_by_category_too(log: Path) -> None:
    assert verified(log).verified


@pytest.mark.parametrize("tallied_max", [1, 2, 1_000])
@pytest.mark.parametrize(("category", "position"), [("usage", 1), ("meter", 15), ("invoice", 29), ("usage", 28)])
def test_an_event_that_readers_of_its_category_do_not_get_is_found(
    category: str, position: int, tallied_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few categories fit into memory at once."""
    monkeypatch.setattr(category_reads, "CATEGORIES_TALLIED_MAX", tallied_max)
    found = verify(ForgetfulStore(category, position))
    assert (found.verified, found.first_bad_position) == (False, position), found.problem
    assert f"readers of category {category} do not get this event: an index is damaged" in found.problem
    assert verify(ForgetfulStore(category, 0)).verified


def test_an_event_that_readers_of_its_category_get_otherwise_is_found() -> None:
    found = verify(ForgetfulStore("usage", 13, b"another"))
    assert (found.verified, found.first_bad_position) == (False, 13)
    assert "another event" in found.problem


def index_page_of(log: Path, name: str) -> tuple[int, int]:
    """Where the root page of an index lies in the file, from and to."""
    with closing(sqlite3.connect(log)) as connection:
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
    return (page - 1) * page_bytes, page * page_bytes


def views(log: Path) -> list[object]:
    """All that readers by category and by stream see; the error's type where they see one."""
    store = ReadOnlySqliteEventStore(log)
    found: list[object] = []
    try:
        for category in CATEGORIES:
            try:
                found.append(store.read_all(after=Position(0), categories=(category,)).events)
            except Corrupt:
                found.append(Corrupt)
            for number in range(4):
                try:
                    found.append(store.read_stream(StreamName(category, str(number))))
                except Corrupt:
                    found.append(Corrupt)
    finally:
        store.close()
    return found


@pytest.mark.parametrize("index", ["segments_by_category", "sqlite_autoindex_segments_1"])
def test_no_flipped_bit_of_an_index_is_verified_when_readers_miss_events(log: Path, index: str) -> None:
    content, seen = log.read_bytes(), views(log)
    start, end = index_page_of(log, index)
    places = [place for place in range(start, end) if content[place]]
    hidden = 0
    for place in places:
        log.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        if views(log) != seen:
            hidden += 1
            found = verified(log)
            assert (found.verified, found.problem != "") == (False, True), place - start
    assert hidden > len(places) // 4


def test_a_bit_that_the_database_itself_passes_over_is_found(log: Path) -> None:
    """An index entry says that its header is longer: some searches fail on it, though SQLite's own check says "ok"."""
    content, seen = log.read_bytes(), views(log)
    start, end = index_page_of(log, "sqlite_autoindex_segments_1")
    places = [place for place in range(start, end) if content[place - 1 : place + 3] == b"\x06\x04\x01\x08"]
    assert len(places) > 5
    for place in places:
        log.write_bytes(content[:place] + b"\x05" + content[place + 1 :])
        assert views(log) != seen
        assert not verified(log).verified, place - start


@pytest.mark.parametrize("position", [1, 12, 30])
def test_an_event_that_the_index_of_categories_lost_is_named(log: Path, position: int) -> None:
    """The index is written for other rows than it says, as a flipped bit would leave it."""
    with closing(sqlite3.connect(log)) as connection, connection:
        (statement,) = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'segments_by_category'"
        ).fetchone()
        connection.execute("DROP INDEX segments_by_category")
        connection.execute(f"{statement} WHERE first_position <> {position}")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'segments_by_category'", (statement,))
    found = verified(log)
    assert (found.verified, found.first_bad_position) == (False, position), found.problem
    assert f"readers of category {CATEGORIES[position % 3 - 2]} do not get this event" in found.problem


def retype(log: Path, table: str, key: str, column: str, value: str) -> None:
    """Store a value of another type, as a flipped byte in front of a row does; the table's rules are lifted for it."""
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        (strict,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        loose = strict.replace("STRICT", "").replace("NOT NULL", "").replace(" TEXT", "").replace(" BLOB", "")
        for statement in (loose.replace(f"{column} INTEGER ", f"{column} "), strict):
            with connection:
                connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (statement, table))
            connection.close()
            connection = sqlite3.connect(log)
            connection.execute("PRAGMA writable_schema = ON")
            if statement is not strict:
                with connection:
                    assert connection.execute(f"UPDATE {table} SET {column} = {value} WHERE {key}").rowcount == 1
        connection.close()


@pytest.mark.parametrize("value", ["NULL", "'text'", "x'00ff'", "7.5", "7"])
@pytest.mark.parametrize(
    ("table", "key", "column"),
    [
        ("segments", "first_position = 12", "leaves"),
        ("segments", "first_position = 12", "event_ids"),
        ("segments", "first_position = 12", "payload_ends"),
        ("segments", "first_position = 12", "payloads"),
        ("segments", "first_position = 12", "type"),
        ("segments", "first_position = 12", "schema_version"),
        ("segments", "first_position = 12", "recorded_at_us"),
        ("segments", "first_position = 12", "first_version"),
        ("segments", "first_position = 30", "leaves"),
        ("commits", "last_position = 12", "root"),
        ("commits", "last_position = 12", "chain"),
        ("commits", "last_position = 12", "first_position"),
        ("commits", "last_position = 30", "chain"),
        ("streams", "id = 4", "identifier"),
        ("categories", "id = 1", "name"),
    ],
)
def test_a_value_whose_type_was_changed_is_named(log: Path, table: str, key: str, column: str, value: str) -> None:
    retype(log, table, key, column, value)
    found = verified(log)
    position = {"id = 4": 4, "id = 1": 1}.get(key) or int(key.partition("= ")[2])
    assert (found.verified, found.first_bad_position) == (False, position), found.problem


def test_a_schema_that_is_no_text_is_damage(log: Path) -> None:
    content = log.read_bytes()
    place = content.index(b"CREATE TABLE segments") + len("CREATE ")
    log.write_bytes(content[:place] + b"\xd4" + content[place + 1 :])
    found = verified(log)
    assert (found.verified, found.first_bad_position) == (False, 1)
    assert "is damaged" in found.problem


def test_a_log_is_asked_for_damage_of_its_storage_while_others_write(log: Path) -> None:
    writing = SqliteEventStore(log, CLOCK)
    usage = StreamName("usage", "9")
    pending = [writing.submit(usage, [NewEvent(UUID(int=n), "Happened", 1, b"")], ANY_VERSION) for n in range(99, 399)]
    results = [verify(writing) for _ in range(3)]
    assert all(found.verified for found in results), results
    assert all(future.result(60) for future in pending)
    writing.close()
    assert verified(log).events == 330
