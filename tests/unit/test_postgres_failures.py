"""What the server does to a store, and what its callers are told: nothing that was acknowledged is ever lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from psycopg.errors import QueryCanceled

from services.eventstore.audit.verify import verify
from services.eventstore.event import BEGINNING, NO_STREAM, Appended, NewEvent, StreamName
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.connection import PostgresLimits, connect
from services.eventstore.postgres.read_only import ReadOnlyPostgresEventStore
from services.eventstore.postgres.store import PostgresEventStore
from services.kernel.clock import SimulatedClock, monotonic_s
from services.kernel.errors import DomainError, Overloaded, RuleViolated, Unavailable
from tests.own_postgres import OwnPostgres
from tests.patience import TooSlow, patiently

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
METER = StreamName("meter", "tokens")
WAIT_S = 60.0
IMPATIENT = PostgresLimits(lock_timeout_s=0.1, reader_wait_s=2.0)


def event(number: int) -> NewEvent:
    return NewEvent(UUID(int=number), "Happened", 1, b"content")


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    started = OwnPostgres()
    yield started
    started.close()


@pytest.fixture
def address(server: OwnPostgres) -> LogAddress:
    return LogAddress.parse(server.fresh_log_url())


@pytest.fixture
def store(address: LogAddress) -> Iterator[PostgresEventStore]:
    opened = PostgresEventStore(address, CLOCK)
    opened.append(METER, [event(0)], NO_STREAM)
    yield opened
    opened.close()


def execute(server: OwnPostgres, address: LogAddress, statement: str) -> list[tuple[object, ...]]:
    with server.superuser() as superuser:
        superuser.execute(f"SET search_path = {address.schema}".encode())
        cursor = superuser.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def writers_lock(server: OwnPostgres, address: LogAddress) -> Iterator[None]:
    with server.superuser() as superuser:
        superuser.execute("SELECT pg_advisory_lock(%s)", (address.lock_key("append"),))
        yield


def pid_that_waits(server: OwnPostgres, wait_event: str, application: str = "meterlog") -> int:
    """The session that waits for this; the test goes on only when there is one."""
    deadline_s = monotonic_s() + WAIT_S
    with server.superuser() as superuser:
        while monotonic_s() < deadline_s:
            row = superuser.execute(
                "SELECT pid FROM pg_stat_activity WHERE wait_event = %s AND application_name = %s",
                (wait_event, application),
            ).fetchone()
            if row:
                return int(row[0])
    raise AssertionError(f"nobody waits for {wait_event}")


def wait_until_commits_wait_for_a_replica(server: OwnPostgres) -> None:
    """A reloaded setting is in force some time later: when a commit that nobody needs is seen to wait."""
    stop = threading.Event()

    def commit_on() -> None:
        with server.superuser() as probe:
            probe.execute("SET application_name = 'probe'")
            while not stop.is_set():
                probe.execute("SELECT pg_logical_emit_message(true, 'probe', '')")

    committing = threading.Thread(target=commit_on, daemon=True)
    committing.start()
    pid = pid_that_waits(server, "SyncRep", "probe")
    stop.set()
    with server.superuser() as superuser:
        superuser.execute("SELECT pg_cancel_backend(%s)", (pid,))
    committing.join(WAIT_S)
    assert not committing.is_alive()


def failure(future: Future[Appended]) -> DomainError:
    error = future.exception(WAIT_S)
    assert isinstance(error, DomainError)
    return error


def test_a_writer_that_holds_the_lock_for_too_long_fails_the_append_and_nothing_is_lost(
    server: OwnPostgres, address: LogAddress
) -> None:
    impatient = PostgresEventStore(address, CLOCK, limits=IMPATIENT)
    with writers_lock(server, address), pytest.raises(Unavailable, match="another writer") as refused:
        impatient.append(METER, [event(1)], NO_STREAM)
    assert refused.value.reason == "LOG_BUSY"
    assert impatient.append(METER, [event(1)], NO_STREAM).position == 1
    impatient.close()


def test_a_session_that_ends_before_the_commit_has_written_nothing(
    server: OwnPostgres, address: LogAddress, store: PostgresEventStore
) -> None:
    with writers_lock(server, address):
        waiting = store.submit(METER, [event(1)], 0)
        pid = pid_that_waits(server, "advisory")
        execute(server, address, f"SELECT pg_terminate_backend({pid})")
        assert isinstance(failure(waiting), Unavailable)
    assert store.head().position == 1
    assert store.append(METER, [event(1)], 0).position == 2


def test_a_session_that_ends_in_its_commit_leaves_the_outcome_open_and_a_repeat_writes_it(
    server: OwnPostgres, address: LogAddress, store: PostgresEventStore
) -> None:
    execute(
        server,
        address,
        """
        CREATE FUNCTION wait_in_commit() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER wait_in_commit AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait_in_commit()
        """,
    )
    with server.superuser() as superuser:
        superuser.execute("SELECT pg_advisory_lock(42)")
        waiting = store.submit(METER, [event(1)], 0)
        pid = pid_that_waits(server, "advisory")
        superuser.execute("SELECT pg_terminate_backend(%s)", (pid,))
        unknown = failure(waiting)
    assert (type(unknown), unknown.reason) == (Unavailable, "OUTCOME_UNKNOWN")
    assert "repeat the very same append" in unknown.message
    assert store.append(METER, [event(1)], 0).position == 2
    assert [each.id.int for each in store.read_stream(METER)] == [0, 1]


@pytest.mark.parametrize("end", ["pg_terminate_backend", "pg_cancel_backend"])
def test_a_commit_that_is_cut_off_while_it_waits_for_a_replica_is_known_again_when_it_is_repeated(
    server: OwnPostgres, address: LogAddress, store: PostgresEventStore, end: str
) -> None:
    server.set("synchronous_standby_names", "a_replica_that_is_not_there")
    try:
        wait_until_commits_wait_for_a_replica(server)
        waiting = store.submit(METER, [event(1), event(2)], 0)
        pid = pid_that_waits(server, "SyncRep")
        execute(server, address, f"SELECT {end}({pid})")
        assert failure(waiting).reason == "OUTCOME_UNKNOWN"
    finally:
        server.set("synchronous_standby_names", None)
    CLOCK.advance(CLOCK.now().replace(year=2025))
    repeated = store.append(METER, [event(1), event(2)], 0)
    assert (repeated.position, repeated.version) == (3, 2)
    recorded = store.read_stream(METER, from_version=1)
    assert [(each.id.int, each.leaf, each.recorded_at) for each in recorded] == [
        (number, leaf, repeated.recorded_at) for number, leaf in zip((1, 2), repeated.leaves, strict=True)
    ]
    assert verify(store).events == 3


def test_what_was_acknowledged_survives_a_crash_of_the_server_and_the_store_goes_on(
    server: OwnPostgres, address: LogAddress
) -> None:
    store = PostgresEventStore(address, CLOCK)
    acknowledged: dict[int, Appended] = {}
    is_going, stop = threading.Event(), threading.Event()

    def append_on() -> None:
        version = NO_STREAM
        while not stop.is_set():
            try:
                acknowledged[version] = store.append(METER, [event(version + 1)], version)
            except Unavailable:
                continue
            version += 1
            is_going.set()

    appending = threading.Thread(target=append_on, daemon=True)
    appending.start()
    for _ in range(2):
        is_going.clear()
        assert is_going.wait(WAIT_S)
        server.stop_at_once()
        before = len(acknowledged)
        server.start()
        is_going.clear()
        assert is_going.wait(WAIT_S)
        assert len(acknowledged) > before
    stop.set()
    appending.join(WAIT_S)
    stored = store.read_stream(METER)
    assert [each.id.int for each in stored] == list(range(len(acknowledged)))
    assert [(each.position, each.leaf) for each in stored] == [
        (answer.position, answer.leaves[0]) for answer in acknowledged.values()
    ]
    assert verify(store).events == len(acknowledged)
    store.close()


def test_reads_go_on_after_a_restart_of_the_server(server: OwnPostgres, store: PostgresEventStore) -> None:
    assert store.head().position == 1
    server.stop_at_once()
    server.start()
    assert [each.id.int for each in store.read_all(after=BEGINNING).events] == [0]
    assert store.append(METER, [event(1)], 0).position == 2


def test_a_server_that_is_down_is_told_apart_from_a_busy_one(
    server: OwnPostgres, address: LogAddress, store: PostgresEventStore
) -> None:
    reading = ReadOnlyPostgresEventStore(address, PostgresLimits(readers_max=1, reader_wait_s=0.2))
    with reading._readers.lent(), pytest.raises(Overloaded, match="busy"):
        reading.head()
    server.stop_at_once()
    for attempt in (reading.head, lambda: store.append(METER, [event(1)], 0)):
        with pytest.raises(Unavailable) as down:
            attempt()
        assert down.value.reason == "LOG_UNREACHABLE"
    server.start()
    reading.close()


def test_a_login_that_is_refused_is_told_without_the_password(server: OwnPostgres, address: LogAddress) -> None:
    execute(server, address, f"CREATE ROLE careful_{address.schema} LOGIN PASSWORD 'right-s3cret'")
    rules = server.folder / "pg_hba.conf"
    rules.write_text(f"local all careful_{address.schema} scram-sha-256\n" + rules.read_text())
    execute(server, address, "SELECT pg_reload_conf()")
    login = {"user": f"careful_{address.schema}", "password": "wrong-s3cret"}
    with pytest.raises(Unavailable) as refused:
        PostgresEventStore(LogAddress({**address.parameters, **login}, address.schema), CLOCK)
    assert refused.value.reason == "LOG_LOGIN_REFUSED"
    assert "s3cret" not in refused.value.message


def test_a_server_that_does_not_sync_is_refused(server: OwnPostgres, address: LogAddress) -> None:
    server.set("fsync", "off")
    try:
        with pytest.raises(RuleViolated, match="fsync") as refused:
            PostgresEventStore(address, CLOCK)
    finally:
        server.set("fsync", None)
    assert refused.value.reason == "LOG_NOT_DURABLE"


def test_a_server_that_says_nothing_is_given_up_in_time(server: OwnPostgres) -> None:
    def silence(deadline_s: float) -> None:
        try:
            address = LogAddress.parse(server.fresh_log_url())
            store = PostgresEventStore(address, CLOCK, limits=PostgresLimits(reply_timeout_s=deadline_s))
        except Unavailable as error:
            raise TooSlow from error
        with closing(store):
            with pytest.raises(Unavailable), store._reads._readers.lent() as connection:
                connection.execute("SELECT pg_sleep(60)")
            try:
                assert store.append(METER, [event(0)], NO_STREAM).position == 1
            except Unavailable as error:
                raise TooSlow from error

    patiently(silence)


def test_a_transaction_left_open_by_a_stuck_process_is_ended_by_the_server(
    server: OwnPostgres, address: LogAddress, store: PostgresEventStore
) -> None:
    def standstill(deadline_s: float) -> None:
        with closing(connect(address, PostgresLimits(statement_timeout_s=deadline_s), writes=True)) as stuck:
            try:
                stuck.execute(f"BEGIN; SELECT pg_advisory_xact_lock({address.lock_key('append')})".encode())
            except QueryCanceled as error:
                raise TooSlow from error
            version = store.read_stream(METER)[-1].version
            assert store.append(METER, [event(version + 1)], version).version == version + 1
            with pytest.raises(psycopg.Error):
                stuck.execute("SELECT 1")

    patiently(standstill)
