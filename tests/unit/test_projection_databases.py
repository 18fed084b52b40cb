"""Read models keep the same promises in SQLite and in PostgreSQL, and hold the same rows in the same order."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, insert, select, tuple_

from services.kernel.errors import InvalidInput, Unavailable
from services.projection.columns import LONG_TEXT_BYTES, TEXT, Apart, apart, long_key
from services.projection.database import Database
from services.projection.digest import content_digest, tables_digest
from services.projection.upsert import COPY_ROWS_MIN, insert_missing, upsert
from tests.databases import DATABASES, scratch, tables_url

WAIT_S = 60.0
ODD_TEXTS = ["", " ", "A", "Z", "a", "z", "Ä", "ä", "ß", "é", "e\u0301", "-", "_", "\\", "\\x41", "'", '"', "%s", "%",
             "10", "9", "\u00a0", "中", "😀", "\ufffd", "\t", "\n", "a b", "ab"]  # fmt: skip
NOTES = Table(
    "notes", MetaData(), Column("key", TEXT, primary_key=True), Column("text", TEXT), Column("number", BigInteger)
)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tables_url(request.param, tmp_path), "rating")
    with opened.write() as connection:
        NOTES.metadata.create_all(connection)
    yield opened
    opened.close()


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest) -> Iterator[Connection]:
    with scratch(request.param) as connection:
        yield connection


def keys(connection: Connection) -> list[str]:
    return list(connection.execute(select(NOTES.c.key).order_by(NOTES.c.key)).scalars())


def write_and_fail(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(NOTES).values(key="a"))
        raise ZeroDivisionError


# --- transactions ----------------------------------------------------------------------------------------------------


def test_a_reader_sees_one_snapshot_whatever_is_written_meanwhile(database: Database) -> None:
    with database.read() as reader:
        assert keys(reader) == []
        with database.write() as writer:
            writer.execute(insert(NOTES).values(key="a"))
        assert keys(reader) == []
    with database.read() as later:
        assert keys(later) == ["a"]


def test_what_fails_writes_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        write_and_fail(database)
    with database.read() as connection:
        assert keys(connection) == []


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"read.?only"), database.read() as connection:
        connection.execute(insert(NOTES).values(key="a"))


def test_writers_go_one_after_the_other(database: Database) -> None:
    inside, most, counting = 0, 0, threading.Lock()

    def write(key: str) -> None:
        nonlocal inside, most
        with database.write() as connection:
            with counting:
                inside, most = inside + 1, max(most, inside + 1)
            connection.execute(insert(NOTES).values(key=key))
            with counting:
                inside -= 1

    threads = [threading.Thread(target=write, args=(str(number),), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    with database.read() as connection:
        assert len(keys(connection)) == 8
    assert most == 1


def test_who_stops_reading_half_way_disturbs_nobody(database: Database) -> None:
    with database.write() as connection:
        insert_missing(connection, NOTES, [(f"{number:04}", "x", number) for number in range(1_000)])
    held = []
    for _ in range(3):
        with database.read() as connection:
            rows = connection.execute(select(NOTES).order_by(NOTES.c.key).execution_options(yield_per=10))
            held.append((rows, next(iter(rows))))
    with database.write() as connection:
        rows = connection.execute(select(NOTES).execution_options(yield_per=10))
        held.append((rows, next(iter(rows))))
        connection.execute(insert(NOTES).values(key="later"))
    with database.read() as connection:
        held.clear()
        assert len(keys(connection)) == 1_001


def test_read_models_that_were_closed_stay_closed(database: Database) -> None:
    database.close()
    with pytest.raises(Unavailable, match="closed"), database.read():
        pass
    with pytest.raises(Unavailable, match="closed"), database.write():
        pass


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "tables.db", "sqlite://", "", "postgresql+asyncpg://h/d"])
def test_a_url_that_is_not_supported_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(InvalidInput, match="postgresql://") as refused:
        Database.open(url)
    assert "secret" not in refused.value.message


# --- text and keys ---------------------------------------------------------------------------------------------------


def test_text_is_ordered_and_compared_byte_by_byte(empty: Connection) -> None:
    NOTES.metadata.create_all(empty)
    insert_missing(empty, NOTES, [(text, "", 0) for text in ODD_TEXTS])
    in_order = sorted(ODD_TEXTS, key=lambda text: text.encode())
    assert keys(empty) == in_order
    for place, text in enumerate(in_order):
        behind = select(NOTES.c.key).where(NOTES.c.key > text).order_by(NOTES.c.key)
        assert list(empty.execute(behind).scalars()) == in_order[place + 1 :]
        page = select(NOTES.c.key).where(tuple_(NOTES.c.number, NOTES.c.key) > (0, text)).order_by(NOTES.c.key)
        assert list(empty.execute(page).scalars()) == in_order[place + 1 :]
        assert empty.execute(select(NOTES.c.key).where(NOTES.c.key.in_([text]))).scalars().all() == [text]


def wide_table() -> Table:
    return Table(
        "wide",
        MetaData(),
        Column("meter", TEXT, nullable=False),
        Column("group_text", TEXT, nullable=False),
        Column("number", BigInteger),
        *long_key("wide_key", "meter", "group_text", long=("group_text",)),
    )


LONG = "ü\\'" * 8_000
ALMOST = ["x" * LONG_TEXT_BYTES, "x" * (LONG_TEXT_BYTES + 1), "x" * LONG_TEXT_BYTES + "y", LONG, LONG + " ", LONG[:-1]]


@pytest.mark.parametrize("filler", [0, COPY_ROWS_MIN], ids=["few rows", "many rows"])
def test_a_key_may_be_as_long_as_any_property_and_is_still_one_key(empty: Connection, filler: int) -> None:
    table = wide_table()
    table.metadata.create_all(empty)
    others = [("other", str(number), number) for number in range(filler)]
    upsert(empty, table, [("m", text, place) for place, text in enumerate(ALMOST)] + others)
    upsert(empty, table, [("m", text, place + 100) for place, text in enumerate(ALMOST)] + others)
    insert_missing(empty, table, [("m", text, -1) for text in ALMOST] + others)
    found = empty.execute(select(table).where(table.c.meter == "m").order_by(table.c.number)).all()
    assert [(row.group_text, row.number) for row in found] == [(text, at + 100) for at, text in enumerate(ALMOST)]


# --- bulk writes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filler", [0, COPY_ROWS_MIN], ids=["few rows", "many rows"])
def test_of_rows_with_one_key_the_last_counts_and_a_missing_value_stays_missing(empty: Connection, filler: int) -> None:
    NOTES.metadata.create_all(empty)
    others: list[tuple[Any, ...]] = [(f"filler {number}", "", number) for number in range(filler)]
    upsert(empty, NOTES, [("a", "first", 1), ("b", None, None), *others, ("a", "\\N\t'", 2**62)])
    upsert(empty, NOTES, [("b", "", -(2**62)), *others])
    upsert(empty, NOTES, [])
    insert_missing(empty, NOTES, [("b", "no", 0), ("c", None, 3), ("c", "no", 4), *others])
    insert_missing(empty, NOTES, [])
    found = empty.execute(select(NOTES).where(NOTES.c.key.in_(["a", "b", "c"])).order_by(NOTES.c.key)).all()
    assert [tuple(row) for row in found] == [("a", "\\N\t'", 2**62), ("b", "", -(2**62)), ("c", None, 3)]
    assert len(keys(empty)) == filler + 3


def test_bulk_writes_take_every_type_of_column(empty: Connection) -> None:
    kinds = Table(
        "kinds",
        MetaData(),
        Column("key", Integer, primary_key=True),
        Column("large", BigInteger),
        Column("content", LargeBinary),
        Column("text", TEXT),
    )
    kinds.metadata.create_all(empty)
    rows = [(number, number << 40, bytes([number % 256, 0]), f"ü{number}") for number in range(COPY_ROWS_MIN)]
    upsert(empty, kinds, rows)
    assert [tuple(row) for row in empty.execute(select(kinds).order_by(kinds.c.key))] == rows


# --- digests ---------------------------------------------------------------------------------------------------------


def ledger(suffix: str) -> tuple[MetaData, Table, Table]:
    metadata = MetaData()
    entries = Table(
        "entries" + suffix,
        metadata,
        Column("key", TEXT, primary_key=True),
        Column("amount", TEXT),
        Column("position", BigInteger, info=apart(Apart.PLACE)),
    )
    places = Table(
        "places" + suffix, metadata, Column("position", BigInteger, primary_key=True), info=apart(Apart.PLACE)
    )
    return metadata, entries, places


def digest_of(database: str, rows: list[tuple[str, str | None, int]], suffix: str = "__g1") -> str:
    metadata, entries, places = ledger(suffix)
    with scratch(database) as connection:
        metadata.create_all(connection)
        upsert(connection, entries, rows)
        insert_missing(connection, places, [(position,) for _, _, position in rows])
        return tables_digest(connection, metadata, suffix)


ROWS: list[tuple[str, str | None, int]] = [
    (text, None if place % 3 else "1.5", place) for place, text in enumerate(ODD_TEXTS)
]


def test_equal_rows_have_equal_digests_in_every_database_and_generation() -> None:
    found = {digest_of(database, ROWS, suffix) for database in DATABASES for suffix in ("__g1", "__g27")}
    found |= {digest_of(database, ROWS[::-1]) for database in DATABASES}
    assert len(found) == 1


def test_positions_change_the_digest_but_not_that_of_the_content() -> None:
    moved = [(key, amount, position * 4_096) for key, amount, position in ROWS]
    assert digest_of("sqlite", moved) != digest_of("sqlite", ROWS)
    assert content_digest(digest_of("sqlite", moved)) == content_digest(digest_of("postgres", ROWS))


@pytest.mark.parametrize("changed", [ROWS[1:], [*ROWS, ("new", None, 99)], [*ROWS[:2], ("A", "1.50", 2), *ROWS[3:]]])
def test_any_other_content_changes_the_digest_of_the_content(changed: list[tuple[str, str | None, int]]) -> None:
    assert content_digest(digest_of("sqlite", changed)) != content_digest(digest_of("sqlite", ROWS))
