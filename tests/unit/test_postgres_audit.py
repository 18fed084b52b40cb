"""Whatever a superuser changes in a log's tables, verification names the first position that no longer holds."""

from contextlib import closing
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from services.eventstore.audit.verify import Verification, verify
from services.eventstore.event import ANY_VERSION, NewEvent, StreamName
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.read_only import ReadOnlyPostgresEventStore
from services.eventstore.postgres.store import PostgresEventStore
from services.kernel.clock import SimulatedClock
from tests.postgres_log import fresh_log

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))


@pytest.fixture
def address() -> LogAddress:
    """Six commits: positions 1-2, 3-5, 6, 7-8, 9, 10, over the streams usage-0 and meter-0 by turns."""
    address = fresh_log()
    store = PostgresEventStore(address, CLOCK)
    written = iter(range(1, 11))
    for turn, count in enumerate((2, 3, 1, 2, 1, 1)):
        stream = StreamName("meter" if turn % 2 else "usage", "0")
        events = [NewEvent(UUID(int=next(written)), "Happened", 1, b"payload") for _ in range(count)]
        store.append(stream, events, ANY_VERSION)
    store.close()
    return address


@pytest.mark.parametrize(
    ("statement", "position"),
    [
        ("UPDATE events SET event_id = gen_random_uuid() WHERE position = 8", 8),
        ("UPDATE events SET type = 'Hapened' WHERE position = 8", 8),
        ("UPDATE events SET schema_version = 2 WHERE position = 8", 8),
        ("UPDATE events SET schema_version = -1 WHERE position = 8", 8),
        ("DELETE FROM events WHERE position = 5", 5),
        ("DELETE FROM events WHERE position = 10", 10),
        ("DELETE FROM runs WHERE first_position = 3", 3),
        ("UPDATE runs SET first_version = 7 WHERE first_position = 6", 6),
        ("UPDATE runs SET recorded_at_us = recorded_at_us + 1 WHERE first_position = 6", 6),
        ("UPDATE runs SET recorded_at_us = 9223372036854775807 WHERE first_position = 6", 6),
        ("UPDATE runs SET category_id = 3 - category_id WHERE first_position = 6", 6),
        ("UPDATE runs SET stream_id = 2, category_id = 2, first_version = 70 WHERE first_position = 6", 6),
        ("UPDATE streams SET identifier = '1' WHERE id = 1", 1),
        ("UPDATE categories SET name = 'meters' WHERE name = 'meter'", 3),
        ("UPDATE commits SET root = sha256(root) WHERE last_position = 8", 7),
        ("UPDATE commits SET chain = sha256(chain) WHERE last_position = 8", 7),
        ("DELETE FROM commits WHERE last_position = 8", 7),
        ("INSERT INTO events SELECT 11, event_id, 1, type, payload, leaf FROM events WHERE position = 10", 11),
    ],
)  # fmt: skip
def test_the_first_bad_position_is_found(address: LogAddress, statement: str, position: int) -> None:
    change(address, statement)
    found = verified(address)
    assert (found.verified, found.first_bad_position) == (False, position), found.problem
    assert found.problem


def test_a_bit_that_is_flipped_in_any_byte_is_found(address: LogAddress) -> None:
    bytes_of = {"payload": 7, "leaf": 32}
    for column, byte in [(column, byte) for column, count in bytes_of.items() for byte in range(count)]:
        flipped = f"set_byte({column}, {byte}, get_byte({column}, {byte}) # 1)"
        flip = f"UPDATE events SET {column} = {flipped} WHERE position = 4"
        change(address, flip)
        assert verified(address).first_bad_position == 4, flip
        change(address, flip)
    assert verified(address).verified


def change(address: LogAddress, statement: str) -> None:
    """As a superuser who gets around the triggers."""
    with closing(psycopg.connect(**address.parameters, autocommit=True)) as superuser:
        superuser.execute(f"SET search_path = {address.schema}; SET session_replication_role = replica".encode())
        assert superuser.execute(statement.encode()).rowcount > 0


def verified(address: LogAddress) -> Verification:
    store = ReadOnlyPostgresEventStore(address)
    try:
        return verify(store)
    finally:
        store.close()
