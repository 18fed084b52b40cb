"""The fold notes which hours of whom were touched and where last, the same however the log is cut."""

import pyarrow as pa
import pytest
from sqlalchemy import Connection, MetaData, select

from services.aggregator.periods.subject_hours import touched_behind
from services.aggregator.periods.touched import note_touched, touched_hours
from services.aggregator.tables import UsageTables, usage_tables_in
from services.eventstore.event import Position
from tests.databases import DATABASES, scratch

HOUR_US = 3_600_000_000


def touches(*pairs: tuple[int, str]) -> pa.Table:
    hours, subjects = zip(*pairs, strict=True)
    return pa.table({"hour_us": pa.array(hours, pa.int64()), "subject": pa.array(subjects, pa.utf8())})


def noted(connection: Connection, tables: UsageTables) -> list[tuple[int, str, int]]:
    hours = tables.periods.subject_hours
    return [tuple(row) for row in connection.execute(select(hours).order_by(hours.c.hour_us, hours.c.subject))]


@pytest.mark.parametrize("database", DATABASES)
def test_the_last_touch_counts_in_whatever_order_touches_are_noted(database: str) -> None:
    metadata = MetaData()
    tables = usage_tables_in(metadata, "__g1")
    with scratch(database) as connection:
        metadata.create_all(connection)
        note_touched(connection, tables, touches((0, "ann"), (HOUR_US, "ann")), Position(7))
        note_touched(connection, tables, touches((0, "bob"), (0, "ann")), Position(5))
        note_touched(connection, tables, touches((HOUR_US, "ann")), Position(9))
        note_touched(connection, tables, touches((0, "x")).slice(0, 0), Position(99))

        assert noted(connection, tables) == [(0, "ann", 7), (0, "bob", 5), (HOUR_US, "ann", 9)]
        assert touched_behind(connection, tables, Position(5)) == [0, HOUR_US]
        assert touched_behind(connection, tables, Position(7)) == [HOUR_US]
        assert touched_behind(connection, tables, Position(9)) == []


@pytest.mark.parametrize("database", DATABASES)
def test_many_touches_are_noted_at_once(database: str) -> None:
    """More than PostgreSQL takes row by row."""
    metadata = MetaData()
    tables = usage_tables_in(metadata, "__g1")
    pairs = [(hour * HOUR_US, f"s{number:03d}") for hour in range(3) for number in range(200)]
    with scratch(database) as connection:
        metadata.create_all(connection)
        note_touched(connection, tables, touches(*pairs), Position(3))
        note_touched(connection, tables, touches(*pairs[100:]), Position(2))
        note_touched(connection, tables, touches(*pairs[:300]), Position(4))

        assert noted(connection, tables) == [(*pair, 4 if place < 300 else 3) for place, pair in enumerate(pairs)]


def test_touched_hours_say_where_each_was_touched_last() -> None:
    usage = pa.table(
        {
            "hour_us": pa.array([0, 0, 0, 3_600_000_000]),
            "subject": pa.array(["a", "a", "b", "a"]).dictionary_encode(),
            "position": pa.array([1, 3, 2, 3]),
        }
    )
    rows = sorted(touched_hours(usage).to_pylist(), key=lambda row: (row["hour_us"], row["subject"]))
    assert rows == [
        {"hour_us": 0, "subject": "a", "usage_events": 2, "position": 3},
        {"hour_us": 0, "subject": "b", "usage_events": 1, "position": 2},
        {"hour_us": 3_600_000_000, "subject": "a", "usage_events": 1, "position": 3},
    ]
