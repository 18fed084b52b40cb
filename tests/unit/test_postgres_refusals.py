"""What a server or a database that is not fit for a log says, and what the caller is told to do about it."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from services.eventstore.audit.verify import verify
from services.eventstore.event import NO_STREAM, NewEvent, StreamName
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.read_only import ReadOnlyPostgresEventStore
from services.eventstore.postgres.store import PostgresEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Corrupt, NotFound, RuleViolated, Unavailable
from tests.postgres import fresh_database
from tests.postgres_log import fresh_log

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
METER = StreamName("meter", "tokens")


def event(number: int) -> NewEvent:
    return NewEvent(UUID(int=number), "Happened", 1, b"content")


@pytest.fixture
def address() -> LogAddress:
    return fresh_log()


@pytest.fixture
def store(address: LogAddress) -> Iterator[PostgresEventStore]:
    opened = PostgresEventStore(address, CLOCK)
    opened.append(METER, [event(0)], NO_STREAM)
    yield opened
    opened.close()


def execute(address: LogAddress, statement: str) -> None:
    """As a superuser."""
    with closing(psycopg.connect(**address.parameters, autocommit=True)) as superuser:
        superuser.execute(f"SET search_path = {address.schema}".encode())
        superuser.execute(statement.encode())


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        ("53100", Unavailable, "DISK_FULL"),
        ("53200", Unavailable, "LOG_OUT_OF_MEMORY"),
        ("58030", Unavailable, "DISK_FAILED"),
        ("25006", Unavailable, "LOG_NOT_WRITABLE"),
        ("40P01", Unavailable, "LOG_BUSY"),
        ("0A000", Unavailable, "LOG_FAILED"),
        ("XX001", Corrupt, "CORRUPT"),
        ("XX002", Corrupt, "CORRUPT"),
        ("23505", Corrupt, "CORRUPT"),
    ],
)
def test_a_failure_of_the_server_is_told_with_its_reason_and_nothing_is_lost(
    address: LogAddress, store: PostgresEventStore, code: str, error: type, reason: str
) -> None:
    execute(
        address,
        f"""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''no good'' USING ERRCODE = ''{code}''; END';
        CREATE TRIGGER failing BEFORE INSERT ON events EXECUTE FUNCTION fail()
        """,
    )
    with pytest.raises(error, match="no good") as refused:
        store.append(METER, [event(1)], 0)
    assert refused.value.reason == reason
    execute(address, "DROP TRIGGER failing ON events")
    assert store.append(METER, [event(1)], 0).position == 2


def test_a_log_whose_tables_contradict_each_other_takes_no_appends(
    address: LogAddress, store: PostgresEventStore
) -> None:
    execute(address, "INSERT INTO events VALUES (2, gen_random_uuid(), 1, 'Happened', '', '')")
    with pytest.raises(Corrupt, match="damaged"):
        store.append(METER, [event(1)], 0)
    assert store.head().position == 1


def test_a_role_without_a_connection_left_is_told_so(address: LogAddress) -> None:
    PostgresEventStore(address, CLOCK).close()
    execute(address, f"CREATE ROLE few_{address.schema} LOGIN CONNECTION LIMIT 0")
    few = LogAddress({**address.parameters, "user": f"few_{address.schema}"}, address.schema)
    with pytest.raises(Unavailable) as refused:
        PostgresEventStore(few, CLOCK)
    assert refused.value.reason == "TOO_MANY_CONNECTIONS"


def test_a_database_that_is_missing_is_named(address: LogAddress) -> None:
    missing = LogAddress({**address.parameters, "dbname": "nowhere"}, address.schema)
    for opened in (lambda: PostgresEventStore(missing, CLOCK), lambda: ReadOnlyPostgresEventStore(missing)):
        with pytest.raises(NotFound, match="nowhere"):
            opened()


def test_a_database_that_takes_no_writes_is_refused_for_appending_and_good_for_reading() -> None:
    address = LogAddress.parse(fresh_database())
    store = PostgresEventStore(address, CLOCK)
    store.append(METER, [event(0)], NO_STREAM)
    store.close()
    execute(address, f"ALTER DATABASE {address.parameters['dbname']} SET default_transaction_read_only = on")
    with pytest.raises(Unavailable, match="primary") as refused:
        PostgresEventStore(address, CLOCK)
    assert refused.value.reason == "LOG_NOT_WRITABLE"
    reading = ReadOnlyPostgresEventStore(address)
    assert verify(reading).events == 1
    reading.close()


def test_a_database_in_another_encoding_is_refused(address: LogAddress) -> None:
    execute(address, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(RuleViolated, match="UTF8"):
        PostgresEventStore(LogAddress({**address.parameters, "dbname": "latin"}, address.schema), CLOCK)
