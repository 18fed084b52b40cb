"""Roles: who appends can neither change nor delete, who reads can only read, and nobody changes by accident."""

from contextlib import closing
from datetime import UTC, datetime
from threading import Event as Signal
from uuid import UUID

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, IntegrityConstraintViolation

from services.eventstore.audit.verify import verify
from services.eventstore.event import ANY_VERSION, BEGINNING, NO_STREAM, Batch, NewEvent, StreamName
from services.eventstore.postgres import __main__ as command
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.grants import APPENDED_TO, Access, grant
from services.eventstore.postgres.read_only import ReadOnlyPostgresEventStore
from services.eventstore.postgres.store import PostgresEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Unavailable
from tests.postgres_log import fresh_log, fresh_log_url

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
METER = StreamName("meter", "tokens")
CHANGES = (
    "UPDATE {} SET {} = {}",
    "DELETE FROM {}",
    "TRUNCATE {}",
    "DROP TABLE {}",
    "ALTER TABLE {} DISABLE TRIGGER ALL",
)
COLUMNS = {
    "categories": "name",
    "streams": "identifier",
    "runs": "first_version",
    "events": "payload",
    "commits": "root",
}


def event(number: int) -> NewEvent:
    return NewEvent(UUID(int=number), "Happened", 1, b"content")


@pytest.fixture
def address() -> LogAddress:
    """A log of the superuser's that holds one event."""
    address = fresh_log()
    store = PostgresEventStore(address, CLOCK)
    store.append(METER, [event(0)], NO_STREAM)
    store.close()
    return address


def as_role(address: LogAddress, role: str) -> LogAddress:
    """The same log, seen by a role that it creates."""
    with closing(psycopg.connect(**address.parameters, autocommit=True)) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
    return LogAddress({**address.parameters, "user": role}, address.schema)


@pytest.fixture
def appender(address: LogAddress) -> LogAddress:
    role = f"appender_{address.schema}"
    restricted = as_role(address, role)
    grant(address, role, Access.APPEND)
    return restricted


def refused(address: LogAddress, statement: str) -> type[psycopg.Error] | None:
    with closing(psycopg.connect(**address.parameters, autocommit=True)) as connection:
        connection.execute(f"SET search_path = {address.schema}".encode())
        try:
            connection.execute(statement.encode())
        except psycopg.Error as error:
            return type(error)
    return None


def test_the_role_that_appends_can_do_all_that_a_service_does(appender: LogAddress) -> None:
    store = PostgresEventStore(appender, CLOCK)
    for count in (1, 300):
        store.append(StreamName("usage", str(count)), [event(number) for number in range(count)], NO_STREAM)
    assert store.append(METER, [event(0)], NO_STREAM).position == 1
    assert len(store.read_all(after=BEGINNING, categories=["usage"]).events) == 301
    news = next(store.subscribe(after=BEGINNING, stop=Signal()))
    assert isinstance(news, Batch)
    assert verify(store).events == 302
    store.close()


def test_the_role_that_appends_can_change_nothing(appender: LogAddress) -> None:
    changes = [change.format(table, COLUMNS[table], COLUMNS[table]) for table in APPENDED_TO for change in CHANGES]
    assert {change: refused(appender, change) for change in changes} == dict.fromkeys(changes, InsufficientPrivilege)


def test_not_even_the_owner_changes_by_accident(address: LogAddress) -> None:
    changes = [change.format(table, COLUMNS[table], COLUMNS[table]) for table in APPENDED_TO for change in CHANGES[:3]]
    refusals = {change: refused(address, change) for change in changes}
    assert refusals == dict.fromkeys(changes, IntegrityConstraintViolation)


def test_the_role_that_reads_can_read_all_and_append_nothing(address: LogAddress) -> None:
    role = f"reader_{address.schema}"
    reader = as_role(address, role)
    grant(address, role, Access.READ)
    store = ReadOnlyPostgresEventStore(reader)
    assert verify(store).events == 1
    assert [each.id.int for each in store.read_stream(METER)] == [0]
    assert isinstance(next(store.subscribe(after=BEGINNING, stop=Signal())), Batch)
    store.close()
    assert refused(reader, "INSERT INTO commits VALUES (9, 9, '', '')") is InsufficientPrivilege
    appending = PostgresEventStore(reader, CLOCK)
    with pytest.raises(Unavailable, match="grant") as not_granted:
        appending.append(METER, [event(1)], 0)
    assert not_granted.value.reason == "LOG_NOT_PERMITTED"
    appending.close()


def test_a_role_without_any_right_is_told_what_to_do(address: LogAddress) -> None:
    stranger = as_role(address, f"stranger_{address.schema}")
    for opened in (lambda: PostgresEventStore(stranger, CLOCK), lambda: ReadOnlyPostgresEventStore(stranger)):
        with pytest.raises(Unavailable, match="grant") as not_granted:
            opened()
        assert not_granted.value.reason == "LOG_NOT_PERMITTED"


def test_a_role_that_may_not_create_the_log_is_told_what_to_do() -> None:
    address = fresh_log()
    with pytest.raises(Unavailable, match="owner") as not_granted:
        PostgresEventStore(as_role(address, f"newcomer_{address.schema}"), CLOCK)
    assert not_granted.value.reason == "LOG_NOT_PERMITTED"


def test_an_access_is_taken_back_by_granting_a_smaller_one(address: LogAddress, appender: LogAddress) -> None:
    grant(address, appender.parameters["user"], Access.READ)
    assert refused(appender, "INSERT INTO commits VALUES (9, 9, '', '')") is InsufficientPrivilege


def test_the_owner_creates_and_grants_at_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    url = fresh_log_url()
    address = LogAddress.parse(url)
    role = f"service_{address.schema}"
    restricted = as_role(address, role)
    assert command.main(["grant", role, "append", "--url", url]) == 1
    assert "no log" in capsys.readouterr().err
    assert command.main(["migrate", "--url", url]) == 0
    assert command.main(["migrate", "--url", url]) == 0
    assert command.main(["grant", role, "append", "--url", url]) == 0
    store = PostgresEventStore(restricted, CLOCK)
    assert store.append(METER, [event(1)], ANY_VERSION).position == 1
    store.close()


def test_people_read_the_log_as_one_view(address: LogAddress) -> None:
    with closing(psycopg.connect(**address.parameters)) as connection:
        row = connection.execute(
            f"SELECT position, stream, version, type, recorded_at FROM {address.schema}.recorded_events".encode()
        ).fetchone()
    assert row == (1, "meter-tokens", 0, "Happened", CLOCK.now())
