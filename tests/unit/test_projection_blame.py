"""An event is blamed only for what it holds: an operator who is told to skip it would lose it for good."""

import errno
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError, StatementError

from services.eventstore.catalogue import UnknownEventType
from services.eventstore.event import BEGINNING, RecordedEvent
from services.kernel.errors import Corrupt, InvalidInput, Unavailable
from services.projection.blame import Blame, CannotFold
from services.projection.upsert import COPY_ROWS_MIN, upsert
from tests.databases import POSTGRES
from tests.projection_room import WAIT_S, Bench, SlugProjection, SlugTables


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "tables.db")


def wrapped(error: Exception) -> Exception:
    """As SQLAlchemy raises what the driver raised."""
    return DBAPIError.instance(
        "INSERT …", (), error, psycopg.Error if isinstance(error, psycopg.Error) else sqlite3.Error
    )


OF_THE_EVENT = [
    psycopg.errors.NumericValueOutOfRange("integer out of range"),
    psycopg.errors.UniqueViolation("duplicate key"),
    psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
    sqlite3.IntegrityError("UNIQUE constraint failed"),
    sqlite3.DataError("string or blob too big"),
]
OF_THE_DATABASE = [
    psycopg.errors.DiskFull("could not extend file: No space left on device"),
    psycopg.errors.UndefinedTable('relation "slugs__g1" does not exist'),
    psycopg.errors.InsufficientPrivilege("permission denied"),
    psycopg.errors.AdminShutdown("terminating connection"),
    psycopg.OperationalError("the connection is closed"),
    psycopg.InterfaceError("the cursor is closed"),
    sqlite3.OperationalError("database or disk is full"),
    sqlite3.DatabaseError("database disk image is malformed"),
    sqlite3.ProgrammingError("Cannot operate on a closed database."),
]


def blamed(bench: Bench, error: Exception) -> bool:
    bench.meter("a")
    events = bench.store.read_all(after=BEGINNING).events
    try:
        with Blame("slugs", events):
            raise error
    except CannotFold as refusal:
        return refusal.events == tuple(events)
    except type(error):
        return False


@pytest.mark.parametrize(
    "error",
    [
        *OF_THE_EVENT,
        *map(wrapped, OF_THE_EVENT),
        StatementError("no value of this column", "INSERT …", (), TypeError("not a number")),
        ValueError("poison"),
        Corrupt("does not parse"),
        UnknownEventType("from later"),
        InvalidInput("no meter"),
    ],
    ids=repr,
)
def test_what_an_event_holds_is_its_own_fault(bench: Bench, error: Exception) -> None:
    assert blamed(bench, error)
    bench.close()


@pytest.mark.parametrize(
    "error",
    [
        *OF_THE_DATABASE,
        *map(wrapped, OF_THE_DATABASE),
        InvalidRequestError("this session is over"),
        OSError(errno.ENOSPC, "No space left on device"),
        MemoryError(),
        Unavailable("the log is away"),
    ],
    ids=repr,
)
def test_what_the_database_the_disk_or_the_network_does_is_no_events_fault(bench: Bench, error: Exception) -> None:
    assert not blamed(bench, error)
    bench.close()


class Wide(SlugProjection):
    """Writes so many rows that they go by COPY."""

    def fold(self, connection: Connection, tables: SlugTables, events: Sequence[RecordedEvent]) -> None:
        upsert(
            connection,
            tables.slugs,
            [(f"{event.stream.id}-{row}", 1) for event in events for row in range(COPY_ROWS_MIN)],
        )


def test_a_table_that_somebody_took_away_stops_the_fold_and_names_no_event(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "tables.db", POSTGRES)
    bench.restart(Wide())
    bench.runner.start()
    bench.runner.wait_for(bench.meter("a"), WAIT_S)
    with bench.database.write() as connection:
        connection.execute(text("ALTER TABLE slugs__g1 RENAME TO elsewhere"))
    position = bench.meter("b")
    for _ in range(int(WAIT_S / 0.01)):
        if bench.runner.problem():
            break
        threading.Event().wait(0.01)
    assert "does not exist" in bench.runner.problem()
    assert "cannot fold" not in bench.runner.problem()
    assert bench.runner.stopping_event() is None
    with bench.database.write() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO slugs__g1"))
    bench.runner.wait_for(position, WAIT_S)
    bench.close()
