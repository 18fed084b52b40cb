"""Read models in PostgreSQL: a schema for each owner, which one process at a time may write.

Only the session that holds the owner's lock writes: whoever loses that session has lost its transaction with it, and a
new session writes nothing before it holds the lock again. Shared read models are read by other processes meanwhile,
one of which takes the lock when it is free.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, Final

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, event

from services.eventstore.postgres.connection import BoundedConnection
from services.kernel.errors import InvalidInput, TimedOut, Unavailable
from services.projection.database_url import FIELD, TablesAddress
from services.projection.generations import GENERATIONS, create_table
from services.projection.open_cursors import close_cursors_when_returned
from services.projection.owner_lock import OwnerLock, session_name
from services.projection.postgres_errors import translated

READERS_MAX: Final = 12
"""Snapshots that are read at once. Four services stay far below the 100 connections that a server has by default."""
READER_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5
LOCK_TIMEOUT_S: Final = 10.0
PREPARE_TIMEOUT_S: Final = 30.0
STATEMENT_TIMEOUT_S: Final = 120
REPLY_TIMEOUT_S: Final = 125.0
"""For a server that says nothing, or a network that does not: a little longer than a statement may run there."""

_NETWORK: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A peer that is gone without a word is found out within about half a minute; the URL may say otherwise."""

_SESSION: Final = {
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "600s",
    "standard_conforming_strings": "on",
    # A session whose client is gone without a word must not keep the lock for hours.
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

_LEADING: Final = {"idle_session_timeout": "15s"}
"""Who leads looks after its session every few seconds. One that stands still, while its machine goes on to answer for
it, leaves the lead to another; in the midst of a transaction, when that has been idle for too long."""


class PostgresTables:
    """Snapshots are REPEATABLE READ and read only; the writer is one session, which holds the owner's lock."""

    def __init__(self, url: str, owner: str, *, is_shared: bool = False) -> None:
        """Connect, take the lock, create the schema where it is missing.

        Raises InvalidInput for a URL or a database that cannot serve, RuleViolated (DATABASE_IN_USE) when another
        process holds the lock, Unavailable when the server cannot be reached. Shared read models are opened whoever
        holds the lock.
        """
        self.is_shared = is_shared
        self.term = 0
        self._address = TablesAddress.parse(url, owner)
        self._lock = OwnerLock(self._address)
        self.writer = _engine(self._address, 1, _LEADING if is_shared else {})
        self.readers = _engine(self._address, READERS_MAX)
        self._lock.take_when_connected(self.writer, 0 if is_shared else LOCK_TIMEOUT_S, is_shared=is_shared)
        event.listen(self.writer, "connect", self._begin_term)
        _read_only_when_connected(self.readers)
        try:
            with self.translated():
                self._prepare()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Overloaded when too many read, Unavailable when the database cannot be used."""
        with translated(str(self._address), READERS_MAX):
            yield

    def close(self) -> None:
        """Let go of every connection, and with the writer's of the lock."""
        self.readers.dispose()
        self.writer.dispose()

    def writing_process(self) -> str:
        """The process that holds the lock, as it is called among the sessions; empty when none does."""
        with self.readers.connect() as connection:
            return self._lock.holder(connection)

    @contextmanager
    def alone(self, what: str, wait_s: float) -> Iterator[Callable[[], None]]:
        """As in `Backend`."""
        lock = OwnerLock(self._address, what)
        with ExitStack() as held:
            with self.translated():
                connection = held.enter_context(held.enter_context(_brief(self._address)).connect())
                held.callback(connection.invalidate)  # nothing is written: who lost the session by then lost nothing
                is_held = lock.is_taken_in_transaction(connection, wait_s)
            if not is_held:
                raise TimedOut(f"{what}: another replica was at it for longer than the call's deadline; repeat later")

            def require_alone() -> None:
                with self.translated():
                    connection.exec_driver_sql("SELECT 1")  # the lock is held as long as its session answers

            yield require_alone

    def _begin_term(self, _connection: Any, _record: Any) -> None:
        """Who connects to write has the lock by then."""
        self.term += 1

    def _prepare(self) -> None:
        """Nobody who shares the read models has them before they are prepared, by one at a time."""
        if not self.is_shared:
            with self.writer.begin() as connection:
                self._create(connection)
            return
        with _brief(self._address) as engine, engine.begin() as connection:
            if not OwnerLock(self._address, "preparing").is_taken_in_transaction(connection, PREPARE_TIMEOUT_S):
                raise Unavailable(f"the read models {self._address} are being prepared by another process; repeat")
            self._create(connection)

    def _create(self, connection: Connection) -> None:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise InvalidInput(
                f"the database {self._address} stores text as {encoding}; create one with ENCODING 'UTF8'",
                field=FIELD,
            )
        _create_schema(connection, self._address.schema)
        create_table(connection)


def _engine(address: TablesAddress, connections_max: int, more: Mapping[str, str] = MappingProxyType({})) -> Engine:
    """A pool whose connections live in the owner's schema, and are looked after before each use; `more` settings."""
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: _connected(address),
        pool_size=connections_max,
        max_overflow=0,
        pool_timeout=READER_TIMEOUT_S,
        pool_pre_ping=True,
    )
    close_cursors_when_returned(engine)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        settings = {**_SESSION, **more, "application_name": session_name(), "search_path": f'"{address.schema}"'}
        calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
        connection.execute(f"SELECT {calls}", [text for setting in settings.items() for text in setting])
        connection.commit()

    return engine


class _Connection(BoundedConnection):
    """Closes itself when the server did not answer in time: it is in the middle of something, and of no more use."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """As in `BoundedConnection`."""
        try:
            return super().wait(gen, *arguments, **options)
        except psycopg.OperationalError:
            if self.info.transaction_status is TransactionStatus.ACTIVE:
                self.close()
            raise


def _connected(address: TablesAddress) -> _Connection:
    """A connection on which no wait is without end, and that speaks UTF-8 whatever the server would choose."""
    parameters: dict[str, Any] = {
        **_NETWORK,
        **conninfo_to_dict(address.conninfo),
        "connect_timeout": CONNECT_TIMEOUT_S,
        "client_encoding": "UTF8",
    }
    connection = _Connection.connect(**parameters)
    connection.reply_timeout_s = REPLY_TIMEOUT_S
    return connection


@contextmanager
def _brief(address: TablesAddress) -> Iterator[Engine]:
    """An engine for one session, which ends with the block."""
    engine = _engine(address, 1)
    try:
        yield engine
    finally:
        engine.dispose()


def _read_only_when_connected(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True

    # The lock comes before the snapshot: so no snapshot is older than a swap that has dropped the tables it shows.
    @event.listens_for(engine, "begin")
    def keep_tables(connection: Connection) -> None:
        connection.exec_driver_sql(f"LOCK TABLE {GENERATIONS.name} IN ACCESS SHARE MODE")


def _create_schema(connection: Connection, schema: str) -> None:
    """Looked for first: a role that may not create schemas can use one that an administrator created for it."""
    found = connection.exec_driver_sql("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).first()
    if found is None:
        connection.exec_driver_sql(f'CREATE SCHEMA "{schema}"')
