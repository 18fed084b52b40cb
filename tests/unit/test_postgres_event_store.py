"""What only the store on PostgreSQL has to prove: its schema, its sessions, its indexes, and how processes share it."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from alembic.script import ScriptDirectory

from services.eventstore.audit.verify import verify
from services.eventstore.event import ANY_VERSION, BEGINNING, NO_STREAM, Batch, CaughtUp, NewEvent, Position, StreamName
from services.eventstore.open import open_store
from services.eventstore.postgres import find_runs, log_state
from services.eventstore.postgres import read as postgres_read
from services.eventstore.postgres import write as postgres_write
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import PostgresLimits, connect
from services.eventstore.postgres.migrations.migrate import config
from services.eventstore.postgres.read_only import ReadOnlyPostgresEventStore
from services.eventstore.postgres.schema import SCHEMA_VERSIONS
from services.eventstore.postgres.store import PostgresEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Corrupt, InvalidInput, NotFound, RuleViolated
from tests.postgres import fresh_database
from tests.postgres_log import fresh_log, fresh_log_url

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
METER = StreamName("meter", "tokens")


def event(number: int, payload: bytes = b"") -> NewEvent:
    return NewEvent(UUID(int=number), "Happened", 1, payload)


@pytest.fixture
def address() -> LogAddress:
    return fresh_log()


@pytest.fixture
def store(address: LogAddress) -> Iterator[PostgresEventStore]:
    opened = PostgresEventStore(address, CLOCK)
    yield opened
    opened.close()


def as_owner(address: LogAddress, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg.connect(**address.parameters, autocommit=True)) as connection:
        connection.execute(f"SET search_path = {address.schema}".encode())
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_log_is_there_again_after_it_was_closed(address: LogAddress) -> None:
    first = PostgresEventStore(address, CLOCK)
    answer = first.append(METER, [event(1)], NO_STREAM)
    first.close()
    second = PostgresEventStore(address, CLOCK)
    assert second.append(METER, [event(1)], NO_STREAM) == answer
    assert second.append(METER, [event(2)], 0).position == 2
    second.close()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_url_opens_the_log(scheme: str) -> None:
    url = fresh_log_url().replace("postgresql", scheme, 1)
    with pytest.raises(NotFound, match="no log"):
        open_store(url, CLOCK, read_only=True)
    store = open_store(url, CLOCK)
    store.append(METER, [event(1)], NO_STREAM)
    store.close()
    reading = open_store(url, CLOCK, read_only=True)
    assert reading.head().position == 1
    with pytest.raises(RuleViolated, match="reading only"):
        reading.append(METER, [event(2)], 0)
    reading.close()


def test_reading_only_creates_nothing(address: LogAddress) -> None:
    with pytest.raises(NotFound):
        ReadOnlyPostgresEventStore(address)
    assert as_owner(address, f"SELECT 1 FROM pg_namespace WHERE nspname = '{address.schema}'") == []


def test_many_that_create_the_log_at_once_get_one_log(address: LogAddress) -> None:
    def create_and_append(number: int) -> int:
        opened = PostgresEventStore(address, CLOCK)
        position = opened.append(StreamName("meter", str(number)), [event(number)], NO_STREAM).position
        opened.close()
        return position

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(create_and_append, range(10))) == list(range(1, 11))


def test_the_versions_that_are_known_are_those_of_the_migrations() -> None:
    scripts = ScriptDirectory.from_config(config(None, "any"))
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(SCHEMA_VERSIONS)
    assert scripts.get_current_head() == SCHEMA_VERSIONS[-1]


def test_a_log_of_a_newer_release_is_refused(store: PostgresEventStore, address: LogAddress) -> None:
    as_owner(address, "UPDATE log_version SET version_num = 'log_9999'")
    with pytest.raises(RuleViolated, match="upgrade"):
        PostgresEventStore(address, CLOCK)
    with pytest.raises(RuleViolated, match="upgrade"):
        ReadOnlyPostgresEventStore(address)


def test_a_schema_that_holds_something_else_is_refused_and_left_alone(address: LogAddress) -> None:
    as_owner(address, f"CREATE SCHEMA {address.schema} CREATE TABLE theirs (id integer)")
    with pytest.raises(InvalidInput, match="schema="):
        PostgresEventStore(address, CLOCK)
    tables = as_owner(address, f"SELECT tablename FROM pg_tables WHERE schemaname = '{address.schema}'")
    assert tables == [("theirs",)]


def test_an_empty_schema_becomes_a_log(address: LogAddress) -> None:
    as_owner(address, f"CREATE SCHEMA {address.schema}")
    PostgresEventStore(address, CLOCK).close()
    reading = ReadOnlyPostgresEventStore(address)
    assert verify(reading).verified
    reading.close()


def test_several_logs_live_in_one_database(store: PostgresEventStore) -> None:
    other = PostgresEventStore(fresh_log(), CLOCK)
    store.append(METER, [event(1)], NO_STREAM)
    assert other.append(METER, [event(2)], NO_STREAM).position == 1
    assert [each.id.int for each in store.read_stream(METER)] == [1]
    other.close()


def test_what_the_database_has_as_defaults_changes_nothing() -> None:
    url = fresh_database()
    for setting in (
        "default_transaction_isolation = 'serializable'",
        "synchronous_commit = off",
        "search_path = pg_catalog",
        "enable_indexscan = off",
        "client_encoding = 'LATIN1'",
    ):
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute(f"ALTER DATABASE {connection.info.dbname} SET {setting}".encode())
    stores = [PostgresEventStore(LogAddress.parse(url), CLOCK) for _ in range(3)]

    def append_twenty(number: int) -> None:
        for version in range(20):
            stores[number].append(StreamName("meter", f"ä{number}"), [event(version)], version - 1)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(append_twenty, range(3)))
    assert verify(stores[0]).events == 60
    for opened in stores:
        opened.close()


@pytest.mark.parametrize(("configured", "used"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
def test_a_commit_waits_for_the_disk_whatever_the_role_has_as_default(
    address: LogAddress, configured: str, used: str
) -> None:
    parameters = {**address.parameters, "options": f"-c synchronous_commit={configured}"}
    with closing(connect(LogAddress(parameters, address.schema), PostgresLimits(), writes=True)) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == (used,)


def test_a_second_store_sees_and_continues_what_the_first_wrote(store: PostgresEventStore, address: LogAddress) -> None:
    other = PostgresEventStore(address, CLOCK)
    store.append(METER, [event(1)], NO_STREAM)
    assert other.append(METER, [event(2)], 0).position == 2
    assert store.append(METER, [event(3)], 1).position == 3
    assert verify(other).events == 3
    other.close()


def test_a_subscription_sees_the_commits_of_another_store(store: PostgresEventStore, address: LogAddress) -> None:
    other, stop = PostgresEventStore(address, CLOCK), threading.Event()
    following = store.subscribe(after=BEGINNING, stop=stop)
    assert next(following) == CaughtUp(BEGINNING)
    for number in range(3):
        other.append(METER, [event(number)], number - 1)
        news = next(following)
        while not isinstance(news, Batch):
            news = next(following)
        assert [each.id.int for each in news.events] == [number]
    other.close()


@pytest.mark.parametrize("count", [1, postgres_write.COPY_EVENTS_MIN - 1, postgres_write.COPY_EVENTS_MIN, 300])
def test_few_and_many_events_are_written_alike(store: PostgresEventStore, count: int) -> None:
    payloads = [bytes([number % 256]) * (number * 37 % 5_000) for number in range(count)]
    store.append(METER, [event(number, payload) for number, payload in enumerate(payloads)], NO_STREAM)
    assert [each.payload for each in store.read_stream(METER)] == payloads
    assert verify(store).events == count


def test_a_group_of_many_streams_is_one_commit(store: PostgresEventStore) -> None:
    waiting = [store.submit(StreamName(f"c{n % 9}", str(n % 50)), [event(n)], ANY_VERSION) for n in range(500)]
    positions = [each.result(60).position for each in waiting]
    assert sorted(positions) == list(range(1, 501))
    assert len(store.read_commits(after=BEGINNING)) < 500
    for number in range(50):
        assert [each.version for each in store.read_stream(StreamName(f"c{number % 9}", str(number)))] == sorted(
            each.version for each in store.read_stream(StreamName(f"c{number % 9}", str(number)))
        )
    assert verify(store).verified


def test_a_stream_of_many_runs_is_read_from_anywhere(store: PostgresEventStore) -> None:
    other = StreamName("usage", "0")
    for number in range(40):
        store.append(METER, [event(number * 3 + each) for each in range(3)], number * 3 - 1)
        store.append(other, [event(9_000 + number)], number - 1)
    assert [each.id.int for each in store.read_stream(METER, from_version=40, limit=50)] == list(range(40, 90))
    backwards = store.read_stream(METER, from_version=100, limit=50, backwards=True)
    assert [each.id.int for each in backwards] == list(range(100, 50, -1))


def test_names_that_no_stream_can_have_find_nothing(store: PostgresEventStore) -> None:
    store.append(METER, [event(1)], NO_STREAM)
    assert store.read_stream(StreamName("a\x00b", "x")) == ()
    page = store.read_all(after=BEGINNING, categories=["\x00", "\ud800"])
    assert (page.events, page.position, page.is_last) == ((), 1, True)


def test_a_reader_that_finds_a_hole_stops_instead_of_skipping_it(
    store: PostgresEventStore, address: LogAddress
) -> None:
    store.append(METER, [event(number) for number in range(3)], NO_STREAM)
    as_owner(address, "SET session_replication_role = replica; DELETE FROM events WHERE position = 2")
    assert [each.position for each in store.read_all(after=BEGINNING, limit=1).events] == [1]
    with pytest.raises(Corrupt, match="position 2"):
        store.read_all(after=Position(1))
    with pytest.raises(Corrupt, match="position 2"):
        store.read_stream(METER)


def test_every_read_goes_by_an_index(store: PostgresEventStore, address: LogAddress) -> None:
    for number in range(30):
        store.append(StreamName("meter", str(number)), [event(number)], NO_STREAM)
    queries = {
        find_runs._BEHIND: {"after": 3, "end": 9},
        find_runs._categories_behind(2): {"name_0": "meter", "name_1": "x", "after": 3, "end": 30, "limit": 5},
        find_runs._OF_STREAM: {"stream": 1, "first": 0, "last": 3},
        postgres_read._EVENTS: ([1], [5]),
        find_runs._NEWEST_VERSION: ("meter", "3"),
        postgres_read._HEAD: (),
        log_state._STATE: (["meter"], ["3"]),
    }
    with closing(connect(address, PostgresLimits(), writes=False)) as connection:
        for query, arguments in queries.items():
            rows = connection.execute(f"EXPLAIN (FORMAT text) {query}".encode(), arguments).fetchall()
            plan = "\n".join(line for (line,) in rows)
            assert "Index" in plan
            assert not re.search("Seq Scan|Bitmap|Hash", plan), plan


def test_the_events_can_be_partitioned_by_position_and_nobody_notices(
    store: PostgresEventStore, address: LogAddress
) -> None:
    store.append(METER, [event(number) for number in range(100)], NO_STREAM)
    as_owner(
        address,
        """
        ALTER TABLE events RENAME TO events_to_100;
        CREATE TABLE events (LIKE events_to_100, PRIMARY KEY (position)) PARTITION BY RANGE (position);
        ALTER TABLE events ATTACH PARTITION events_to_100 FOR VALUES FROM (1) TO (101);
        CREATE TABLE events_from_101 PARTITION OF events FOR VALUES FROM (101) TO (MAXVALUE)
        """,
    )
    for first in (100, 101, 200):
        count = 1 if first == 100 else 99 if first == 101 else 1
        store.append(METER, [event(first + number) for number in range(count)], first - 1)
    assert [each.id.int for each in store.read_all(after=Position(90), limit=30).events] == list(range(90, 120))
    assert [each.id.int for each in store.read_stream(METER, from_version=95, limit=10)] == list(range(95, 105))
    assert verify(store).events == 201


def test_the_folder_of_migrations_may_have_a_percent_sign() -> None:
    assert config(None, "any").get_main_option("script_location") == str(
        Path(postgres_read.__file__).parent / "migrations"
    )
