"""Read models in PostgreSQL belong to one process, whatever happens to its sessions, and say what is wrong."""

import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select

from services.kernel.clock import monotonic_s
from services.kernel.errors import InvalidInput, Overloaded, RuleViolated, Unavailable
from services.projection import database_postgres
from services.projection.columns import TEXT
from services.projection.database import Database
from services.projection.database_url import TablesAddress
from services.projection.projection import Comparison, RebuildMode
from services.projection.upsert import COPY_ROWS_MIN, insert_missing
from tests.databases import POSTGRES, tables_url
from tests.rating_room import RatingRoom, open_room

WAIT_S = 60.0
NOTES = Table("notes", MetaData(), Column("key", Integer, primary_key=True))
_numbers = count(1)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return tables_url(POSTGRES, tmp_path)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database.open(url, "rating")
    with opened.write() as connection:
        NOTES.metadata.create_all(connection)
    yield opened
    opened.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Nobody waits for the lock; call it to wait as usual again, for a session that was closed ends a moment later."""
    usual_s = database_postgres.LOCK_TIMEOUT_S
    monkeypatch.setattr(database_postgres, "LOCK_TIMEOUT_S", 0.0)
    return lambda: monkeypatch.setattr(database_postgres, "LOCK_TIMEOUT_S", usual_s)


@pytest.fixture
def administrator(url: str) -> Iterator[psycopg.Connection]:
    address = TablesAddress.parse(url, "rating")
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        yield connection


def note(database: Database, key: int) -> None:
    with database.write() as connection:
        connection.execute(insert(NOTES).values(key=key))


def notes(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(select(NOTES.c.key).order_by(NOTES.c.key)).scalars())


def end_session(administrator: psycopg.Connection, pid: int) -> None:
    administrator.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def writer_of(database: Database) -> int:
    with database.write() as connection:
        return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = monotonic_s() + WAIT_S
    while not is_so():
        assert monotonic_s() < deadline, "it did not become so"
        threading.Event().wait(0.01)


# --- one process at a time -------------------------------------------------------------------------------------------


def test_a_second_process_is_kept_out_until_the_first_has_closed(
    url: str, database: Database, impatient: Callable[[], None]
) -> None:
    with pytest.raises(RuleViolated, match="another process") as refused:
        Database.open(url, "rating")
    assert refused.value.reason == "DATABASE_IN_USE"
    database.close()
    impatient()
    Database.open(url, "rating").close()


def test_every_service_has_a_schema_of_its_own_in_one_database(
    url: str, database: Database, impatient: Callable[[], None]
) -> None:
    other = Database.open(url, "notifier")
    with other.write() as connection:
        NOTES.metadata.create_all(connection)
    note(other, 1)
    assert (notes(other), notes(database)) == ([1], [])
    other.close()


def test_who_waits_gets_in_when_the_other_process_goes(url: str, database: Database) -> None:
    opened: list[Database] = []
    thread = threading.Thread(target=lambda: opened.append(Database.open(url, "rating")), daemon=True)
    thread.start()
    note(database, 1)
    database.close()
    thread.join(WAIT_S)
    assert notes(opened[0]) == [1]
    opened[0].close()


# --- sessions end ----------------------------------------------------------------------------------------------------


def test_a_session_that_ended_is_replaced_and_holds_the_lock_again(
    url: str, database: Database, administrator: psycopg.Connection, impatient: Callable[[], None]
) -> None:
    end_session(administrator, writer_of(database))
    note(database, 1)
    with pytest.raises(RuleViolated, match="another process"):
        Database.open(url, "rating")
    assert notes(database) == [1]


def test_readers_do_not_notice_that_their_idle_sessions_ended(
    database: Database, administrator: psycopg.Connection
) -> None:
    with database.read() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    end_session(administrator, pid)
    assert notes(database) == []


def test_a_session_that_ends_in_the_middle_of_a_write_has_written_nothing(
    database: Database, administrator: psycopg.Connection
) -> None:
    def write() -> None:
        with database.write() as connection:
            connection.execute(insert(NOTES).values(key=1))
            end_session(administrator, connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            connection.execute(insert(NOTES).values(key=2))

    with pytest.raises(Unavailable, match="cannot be reached"):
        write()
    note(database, 3)
    assert notes(database) == [3]


def test_who_lost_the_lock_to_another_process_writes_no_more(
    url: str, database: Database, administrator: psycopg.Connection, impatient: Callable[[], None]
) -> None:
    note(database, 1)
    end_session(administrator, writer_of(database))
    successor = Database.open(url, "rating")
    with pytest.raises(RuleViolated, match="another process"):
        note(database, 2)
    note(successor, 3)
    assert notes(database) == [1, 3]
    successor.close()
    impatient()
    note(database, 4)
    assert notes(database) == [1, 3, 4]


# --- a swap among readers --------------------------------------------------------------------------------------------


def test_a_snapshot_keeps_its_tables_while_rebuilt_ones_are_swapped_in(
    tmp_path: Path, administrator: psycopg.Connection
) -> None:
    with open_room(tmp_path, POSTGRES) as room:
        room.subscribed("acme", "beta")
        found: list[Comparison] = []
        thread = threading.Thread(target=lambda: found.append(swapped(room)), daemon=True)
        with room.books.read() as (connection, tables):
            thread.start()
            eventually(lambda: waits_for_readers(administrator))
            assert len(connection.execute(select(tables.customers)).all()) == 2
        thread.join(WAIT_S)
        assert found[0].is_swapped
        with room.books.read() as (connection, tables):
            assert len(connection.execute(select(tables.customers)).all()) == 2


def swapped(room: RatingRoom) -> Comparison:
    return room.books.rebuild(mode=RebuildMode.SWAP_WHEN_EQUAL, progress=lambda _: None)


def waits_for_readers(administrator: psycopg.Connection) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
    row = administrator.execute(query).fetchone()
    return row is not None and row[0] > 0


def test_readers_come_and_go_during_many_swaps_and_always_find_their_tables(tmp_path: Path) -> None:
    with open_room(tmp_path, POSTGRES) as room:
        room.subscribed("acme", "beta")
        done, found, ends = threading.Event(), set[tuple[int, int]](), count()

        def read() -> None:
            while not done.is_set():
                with room.books.read() as (connection, tables):
                    customers = connection.execute(select(tables.customers)).all()
                    found.add((len(customers), len(connection.execute(select(tables.subscriptions)).all())))
            next(ends)

        threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            assert swapped(room).is_swapped
        done.set()
        for thread in threads:
            thread.join(WAIT_S)
        assert found == {(2, 2)}
        assert next(ends) == len(threads), "a reader failed"


# --- texts and readers -----------------------------------------------------------------------------------------------


def test_a_text_with_nul_is_refused_by_name_and_does_not_end_the_session(database: Database) -> None:
    texts = Table("texts", MetaData(), Column("text", TEXT, primary_key=True))
    with database.write() as connection:
        texts.metadata.create_all(connection)
    for rows in ([("a\0b",)], [(f"{number}\0",) for number in range(COPY_ROWS_MIN)]):
        with pytest.raises(InvalidInput, match=r"U\+0000"), database.write() as connection:
            insert_missing(connection, texts, rows)
    with pytest.raises(InvalidInput, match=r"U\+0000"), database.read() as connection:
        connection.execute(select(texts).where(texts.c.text == "\0")).all()
    note(database, 1)
    assert notes(database) == [1]


def test_more_readers_than_connections_are_told_to_repeat(
    url: str, monkeypatch: pytest.MonkeyPatch, impatient: Callable[[], None]
) -> None:
    monkeypatch.setattr(database_postgres, "READERS_MAX", 1)
    monkeypatch.setattr(database_postgres, "READER_TIMEOUT_S", 0.0)
    database = Database.open(url, "rating")
    with database.read(), pytest.raises(Overloaded, match="repeat later"), database.read():
        pass
    database.close()
